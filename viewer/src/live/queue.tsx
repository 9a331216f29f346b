// The claims of the open graph: tested on the real model while one watches, the strongest first.
import { useState } from "preact/hooks";
import type { LiveSource } from "../sources/live";
import { forgotten } from "../sources/live";
import { select } from "../state/actions";
import { graph, source } from "../state/session";
import { openDialog } from "../ui/dialog";
import { MARKS } from "../ui/parts";
import type { EvidenceDocument } from "../wire";
import { inert, joined, short, signed, significant } from "../words";
import { Verdicts } from "./graphs";
import { can, follow, refresh, running } from "./state";

export function QueueButton() {
  const open = graph.value;
  if (!open) return null;
  const claims = open.evidence.value?.claims;
  return (
    <button type="button" onClick={showQueue}>
      Claims{claims ? `: ✓ ${count(claims, "confirmed")} ✗ ${count(claims, "refuted")}` : ""}
    </button>
  );
}

export function showQueue(): void {
  openDialog("Claims of this graph", () => <Queue />);
}

function count(claims: EvidenceDocument["claims"], verdict: string): number {
  return claims.filter((one) => one.verdict === verdict).length;
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
        Each claim says by how much the answer changes when a part is taken out of the real model. It is tried beside controls: steps as long, at the
        same places, along other features.
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
      {known ? <Table known={known} /> : <p class="hint">Nothing was tested yet.</p>}
    </div>
  );
}

function Table({ known }: { known: EvidenceDocument }) {
  const { claims } = known;
  return (
    <>
      <p>
        <Verdicts confirmed={count(claims, "confirmed")} refuted={count(claims, "refuted")} untested={count(claims, "untested")} />
        <span class="dim"> about {short(known.name, 40)}; of what is confirmed, {Math.round(known.rate * 100)} % may be so by chance</span>
      </p>
      <div class="scrolled" tabIndex={0} role="region" aria-label="Claims">
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
              <tr key={one.name} data-claim={one.name} data-verdict={one.verdict}>
                <th scope="row">
                  <button type="button" class="link" onClick={() => one.members[0] !== undefined && select(one.members[0])}>
                    {short(one.name, 40)}
                  </button>
                </th>
                <td class={`v-${one.verdict}`} title={inert(one.why)}>
                  <span aria-hidden="true">{MARKS[one.verdict]}</span> {one.verdict}
                </td>
                <td>{signed(one.predicted)}</td>
                <td>{one.effect === null ? "" : signed(one.effect)}</td>
                <td>{one.low === null || one.high === null ? "" : `${signed(one.low)} … ${signed(one.high)}`}</td>
                <td>{one.n_controls || ""}</td>
                <td>{one.p === null ? "" : significant(one.p)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="dim">{joined(claims.length, "claim")}, the strongest first.</p>
    </>
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
