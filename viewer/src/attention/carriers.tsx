// Under a node: the heads that carry one of its edges, exactly. Direct and all heads add up to the edge.
import { useEffect, useState } from "preact/hooks";
import { type Graph, Kind } from "../data/graph";
import { can, openId } from "../live/state";
import { link } from "../live/route";
import { server } from "../sources/live";
import { called, graph } from "../state/session";
import type { CarriersDocument, CarrierRow } from "../wire";
import { inert, joined, percent, short, signed } from "../words";

const EDGES = 60;
const HEADS = 12;
type By = "last" | "first";

export function Carriers({ node }: { node: number }) {
  const open = graph.value;
  if (!open || !can("attention") || !openId.value) return null;
  const edges = edgesOf(open, node);
  if (!edges.length) return null;
  return <Chooser graph={open} node={node} edges={edges} key={node} />;
}

/** Its edges, heaviest first; those from the bias are carried by no head. */
function edgesOf(open: Graph, node: number): number[] {
  const { source, weight } = open.edges;
  return [...open.into(node), ...open.outOf(node)]
    .filter((e) => open.nodes.kind[source[e]!] !== Kind.bias)
    .sort((a, b) => Math.abs(weight[b]!) - Math.abs(weight[a]!));
}

type State = { readonly state: "idle" | "asked" } | { readonly state: "there"; readonly found: CarriersDocument } | { readonly state: "failed"; readonly why: string };

function Chooser({ graph: open, node, edges }: { graph: Graph; node: number; edges: readonly number[] }) {
  const [edge, setEdge] = useState<number | null>(null);
  const [now, set] = useState<State>({ state: "idle" });
  const ends = (e: number): readonly [string, string] => [open.names[open.edges.source[e]!]!, open.names[open.edges.target[e]!]!];
  useEffect(() => {
    if (edge === null) return set({ state: "idle" });
    let isOver = false;
    set({ state: "asked" });
    server.carriers(openId.value, ...ends(edge)).then(
      (found) => !isOver && set({ state: "there", found }),
      (error: unknown) => !isOver && set({ state: "failed", why: String(error) }),
    );
    return () => {
      isOver = true;
    };
  }, [edge]);
  const words = (e: number): string => {
    const [s, t] = [open.edges.source[e]!, open.edges.target[e]!];
    const isInput = t === node;
    const other = isInput ? s : t;
    return `${isInput ? "from" : "to"} ${short(called(other), 30)} (${open.names[other]}) ${signed(open.edges.weight[e]!)}`;
  };
  return (
    <div class="carriers">
      <h3>Heads that carry an edge</h3>
      <label class="asked">
        <span class="unseen">Which edge</span>
        <select value={edge ?? ""} onChange={(event) => setEdge(event.currentTarget.value === "" ? null : Number(event.currentTarget.value))}>
          <option value="">choose an edge …</option>
          {edges.slice(0, EDGES).map((e) => (
            <option key={e} value={e}>
              {words(e)}
            </option>
          ))}
        </select>
      </label>
      {edges.length > EDGES && <p class="dim">{joined(edges.length - EDGES, "weaker edge")} not in the list.</p>}
      {now.state === "asked" && <p class="dim">…</p>}
      {now.state === "failed" && <p class="failure-inline">{inert(now.why)}</p>}
      {now.state === "there" && <Split found={now.found} />}
    </div>
  );
}

function Split({ found }: { found: CarriersDocument }) {
  const [by, setBy] = useState<By>("last");
  const heads = [...found.heads].sort((a, b) => Math.abs(b[by]) - Math.abs(a[by]));
  const some = heads.slice(0, HEADS);
  const rest = heads.slice(HEADS).reduce((sum, one) => sum + one[by], 0);
  const line = (name: preact.ComponentChildren, value: number, through: number | null, key: string) => (
    <tr key={key} data-carrier={key}>
      <th scope="row">{name}</th>
      <td>{signed(value)}</td>
      <td>{found.edge ? percent(value / found.edge) : ""}</td>
      <td>{through === null ? "" : signed(through)}</td>
    </tr>
  );
  const head = (one: CarrierRow) => (
    <a href={`${link.attention(openId.value)}#${one.layer}.${one.head}`}>
      {one.layer}.{one.head}
    </a>
  );
  return (
    <>
      <p class="dim">
        <label>
          by the head that{" "}
          <select value={by} onChange={(event) => setBy(event.currentTarget.value as By)}>
            <option value="last">delivers it</option>
            <option value="first">takes it up</option>
          </select>
        </label>
      </p>
      <table class="carried">
        <thead>
          <tr>
            <th scope="col">head</th>
            <th scope="col">carries</th>
            <th scope="col">of the edge</th>
            <th scope="col" title="All paths through this head; a path through two counts at both, so these do not add up">
              all through it
            </th>
          </tr>
        </thead>
        <tbody>
          {line("no head: direct", found.direct, null, "direct")}
          {some.map((one) => line(head(one), one[by], one.through, `${one.layer}.${one.head}`))}
          {heads.length > HEADS && line(joined(heads.length - HEADS, "other head"), rest, null, "others")}
        </tbody>
        <tfoot>{line("the edge", found.direct + heads.reduce((sum, one) => sum + one[by], 0), null, "edge")}</tfoot>
      </table>
      <p class="dim">Of this, {signed(found.several)} passes more than one head. Patterns are held as this prompt left them.</p>
    </>
  );
}
