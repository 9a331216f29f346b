// What the graph itself predicts if features are made stronger or weaker: a linear model of all paths that are shown.
//
//     δ[s] = factor − 1 for what is changed,  δ[t] = Σ_s A[t, s] δ[s] / pre[t] for the others,  Δ = Σ A[target, t] δ[t]
//
// Where something is changed, the rest of that MLP's output at that position is held: other features there have δ = 0.
import type { Graph } from "../data/graph";
import { Kind } from "../data/graph";

/** By how much a target's value changes; null where the graph does not say what its features add up to. */
export function predicted(graph: Graph, factors: ReadonlyMap<number, number>, target: number): number | null {
  const { kind, layer, position, total } = graph.nodes;
  const { source, weight } = graph.edges;
  const delta = new Float64Array(graph.n);
  const places = new Set<string>();
  for (const [node, factor] of factors) {
    delta[node] = factor - 1;
    places.add(`${layer[node]}@${position[node]}`);
  }
  for (let t = 0; t < graph.n && kind[t] === Kind.feature; t++) {
    if (factors.has(t) || places.has(`${layer[t]}@${position[t]}`)) continue;
    const pre = total[t]!;
    if (!Number.isFinite(pre)) return null;
    if (pre !== 0) delta[t] = sum(graph.into(t), source, weight, delta) / pre;
  }
  return sum(graph.into(target), source, weight, delta);
}

function sum(
  edges: Uint32Array,
  source: ArrayLike<number>,
  weight: ArrayLike<number>,
  delta: Float64Array,
): number {
  let all = 0;
  for (const e of edges) all += weight[e]! * delta[source[e]!]!;
  return all;
}
