// Where nodes stand: a column for every token, a row for every layer, embeddings below, targets on top.
// A column is as wide as its busiest cell; what a cell has no room for lies in a stack that can be fanned out.
import { Kind, type Graph } from "../data/graph";

const STEP = 15;
const GAP = 12;
const NARROWEST = 26;
const LEFT = 44;
const TOP = 34;
const BELOW = 74;
const ROW = 13;
/** Places that a column has room for at least; where the page is wide there are more. */
const MOST = 6;

export interface Stack {
  readonly cell: string;
  readonly nodes: readonly number[];
  readonly x: number;
  readonly y: number;
}

export interface Place {
  readonly x: Float32Array;
  readonly y: Float32Array;
  /** 1 where a node has no mark of its own because it is in a stack. */
  readonly stacked: Uint8Array;
  readonly stacks: readonly Stack[];
  /** For each position its left edge and its width. */
  readonly left: Float32Array;
  readonly widths: Float32Array;
  /** Heights of the rows: row 0 is the tokens', the last one the targets'. */
  readonly rows: Float32Array;
  /** Node numbers of each row, from left to right. */
  readonly inRow: readonly (readonly number[])[];
  readonly width: number;
  readonly height: number;
}

/** Places in a world that is at least as large as what is there to show it. */
export function layout(graph: Graph, hidden: Uint8Array, fanned: readonly string[], room: readonly [number, number]): Place {
  const nRows = graph.document.n_layers + 2;
  const nColumns = graph.document.prompt.ids.length;
  const cells = cellsOf(graph, hidden, nRows);
  const open = new Set(fanned);
  const wanted = (cell: string, n: number): number => (open.has(cell) ? n : Math.min(n, MOST));
  const busiest = new Float32Array(nColumns).fill(1);
  for (const [cell, nodes] of cells) {
    const at = columnOf(cell);
    if (at >= 0) busiest[at] = Math.max(busiest[at]!, wanted(cell, nodes.length));
  }
  const { left, widths, step } = columnsOf(busiest, room[0]);
  const last = nColumns - 1;
  const width = Math.max(room[0], nColumns ? left[last]! + widths[last]! + GAP : 0);
  // As wide for its height as the room: seen as a whole, it fills it.
  const shrunk = width / room[0];
  const [above, below] = [TOP * shrunk, BELOW * shrunk];
  const height = Math.max(room[1] * shrunk, above + below + ROW * (nRows - 1));
  const rowHeight = (height - above - below) / Math.max(nRows - 1, 1);
  const rows = Float32Array.from({ length: nRows }, (_, row) => height - below - row * rowHeight);
  const holds = (cell: string, n: number): number => {
    const at = columnOf(cell);
    return open.has(cell) || at < 0 ? n : Math.min(n, Math.max(Math.floor((widths[at]! - 2 * GAP) / step) + 1, 1));
  };
  const x = new Float32Array(graph.n);
  const y = new Float32Array(graph.n);
  const stacked = new Uint8Array(graph.n);
  const stacks: Stack[] = [];
  const inRow: number[][] = Array.from({ length: nRows }, () => []);
  for (const [cell, nodes] of cells) {
    const [row, at] = [Number(cell.split("@")[0]), columnOf(cell)];
    const count = holds(cell, nodes.length);
    const middle = at < 0 ? LEFT / 2 : left[at]! + widths[at]! / 2;
    const first = middle - (step * (count - 1)) / 2;
    nodes.forEach((node, i) => {
      x[node] = first + step * Math.min(i, count - 1);
      y[node] = rows[row]!;
      if (i < count - 1 || nodes.length === count) inRow[row]!.push(node);
      else stacked[node] = 1;
    });
    if (nodes.length > count) {
      stacks.push({ cell, nodes: nodes.slice(count - 1), x: first + step * (count - 1), y: rows[row]! });
    }
  }
  for (const nodes of inRow) nodes.sort((a, b) => x[a]! - x[b]!);
  return { x, y, stacked, stacks, left, widths, rows, inRow, width, height };
}

/** The nodes that are shown in each row and column, `row@position`, the most influential first. */
function cellsOf(graph: Graph, hidden: Uint8Array, nRows: number): Map<string, number[]> {
  const { kind, layer, position, influence } = graph.nodes;
  const found = new Map<string, number[]>();
  for (let i = 0; i < graph.n; i++) {
    if (hidden[i]) continue;
    const row = kind[i] === Kind.target ? nRows - 1 : kind[i]! <= Kind.error ? layer[i]! + 1 : 0;
    const cell = `${row}@${kind[i] === Kind.bias ? -1 : position[i]}`;
    const there = found.get(cell);
    if (there) there.push(i);
    else found.set(cell, [i]);
  }
  for (const nodes of found.values()) nodes.sort((a, b) => influence[b]! - influence[a]! || a - b);
  return found;
}

function columnsOf(busiest: Float32Array, room: number): { left: Float32Array; widths: Float32Array; step: number } {
  const n = busiest.length;
  const wanted = (step: number): number[] => Array.from(busiest, (count) => Math.max(step * (count - 1) + 2 * GAP, NARROWEST));
  const sum = (all: readonly number[]): number => all.reduce((total, one) => total + one, LEFT + GAP);
  let step = STEP;
  while (step > 9 && sum(wanted(step)) > room) step -= 1;
  const needed = wanted(step);
  const spare = Math.max(room - sum(needed), 0) / Math.max(n, 1);
  const widths = Float32Array.from(needed, (width) => width + spare);
  const left = new Float32Array(n);
  let at = LEFT;
  widths.forEach((width, i) => {
    left[i] = at;
    at += width;
  });
  return { left, widths, step };
}

function columnOf(cell: string): number {
  return Number(cell.slice(cell.indexOf("@") + 1));
}
