// The books: where one unit of influence ends. Always in sight as a strip, told in full when it is opened.
import type { Graph } from "../data/graph";
import type { EvidenceDocument } from "../wire";
import { percent } from "../words";
import { ABOUT, claimsOf, counted, KINDS, UNITS } from "./claims";

const CLASSES = { shown: "shown", unexplained: "unexplained", "left out": "out" } as const;

export function Ledger({ graph }: { graph: Graph }) {
  const { ledger, scores, facts } = graph.document;
  if (!ledger) {
    return (
      <section class="ledger none dim" aria-label="Ledger">
        This file has no ledger: what it leaves out is not known.
      </section>
    );
  }
  const known = graph.evidence.value;
  const shown = scores.find((score) => score.reading === "shown");
  return (
    <section class="ledger" aria-label="Ledger">
      <details>
        <summary>
          <span class="name">Ledger</span>
          <span class="strip" aria-hidden="true">
            {ledger.entries.map((entry) => (
              <span
                key={entry.name}
                class={`seg ${CLASSES[entry.state]}`}
                style={{ flex: `${Math.max(entry.share, 0.0015)}` }}
                title={`${entry.name} ${percent(entry.share)}: ${entry.words}`}
              />
            ))}
          </span>
          <span class="said">
            {ledger.entries.map((entry) => (
              <span key={entry.name} class="entry">
                <span class={`key ${CLASSES[entry.state]}`} aria-hidden="true" />
                {entry.name} {percent(entry.share)}
              </span>
            ))}
          </span>
          {known && <Tests known={known} />}
          {shown && (
            <span class="score" title={shown.words}>
              replacement {shown.replacement.toFixed(2)} · completeness {shown.completeness.toFixed(2)}
            </span>
          )}
        </summary>
        <div class="books" role="group" aria-label="Books" tabIndex={0}>
          <table>
            <caption>One unit of influence starts at the answer and is followed down. It ends:</caption>
            <thead>
              <tr>
                <th scope="col">share</th>
                <th scope="col">where</th>
                <th scope="col">what that is</th>
              </tr>
            </thead>
            <tbody>
              {ledger.entries.map((entry) => (
                <tr key={entry.name}>
                  <td class="n">{percent(entry.share)}</td>
                  <th scope="row">
                    <span class={`key ${CLASSES[entry.state]}`} aria-hidden="true" />
                    {entry.name}
                  </th>
                  <td>
                    {entry.state}: {entry.words}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          {scores.length > 0 && (
            <table>
              <caption>How much of the model this explains</caption>
              <thead>
                <tr>
                  <th scope="col">reading</th>
                  <th scope="col">replacement</th>
                  <th scope="col">completeness</th>
                  <th scope="col">counting</th>
                </tr>
              </thead>
              <tbody>
                {scores.map((score) => (
                  <tr key={score.reading}>
                    <th scope="row">{score.reading}</th>
                    <td class="n">{score.replacement.toFixed(3)}</td>
                    <td class="n">{score.completeness.toFixed(3)}</td>
                    <td>{score.words}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
          {known && <Verdicts known={known} />}
          {ledger.sentences.map((sentence, i) => (
            <p class="dim" key={i}>
              {sentence}
            </p>
          ))}
          {facts && <p class="dim">{facts.work}</p>}
        </div>
      </details>
    </section>
  );
}

/** What tests said, in the strip. */
function Tests({ known }: { known: EvidenceDocument }) {
  const [answer, inside] = [counted(known.claims), counted(known.links)];
  return (
    <span class="entry tests" title="Claims that were tested on the real model: on the answer, and about the inside">
      claims <b class="v-confirmed">✓ {answer.confirmed}</b> <b class="v-refuted">✗ {answer.refuted}</b>
      {known.links.length > 0 && (
        <>
          {" · inside "}
          <b class="v-confirmed">✓ {inside.confirmed}</b> <b class="v-refuted">✗ {inside.refuted}</b>
        </>
      )}
    </span>
  );
}

function Verdicts({ known }: { known: EvidenceDocument }) {
  return (
    <table>
      <caption>What tests on the real model said; of what is confirmed, {percent(known.rate)} may be so by chance</caption>
      <thead>
        <tr>
          <th scope="col">claims</th>
          <th scope="col">confirmed</th>
          <th scope="col">refuted</th>
          <th scope="col">not decided</th>
          <th scope="col">what they say</th>
        </tr>
      </thead>
      <tbody>
        {KINDS.map((kind) => {
          const counts = counted(claimsOf(known, kind));
          return (
            <tr key={kind}>
              <th scope="row">{ABOUT[kind]}</th>
              <td class="n">{counts.confirmed}</td>
              <td class="n">{counts.refuted}</td>
              <td class="n">{counts.untested}</td>
              <td>{UNITS[kind]}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
