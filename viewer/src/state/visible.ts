// What of a graph is shown, and for each thing that is not, the one filter that hides it.
import type { Graph } from "../data/graph";
import { Kind, KINDS } from "../data/graph";
import type { Filters } from "./view";

/** Why a node is hidden; the first that holds counts. */
export const NODE_REASONS = ["", "by hand", "kind", "share", "layer", "position", "density", "status"] as const;
/** Why an edge is hidden. */
export const EDGE_REASONS = ["", "an end is hidden", "sign", "share"] as const;
export type NodeReason = Exclude<(typeof NODE_REASONS)[number], "">;
export type EdgeReason = Exclude<(typeof EDGE_REASONS)[number], "">;

export interface Visible {
  /** For each node and edge, the number of its reason; 0 is shown. */
  readonly nodes: Uint8Array;
  readonly edges: Uint8Array;
  readonly nodesShown: number;
  readonly edgesShown: number;
  readonly nodesHidden: { readonly [reason in NodeReason]: number };
  readonly edgesHidden: { readonly [reason in EdgeReason]: number };
}

export function visibleOf(graph: Graph, filters: Filters): Visible {
  const nodes = nodeReasons(graph, filters);
  const edges = edgeReasons(graph, filters, nodes);
  const nodeCounts = counts(nodes, NODE_REASONS.length);
  const edgeCounts = counts(edges, EDGE_REASONS.length);
  return {
    nodes,
    edges,
    nodesShown: nodeCounts[0] ?? 0,
    edgesShown: edgeCounts[0] ?? 0,
    nodesHidden: named(NODE_REASONS, nodeCounts) as Visible["nodesHidden"],
    edgesHidden: named(EDGE_REASONS, edgeCounts) as Visible["edgesHidden"],
  };
}

/** Nodes up to a share of the influence in the file; the curve goes up to the share that the graph was kept for. */
export function curveLimit(graph: Graph, share: number): number {
  return share >= 1 ? Infinity : share * (graph.document.shares.nodes ?? 1);
}

function nodeReasons(graph: Graph, filters: Filters): Uint8Array {
  const { kind, layer, position, curve, density } = graph.nodes;
  const pruned = new Set(graph.findAll(filters.pruned));
  const kinds = KINDS.map((name) => filters.kinds.includes(name));
  const positions = new Set(filters.positions);
  const [first, last] = [filters.layers[0] ?? -Infinity, filters.layers[1] ?? Infinity];
  const limit = curveLimit(graph, filters.nodeShare);
  const verdicts = new Set(filters.verdicts);
  const found = new Uint8Array(graph.n);
  for (let i = 0; i < graph.n; i++) {
    const isInner = kind[i]! <= Kind.error;
    found[i] = pruned.has(i)
      ? 1
      : kinds[kind[i]!]
        ? 2
        : isInner && curve[i]! > limit
          ? 3
          : isInner && (layer[i]! < first || layer[i]! > last)
            ? 4
            : positions.has(position[i]!)
              ? 5
              : filters.density !== null && density && density[i]! > filters.density
                ? 6
                : verdicts.size && kind[i] === Kind.feature && verdicts.has(graph.verdict(i) ?? "untested")
                  ? 7
                  : 0;
  }
  return found;
}

function edgeReasons(graph: Graph, filters: Filters, nodes: Uint8Array): Uint8Array {
  const { source, target, weight } = graph.edges;
  const noPlus = filters.signs.includes("+");
  const noMinus = filters.signs.includes("−");
  const found = new Uint8Array(graph.m);
  for (let rank = 0; rank < graph.m; rank++) {
    const e = graph.byScore[rank]!;
    const past = rank > 0 && graph.scoreCurve[rank - 1]! >= filters.edgeShare && filters.edgeShare < 1;
    found[e] =
      nodes[source[e]!] || nodes[target[e]!] ? 1 : (weight[e]! >= 0 ? noPlus : noMinus) ? 2 : past ? 3 : 0;
  }
  return found;
}

function counts(reasons: Uint8Array, n: number): number[] {
  const found = new Array<number>(n).fill(0);
  for (const reason of reasons) found[reason]!++;
  return found;
}

function named(reasons: readonly string[], found: readonly number[]): Record<string, number> {
  return Object.fromEntries(reasons.flatMap((name, i) => (name ? [[name, found[i] ?? 0]] : [])));
}
