// Two graphs side by side: what both have, and what only one of them has, in colours of their own.
import { useEffect, useRef, useState } from "preact/hooks";
import { greatest } from "../data/columns";
import { Graph, Kind } from "../data/graph";
import { fitting } from "../draw/camera";
import { layout } from "../draw/layout";
import { trace } from "../draw/marks";
import { server } from "../sources/live";
import { grouped, inert, joined, percent, short } from "../words";
import { link } from "./route";

const EDGES = 1500;
const ROWS = 40;

interface Pair {
  readonly one: Graph;
  readonly other: Graph;
  /** How nodes of the two are told to be the same. */
  readonly by: "place" | "feature";
}

type State = { readonly state: "asked" } | { readonly state: "there"; readonly pair: Pair } | { readonly state: "failed"; readonly why: string };

export function ComparePage({ id, other }: { id: string; other: string }) {
  const [now, set] = useState<State>({ state: "asked" });
  useEffect(() => {
    Promise.all([server.graph(id), server.graph(other)]).then(
      ([a, b]) => {
        const [one, two] = [new Graph(a), new Graph(b)];
        const isSame = one.document.prompt.ids.length === two.document.prompt.ids.length;
        set({ state: "there", pair: { one, other: two, by: isSame ? "place" : "feature" } });
      },
      (error: unknown) => set({ state: "failed", why: String(error) }),
    );
  }, [id, other]);
  if (now.state === "asked") return <p class="hint">Both graphs are being read.</p>;
  if (now.state === "failed") {
    return (
      <p class="failure" role="alert">
        {inert(now.why)}
      </p>
    );
  }
  return <Both pair={now.pair} set={(by) => set({ state: "there", pair: { ...now.pair, by } })} ids={[id, other]} />;
}

function Both({ pair, set, ids }: { pair: Pair; set: (by: Pair["by"]) => void; ids: readonly [string, string] }) {
  const [left, right] = [keysOf(pair.one, pair.by), keysOf(pair.other, pair.by)];
  const [leftSet, rightSet] = [new Set(left), new Set(right)];
  const basesDiffer = pair.one.document.facts?.basis_fingerprint !== pair.other.document.facts?.basis_fingerprint;
  return (
    <section class="compare" aria-label="Two graphs">
      {basesDiffer && (
        <p class="failure" role="alert">
          These graphs were traced in different bases: that two features have the same number means nothing.
        </p>
      )}
      <p class="asked-row">
        <label class="asked short">
          The same node is
          <select value={pair.by} onChange={(event) => set(event.currentTarget.value === "place" ? "place" : "feature")}>
            <option value="place">the same feature at the same position</option>
            <option value="feature">the same feature, wherever it is</option>
          </select>
        </label>
        <span>
          <span class="both-mark" aria-hidden="true">
            ●
          </span>{" "}
          in both <span class="own-mark" aria-hidden="true">◉</span> in this one only
        </span>
      </p>
      <div class="compare-pair">
        <Half graph={pair.one} keys={left} others={rightSet} otherEdges={edgeKeys(pair.other, right)} id={ids[0]} name="left" />
        <Half graph={pair.other} keys={right} others={leftSet} otherEdges={edgeKeys(pair.one, left)} id={ids[1]} name="right" />
      </div>
      <Changes pair={pair} left={left} right={right} />
    </section>
  );
}

/** A name for each node under which the other graph may have it, too. */
function keysOf(graph: Graph, by: Pair["by"]): string[] {
  return graph.names.map((name, i) => {
    switch (graph.kind(i)) {
      case "feature":
        return by === "place" ? name : `feature ${graph.feature(i)}`;
      case "error":
        return by === "place" ? name : `error ${graph.nodes.layer[i]}`;
      case "token":
        return by === "place" ? `${name} ${graph.words(i)}` : `token ${graph.words(i)}`;
      case "target":
        return `target ${graph.words(i)}`;
      case "bias":
        return "bias";
    }
  });
}

function edgeKeys(graph: Graph, keys: readonly string[]): ReadonlySet<string> {
  const { source, target } = graph.edges;
  const found = new Set<string>();
  for (let e = 0; e < graph.m; e++) found.add(`${keys[source[e]!]} → ${keys[target[e]!]}`);
  return found;
}

interface HalfProps {
  readonly graph: Graph;
  readonly keys: readonly string[];
  readonly others: ReadonlySet<string>;
  readonly otherEdges: ReadonlySet<string>;
  readonly id: string;
  readonly name: "left" | "right";
}

