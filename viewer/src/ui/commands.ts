// Everything that can be done by a key, and so everything that stands in the menu and in the help.
import { signal } from "@preact/signals";
import { group, groupable, label, prune, say, select, showAll, togglePin, ungroup, unpinAll } from "../state/actions";
import { canRedo, canUndo, change, redo, undo, view } from "../state/history";
import { called, graph, hovered, pinned, selected } from "../state/session";
import { askText } from "./asking";
import { closeDialog, dialog } from "./dialog";
import { slots } from "./slots";
import { meant } from "../state/actions";

export interface Command {
  readonly name: string;
  /** As `KeyboardEvent.key` has it; with Ctrl or Cmd where `ctrl` is set. */
  readonly key: string;
  readonly ctrl?: boolean;
  readonly menu: "Node" | "View" | "Edit" | "Page";
  readonly run: () => void;
  readonly can?: () => boolean;
}

/** Whether single keys do something; they can be switched off for those who speak to their machine. */
export const singleKeys = signal(true);
/** Asked of the parts of the page that own these: the link graph, the search field, the lists. */
export const wishes = {
  fit: () => {},
  zoom: (_factor: number) => {},
  search: () => {},
  inputs: () => {},
  outputs: () => {},
  intervene: () => {},
  help: () => {},
  exporting: () => {},
  views: () => {},
};

const hasNode = (): boolean => meant().length > 0;

const OWN: readonly Command[] = [
  { menu: "Node", name: "Pin or unpin", key: "p", run: togglePin, can: hasNode },
  { menu: "Node", name: "Group the chosen nodes, or the pinned ones", key: "g", run: askGroup, can: () => groupable().length > 0 },
  { menu: "Node", name: "Dissolve the group", key: "G", run: () => ungroup(), can: hasNode },
  { menu: "Node", name: "Label", key: "l", run: askLabel, can: hasNode },
  { menu: "Node", name: "Hide this node", key: "x", run: prune, can: hasNode },
  { menu: "Node", name: "What if it were stronger or weaker", key: "i", run: () => wishes.intervene(), can: hasNode },
  { menu: "Node", name: "To its inputs", key: "[", run: () => wishes.inputs() },
  { menu: "Node", name: "To its outputs", key: "]", run: () => wishes.outputs() },
  { menu: "Node", name: "Unpin all", key: "P", run: unpinAll, can: () => pinned.value.size > 0 },
  { menu: "View", name: "Search", key: "/", run: () => wishes.search() },
  { menu: "View", name: "Show the whole graph", key: "f", run: () => wishes.fit() },
  { menu: "View", name: "Closer", key: "+", run: () => wishes.zoom(1.4) },
  { menu: "View", name: "Farther", key: "-", run: () => wishes.zoom(1 / 1.4) },
  { menu: "View", name: "Graph or table", key: "t", run: () => change({ panel: view.value.panel === "graph" ? "table" : "graph" }) },
  { menu: "View", name: "Show all that is hidden", key: "a", run: showAll },
  { menu: "View", name: "Dark, light, or as the system", key: "d", run: () => turnTheme() },
  { menu: "Edit", name: "Undo", key: "z", ctrl: true, run: undo, can: () => canUndo.value },
  { menu: "Edit", name: "Redo", key: "y", ctrl: true, run: redo, can: () => canRedo.value },
  { menu: "Page", name: "Export", key: "e", run: () => wishes.exporting() },
  { menu: "Page", name: "Saved views", key: "v", run: () => wishes.views() },
  { menu: "Page", name: "Keys and signs", key: "?", run: () => wishes.help() },
];

export function commands(): readonly Command[] {
  return [...OWN, ...slots.commands.value];
}

export function keyName(command: Command): string {
  return (command.ctrl ? "Ctrl " : "") + (command.key === "G" || command.key === "P" ? `Shift ${command.key}` : command.ctrl ? command.key.toUpperCase() : command.key);
}

/** Keys that are not typed into something. */
export function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.altKey) return;
  if (event.key === "Escape") return back(event);
  if (dialog.value || isTyping(event.target)) return;
  const ctrl = event.ctrlKey || event.metaKey;
  if (ctrl && event.key.toLowerCase() === "z" && event.shiftKey) {
    event.preventDefault();
    return redo();
  }
  if (!ctrl && !singleKeys.value) return;
  const found = commands().find((one) => Boolean(one.ctrl) === ctrl && one.key === event.key);
  if (!found) return;
  event.preventDefault();
  found.run();
}

/** Escape leaves one thing after the other. */
function back(event: KeyboardEvent): void {
  if (dialog.value) return closeDialog();
  if (isTyping(event.target) && event.target instanceof HTMLElement) {
    // The browser would empty a search field, and what was looked for would stay.
    event.preventDefault();
    event.target.blur();
  } else if (hovered.value !== null) hovered.value = null;
  else if (view.value.query) change({ query: "" });
  else if (view.value.selected.length) select(null);
}

function isTyping(target: EventTarget | null): boolean {
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

export const theme = signal<"auto" | "light" | "dark">("auto");

export function turnTheme(): void {
  theme.value = theme.value === "auto" ? "dark" : theme.value === "dark" ? "light" : "auto";
  say(theme.value === "auto" ? "Colours as the system has them." : `${theme.value === "dark" ? "Dark" : "Light"} colours.`);
}

function askGroup(): void {
  const members = groupable();
  if (!members.length) return say("Choose nodes first (Shift and click adds one), or pin some.");
  const first = graph.value?.find(members[0] ?? "");
  askText("Group", `A name for ${members.length === 1 ? members[0] : `these ${members.length} nodes`}`, first === undefined ? "" : called(first).replace(/^says /, ""), (name) => {
    if (name) group(name, members);
  });
}

function askLabel(): void {
  const node = meant()[0];
  if (node === undefined) return say("Choose a node first.");
  const name = graph.value?.names[node] ?? "";
  askText("Label", `What ${name} stands for; leave it empty to take your own label away`, view.value.labels[name] ?? "", (text) => label(node, text));
}

export function nothingChosen(): boolean {
  return selected.value.length === 0;
}
