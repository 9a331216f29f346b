// What a person can do, as the menus, the keys and the panels call it.
import { batch } from "@preact/signals";
import { inert, joined } from "../words";
import { change, view } from "./history";
import { called, graph, groupOf, groups, hovered, pinned, selected, source, toast, told } from "./session";
import { START, type Filters, type Group } from "./view";

export function say(text: string): void {
  batch(() => {
    told.value = text;
    toast.value = text;
  });
}

/** Choose a node, beside those chosen already or in their place. */
export function select(node: number | null, add = false): void {
  const open = graph.value;
  if (!open) return;
  if (node === null) {
    if (view.value.selected.length) change({ selected: [] });
    return;
  }
  const name = open.names[node] ?? "";
  const now = view.value.selected;
  const next = !add ? [name] : now.includes(name) ? now.filter((one) => one !== name) : [...now, name];
  if (next.join() !== now.join()) change({ selected: next });
  told.value = `${name}, ${inert(called(node))}`;
}

export function selectAll(nodes: readonly number[]): void {
  change({ selected: nodes.map((node) => graph.value?.names[node] ?? "") });
}

/** What an action is about: what is chosen, or else what is looked at. */
export function meant(): number[] {
  if (selected.value.length) return [...selected.value];
  return hovered.value === null ? [] : [hovered.value];
}

/** The names of what an action is about; says so where there is nothing. */
function names(): string[] | null {
  const open = graph.value;
  const found = meant().map((node) => open?.names[node] ?? "");
  if (found.length) return found;
  say("Choose a node first: click on it, or walk to it with the arrow keys.");
  return null;
}

export function togglePin(): void {
  const found = names();
  if (!found) return;
  const now = view.value.pinned;
  const all = found.every((name) => now.includes(name));
  change({ pinned: all ? now.filter((name) => !found.includes(name)) : [...new Set([...now, ...found])] });
  say(all ? `${joined(found.length, "node")} unpinned.` : `${joined(found.length, "node")} pinned.`);
}

export function unpinAll(): void {
  if (view.value.pinned.length) change({ pinned: [] });
}

/** The members that a new group would have. */
export function groupable(): string[] {
  const open = graph.value;
  const found = meant().length > 1 || !pinned.value.size ? meant() : [...pinned.value];
  return found.map((node) => open?.names[node] ?? "");
}

export function group(name: string, members: readonly string[], reason = "grouped by hand"): void {
  const left = groups.value
    .map((one) => ({ ...one, members: one.members.filter((member) => !members.includes(member)) }))
    .filter((one) => one.members.length > 0);
  keep([...left, { name, members, reason, by: "user" }]);
  say(`${joined(members.length, "node")} grouped as ${inert(name)}.`);
}

export function ungroup(number?: number): void {
  const gone = new Set(number === undefined ? meant().map((node) => groupOf.value[node] ?? -1) : [number]);
  gone.delete(-1);
  if (!gone.size) return say("None of these is in a group.");
  keep(groups.value.filter((_, i) => !gone.has(i)));
  say(`${joined(gone.size, "group")} dissolved.`);
}

export function rename(number: number, name: string): void {
  keep(groups.value.map((one, i) => (i === number ? { ...one, name, by: "user" } : one)));
}

function keep(next: readonly Group[]): void {
  change({ groups: next });
  const saved = source.value?.saveGroups?.(next);
  saved?.catch((error: unknown) => say(`The groups were not kept: ${inert(String(error))}`));
}

/** Call a node something else; an empty text takes one's own label away. */
export function label(node: number, text: string): void {
  const open = graph.value;
  if (!open) return;
  const { [open.names[node] ?? ""]: _, ...others } = view.value.labels;
  change({ labels: text ? { ...others, [open.names[node] ?? ""]: text } : others });
  if (open.kind(node) !== "feature") return;
  const saved = source.value?.saveLabel?.(open.nodes.layer[node] ?? 0, open.nodes.index[node] ?? 0, text);
  saved?.catch((error: unknown) => say(`The label was not kept: ${inert(String(error))}`));
}

export function filter(made: Partial<Filters>, tag = ""): void {
  change({ filters: { ...view.value.filters, ...made } }, tag);
}

export function showAll(): void {
  change({ filters: START.filters });
}

/** Hide nodes one by one. */
export function prune(): void {
  const found = names();
  if (!found) return;
  change({
    filters: { ...view.value.filters, pruned: [...new Set([...view.value.filters.pruned, ...found])] },
    selected: [],
  });
  hovered.value = null;
  say(`${joined(found.length, "node")} hidden; the count stands in the bar of filters.`);
}

/** The other members of the list, with or without one. */
export function toggled(list: readonly string[], one: string): string[] {
  return list.includes(one) ? list.filter((each) => each !== one) : [...list, one];
}
