// The graph in the JSON of circuit-tracer and Neuronpedia, as `micrographia.graph.exchange` writes it: with what that
// format has no place for in fields of our own, so that the file opens as the graph that is open here.
import { Kind, type Graph } from "../data/graph";
import type { Group, View } from "../state/view";
import type { Visible } from "../state/visible";
import { plain } from "../words";

const VIRTUAL = 10_000_000;
const EXTRA = "micrographia";
const NUMBERS = ["activation", "influence", "curve", "total", "inputs", "folded"] as const;

type Json = Record<string, unknown>;

/** What of the manifest the document only passes on. */
interface Kept {
  readonly scores: unknown;
  readonly ledger: unknown;
  readonly facts: unknown;
  readonly foreign: Json;
}

/** The whole graph, with the groups, labels and pins of the view. With `visible`, only what is shown, and only what other
 * tools read: books of the whole would be wrong beside a part. */
export function graphJson(graph: Graph, view: View, groups: readonly Group[], visible: Visible | null): string {
  return JSON.stringify(new Writer(graph, view, groups, visible).content(), null, 1) + "\n";
}

class Writer {
  readonly #kept: Kept;
  readonly #ids: readonly string[];
  /** Whether our own fields are written: another tool's file is given back as it was. */
  readonly #isOwn: boolean;

  constructor(
    readonly graph: Graph,
    readonly view: View,
    readonly groups: readonly Group[],
    readonly visible: Visible | null,
  ) {
    this.#kept = JSON.parse(graph.document.kept) as Kept;
    this.#ids = idsOf(graph, record(this.#kept.foreign["ids"]));
    this.#isOwn = !visible && Object.keys(this.#kept.foreign).length === 0;
  }

