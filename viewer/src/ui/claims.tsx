// Claims with what came of them: about the answer, and about the inside.
import type { ComponentChildren } from "preact";
import { MARKS } from "../draw/marks";
import { called, graph } from "../state/session";
import type { ClaimRecord, EvidenceDocument, LinkRecord } from "../wire";
import { inert, joined, short, signed, significant } from "../words";

export type Tested = ClaimRecord | LinkRecord;
type Kind = "answer" | LinkRecord["kind"];

export const ABOUT: { readonly [kind in Kind]: string } = {
  answer: "On the answer",
  group: "Between groups",
  paths: "Along edges, by all paths",
  direct: "Along edges, directly",
};

/** What the numbers of a kind are in. */
export const UNITS: { readonly [kind in Kind]: string } = {
  answer: "Without a part, the answer's logit changes by so much.",
  group: "Without the first group, the second one changes by such a part of itself; the model runs on.",
  paths: "Without the feature at its foot, the one at its top changes by such a part of itself; the model runs on.",
  direct: "The same with every MLP held, so that only attention and norms are free. This tests little but the arithmetic.",
};

export const KINDS = Object.keys(ABOUT) as Kind[];

export function claimsOf(known: EvidenceDocument, kind: Kind): readonly Tested[] {
  return kind === "answer" ? known.claims : known.links.filter((link) => link.kind === kind);
}

export function counted(claims: readonly Tested[]): { confirmed: number; refuted: number; untested: number } {
  const found = { confirmed: 0, refuted: 0, untested: 0 };
  for (const claim of claims) found[claim.verdict]++;
  return found;
}

export function nameOf(claim: Tested, longest: number): string {
  return "to" in claim ? `${spoken(claim.name, longest)} → ${spoken(claim.to, longest)}` : spoken(claim.name, longest);
}

/** A group's name, or a node's with what it is called. */
function spoken(name: string, longest: number): string {
  const node = graph.value?.find(name);
  const words = node === undefined ? "" : called(node).replace(/^says /, "");
  return short(words && words !== name ? `${name} ${words}` : name, longest);
}

/** A claim's name among all of its graph. */
export function keyOf(claim: Tested): string {
  return "to" in claim ? `${claim.name} → ${claim.to} (${claim.kind})` : claim.name;
}

/** The verdict in a word: what was measured and not decided is not untested. */
export function said(claim: Tested): string {
  return claim.verdict === "untested" && claim.effect !== null ? "undecided" : claim.verdict;
}

export function measuredOf(claim: Tested): string {
  return claim.effect === null ? "" : signed(claim.effect);
}

/** The middle 95 % of the controls. */
export function spreadOf(claim: Tested): string {
  return claim.low === null || claim.high === null ? "" : `${signed(claim.low)} … ${signed(claim.high)}`;
}

/** All of it in one sentence. */
export function sentence(claim: LinkRecord): string {
  const what = claim.effect === null ? "not measured yet" : `measured ${measuredOf(claim)}, ${joined(claim.n_controls, "control")} ${spreadOf(claim)}`;
  return inert(`${ABOUT[claim.kind]}: ${said(claim)}. Predicted ${signed(claim.predicted)}, ${what}: ${claim.why}.`);
}

export function Figures({ claim, words }: { claim: Tested; words: string }) {
  return (
    <dl class="figures">
      <div title={words}>
        <dt>predicted</dt>
        <dd>{signed(claim.predicted)}</dd>
      </div>
      <div title="In the real model">
        <dt>measured</dt>
        <dd>{measuredOf(claim) || "not yet"}</dd>
      </div>
      <div title="The middle 95 % of controls: steps as long at the same places along other features">
        <dt>{joined(claim.n_controls, "control")}</dt>
        <dd>{spreadOf(claim) || "–"}</dd>
      </div>
      {claim.p !== null && (
        <div title="How often a control does as much">
          <dt>p</dt>
          <dd>{significant(claim.p)}</dd>
        </div>
      )}
    </dl>
  );
}

/** A claim in the panel of a node. */
export function Claim({ claim, words, children }: { claim: Tested; words: string; children?: ComponentChildren }) {
  return (
    <div class={`claim v-${claim.verdict}`}>
      <strong>
        <span aria-hidden="true">{MARKS[claim.verdict]}</span> {said(claim)}
      </strong>
      {children}: {inert(claim.why)}.
      <Figures claim={claim} words={words} />
    </div>
  );
}
