// All that is known of one node: its label and what that rests on, its activations, its examples, its claim.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Graph } from "../data/graph";
import { featureOf, called, groupOf, groups, pinned } from "../state/session";
import { group, label, select, togglePin, ungroup } from "../state/actions";
import { view } from "../state/history";
import { beside, inert, joined, percent, short, signed, significant } from "../words";
import type { ExampleRecord, FeatureDocument, LabelRecord } from "../wire";
import { askText } from "./asking";
import { ABOUT, Claim, nameOf, UNITS } from "./claims";
import { Histogram } from "./Histogram";
import { Glyph, placeOf, Token } from "./parts";
import { slots } from "./slots";
import { WhatIf } from "./WhatIf";

export function Detail({ graph, node }: { graph: Graph; node: number | null }) {
  if (node === null) {
    return (
      <section class="panel detail" aria-label="Detail">
        <h2>Detail</h2>
        <p class="hint">
          Hover to look, click to choose, Shift and click to add. <kbd>?</kbd> lists all keys.
        </p>
      </section>
    );
  }
  const kind = graph.kind(node);
  return (
    <section class="panel detail" aria-label="Detail" key={node}>
      <Head graph={graph} node={node} />
      <Figures graph={graph} node={node} />
      <Claims graph={graph} node={node} />
      {kind === "feature" && (
        <>
          <WhatIf graph={graph} node={node} />
          <Says graph={graph} node={node} />
          <Corpus graph={graph} node={node} />
          <Elsewhere graph={graph} node={node} />
        </>
      )}
      {slots.detail.value.map((Part, i) => (
        <Part key={i} node={node} />
      ))}
    </section>
  );
}

function Head({ graph, node }: { graph: Graph; node: number }) {
  const name = graph.names[node] ?? "";
  const own = view.value.labels[name];
  const told = graph.label(node);
  const number = groupOf.value[node] ?? -1;
  const held = groups.value[number];
  return (
    <header class="head">
      <h2>
        <Glyph kind={graph.kind(node)} /> {short(called(node), 120)}
      </h2>
      <p class="dim">
        <code>{name}</code> · {placeOf(graph, node)}
        {held && (
          <>
            {" · in "}
            <span class="in-group">{short(held.name, 40)}</span>{" "}
            <button type="button" class="link" onClick={() => ungroup(number)}>
              dissolve
            </button>
          </>
        )}
      </p>
      <p class="acts">
        <button type="button" aria-pressed={pinned.value.has(node)} onClick={() => pinOnly(node)}>
          {pinned.value.has(node) ? "Unpin" : "Pin"}
        </button>
        <button
          type="button"
          onClick={() =>
            askText("Label", `What ${name} stands for; leave it empty to take your own label away`, own ?? "", (text) => label(node, text))
          }
        >
          Label
        </button>
        {!held && (
          <button type="button" onClick={() => askText("Group", "A name for the group", called(node).replace(/^says /, ""), (text) => text && group(text, [name]))}>
            Group
          </button>
        )}
      </p>
      {own !== undefined && <p class="label own">Your label. {told?.text && `The file says: ${short(told.text, 200)}`}</p>}
      {own === undefined && told && <LabelFacts told={told} />}
    </header>
  );
}

function pinOnly(node: number): void {
  select(node);
  togglePin();
}

function LabelFacts({ told }: { told: LabelRecord }) {
  const nulls = beside(told.nulls);
  if (!told.kind && told.score === null && !told.evidence && !told.by) return null;
  return (
    <p class="label">
      {told.kind && <span class="kind">{told.kind}</span>}
      {told.score !== null && <span> score {told.score.toFixed(2)}</span>}
      {nulls && <span class="dim"> (beside it: {nulls})</span>}
      {told.agrees === false && <strong class="v-refuted"> does not do here what its label says</strong>}
      {told.evidence && <span class="dim"> · {short(told.evidence, 300)}</span>}
      {told.by && <span class="dim"> · by {short(told.by, 60)}</span>}
    </p>
  );
}

