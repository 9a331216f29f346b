// The subgraph: groups, pinned nodes, targets and weighty tokens as boxes, with the edges between them summed.
import { Kind, type Graph } from "../data/graph";
import type { Group } from "../state/view";

export interface Box {
  /** `group:name` or a node's name. */
  readonly key: string;
  readonly nodes: readonly number[];
  readonly group: number;
  /** From 0, left or below, to 1. */
  readonly x: number;
  readonly y: number;
}

export interface Link {
  readonly from: number;
  readonly to: number;
  /** The share of all influence that flows along it, and the part of it on edges that add. */
  readonly score: number;
  readonly plus: number;
}

export interface Boxes {
  readonly boxes: readonly Box[];
  readonly links: readonly Link[];
  /** Boxes that there was no room for. */
  readonly left: number;
  /** Links that are too faint to be drawn. */
  readonly faint: number;
}

/** Boxes at first, and at most. */
export const FEW = 22;
export const MOST = 60;
const TOKENS = 6;
const TARGETS = 3;
/** Links of less than this part of the strongest are not drawn. */
const FAINTEST = 0.02;
const WEIGHTY = 0.01;

/** The weightiest boxes; what a person pinned or grouped goes first. */
export function boxesOf(
  graph: Graph,
  groups: readonly Group[],
  pinned: ReadonlySet<number>,
  hidden: Uint8Array,
  most: number = FEW,
): Boxes {
  const taken = new Set<number>();
  const found: { key: string; nodes: number[]; group: number; weight: number }[] = [];
  const { kind, influence } = graph.nodes;
  const put = (key: string, nodes: readonly number[], group: number, weight: number): void => {
    const shown = nodes.filter((node) => !hidden[node] && !taken.has(node));
    for (const node of shown) taken.add(node);
    if (shown.length) found.push({ key, nodes: shown, group, weight });
  };
  for (let i = 0; i < graph.n; i++) if (kind[i] === Kind.target) put(graph.names[i]!, [i], -1, graph.nodes.index[i]! < TARGETS ? 9 : 0);
  const sum = (nodes: readonly number[]): number => nodes.reduce((all, node) => all + influence[node]!, 0);
  groups.forEach((group, number) => {
    const nodes = graph.findAll(group.members);
    put(`group:${group.name}:${number}`, nodes, number, sum(nodes) + (group.by === "user" ? 6 : 0));
  });
  for (const node of [...pinned].sort((a, b) => a - b)) put(graph.names[node]!, [node], -1, 5 + influence[node]!);
  const tokens: number[] = [];
  for (let i = 0; i < graph.n; i++) if (kind[i] === Kind.token && influence[i]! >= WEIGHTY && !taken.has(i)) tokens.push(i);
  tokens.sort((a, b) => influence[b]! - influence[a]!);
  for (const node of tokens.slice(0, TOKENS)) put(graph.names[node]!, [node], -1, 2 + influence[node]!);
  const best = [...found].sort((a, b) => b.weight - a.weight).slice(0, most);
  const boxes = best.map((one) => ({ key: one.key, nodes: one.nodes, group: one.group, ...middle(graph, one.nodes) }));
  const links = linksOf(graph, boxes);
  const strongest = links.reduce((greatest, link) => Math.max(greatest, link.score), 0);
  const drawn = links.filter((link) => link.score >= FAINTEST * strongest);
  return { boxes, links: drawn, left: found.length - boxes.length, faint: links.length - drawn.length };
}

function middle(graph: Graph, nodes: readonly number[]): { x: number; y: number } {
  const { kind, layer, position } = graph.nodes;
  const nLayers = graph.document.n_layers;
  const last = Math.max(graph.document.prompt.ids.length - 1, 1);
  let [x, y] = [0, 0];
  for (const node of nodes) {
    x += Math.max(position[node]!, 0) / last;
    y += kind[node] === Kind.target ? 1 : kind[node]! <= Kind.error ? (layer[node]! + 1) / (nLayers + 1) : 0;
  }
  return { x: x / nodes.length, y: y / nodes.length };
}