  content(): Json {
    const { graph } = this;
    const { foreign } = this.#kept;
    const [nodePatches, linkPatches] = [record(foreign["nodes"]), record(foreign["links"])];
    const nodes: Json[] = [];
    for (let i = 0; i < graph.n; i++) if (this.#isThere(i)) nodes.push(patched(this.#node(i), nodePatches[graph.names[i]!]));
    const links: Json[] = [];
    const { source, target } = graph.edges;
    for (let e = 0; e < graph.m; e++) {
      const [s, t] = [source[e]!, target[e]!];
      if (this.visible?.edges[e] || !this.#isThere(s) || !this.#isThere(t)) continue;
      links.push(patched(this.#link(e), linkPatches[`${graph.names[s]} ${graph.names[t]}`]));
    }
    const metadata = patched(this.#metadata(), foreign["metadata"]);
    return {
      metadata: this.#isOwn ? { ...metadata, [EXTRA]: this.#ours() } : metadata,
      qParams: patched(this.#params(), foreign["qParams"]),
      nodes,
      links,
    };
  }

  /** The bias is no node in that format, nor are its edges. */
  #isThere(i: number): boolean {
    return !this.visible?.nodes[i] && this.graph.nodes.kind[i] !== Kind.bias;
  }

  #idOf(name: string): string[] {
    const i = this.graph.find(name);
    return i === undefined || !this.#isThere(i) ? [] : [this.#ids[i]!];
  }

  #metadata(): Json {
    const told = this.graph.document;
    return {
      slug: EXTRA,
      scan: told.model || "unknown",
      transcoder_list: [],
      prompt_tokens: told.prompt.pieces.map(plain),
      prompt: told.prompt.text,
      node_threshold: told.shares.nodes,
      schema_version: 1,
      info: { generator: { name: EXTRA, version: told.facts?.versions[EXTRA] ?? "" } },
      pruning_settings: { node_threshold: told.shares.nodes, edge_threshold: told.shares.edges },
    };
  }

  #params(): Json {
    const supernodes = this.groups.map((group) => [group.name, ...group.members.flatMap((name) => this.#idOf(name))]);
    return {
      pinnedIds: this.view.pinned.flatMap((name) => this.#idOf(name)),
      supernodes: supernodes.filter((group) => group.length > 1),
      linkType: "both",
      clickedId: this.view.selected.flatMap((name) => this.#idOf(name))[0] ?? "",
      sg_pos: "",
    };
  }

  /** The graph's manifest, and the bias with its edges. */
  #ours(): Json {
    const { document: told } = this.graph;
    const { scores, ledger, facts } = this.#kept;
    const bias = this.graph.find("bias");
    const manifest = {
      schema_version: 2,
      kind: "graph",
      prompt: told.prompt,
      targets: told.targets,
      n_layers: told.n_layers,
      node_share: told.shares.nodes,
      edge_share: told.shares.edges,
      scores,
      ledger,
      facts,
      supernodes: this.groups,
      labels: this.#labels(),
      pieces: this.graph.hasPromoted ? told.pieces : null,
    };
    return { manifest, bias: bias === undefined ? null : { ...this.#numbers(bias), edges: this.#biasEdges(bias) } };
  }

  #biasEdges(bias: number): Json[] {
    return Array.from(this.graph.outOf(bias), (e) => {
      const { weight, share, score } = this.#link(e);
      return { target: this.#ids[this.graph.edges.target[e]!], weight, share, score };
    });
  }

  /** Those of the file, and one's own before them. */
  #labels(): Json {
    const found: Json = {};
    for (const [name, said] of Object.entries(this.graph.document.labels)) {
      const { text, kind, score, by, agrees } = said;
      found[name] = { text, kind: kind ?? "", score, by, agrees };
    }
    for (const [name, text] of Object.entries(this.view.labels)) {
      const kind = this.graph.document.labels[name]?.kind ?? "";
      found[name] = { text, kind, score: null, by: "user", agrees: null };
    }
    return found;
  }

  #numbers(i: number): Json {
    return Object.fromEntries(NUMBERS.map((name) => [name, finite(this.graph.nodes[name][i]!)]));
  }

  #link(e: number): Json {
    const { source, target, weight, share, score } = this.graph.edges;
    const ends = { source: this.#ids[source[e]!], target: this.#ids[target[e]!], weight: weight[e] };
    return this.#isOwn ? { ...ends, share: share[e], score: score[e] } : ends;
  }

  #node(i: number): Json {
    const { graph } = this;
    const { layer, position, index, curve, activation } = graph.nodes;
    const said = this.view.labels[graph.names[i]!] ?? graph.document.labels[graph.names[i]!]?.text ?? "";
    const common = {
      node_id: this.#ids[i],
      feature: -1,
      layer: String(layer[i]),
      ctx_idx: position[i],
      feature_type: "mlp reconstruction error",
      token_prob: 0,
      is_target_logit: false,
      run_idx: 0,
      reverse_ctx_idx: 0,
      jsNodeId: `${layer[i]}_-1-${position[i]}`,
      clerp: said,
      influence: finite(curve[i]!),
      activation: null as number | null,
      ...(this.#isOwn ? { [EXTRA]: { ...this.#numbers(i), ...this.#said(i) } } : {}),
    };
    switch (graph.kind(i)) {
      case "feature": {
        const sum = layer[i]! + index[i]!;
        return {
          ...common,
          feature: (sum * (sum + 1)) / 2 + index[i]!,
          feature_type: "cross layer transcoder",
          jsNodeId: `${layer[i]}_${index[i]}-0`,
          clerp: said || described(graph, i),
          activation: finite(activation[i]!),
        };
      }
      case "token":
        return { ...common, feature: position[i], layer: "E", feature_type: "embedding", jsNodeId: `E_${Math.max(index[i]!, 0)}-${position[i]}` };
      case "target": {
        const target = graph.document.targets[index[i]!];
        const probability = target?.probability ?? target?.weight ?? 0;
        const [top = "", vocabulary = "0"] = this.#ids[i]!.split("_").length === 3 ? this.#ids[i]!.split("_") : [];
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

  #said(i: number): Json {
    if (this.graph.kind(i) !== "feature" || !this.graph.hasPromoted) return {};
    const pairs = (side: "promoted" | "suppressed"): number[][] => this.graph.saidIds(side, i);
    return { promotes: pairs("promoted"), suppresses: pairs("suppressed") };
  }
}

function idsOf(graph: Graph, known: Json): string[] {
  const { layer, position, index } = graph.nodes;
  const top = graph.document.n_layers + 1;
  const taken = new Set<string>();
  return graph.names.map((name, i) => {
    let made = "bias";
    switch (graph.kind(i)) {
      case "feature":
        made = `${layer[i]}_${index[i]}_${position[i]}`;
        break;
      case "error":
        made = `${layer[i]}_-1_${position[i]}`;
        break;
      case "token":
        made = `E_${Math.max(index[i]!, 0)}_${position[i]}`;
        break;
      case "target": {
        const token = graph.document.targets[index[i]!]?.token ?? null;
        made = `${top}_${token}_${position[i]}`;
        if (token === null || taken.has(made)) made = `${top}_${VIRTUAL + index[i]!}_${position[i]}`;
        break;
      }
    }
    taken.add(made);
    return String(known[name] ?? made);
  });
}

/** A record with some fields set and some dropped, as `{"set": {…}, "drop": […]}` says. */
function patched(made: Json, patch: unknown): Json {
  const { set, drop } = record(patch);
  const found = { ...made, ...record(set) };
  for (const key of Array.isArray(drop) ? drop : []) delete found[String(key)];
  return found;
}

/** Until a feature has a label: what it promotes. */
function described(graph: Graph, i: number): string {
  const said = graph.promotes(i).slice(0, 3);
  return said.length ? `promotes ${said.map((one) => one.token).join(" ")}` : "";
}

function record(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