function Figures({ graph, node }: { graph: Graph; node: number }) {
  const { activation, influence, total, inputs } = graph.nodes;
  const kind = graph.kind(node);
  const rows: (readonly [string, string, string])[] = [
    [kind === "target" ? "value" : kind === "feature" ? "activation" : "size", significant(activation[node]!), "in this prompt"],
  ];
  if (kind !== "target") rows.push(["influence", percent(influence[node]!), "on all targets, over all paths of the trace"]);
  if (Number.isFinite(inputs[node]!) && (kind === "feature" || kind === "target")) {
    rows.push(["inputs add up to", significant(total[node]!), "shown or not"]);
    rows.push(["and in magnitude", significant(inputs[node]!), "shown or not"]);
  }
  return (
    <dl class="figures">
      {rows.map(([name, value, words]) => (
        <div key={name} title={words}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The claim on the answer that a node is in, and those about the inside. */
function Claims({ graph, node }: { graph: Graph; node: number }) {
  const claim = graph.claim(node);
  const links = graph.linksOf(node);
  const tried = links.filter((link) => link.effect !== null);
  return (
    <>
      {claim && (
        <Claim claim={claim} words="Taken out, by all paths that are shown">
          {claim.members.length > 1 && ` (${short(claim.name, 40)}, ${joined(claim.members.length, "feature")})`}
        </Claim>
      )}
      {links.length > 0 && (
        <details class="inside">
          <summary>
            Claims about the inside: {tried.length} of {links.length} tested
          </summary>
          {links.map((link, i) => (
            <Claim key={i} claim={link} words={UNITS[link.kind]}>
              {" "}
              {ABOUT[link.kind].toLowerCase()}, {nameOf(link, 30)}
            </Claim>
          ))}
        </details>
      )}
    </>
  );
}

function Says({ graph, node }: { graph: Graph; node: number }) {
  const [up, down] = [graph.promotes(node), graph.suppresses(node)];
  if (!up.length && !down.length) return null;
  return (
    <div class="says">
      <div>
        <h3>Promotes here</h3>
        <p>
          {up.map((said, i) => (
            <Token key={i} text={said.token} title={`${signed(said.logit)} to its logit`} />
          ))}
        </p>
      </div>
      <div>
        <h3>Suppresses</h3>
        <p>
          {down.map((said, i) => (
            <Token key={i} text={said.token} title={`${signed(said.logit)} to its logit`} />
          ))}
        </p>
      </div>
    </div>
  );
}

/** Other places of this prompt where the same feature is active. */
function Elsewhere({ graph, node }: { graph: Graph; node: number }) {
  const { layer, index, kind, position, activation } = graph.nodes;
  const found: number[] = [];
  for (let i = 0; i < graph.n; i++) {
    if (i !== node && kind[i] === 0 && layer[i] === layer[node] && index[i] === index[node]) found.push(i);
  }
  if (!found.length) return null;
  return (
    <div class="elsewhere">
      <h3>Also in this graph at</h3>
      <p>
        {found.map((i) => (
          <button type="button" class="tok" key={i} onClick={() => select(i)} title={`active ${significant(activation[i]!)}`}>
            {position[i]} {short(graph.piece(position[i]!), 20)}
          </button>
        ))}
      </p>
    </div>
  );
}

// ---------------------------------------------------------------- over a corpus

type Asked = { readonly state: "asked" } | { readonly state: "there"; readonly known: FeatureDocument | null } | { readonly state: "failed"; readonly why: string };

const PATIENCE = 120;

function Corpus({ graph, node }: { graph: Graph; node: number }) {
  const [layer, index] = [graph.nodes.layer[node]!, graph.nodes.index[node]!];
  const [asked, setAsked] = useState<Asked>({ state: "asked" });
  const alive = useRef(true);
  useEffect(() => {
    alive.current = true;
    // A pointer that only passes by asks for nothing.
    const timer = setTimeout(() => {
      featureOf(layer, index).then(
        (known) => alive.current && setAsked({ state: "there", known }),
        (error: unknown) => alive.current && setAsked({ state: "failed", why: String(error) }),
      );
    }, PATIENCE);
    return () => {
      alive.current = false;
      clearTimeout(timer);
    };
  }, [layer, index]);
  if (asked.state === "failed") return <p class="dim">What it does elsewhere could not be asked: {inert(asked.why)}</p>;
  if (asked.state === "asked") return <p class="dim">…</p>;
  if (!asked.known) return <p class="dim">What it does in other texts is not in this file: it was made without an atlas, or had no room.</p>;
  return <Known known={asked.known} here={graph.nodes.activation[node]!} />;
}

/** What a feature does over a corpus; `here` is its activation in the prompt that is open, if one is. */
export function Known({ known, here }: { known: FeatureDocument; here: number | null }) {
  const deciles = known.deciles.map((some, i) => ({ some, name: `${i * 10}–${i * 10 + 10} %` })).reverse();
  return (
    <div class="corpus">
      <h3>Over {joined(known.n_positions, "position")} of text</h3>
      <p class="dim">
        active at {percent(known.density)} of them, {significant(known.mean)} on average, at most {significant(known.largest)}
      </p>
      <Histogram histogram={known.histogram} here={here === null ? null : Math.abs(here)} />
      <div class="says">
        <div>
          <h3>Promotes</h3>
          <p>
            {known.promoted.map((said, i) => (
              <Token key={i} text={said.token} title={signed(said.logit)} />
            ))}
          </p>
        </div>
        <div>
          <h3>Suppresses</h3>
          <p>
            {known.suppressed.map((said, i) => (
              <Token key={i} text={said.token} title={signed(said.logit)} />
            ))}
          </p>
        </div>
      </div>
      <h3>Strongest</h3>
      <Examples all={known.strongest} largest={known.largest} />
      {deciles.map(
        ({ some, name }) =>
          some.length > 0 && (
            <div key={name}>
              <h3>
                {name} <span class="dim">of its activations</span>
              </h3>
              <Examples all={some} largest={known.largest} />
            </div>
          ),
      )}
    </div>
  );
}

function Examples({ all, largest }: { all: readonly ExampleRecord[]; largest: number }) {
  return (
    <ul class="examples">
      {all.map((one, i) => (
        <li key={i}>
          {one.tokens.map((token, t) => {
            const strength = Math.sqrt((one.activations[t] ?? 0) / (largest || 1));
            return (
              <span
                key={t}
                class={t === one.at ? "peak" : undefined}
                style={strength > 0 ? { "--tint": `${Math.round(42 * strength)}%` } : undefined}
                title={strength > 0 ? significant(one.activations[t] ?? 0) : undefined}
              >
                {spoken(token)}
              </span>
            );
          })}
        </li>
      ))}
    </ul>
  );
}

/** A token in running text: its space is a space again. */
function spoken(token: string): string {
  return short(token, 40).replaceAll("␣", " ");
}
