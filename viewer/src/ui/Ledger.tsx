// The books: where one unit of influence ends. Always in sight as a strip, told in full when it is opened.
import type { Graph } from "../data/graph";
import { percent } from "../words";

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
