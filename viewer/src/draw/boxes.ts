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
}

const MOST = 60;
const TOKENS = 12;
const WEIGHTY = 0.01;

export function boxesOf(graph: Graph, groups: readonly Group[], pinned: ReadonlySet<number>, hidden: Uint8Array): Boxes {
  const taken = new Set<number>();
  const found: { key: string; nodes: number[]; group: number; weight: number }[] = [];
  const { kind, influence } = graph.nodes;
  const put = (key: string, nodes: readonly number[], group: number, weight: number): void => {
    const shown = nodes.filter((node) => !hidden[node] && !taken.has(node));
    for (const node of shown) taken.add(node);
    if (shown.length) found.push({ key, nodes: shown, group, weight });
  };
  for (let i = 0; i < graph.n; i++) if (kind[i] === Kind.target) put(graph.names[i]!, [i], -1, 9);
  const sum = (nodes: readonly number[]): number => nodes.reduce((all, node) => all + influence[node]!, 0);
  groups.forEach((group, number) => {
    const nodes = graph.findAll(group.members);
    put(`group:${group.name}:${number}`, nodes, number, 1 + sum(nodes));
  });
  for (const node of [...pinned].sort((a, b) => a - b)) put(graph.names[node]!, [node], -1, 5 + influence[node]!);
  const tokens: number[] = [];
  for (let i = 0; i < graph.n; i++) if (kind[i] === Kind.token && influence[i]! >= WEIGHTY && !taken.has(i)) tokens.push(i);
  tokens.sort((a, b) => influence[b]! - influence[a]!);
  for (const node of tokens.slice(0, TOKENS)) put(graph.names[node]!, [node], -1, 2 + influence[node]!);
  const best = [...found].sort((a, b) => b.weight - a.weight).slice(0, MOST);
  const boxes = best.map((one) => ({ key: one.key, nodes: one.nodes, group: one.group, ...middle(graph, one.nodes) }));
  return { boxes, links: linksOf(graph, boxes), left: found.length - boxes.length };
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

/** Places in pixels for boxes of a size, near where they belong and none upon another. */
export function spread(boxes: readonly Box[], room: readonly [number, number], size: readonly [number, number]): Spot[] {
  const [w, h] = room;
  const [bw, bh] = size;
  const spots = boxes.map((box) => ({ x: bw / 2 + 6 + box.x * Math.max(w - bw - 12, 0), y: h - bh / 2 - 6 - box.y * Math.max(h - bh - 12, 0) }));
  for (let round = 0; round < 240; round++) {
    let isCalm = true;
    for (let i = 0; i < spots.length; i++) {
      for (let j = i + 1; j < spots.length; j++) {
        const [a, b] = [spots[i]!, spots[j]!];
        const [dx, dy] = [b.x - a.x, b.y - a.y];
        const [ox, oy] = [bw + 10 - Math.abs(dx), bh + 9 - Math.abs(dy)];
        if (ox <= 0 || oy <= 0) continue;
        isCalm = false;
        if (ox / bw < oy / bh) push(a, b, "x", (ox / 2) * (dx < 0 ? -1 : 1));
        else push(a, b, "y", (oy / 2) * (dy < 0 || (dy === 0 && i % 2 === 0) ? -1 : 1));
      }
    }
    for (const spot of spots) {
      spot.x = Math.min(Math.max(spot.x, bw / 2 + 4), Math.max(w - bw / 2 - 4, bw / 2 + 4));
      spot.y = Math.min(Math.max(spot.y, bh / 2 + 4), Math.max(h - bh / 2 - 4, bh / 2 + 4));
    }
    if (isCalm) break;
  }
  return spots;
}

function push(a: { x: number; y: number }, b: { x: number; y: number }, axis: "x" | "y", by: number): void {
  a[axis] -= by;
  b[axis] += by;
}
