// Behind the graph's own prediction of a what-if: what the real model says. The gap between them is what is not linear.
import { useEffect, useState } from "preact/hooks";
import type { LiveSource } from "../sources/live";
import { graph, source } from "../state/session";
import type { WhatIfDocument } from "../wire";
import { inert, short, signed, significant } from "../words";
import { can } from "./state";

const REST = 250;

type State = { readonly kind: "asked" } | { readonly kind: "there"; readonly found: WhatIfDocument } | { readonly kind: "failed"; readonly why: string };

export function Answer({ factors, predicted }: { factors: ReadonlyMap<number, number>; predicted: number | null }) {
  const open = graph.value;
  const changes = [...factors].map(([node, by]) => `${open?.names[node]}=x${by}`).sort();
  const key = changes.join(" ");
  const [state, set] = useState<State>({ kind: "asked" });
  const from = source.value as LiveSource | null;
  useEffect(() => {
    set({ kind: "asked" });
    if (!from || !can("what-if") || !key) return;
    let job: ReturnType<LiveSource["whatIf"]> | null = null;
    let isOver = false;
    // The model is asked when the hand rests.
    const timer = setTimeout(async () => {
      job = from.whatIf(key.split(" "));
      for await (const event of job.events) {
        if (isOver) return;
        if (event.kind === "done") set({ kind: "there", found: event.result });
        if (event.kind === "failed") set({ kind: "failed", why: event.error });
      }
    }, REST);
    return () => {
      isOver = true;
      clearTimeout(timer);
      void job?.cancel().catch(() => undefined);
    };
  }, [key, from]);
  if (state.kind === "failed") return <p class="measured failure-inline">The model was not asked: {inert(state.why)}</p>;
  if (state.kind === "asked") return <p class="measured dim">The model is being asked …</p>;
  const target = open?.document.evidence?.target ?? open?.find("target.0");
  const mine = state.found.targets.find((one) => one.node === target) ?? state.found.targets[0];
  return (
    <div class="measured" data-measured={mine?.change}>
      {mine && (
        <p>
          <strong>Measured: {signed(mine.change)}</strong> for {short(mine.name, 40)} ({significant(mine.before)} → {significant(mine.before + mine.change)}) on the
          real model
          {predicted !== null && (
            <>
              ; the gap of {signed(mine.change - predicted)} is what the graph leaves out and what is not linear
            </>
          )}
          .
        </p>
      )}
      <table class="words">
        <thead>
          <tr>
            <th scope="col">next token</th>
            <th scope="col">before</th>
            <th scope="col">after</th>
            <th scope="col">logit</th>
          </tr>
        </thead>
        <tbody>
          {state.found.words.slice(0, 8).map((word) => (
            <tr key={word.token}>
              <th scope="row" class="tok">
                {short(word.piece, 24)}
              </th>
              <td>{word.before.toFixed(3)}</td>
              <td>{word.after.toFixed(3)}</td>
              <td>{signed(word.logit)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
