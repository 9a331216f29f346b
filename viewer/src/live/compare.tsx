// Two graphs side by side: what both have, and what only one of them has, in colours of their own.
import { useEffect, useRef, useState } from "preact/hooks";
import { Graph, Kind } from "../data/graph";
import { type Camera, zoomed } from "../draw/camera";
import { Scene } from "../draw/scene";
import { themeOf } from "../draw/theme";
import { server } from "../sources/live";
import { START } from "../state/view";
import { visibleOf } from "../state/visible";
import { grouped, inert, joined, percent, short } from "../words";
import { link } from "./route";

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
          Faint: in both. <span class="own-mark">Ringed, and edges in this colour: in this one only.</span> The wheel comes closer, dragging moves both.
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
  const ref = useRef<HTMLDivElement>(null);
  const own = new Set(graph.names.flatMap((_, i) => (others.has(keys[i]!) ? [] : [i])));
  const { source, target } = graph.edges;
  const ownEdges: number[] = [];
  for (let e = 0; e < graph.m; e++) if (!otherEdges.has(`${keys[source[e]!]} → ${keys[target[e]!]}`)) ownEdges.push(e);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const scene = new Scene(element);
    const paint = (): void => {
      const theme = themeOf(element);
      const colours = new Map(Array.from({ length: graph.m }, (_, e) => [e, theme.dim] as const));
      for (const e of ownEdges) colours.set(e, theme.accent);
      const visible = visibleOf(graph, START.filters);
      scene.show({ graph, visible, fanned: [], theme, pinned: new Set(), selected: [], matches: own, called: (node) => calledIn(graph, node), colours });
    };
    const sizes = new ResizeObserver(() => scene.resize(element.clientWidth, element.clientHeight));
    sizes.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", paint);
    scene.resize(element.clientWidth, element.clientHeight);
    paint();
    const leave = join(scene, element);
    return () => {
      leave();
      sizes.disconnect();
      dark.removeEventListener("change", paint);
      scene.close();
    };
  }, [graph, keys, others, otherEdges]);
  const words = `${joined(graph.n, "node")}, ${grouped(own.size)} in this one only; ${joined(graph.m, "edge")}, ${grouped(ownEdges.length)} in this one only`;
  return (
    <figure class="panel" data-half={name} data-own-nodes={own.size} data-own-edges={ownEdges.length}>
      <h2>
        <a href={link.graph(id)}>{short(graph.document.prompt.text, 120) || "∅"}</a>
      </h2>
      <p class="dim">→ {graph.document.targets.slice(0, 3).map((one) => short(one.name, 24)).join(", ")}</p>
      <div ref={ref} class="canvas compare-canvas" role="img" aria-label={words} />
      <figcaption class="dim">{words}</figcaption>
    </figure>
  );
}

/** What a node is called in its own graph. */
function calledIn(graph: Graph, node: number): string {
  const said = graph.promotes(node).slice(0, 3).map((one) => one.token);
  return graph.words(node) || (said.length ? `says ${said.join(" ")}` : graph.names[node] ?? "");
}

const both = new Set<Scene>();

/** Look from where the other one looks: the wheel comes closer, dragging moves both. */
function join(scene: Scene, element: HTMLElement): () => void {
  const away = new AbortController();
  both.add(scene);
  const look = (camera: Camera): void => {
    for (const one of both) one.look(camera);
  };
  const at = (event: MouseEvent): readonly [number, number] => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      look(zoomed(scene.camera, Math.exp(-event.deltaY / 300), at(event)));
    },
    { passive: false, signal: away.signal },
  );
  element.addEventListener("pointerdown", (event) => element.setPointerCapture(event.pointerId), { signal: away.signal });
  element.addEventListener(
    "pointermove",
    (event) => {
      if (!element.hasPointerCapture(event.pointerId)) return;
      const { k, x, y } = scene.camera;
      look({ k, x: x + event.movementX, y: y + event.movementY });
    },
    { signal: away.signal },
  );
  return () => {
    away.abort();
    both.delete(scene);
  };
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
