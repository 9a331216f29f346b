// The graph as circuit-tracer and Neuronpedia read it, with what is pinned, grouped and hidden now.
import { Kind, type Graph } from "../data/graph";
import type { Group, View } from "../state/view";
import type { Visible } from "../state/visible";

const VIRTUAL = 10_000_000;

/** Only what is shown goes in. The bias is no node in that format, nor are its edges. */
export function graphJson(graph: Graph, view: View, groups: readonly Group[], visible: Visible, called: (node: number) => string): string {
  const { document: told, nodes, edges } = graph;
  const ids = idsOf(graph);
  const isThere = (i: number): boolean => !visible.nodes[i] && nodes.kind[i] !== Kind.bias;
  const found: object[] = [];
  for (let i = 0; i < graph.n; i++) if (isThere(i)) found.push(nodeOf(graph, i, ids[i]!, called(i)));
  const links: object[] = [];
  for (let e = 0; e < graph.m; e++) {
    const [s, t] = [edges.source[e]!, edges.target[e]!];
    if (!visible.edges[e] && isThere(s) && isThere(t)) links.push({ source: ids[s], target: ids[t], weight: edges.weight[e] });
  }
  const idOf = (name: string): string[] => {
    const i = graph.find(name);
    return i === undefined || !isThere(i) ? [] : [ids[i]!];
  };
  const supernodes = groups.map((group) => [group.name, ...group.members.flatMap(idOf)]).filter((group) => group.length > 1);
  const content = {
    metadata: {
      slug: "micrographia",
      scan: told.model || "unknown",
      transcoder_list: [],
      prompt_tokens: told.prompt.pieces.map(plain),
      prompt: told.prompt.text,
      node_threshold: told.shares.nodes,
      schema_version: 1,
      info: { generator: { name: "micrographia", version: told.facts?.versions["micrographia"] ?? "" } },
      pruning_settings: { node_threshold: told.shares.nodes, edge_threshold: told.shares.edges },
    },
    qParams: {
      pinnedIds: view.pinned.flatMap(idOf),
      supernodes,
      linkType: "both",
      clickedId: view.selected.flatMap(idOf)[0] ?? "",
      sg_pos: "",
    },
    nodes: found,
    links,
  };
  return JSON.stringify(content, null, 1) + "\n";
}

function idsOf(graph: Graph): string[] {
  const { layer, position, index } = graph.nodes;
  const taken = new Set<string>();
  return graph.names.map((_, i) => {
    switch (graph.kind(i)) {
      case "feature":
        return `${layer[i]}_${index[i]}_${position[i]}`;
      case "error":
        return `${layer[i]}_-1_${position[i]}`;
      case "token":
        return `E_${Math.max(index[i]!, 0)}_${position[i]}`;
      case "bias":
        return "bias";
      case "target": {
        const token = graph.document.targets[index[i]!]?.token ?? null;
        const made = `${graph.document.n_layers + 1}_${token}_${position[i]}`;
        const id = token === null || taken.has(made) ? `${graph.document.n_layers + 1}_${VIRTUAL + index[i]!}_${position[i]}` : made;
        taken.add(id);
        return id;
      }
    }
  });
}

function nodeOf(graph: Graph, i: number, id: string, called: string): object {
  const { layer, position, index, curve, activation } = graph.nodes;
  const common = {
    node_id: id,
    feature: -1,
    layer: String(layer[i]),
    ctx_idx: position[i],
    feature_type: "mlp reconstruction error",
    token_prob: 0,
    is_target_logit: false,
    run_idx: 0,
    reverse_ctx_idx: 0,
    jsNodeId: `${layer[i]}_-1-${position[i]}`,
    clerp: "",
    influence: finite(curve[i]!),
    activation: null as number | null,
  };
  switch (graph.kind(i)) {
    case "feature": {
      const sum = layer[i]! + index[i]!;
      return {
        ...common,
        feature: (sum * (sum + 1)) / 2 + index[i]!,
        feature_type: "cross layer transcoder",
        jsNodeId: `${layer[i]}_${index[i]}-0`,
        clerp: called,
        activation: finite(activation[i]!),
      };
    }
    case "token":
      return { ...common, feature: position[i], layer: "E", feature_type: "embedding", jsNodeId: `E_${Math.max(index[i]!, 0)}-${position[i]}` };
    case "target": {
      const target = graph.document.targets[index[i]!];
      const probability = target?.probability ?? target?.weight ?? 0;
      const [top = "", vocabulary = "0"] = id.split("_");
      return {
        ...common,
        feature: Number(vocabulary),
        layer: top,
        feature_type: "logit",
        token_prob: probability,
        is_target_logit: index[i] === 0,
        jsNodeId: `L_${vocabulary}-${position[i]}`,
        clerp: `Output "${plain(target?.name ?? "")}" (p=${probability.toFixed(3)})`,
        influence: null,
      };
    }
    default:
      return common;
  }
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function plain(piece: string): string {
  return piece.replaceAll("␣", " ").replaceAll("⏎", "\n").replaceAll("⇥", "\t").replaceAll("␍", "\r");
}
