// Rows of the table, and of what is copied from it: what is shown, sorted.
import type { Graph } from "../data/graph";
import { called } from "../state/session";
import type { Sorting } from "../state/view";
import type { Visible } from "../state/visible";

export interface ColumnForm {
  readonly name: string;
  readonly words: string;
  readonly isNumber: boolean;
  readonly value: (graph: Graph, row: number) => string | number;
}

const NODE_COLUMNS: readonly ColumnForm[] = [
  text("node", "node", (graph, i) => graph.names[i] ?? ""),
  text("kind", "kind", (graph, i) => graph.kind(i)),
  text("called", "called", (_, i) => called(i)),
  number("layer", "layer", (graph, i) => graph.nodes.layer[i]!),
  number("position", "at", (graph, i) => graph.nodes.position[i]!),
  text("token", "token", (graph, i) => graph.piece(graph.nodes.position[i]!)),
  number("activation", "activation", (graph, i) => graph.nodes.activation[i]!),
  number("influence", "influence", (graph, i) => graph.nodes.influence[i]!),
  number("inputs", "inputs", (graph, i) => graph.into(i).length),
  number("outputs", "outputs", (graph, i) => graph.outOf(i).length),
  text("verdict", "verdict", (graph, i) => graph.verdict(i) ?? ""),
];

const EDGE_COLUMNS: readonly ColumnForm[] = [
  text("source", "from", (graph, e) => graph.names[graph.edges.source[e]!] ?? ""),
  text("source_called", "called", (graph, e) => called(graph.edges.source[e]!)),
  text("target", "to", (graph, e) => graph.names[graph.edges.target[e]!] ?? ""),
  text("target_called", "called", (graph, e) => called(graph.edges.target[e]!)),
  number("weight", "adds", (graph, e) => graph.edges.weight[e]!),
  number("share", "of its target's inputs", (graph, e) => graph.edges.share[e]!),
  number("score", "of all influence", (graph, e) => graph.edges.score[e]!),
  text("verdict", "verdict", (graph, e) => graph.linkVerdict(graph.edges.source[e]!, graph.edges.target[e]!) ?? ""),
];

export function columnsOf(rows: Sorting["rows"]): readonly ColumnForm[] {
  return rows === "nodes" ? NODE_COLUMNS : EDGE_COLUMNS;
}

/** Numbers of the rows that are shown, in order. */
export function rowsOf(graph: Graph, visible: Visible, sorting: Sorting): Uint32Array {
  const hidden = sorting.rows === "nodes" ? visible.nodes : visible.edges;
  const shown = sorting.rows === "nodes" ? visible.nodesShown : visible.edgesShown;
  const found = new Uint32Array(shown);
  let n = 0;
  for (let i = 0; i < hidden.length; i++) if (!hidden[i]) found[n++] = i;
  const columns = columnsOf(sorting.rows);
  const column = columns.find((one) => one.name === sorting.by) ?? columns[0]!;
  const way = sorting.descending ? -1 : 1;
  if (column.isNumber) {
    const values = new Float64Array(hidden.length);
    for (const row of found) values[row] = orderly(column.value(graph, row) as number);
    return found.sort((a, b) => way * (values[a]! - values[b]!) || a - b);
  }
  const texts = new Map(Array.from(found, (row) => [row, String(column.value(graph, row))]));
  return found.sort((a, b) => way * compare(texts.get(a)!, texts.get(b)!) || a - b);
}

/** Rows as tab-separated values: texts without tabs and line ends, numbers in all their digits. */
export function tsv(graph: Graph, rows: Uint32Array, of: Sorting["rows"]): string {
  const columns = columnsOf(of);
  const lines = [columns.map((column) => column.name).join("\t")];
  for (const row of rows) lines.push(columns.map((column) => cell(column.value(graph, row))).join("\t"));
  return lines.join("\n") + "\n";
}

function cell(value: string | number): string {
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  const plain = value.replace(/[\t\n\r\v\f\u2028\u2029]/g, " ").replace(/\p{Cs}/gu, "\ufffd");
  // A spreadsheet would take these for formulas.
  return /^[=+\-@]/.test(plain) ? `'${plain}` : plain;
}

function orderly(value: number): number {
  return Number.isFinite(value) ? value : -Infinity;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function text(name: string, words: string, value: ColumnForm["value"]): ColumnForm {
  return { name, words, isNumber: false, value };
}

function number(name: string, words: string, value: ColumnForm["value"]): ColumnForm {
  return { name, words, isNumber: true, value };
}