function linksOf(graph: Graph, boxes: readonly Box[]): Link[] {
  const of = new Int16Array(graph.n).fill(-1);
  boxes.forEach((box, number) => {
    for (const node of box.nodes) of[node] = number;
  });
  const { source, target, weight, score } = graph.edges;
  const sums = new Map<number, { score: number; plus: number }>();
  boxes.forEach((box, to) => {
    for (const node of box.nodes) {
      for (const e of graph.into(node)) {
        const from = of[source[e]!]!;
        if (from < 0 || from === to || of[target[e]!] !== to) continue;
        const key = from * MOST * 4 + to;
        const sum = sums.get(key) ?? { score: 0, plus: 0 };
        sums.set(key, { score: sum.score + score[e]!, plus: sum.plus + (weight[e]! >= 0 ? score[e]! : 0) });
      }
    }
  });
  return [...sums].map(([key, sum]) => ({ from: Math.floor(key / (MOST * 4)), to: key % (MOST * 4), ...sum }));
}

export interface Spot {
  readonly x: number;
  readonly y: number;
}

/** The height that so many boxes of a size need in a width. */
export function heightFor(count: number, width: number, size: readonly [number, number]): number {
  const each = perRow(width, size);
  const inner = each < TOKENS ? count : Math.max(count - TOKENS - TARGETS, 0);
  return (Math.ceil(inner / each) + 2) * (size[1] + GAP);
}

const GAP = 12;

function perRow(width: number, size: readonly [number, number]): number {
  return Math.max(Math.floor((width - GAP) / (size[0] + GAP)), 1);
}

/** Places in pixels for boxes of a size, in rows, near where they belong and none upon another. */
export function spread(boxes: readonly Box[], room: readonly [number, number], size: readonly [number, number]): Spot[] {
  const [w, h] = room;
  const [bw, bh] = size;
  const nRows = Math.max(Math.floor(h / (bh + GAP)), 1);
  const most = Math.max(perRow(w, size), Math.ceil(boxes.length / nRows));
  const rows: number[][] = Array.from({ length: nRows }, () => []);
  const downwards = boxes.map((_, i) => i).sort((a, b) => boxes[b]!.y - boxes[a]!.y || boxes[b]!.x - boxes[a]!.x);
  for (const i of downwards) {
    // Targets have the first row for themselves, and tokens the last one.
    const isEnd = boxes[i]!.y === 0 || boxes[i]!.y === 1 || nRows < 3;
    const free = isEnd ? rows : rows.slice(1, -1);
    rowWithRoom(free, Math.round((1 - boxes[i]!.y) * (free.length - 1)), most).push(i);
  }
  const spots: Spot[] = [];
  const step = (h - bh - GAP) / Math.max(nRows - 1, 1);
  rows.forEach((row, r) => {
    row.sort((a, b) => boxes[a]!.x - boxes[b]!.x || a - b);
    const wanted = row.map((i) => GAP / 2 + bw / 2 + boxes[i]!.x * (w - bw - GAP));
    for (let k = 1; k < row.length; k++) wanted[k] = Math.max(wanted[k]!, wanted[k - 1]! + bw + GAP);
    let end = w - bw / 2 - GAP / 2;
    for (let k = row.length - 1; k >= 0; k--) {
      wanted[k] = Math.min(wanted[k]!, end);
      end = wanted[k]! - bw - GAP;
    }
    row.forEach((i, k) => (spots[i] = { x: wanted[k]!, y: GAP / 2 + bh / 2 + r * step }));
  });
  return spots;
}

/** The wanted row, or the nearest that is not full. */
function rowWithRoom(rows: number[][], wanted: number, most: number): number[] {
  for (let away = 0; away < rows.length; away++) {
    for (const row of [rows[wanted + away], rows[wanted - away]]) if (row && row.length < most) return row;
  }
  return rows[wanted]!;
}
