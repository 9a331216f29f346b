// Places where a host with a model adds what a single file cannot do. `live/index.ts` fills them.
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import type { Command } from "./commands";

export const slots = {
  /** Beside the page, on the left: the list of graphs. */
  side: signal<ComponentType | null>(null),
  /** In the bar at the top: what begins a trace, what runs. */
  bar: signal<readonly ComponentType[]>([]),
  /** Under the prediction of a what-if: the model's own answer. `factors` are by node number. */
  whatIf: signal<ComponentType<{ factors: ReadonlyMap<number, number>; predicted: number | null }> | null>(null),
  /** At the end of a node's detail. */
  detail: signal<readonly ComponentType<{ node: number }>[]>([]),
  /** Where there is no graph to show. */
  empty: signal<ComponentType | null>(null),
  /** More entries of the menu, with keys. */
  commands: signal<readonly Command[]>([]),
};
