// The claims of the open graph: tested on the real model while one watches, the strongest first.
import { useState } from "preact/hooks";
import { MARKS } from "../draw/marks";
import type { LiveSource } from "../sources/live";
import { forgotten } from "../sources/live";
import { selectAll } from "../state/actions";
import { graph, source } from "../state/session";
import { ABOUT, claimsOf, counted, keyOf, KINDS, measuredOf, nameOf, said, spreadOf, type Tested, UNITS } from "../ui/claims";
import { openDialog } from "../ui/dialog";
import type { EvidenceDocument } from "../wire";
import { inert, joined, short, signed, significant } from "../words";
import { Verdicts } from "./graphs";
import { can, follow, refresh, running } from "./state";

export function QueueButton() {
  const open = graph.value;
  if (!open) return null;
  const known = open.evidence.value;
  const counts = known && counted([...known.claims, ...known.links]);
  return (
    <button type="button" onClick={showQueue}>
      Claims{counts ? `: ✓ ${counts.confirmed} ✗ ${counts.refuted}` : ""}
    </button>
  );
}

export function showQueue(): void {
  openDialog("Claims of this graph", () => <Queue />);
}

const TITLE = "Test of the claims";

function Queue() {
  const [seconds, setSeconds] = useState(60);
  const open = graph.value;
  const known = open?.evidence.value ?? null;
  const now = running.value.find((one) => one.title === TITLE && one.state === "works");
  if (!open) return null;
  return (
    <div class="queue">
      <p>
        Each claim says by how much the answer, or another part, changes when a part is taken out of the real model. It is tried beside controls: steps as
        long, at the same places, along other features.
      </p>
      <p class="asked-row">
        <label class="asked short">
          Seconds
          <input type="number" min="1" max="3600" value={seconds} onInput={(event) => setSeconds(Number(event.currentTarget.value) || 60)} />
        </label>
        {now ? (
          <button type="button" onClick={now.stop} data-first>
            Stop
          </button>
        ) : (
          <button type="button" class="main" data-first disabled={!can("test")} onClick={() => void begin(seconds)}>
            Test {known ? "on" : ""}
          </button>
        )}
        {now && (
          <span role="status">
            {inert(now.words)} <progress aria-label="How far" value={now.share ?? undefined} max={1} />
          </span>
        )}
      </p>
      {forgotten.value.length > 0 && (
        <p class="dim">Gone with the groups that they were about: the evidence on {forgotten.value.map((name) => short(name, 40)).join(", ")}.</p>
      )}
      {known ? <Tables known={known} /> : <p class="hint">Nothing was tested yet.</p>}
    </div>
  );
}

/** Claims of each kind, as far as there are some. */
function Tables({ known }: { known: EvidenceDocument }) {
  return (
    <>
      <p class="dim">
        About {short(known.name, 40)}; of what is confirmed, {Math.round(known.rate * 100)} % may be so by chance.
      </p>
      {KINDS.map((kind) => {
        const claims = claimsOf(known, kind);
        return claims.length > 0 && <Table key={kind} title={ABOUT[kind]} words={UNITS[kind]} claims={claims} />;
      })}
    </>
  );
}

function Table({ title, words, claims }: { title: string; words: string; claims: readonly Tested[] }) {
  return (
    <section>
      <h3>{title}</h3>
      <p>
        <Verdicts {...counted(claims)} />
      </p>
      <p class="dim small">{words}</p>
      <div class="scrolled" tabIndex={0} role="region" aria-label={title}>
        <table class="claims">
          <thead>
            <tr>
              <th scope="col">claim</th>
              <th scope="col">verdict</th>
              <th scope="col">predicted</th>
              <th scope="col">measured</th>
              <th scope="col">controls</th>
              <th scope="col">n</th>
              <th scope="col">p</th>
            </tr>
          </thead>
          <tbody>
            {claims.map((one) => (
              <tr key={keyOf(one)} data-claim={keyOf(one)} data-verdict={one.verdict}>
                <th scope="row">
                  <button type="button" class="link" onClick={() => selectAll([...one.members, ...("reads" in one ? one.reads : [])])}>
                    {nameOf(one, 34)}
                  </button>
                </th>
                <td class={`v-${one.verdict}`} title={inert(one.why)}>
                  <span aria-hidden="true">{MARKS[one.verdict]}</span> {said(one)}
                </td>
                <td>{signed(one.predicted)}</td>
                <td>{measuredOf(one)}</td>
                <td>{spreadOf(one)}</td>
                <td>{one.n_controls || ""}</td>
                <td>{one.p === null ? "" : significant(one.p)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="dim">{joined(claims.length, "claim")}, the strongest first.</p>
    </section>
  );
}

async function begin(seconds: number): Promise<void> {
  const [from, open] = [source.value as LiveSource | null, graph.value];
  if (!from || !open) return;
  forgotten.value = [];
  const put = (found: EvidenceDocument): void => {
    if (graph.value === open) open.evidence.value = found;
  };
  const found = await follow(TITLE, from.test(seconds), put);
  if (found) put(found);
  await refresh();
}
