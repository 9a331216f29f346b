// Small things that all panels show in the same way: a node's name, its place, a share as a bar.
import { type Graph, type KindName } from "../data/graph";
import { MARKS } from "../draw/marks";
import { called, lookAt } from "../state/session";
import { select } from "../state/actions";
import type { LinkRecord } from "../wire";
import { inert, percent, short } from "../words";
import { sentence } from "./claims";

export const GLYPHS: { readonly [kind in KindName]: string } = {
  feature: "●",
  error: "◆",
  token: "■",
  bias: "▲",
  target: "■",
};

export function Glyph({ kind }: { kind: KindName }) {
  return (
    <span class={`glyph k-${kind}`} aria-hidden="true">
      {GLYPHS[kind]}
    </span>
  );
}

/** `L12 · 5 ␣Tower`. */
export function placeOf(graph: Graph, node: number): string {
  const { layer, position } = graph.nodes;
  const kind = graph.kind(node);
  const parts = [
    kind === "feature" || kind === "error" ? `L${layer[node]}` : "",
    position[node]! >= 0 && kind !== "token" ? `${position[node]} ${short(graph.piece(position[node]!), 16)}` : "",
    kind === "token" ? String(position[node]) : "",
  ];
  return parts.filter(Boolean).join(" · ");
}

/** A token as people read it, in a frame of its own. */
export function Token({ text, title }: { text: string; title?: string }) {
  return (
    <span class="tok" title={title}>
      {short(text, 24)}
    </span>
  );
}

/** A node in a line, to be looked at and chosen. The bar is as long as its part of the greatest share. */
export function NodeLine(props: { graph: Graph; node: number; share?: number; part?: number; sign?: boolean; links?: readonly LinkRecord[] }) {
  const { graph, node, share, part = share ?? 0, sign, links = [] } = props;
  const kind = graph.kind(node);
  const verdict = graph.verdict(node);
  return (
    <button
      type="button"
      class="line"
      data-node={graph.names[node]}
      onClick={(event) => select(node, event.shiftKey)}
      onPointerEnter={() => lookAt(node, "list")}
      onPointerLeave={() => lookAt(null, "list")}
      onFocus={() => lookAt(node, "list")}
      onBlur={() => lookAt(null, "list")}
    >
      {share !== undefined && (
        <span class="share">
          <span class={`fill ${sign === false ? "minus" : "plus"}`} style={{ width: `${Math.min(part, 1) * 100}%` }} />
          <span class="figure">
            {sign === false ? "−" : "+"}
            {percent(share)}
          </span>
        </span>
      )}
      <Glyph kind={kind} />
      <span class="what">{short(called(node), 60)}</span>
      {verdict && (
        <span class={`verdict v-${verdict}`} title={`${verdict} on the answer`}>
          <span aria-hidden="true">{MARKS[verdict]}</span>
          <span class="unseen">{verdict} on the answer</span>
        </span>
      )}
      {links.length > 0 && <LinkMark links={links} />}
      <span class="where">{placeOf(graph, node)}</span>
    </button>
  );
}

/** What tests said of the edge itself. */
function LinkMark({ links }: { links: readonly LinkRecord[] }) {
  const verdict = links.find((link) => link.kind === "paths")?.verdict ?? "untested";
  return (
    <span class={`verdict of-edge v-${verdict}`} title={links.map(sentence).join("\n")}>
      <span aria-hidden="true">{MARKS[verdict]} edge</span>
      <span class="unseen">edge {verdict}</span>
    </span>
  );
}

export function inertTitle(text: string): string {
  return inert(text.length > 300 ? text.slice(0, 300) + "…" : text);
}
