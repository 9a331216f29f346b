// The graph that is open, and all that follows from it and from the view.
import { batch, computed, signal } from "@preact/signals";
import { Graph } from "../data/graph";
import type { DataSource } from "../sources/source";
import type { FeatureDocument } from "../wire";
import { view } from "./history";
import { visibleOf } from "./visible";
import type { Group } from "./view";

export const source = signal<DataSource | null>(null);
export const graph = signal<Graph | null>(null);
export const failure = signal("");

/** What the pointer or the arrow keys are on: looked at, not chosen. */
export const hovered = signal<number | null>(null);
/** Whether that is in the graph, so that the panels tell of it; what is looked at in a list leaves the list as it is. */
export const inGraph = signal(false);

export function lookAt(node: number | null, from: "graph" | "list"): void {
  batch(() => {
    hovered.value = node;
    inGraph.value = from === "graph";
  });
}
/** Told to those who cannot see. */
export const told = signal("");
export const toast = signal("");

export const visible = computed(() => {
  const open = graph.value;
  return open ? visibleOf(open, filters.value) : null;
});
const filters = computed(() => view.value.filters);

export const selected = computed(() => graph.value?.findAll(view.value.selected) ?? []);
export const pinned = computed(() => new Set(graph.value?.findAll(view.value.pinned) ?? []));

export const groups = computed<readonly Group[]>(() => {
  const open = graph.value;
  if (!open) return [];
  const own = view.value.groups;
  if (own) return own.filter((group) => open.findAll(group.members).length > 0);
  return open.document.supernodes.map((group) => ({
    name: group.name,
    members: group.members.map((i) => open.names[i] ?? ""),
    reason: group.reason,
    by: group.by,
  }));
});

/** For each node, the number of its group; −1 for none. */
export const groupOf = computed<Int32Array>(() => {
  const open = graph.value;
  const found = new Int32Array(open?.n ?? 0).fill(-1);
  groups.value.forEach((group, number) => {
    for (const node of open?.findAll(group.members) ?? []) found[node] = number;
  });
  return found;
});

/** What a node is called here: by its user, by the file, or by what it promotes. */
export function called(node: number): string {
  const open = graph.value;
  if (!open) return "";
  const name = open.names[node] ?? "";
  const own = view.value.labels[name] || open.words(node);
  if (own) return own;
  const says = open.promotes(node).slice(0, 3).map((said) => said.token);
  return says.length ? `says ${says.join(" ")}` : name;
}

/** Whether a node's name, words or promoted tokens hold what is looked for. */
export const matches = computed<ReadonlySet<number> | null>(() => {
  const open = graph.value;
  const query = view.value.query.trim().toLowerCase();
  if (!open || !query) return null;
  const found = new Set<number>();
  const held = groups.value;
  for (let i = 0; i < open.n; i++) {
    const group = held[groupOf.value[i] ?? -1];
    const texts = [open.names[i] ?? "", open.words(i), view.value.labels[open.names[i] ?? ""] ?? "", group?.name ?? ""];
    const said = [...open.promotes(i), ...open.suppresses(i)].map((one) => one.token);
    if ([...texts, ...said].some((text) => text.toLowerCase().includes(query))) found.add(i);
  }
  return found;
});

const features = new Map<string, Promise<FeatureDocument | null>>();
const MOST_KEPT = 500;

/** What is known of a feature, asked for once. */
export function featureOf(layer: number, index: number): Promise<FeatureDocument | null> {
  const key = `${layer}.${index}`;
  const known = features.get(key);
  if (known) return known;
  if (features.size > MOST_KEPT) features.clear();
  const asked = source.value?.feature(layer, index) ?? Promise.resolve(null);
  features.set(key, asked);
  asked.catch(() => features.delete(key));
  return asked;
}

/** Forget what was known of a feature, because somebody has changed its label. */
export function forget(layer: number, index: number): void {
  features.delete(`${layer}.${index}`);
}

/** Show what a source has. */
export async function open(from: DataSource): Promise<void> {
  source.value = from;
  features.clear();
  hovered.value = null;
  performance.clearMarks();
  performance.mark("asked");
  const packed = await from.graph();
  performance.mark("read");
  const found = packed ? new Graph(packed) : null;
  performance.mark("understood");
  graph.value = found;
}