function Half({ graph, keys, others, otherEdges, id, name }: HalfProps) {
  const ref = useRef<HTMLCanvasElement>(null);
  const own = keys.filter((key) => !others.has(key)).length;
  const mine = edgeKeys(graph, keys);
  let ownEdges = 0;
  for (const key of mine) if (!otherEdges.has(key)) ownEdges++;
  useEffect(() => {
    const canvas = ref.current;
    if (!canvas) return;
    const paint = (): void => draw(canvas, graph, keys, others, otherEdges);
    paint();
    const sizes = new ResizeObserver(paint);
    sizes.observe(canvas);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", paint);
    return () => {
      sizes.disconnect();
      dark.removeEventListener("change", paint);
    };
  }, [graph, keys, others, otherEdges]);
  const words = `${joined(graph.n, "node")}, ${grouped(own)} in this one only; ${joined(graph.m, "edge")}, ${grouped(ownEdges)} in this one only`;
  return (
    <figure class="panel" data-half={name} data-own-nodes={own} data-own-edges={ownEdges}>
      <h2>
        <a href={link.graph(id)}>{short(graph.document.prompt.text, 120) || "∅"}</a>
      </h2>
      <p class="dim">→ {graph.document.targets.slice(0, 3).map((one) => short(one.name, 24)).join(", ")}</p>
      <canvas ref={ref} class="compare-canvas" role="img" aria-label={words} />
      <figcaption class="dim">
        {words}
        {graph.m > EDGES && `; the strongest ${grouped(EDGES)} edges are drawn`}
      </figcaption>
    </figure>
  );
}

function draw(canvas: HTMLCanvasElement, graph: Graph, keys: readonly string[], others: ReadonlySet<string>, otherEdges: ReadonlySet<string>): void {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width || !height) return;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  if (!context) return;
  const colour = (name: string): string => getComputedStyle(canvas).getPropertyValue(name).trim() || "CanvasText";
  const [both, own, line] = [colour("--node"), colour("--accent"), colour("--control")];
  const place = layout(graph, new Uint8Array(graph.n), [], [width, height]);
  const { k, x, y } = fitting([place.width, place.height], [width, height]);
  const at = (node: number): readonly [number, number] => [place.x[node]! * k + x, place.y[node]! * k + y];
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const { source, target, weight } = graph.edges;
  for (const e of [...graph.byScore.subarray(0, EDGES)].reverse()) {
    const [s, t] = [source[e]!, target[e]!];
    const isOwn = !otherEdges.has(`${keys[s]} → ${keys[t]}`);
    context.strokeStyle = isOwn ? own : line;
    context.globalAlpha = isOwn ? 0.5 : 0.25;
    context.lineWidth = isOwn ? 1.2 : 0.8;
    context.setLineDash(weight[e]! < 0 ? [5, 3] : []);
    context.beginPath();
    context.moveTo(...at(s));
    context.lineTo(...at(t));
    context.stroke();
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
  const most = greatest(graph.nodes.influence) || 1;
  for (let i = 0; i < graph.n; i++) {
    const isOwn = !others.has(keys[i]!);
    const r = 2.5 + 4 * Math.sqrt(graph.nodes.influence[i]! / most);
    context.fillStyle = isOwn ? own : both;
    context.beginPath();
    trace(context, graph.nodes.kind[i]!, ...at(i), r);
    context.fill();
    if (isOwn) {
      // Not by colour alone.
      context.strokeStyle = own;
      context.lineWidth = 1;
      context.beginPath();
      context.arc(...at(i), r + 2.5, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}

interface Change {
  readonly key: string;
  readonly name: string;
  readonly words: string;
  readonly left: number;
  readonly right: number;
}

/** What differs most, as rows: the influence in each of the two. */
function Changes({ pair, left, right }: { pair: Pair; left: readonly string[]; right: readonly string[] }) {
  const found = new Map<string, Change>();
  const add = (graph: Graph, keys: readonly string[], side: "left" | "right"): void => {
    keys.forEach((key, i) => {
      if (graph.nodes.kind[i] === Kind.target) return;
      const said = graph.words(i) || graph.promotes(i).slice(0, 3).map((one) => one.token).join(" ");
      const was = found.get(key) ?? { key, name: graph.names[i] ?? "", words: said, left: 0, right: 0 };
      found.set(key, { ...was, [side]: was[side] + graph.nodes.influence[i]! });
    });
  };
  add(pair.one, left, "left");
  add(pair.other, right, "right");
  const rows = [...found.values()].sort((a, b) => Math.abs(b.left - b.right) - Math.abs(a.left - a.right) || (a.key < b.key ? -1 : 1));
  return (
    <section class="panel" aria-label="What differs most">
      <h2>What differs most</h2>
      <div class="scrolled" tabIndex={0} role="region" aria-label="Nodes by the difference of their influence">
        <table class="changes">
          <thead>
            <tr>
              <th scope="col">node</th>
              <th scope="col">what</th>
              <th scope="col">left</th>
              <th scope="col">right</th>
              <th scope="col">difference</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, ROWS).map((row) => (
              <tr key={row.key}>
                <th scope="row">
                  <code>{row.name}</code>
                </th>
                <td>{short(row.words, 60)}</td>
                <td>{row.left ? percent(row.left) : "–"}</td>
                <td>{row.right ? percent(row.right) : "–"}</td>
                <td>{percent(row.right - row.left)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > ROWS && <p class="dim">{joined(rows.length - ROWS, "node")} more, which differ less.</p>}
    </section>
  );
}
