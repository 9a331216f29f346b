// What is shown: sliders, chips, ranges; and the count of what is not, always.
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import { type Graph, type KindName, KINDS } from "../data/graph";
import { MARKS } from "../draw/marks";
import { filter, showAll, toggled } from "../state/actions";
import { settle, view } from "../state/history";
import { visible } from "../state/session";
import { grouped, joined, percent, significant } from "../words";
import { GLYPHS } from "./parts";

const MANY = { feature: "features", error: "errors", token: "tokens", bias: "bias", target: "targets" } as const;

export function FilterBar({ graph }: { graph: Graph }) {
  const filters = view.value.filters;
  const hasCurve = Number.isFinite(graph.nodes.curve[0]);
  return (
    <section class="filters" aria-label="What is shown">
      <Slider
        name="Nodes"
        words="Nodes that carry this share of the influence in the file"
        value={filters.nodeShare}
        disabled={!hasCurve}
        onChange={(nodeShare) => filter({ nodeShare }, "nodes")}
      />
      <Slider
        name="Edges"
        words="Edges that carry this share of the influence in the file"
        value={filters.edgeShare}
        onChange={(edgeShare) => filter({ edgeShare }, "edges")}
      />
      <Kinds graph={graph} />
      <Signs graph={graph} />
      <Verdicts graph={graph} />
      <Layers graph={graph} />
      <Positions graph={graph} />
      <Density graph={graph} />
      <Hidden graph={graph} />
    </section>
  );
}

function Slider(props: { name: string; words: string; value: number; disabled?: boolean; onChange: (share: number) => void }) {
  return (
    <label class="slider" title={props.words}>
      {props.name}
      <input
        type="range"
        min="0"
        max="100"
        step="1"
        disabled={props.disabled}
        value={Math.round(props.value * 100)}
        aria-valuetext={`${Math.round(props.value * 100)} % of the influence`}
        onInput={(event) => props.onChange(Number(event.currentTarget.value) / 100)}
        onChange={settle}
      />
      <output>{Math.round(props.value * 100)}%</output>
    </label>
  );
}

function Chip(props: { on: boolean; words: string; count: number; children: ComponentChildren; onClick: () => void }) {
  return (
    <button type="button" class="toggle" aria-pressed={props.on} title={props.words} onClick={props.onClick}>
      {props.children} <span class="count">{grouped(props.count)}</span>
    </button>
  );
}

function Kinds({ graph }: { graph: Graph }) {
  const { kinds } = view.value.filters;
  const counts = useMemo(() => {
    const found = new Map<KindName, number>();
    for (let i = 0; i < graph.n; i++) found.set(graph.kind(i), (found.get(graph.kind(i)) ?? 0) + 1);
    return found;
  }, [graph]);
  return (
    <div class="set" role="group" aria-label="Kinds of nodes">
      {KINDS.filter((kind) => counts.has(kind)).map((kind) => (
        <Chip
          key={kind}
          on={!kinds.includes(kind)}
          words={`Show or hide ${MANY[kind]}`}
          count={counts.get(kind) ?? 0}
          onClick={() => filter({ kinds: toggled(kinds, kind) })}
        >
          <span aria-hidden="true">{GLYPHS[kind]}</span> {MANY[kind]}
        </Chip>
      ))}
    </div>
  );
}

function Signs({ graph }: { graph: Graph }) {
  const { signs } = view.value.filters;
  const minus = useMemo(() => Array.from(graph.edges.weight).filter((weight) => weight < 0).length, [graph]);
  return (
    <div class="set" role="group" aria-label="Signs of edges">
      {(["+", "−"] as const).map((sign) => (
        <Chip
          key={sign}
          on={!signs.includes(sign)}
          words={sign === "+" ? "Edges that add" : "Edges that take away"}
          count={sign === "+" ? graph.m - minus : minus}
          onClick={() => filter({ signs: toggled(signs, sign) })}
        >
          <span class={sign === "+" ? "is-plus" : "is-minus"}>{sign === "+" ? "+ adds" : "− takes away"}</span>
        </Chip>
      ))}
    </div>
  );
}

