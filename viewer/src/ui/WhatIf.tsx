// Drag a feature's value from nothing to twice what it is: the graph's own prediction at once, the model's answer behind.
import { useEffect, useRef } from "preact/hooks";
import type { Graph } from "../data/graph";
import { change, settle, view } from "../state/history";
import { predicted } from "../state/predict";
import { short, signed, significant } from "../words";
import { wishes } from "./commands";
import { slots } from "./slots";

export function WhatIf({ graph, node }: { graph: Graph; node: number }) {
  const ref = useRef<HTMLInputElement>(null);
  useEffect(() => {
    wishes.intervene = () => ref.current?.focus();
    return () => void (wishes.intervene = () => {});
  }, []);
  const name = graph.names[node] ?? "";
  const changes = view.value.changes;
  const factor = changes[name] ?? 1;
  const factors = new Map(Object.entries(changes).flatMap(([one, by]) => {
    const at = graph.find(one);
    return at === undefined || graph.kind(at) !== "feature" ? [] : [[at, by] as const];
  }));
  const target = graph.evidence.value?.target ?? graph.find("target.0");
  const isChanged = [...factors.values()].some((by) => by !== 1);
  const moved = target === undefined || !isChanged ? null : predicted(graph, factors, target);
  const Answer = slots.whatIf.value;
  const set = (by: number): void => {
    const { [name]: _, ...others } = view.value.changes;
    change({ changes: by === 1 ? others : { ...others, [name]: by } }, `what if ${name}`);
  };
  return (
    <div class="what-if">
      <h3>What if</h3>
      <label class="slider">
        <span class="unseen">Its activation, as a multiple of what it is</span>
        <input
          ref={ref}
          type="range"
          min="0"
          max="2"
          step="0.05"
          list="whole"
          value={factor}
          aria-valuetext={`${factor} times, ${significant(graph.nodes.activation[node]! * factor)}`}
          onInput={(event) => set(Number(event.currentTarget.value))}
          onChange={settle}
        />
        <datalist id="whole">
          <option value="0" />
          <option value="1" />
          <option value="2" />
        </datalist>
        <output>
          ×{factor.toFixed(2)} = {significant(graph.nodes.activation[node]! * factor)}
        </output>
        {Object.keys(changes).length > 0 && (
          <button type="button" class="link" onClick={() => change({ changes: {} })}>
            reset{factors.size > 1 ? ` all ${factors.size}` : ""}
          </button>
        )}
      </label>
      {isChanged && target !== undefined && (
        <p class="predicted">
          {moved === null
            ? "This graph does not say what its features add up to, so nothing can be predicted."
            : `The graph predicts ${signed(moved)} for ${short(graph.words(target), 40)} (${significant(graph.nodes.activation[target]!)} → ${significant(graph.nodes.activation[target]! + moved)}): linear, untested.`}
        </p>
      )}
      {Answer && isChanged && <Answer factors={factors} predicted={moved} />}
    </div>
  );
}
