// What a person has made of a graph: one object that goes into the address, into saved views, and back by undo.

export interface Group {
  readonly name: string;
  readonly members: readonly string[];
  readonly reason: string;
  readonly by: string;
}

export interface Filters {
  /** Kinds of node, signs of edges and verdicts that are hidden. */
  readonly kinds: readonly string[];
  readonly signs: readonly string[];
  readonly verdicts: readonly string[];
  /** The first and the last layer that is shown; null is no bound. */
  readonly layers: readonly [number | null, number | null];
  readonly positions: readonly number[];
  /** Features that are active more often than this are hidden. */
  readonly density: number | null;
  /** Of the influence in the file, the share whose nodes and edges are shown. */
  readonly nodeShare: number;
  readonly edgeShare: number;
  /** Nodes hidden one by one. */
  readonly pruned: readonly string[];
}

export interface Sorting {
  readonly rows: "nodes" | "edges";
  readonly by: string;
  readonly descending: boolean;
}

export interface View {
  readonly selected: readonly string[];
  readonly pinned: readonly string[];
  /** Null: the groups that the file has. */
  readonly groups: readonly Group[] | null;
  readonly labels: { readonly [node: string]: string };
  readonly filters: Filters;
  readonly query: string;
  /** Full cells that are fanned out, `layer@position`. */
  readonly fanned: readonly string[];
  /** Where boxes of the subgraph were put by hand. */
  readonly places: { readonly [box: string]: readonly [number, number] };
  readonly panel: "graph" | "table";
  readonly table: Sorting;
  /** By how much each node is multiplied in a what-if. */
  readonly changes: { readonly [node: string]: number };
}

export const START: View = {
  selected: [],
  pinned: [],
  groups: null,
  labels: {},
  filters: {
    kinds: [],
    signs: [],
    verdicts: [],
    layers: [null, null],
    positions: [],
    density: null,
    nodeShare: 1,
    edgeShare: 1,
    pruned: [],
  },
  query: "",
  fanned: [],
  places: {},
  panel: "graph",
  table: { rows: "nodes", by: "influence", descending: true },
  changes: {},
};

/** The difference from the start, as text for an address; empty for the start itself. */
export function written(view: View): string {
  const changed = difference(START, view);
  if (!changed) return "";
  const bytes = new TextEncoder().encode(JSON.stringify(changed));
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The inverse; what cannot be read gives null. */
export function read(text: string): View | null {
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return checked(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch {
    return null;
  }
}

/** A view from what may be anything: fields of another form are those of the start. */
export function checked(found: unknown): View {
  return fitting(START, found) as View;
}

function difference(start: object, view: object): object | null {
  const found: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(view)) {
    const was = (start as Record<string, unknown>)[name];
    if (JSON.stringify(was) === JSON.stringify(value)) continue;
    const both = isRecord(was) && isRecord(value) && Object.keys(was).length > 0;
    found[name] = both ? difference(was, value) : value;
  }
  return Object.keys(found).length ? found : null;
}

const FORMS: { readonly [name: string]: (value: unknown) => boolean } = {
  groups: (value) =>
    value === null || (Array.isArray(value) && value.every((one) => isRecord(one) && isTexts(one["members"]) && isText(one["name"]) && isText(one["reason"]) && isText(one["by"]))),
  labels: (value) => isRecord(value) && Object.values(value).every(isText),
  places: (value) => isRecord(value) && Object.values(value).every((at) => isNumbers(at) && at.length === 2),
  changes: (value) => isRecord(value) && Object.values(value).every(isNumber),
  layers: (value) => Array.isArray(value) && value.length === 2 && value.every((one) => one === null || isNumber(one)),
  density: (value) => value === null || isNumber(value),
  positions: isNumbers,
  panel: (value) => value === "graph" || value === "table",
  rows: (value) => value === "nodes" || value === "edges",
};

function fitting(start: unknown, found: unknown, name = ""): unknown {
  const form = FORMS[name];
  if (form) return form(found) ? found : start;
  if (Array.isArray(start)) return isTexts(found) ? found : start;
  if (isRecord(start)) {
    const given = isRecord(found) ? found : {};
    return Object.fromEntries(
      Object.entries(start).map(([key, value]) => [key, key in given ? fitting(value, given[key], key) : value]),
    );
  }
  return typeof found === typeof start ? found : start;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText);
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isNumber);
}