function Verdicts({ graph }: { graph: Graph }) {
  if (!graph.evidence.value) return null;
  const { verdicts } = view.value.filters;
  const counts = { confirmed: 0, refuted: 0, untested: 0 };
  for (let i = 0; i < graph.n; i++) if (graph.kind(i) === "feature") counts[graph.verdict(i) ?? "untested"]++;
  return (
    <div class="set" role="group" aria-label="What tests said of features">
      {(["confirmed", "refuted", "untested"] as const).map((verdict) => (
        <Chip
          key={verdict}
          on={!verdicts.includes(verdict)}
          words={`Features whose claim is ${verdict}`}
          count={counts[verdict]}
          onClick={() => filter({ verdicts: toggled(verdicts, verdict) })}
        >
          <span class={`v-${verdict}`}>
            {MARKS[verdict]} {verdict}
          </span>
        </Chip>
      ))}
    </div>
  );
}

function Layers({ graph }: { graph: Graph }) {
  const { layers } = view.value.filters;
  const last = graph.document.n_layers - 1;
  const bound = (which: 0 | 1, text: string): void => {
    const value = text === "" ? null : Math.min(Math.max(Math.round(Number(text)), 0), last);
    filter({ layers: which === 0 ? [value, layers[1]] : [layers[0], value] }, `layers${which}`);
  };
  return (
    <fieldset class="range">
      <legend class="unseen">Layers</legend>
      <span aria-hidden="true">Layers</span>
      <input
        type="number"
        min="0"
        max={last}
        aria-label="First layer"
        placeholder="0"
        value={layers[0] ?? ""}
        onInput={(event) => bound(0, event.currentTarget.value)}
        onBlur={settle}
      />
      –
      <input
        type="number"
        min="0"
        max={last}
        aria-label="Last layer"
        placeholder={String(last)}
        value={layers[1] ?? ""}
        onInput={(event) => bound(1, event.currentTarget.value)}
        onBlur={settle}
      />
    </fieldset>
  );
}

function Positions({ graph }: { graph: Graph }) {
  const { positions } = view.value.filters;
  const all = graph.document.prompt.pieces.length;
  return (
    <details class="pop">
      <summary>
        Tokens {positions.length ? `${all - positions.length} of ${all}` : all}
      </summary>
      <div class="list" role="group" aria-label="Columns that are shown">
        {graph.document.prompt.pieces.map((_, i) => (
          <label key={i}>
            <input
              type="checkbox"
              checked={!positions.includes(i)}
              onChange={() =>
                filter({ positions: positions.includes(i) ? positions.filter((at) => at !== i) : [...positions, i] })
              }
            />
            {i} <span class="tok">{graph.piece(i).slice(0, 24).replace(/[\p{C}]/gu, "·")}</span>
          </label>
        ))}
      </div>
    </details>
  );
}

function Density({ graph }: { graph: Graph }) {
  const { density } = graph.nodes;
  if (!density) return null;
  const limit = view.value.filters.density;
  // From 1 in 100,000 to always, by tenths of a factor of ten.
  const step = limit === null ? 50 : Math.round((Math.log10(limit) + 5) * 10);
  return (
    <label class="slider" title="Features that are active at no more than this share of positions">
      Density
      <input
        type="range"
        min="0"
        max="50"
        value={step}
        aria-valuetext={limit === null ? "any" : percent(limit)}
        onInput={(event) => {
          const at = Number(event.currentTarget.value);
          filter({ density: at >= 50 ? null : 10 ** (at / 10 - 5) }, "density");
        }}
        onChange={settle}
      />
      <output>{limit === null ? "any" : `≤ ${significant(limit * 100)}%`}</output>
    </label>
  );
}

function Hidden({ graph }: { graph: Graph }) {
  const now = visible.value;
  if (!now) return null;
  const [nodes, edges] = [graph.n - now.nodesShown, graph.m - now.edgesShown];
  const parts = (all: Readonly<Record<string, number>>): string =>
    Object.entries(all)
      .filter(([, count]) => count > 0)
      .map(([reason, count]) => `${reason} ${grouped(count)}`)
      .join(", ");
  return (
    <p class="hidden" aria-live="polite">
      <span class="dim">
        {grouped(now.nodesShown)} of {joined(graph.n, "node")}, {grouped(now.edgesShown)} of {joined(graph.m, "edge")}
      </span>
      {nodes + edges > 0 && (
        <>
          {" · hidden: "}
          {nodes > 0 && `${joined(nodes, "node")} (${parts(now.nodesHidden)})`}
          {nodes > 0 && edges > 0 && ", "}
          {edges > 0 && `${joined(edges, "edge")} (${parts(now.edgesHidden)})`}{" "}
          <button type="button" class="link" onClick={showAll}>
            show all
          </button>
        </>
      )}
    </p>
  );
}
