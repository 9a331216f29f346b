// What feeds the chosen nodes, and what they feed. What filters hide is counted.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Graph } from "../data/graph";
import { visible } from "../state/session";
import type { LinkRecord } from "../wire";
import { grouped, joined, percent } from "../words";
import { wishes } from "./commands";
import { NodeLine } from "./parts";

interface Row {
  readonly node: number;
  readonly share: number;
  readonly weight: number;
  readonly links: readonly LinkRecord[];
}

interface Side {
  readonly rows: readonly Row[];
  readonly hidden: number;
}

export function Connections({ graph, nodes, first }: { graph: Graph; nodes: readonly number[]; first: number }) {
  const inputs = useRef<HTMLDivElement>(null);
  const outputs = useRef<HTMLDivElement>(null);
  useEffect(() => {
    wishes.inputs = () => inputs.current?.querySelector<HTMLElement>("button.line")?.focus();
    wishes.outputs = () => outputs.current?.querySelector<HTMLElement>("button.line")?.focus();
  }, []);
  const now = visible.value;
  if (!nodes.length || !now) {
    return (
      <section class="panel connections" aria-label="Connections">
        <h2>Connections</h2>
        <p class="hint">Click on a node: its inputs and outputs stand here, the heaviest first.</p>
      </section>
    );
  }
  return (
    <section class="panel connections" aria-label="Connections">
      <Column first={first} refer={inputs} title="Inputs" words="what feeds it" graph={graph} side={sideOf(graph, nodes, now.edges, "in")} key={`in ${nodes.join()}`} />
      <Column first={first} refer={outputs} title="Outputs" words="what it feeds" graph={graph} side={sideOf(graph, nodes, now.edges, "out")} key={`out ${nodes.join()}`} />
    </section>
  );
}

function Column(props: { first: number; refer: { current: HTMLDivElement | null }; title: string; words: string; graph: Graph; side: Side }) {
  const [factor, setFactor] = useState(1);
  const most = props.first * factor;
  const { rows, hidden } = props.side;
  const left = rows.length - most;
  const greatest = rows[0]?.share || 1;
  return (
    <div class="column" ref={props.refer} onKeyDown={walk}>
      <h2>
        {props.title} <span class="dim">{grouped(rows.length)}</span>
      </h2>
      <div class="rows">
        {rows.slice(0, most).map((row) => (
          <NodeLine key={row.node} graph={props.graph} node={row.node} share={row.share} part={row.share / greatest} sign={row.weight >= 0} links={row.links} />
        ))}
        {!rows.length && <p class="hint">{hidden ? "All are hidden." : `Nothing: ${props.words} is not in this graph.`}</p>}
        {left > 0 && (
          <button type="button" class="link more" onClick={() => setFactor(factor * 4)}>
            {joined(left, "weaker one")}, {percent(rows.slice(most).reduce((sum, row) => sum + row.share, 0))} in sum
          </button>
        )}
        {hidden > 0 && <p class="dim more">{joined(hidden, "edge")} hidden by filters</p>}
      </div>
    </div>
  );
}

function walk(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  const lines = [...event.currentTarget.querySelectorAll<HTMLElement>("button.line")];
  const at = lines.indexOf(document.activeElement as HTMLElement);
  if (at < 0) return;
  event.preventDefault();
  lines[at + step]?.focus();
}

/** The other ends of the nodes' edges, several edges to one node added up. A share is of the target's input. */
function sideOf(graph: Graph, nodes: readonly number[], hiddenEdges: Uint8Array, side: "in" | "out"): Side {
  const inside = new Set(nodes);
  const { source, target, weight, share } = graph.edges;
  const found = new Map<number, { share: number; weight: number; links: readonly LinkRecord[] }>();
  let hidden = 0;
  for (const node of nodes) {
    for (const e of side === "in" ? graph.into(node) : graph.outOf(node)) {
      const other = side === "in" ? source[e]! : target[e]!;
      if (inside.has(other)) continue;
      if (hiddenEdges[e]) {
        hidden++;
        continue;
      }
      const sum = found.get(other) ?? { share: 0, weight: 0, links: [] };
      const links = [...sum.links, ...graph.linkClaims(source[e]!, target[e]!)];
      found.set(other, { share: sum.share + share[e]!, weight: sum.weight + weight[e]!, links });
    }
  }
  const each = side === "in" ? nodes.length : 1;
  const rows = [...found].map(([node, sum]) => ({ node, ...sum, share: sum.share / each }));
  rows.sort((a, b) => b.share - a.share || a.node - b.node);
  return { rows, hidden };
}
