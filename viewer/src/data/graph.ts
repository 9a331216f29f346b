// A graph in memory: typed columns, names, and who is joined with whom.
import { computed, signal } from "@preact/signals";
import type { Packed } from "../sources/source";
import type { ClaimRecord, EvidenceDocument, GraphDocument, LabelRecord, LinkRecord } from "../wire";
import { Columns, type Numbers } from "./columns";

export const Kind = { feature: 0, error: 1, token: 2, bias: 3, target: 4 } as const;
export const KINDS = ["feature", "error", "token", "bias", "target"] as const;
export type KindName = (typeof KINDS)[number];
export type Verdict = ClaimRecord["verdict"];

export interface Said {
  readonly token: string;
  readonly logit: number;
}

export interface NodeColumns {
  readonly kind: Numbers;
  readonly layer: Numbers;
  readonly position: Numbers;
  readonly index: Numbers;
  readonly activation: Numbers;
  readonly influence: Numbers;
  readonly curve: Numbers;
  readonly total: Numbers;
  readonly inputs: Numbers;
  readonly folded: Numbers;
  /** The share of positions at which a feature is active; not a number where nobody knows. */
  readonly density: Numbers | null;
}

export interface EdgeColumns {
  readonly source: Numbers;
  readonly target: Numbers;
  readonly weight: Numbers;
  readonly share: Numbers;
  readonly score: Numbers;
}

export class Graph {
  readonly document: GraphDocument;
  readonly n: number;
  readonly m: number;
  readonly nodes: NodeColumns;
  readonly edges: EdgeColumns;
  readonly names: readonly string[];
  /** Edges, the one with the greatest score first. */
  readonly byScore: Uint32Array;
  /** The sum of the scores of that many strongest edges, as a share of all. */
  readonly scoreCurve: Float32Array;
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #into: Adjacency;
  readonly #outOf: Adjacency;
  /** What tests have said; while they run, this grows. */
  readonly evidence = signal<EvidenceDocument | null>(null);
  readonly #claims = computed(
    () => new Map((this.evidence.value?.claims ?? []).flatMap((claim) => claim.members.map((node) => [node, claim] as const))),
  );
  /** Claims along edges, by the names of both ends. */
  readonly #links = computed(() => {
    const found = new Map<string, LinkRecord[]>();
    for (const link of this.evidence.value?.links ?? []) {
      if (link.kind === "group") continue;
      const key = `${link.members[0]} ${link.reads[0]}`;
      found.set(key, [...(found.get(key) ?? []), link]);
    }
    return found;
  });
  readonly #columns: Columns;

  constructor(packed: Packed) {
    const columns = new Columns(packed.document.columns, packed.columns);
    const node = (name: string): Numbers => columns.get(`nodes.${name}`);
    const edge = (name: string): Numbers => columns.get(`edges.${name}`);
    this.document = packed.document;
    this.#columns = columns;
    this.nodes = {
      kind: node("kind"),
      layer: node("layer"),
      position: node("position"),
      index: node("index"),
      activation: node("activation"),
      influence: node("influence"),
      curve: node("curve"),
      total: node("total"),
      inputs: node("inputs"),
      folded: node("folded"),
      density: columns.has("nodes.density") ? node("density") : null,
    };
    this.edges = {
      source: edge("source"),
      target: edge("target"),
      weight: edge("weight"),
      share: edge("share"),
      score: edge("score"),
    };
    this.n = this.nodes.kind.length;
    this.m = this.edges.source.length;
    this.names = Array.from({ length: this.n }, (_, i) => this.#name(i));
    this.#numbers = new Map(this.names.map((name, i) => [name, i]));
    this.byScore = descending(this.edges.score);
    this.scoreCurve = this.#curve();
    this.#into = new Adjacency(this.n, this.edges.target);
    this.#outOf = new Adjacency(this.n, this.edges.source);
    this.evidence.value = packed.document.evidence;
  }

  /** The number of a node by its name; undefined where there is none. */
  find(name: string): number | undefined {
    return this.#numbers.get(name);
  }

  /** The numbers of those that are here. */
  findAll(names: Iterable<string>): number[] {
    return [...names].flatMap((name) => this.find(name) ?? []);
  }

  kind(node: number): KindName {
    return KINDS[this.nodes.kind[node] ?? 0] ?? "feature";
  }

  /** Numbers of the edges that lead to a node. */
  into(node: number): Uint32Array {
    return this.#into.of(node);
  }

  outOf(node: number): Uint32Array {
    return this.#outOf.of(node);
  }

  /** What the file says of a claim that a node is in. */
  claim(node: number): ClaimRecord | undefined {
    return this.#claims.value.get(node);
  }

  verdict(node: number): Verdict | null {
    return this.#claims.value.get(node)?.verdict ?? null;
  }

  /** What is claimed of an edge: by all paths, and by the edge alone. */
  linkClaims(source: number, target: number): readonly LinkRecord[] {
    return this.#links.value.get(`${source} ${target}`) ?? [];
  }

  /** The verdict on an edge with the model running on; that on the edge alone tests little but the arithmetic. */
  linkVerdict(source: number, target: number): Verdict | null {
    return this.linkClaims(source, target).find((link) => link.kind === "paths")?.verdict ?? null;
  }

  /** Claims that some nodes move others, all of a claim's being among them. */
  groupClaim(from: ReadonlySet<number>, to: ReadonlySet<number>): LinkRecord | undefined {
    return this.evidence.value?.links.find(
      (link) => link.kind === "group" && link.members.every((node) => from.has(node)) && link.reads.every((node) => to.has(node)),
    );
  }

  /** Claims about the inside that a node is in, at either end. */
  linksOf(node: number): LinkRecord[] {
    return (this.evidence.value?.links ?? []).filter((link) => link.members.includes(node) || link.reads.includes(node));
  }

  /** A feature's key in the list of features: `12.301`. */
  feature(node: number): string {
    return `${this.nodes.layer[node]}.${this.nodes.index[node]}`;
  }

  label(node: number): LabelRecord | undefined {
    return this.document.labels[this.names[node] ?? ""] ?? this.document.features[this.feature(node)]?.label ?? undefined;
  }

  /** A token's or a target's text, a label's. */
  words(node: number): string {
    const position = this.nodes.position[node] ?? -1;
    switch (this.kind(node)) {
      case "token":
        return this.document.prompt.pieces[position] ?? "";
      case "target":
        return this.document.targets[this.nodes.index[node] ?? 0]?.name ?? "";
      case "bias":
        return this.label(node)?.text || "all that is constant";
      case "error":
        return this.label(node)?.text || "what is not explained";
      case "feature":
        return this.label(node)?.text ?? "";
    }
  }

  promotes(node: number): Said[] {
    return this.#said("promoted", node);
  }

  suppresses(node: number): Said[] {
    return this.#said("suppressed", node);
  }

  /** Whether features say what they promote. */
  get hasPromoted(): boolean {
    return this.#columns.has("promoted.tokens");
  }

  /** What a feature promotes or suppresses: ids of tokens, with logits. */
  saidIds(side: "promoted" | "suppressed", node: number): [number, number][] {
    const width = this.#columns.width(`${side}.tokens`);
    const tokens = this.#columns.get(`${side}.tokens`);
    const logits = this.#columns.get(`${side}.logits`);
    return Array.from({ length: width }, (_, i) => [tokens[node * width + i]!, logits[node * width + i]!]);
  }

  piece(position: number): string {
    return this.document.prompt.pieces[position] ?? "";
  }

  #said(side: "promoted" | "suppressed", node: number): Said[] {
    if (this.kind(node) !== "feature" || !this.hasPromoted) return [];
    return this.saidIds(side, node).map(([token, logit]) => ({ token: this.document.pieces[String(token)] ?? "", logit }));
  }

  #name(i: number): string {
    const { layer, position, index } = this.nodes;
    switch (this.kind(i)) {
      case "feature":
        return `${layer[i]}.${index[i]}@${position[i]}`;
      case "error":
        return `error.${layer[i]}@${position[i]}`;
      case "token":
        return `token@${position[i]}`;
      case "bias":
        return "bias";
      case "target":
        return `target.${index[i]}`;
    }
  }

  #curve(): Float32Array {
    const { score } = this.edges;
    let all = 0;
    for (let i = 0; i < this.m; i++) all += score[i] ?? 0;
    const found = new Float32Array(this.m);
    let sum = 0;
    this.byScore.forEach((edge, rank) => {
      sum += score[edge] ?? 0;
      found[rank] = all ? sum / all : 1;
    });
    return found;
  }
}

/** The edges of each node, by one of their ends. */
class Adjacency {
  readonly #starts: Uint32Array;
  readonly #edges: Uint32Array;

  constructor(n: number, ends: Numbers) {
    this.#starts = new Uint32Array(n + 1);
    this.#edges = new Uint32Array(ends.length);
    for (let e = 0; e < ends.length; e++) this.#starts[(ends[e] ?? 0) + 1]!++;
    for (let i = 0; i < n; i++) this.#starts[i + 1]! += this.#starts[i]!;
    const next = this.#starts.slice();
    for (let e = 0; e < ends.length; e++) this.#edges[next[ends[e] ?? 0]!++] = e;
  }

  of(node: number): Uint32Array {
    return this.#edges.subarray(this.#starts[node], this.#starts[node + 1]);
  }
}

/** Row numbers by a column that has no negative values, greatest first. A native sort of one number per row: the
 * value's bits, then the row. */
function descending(column: Numbers): Uint32Array {
  const rows = 2 ** 21;
  const values = Float32Array.from(column);
  const bits = new Uint32Array(values.buffer);
  const keys = new Float64Array(values.length);
  for (let i = 0; i < keys.length; i++) keys[i] = (0x7fffffff - Math.min(bits[i]!, 0x7fffffff)) * rows + i;
  keys.sort();
  return Uint32Array.from(keys, (key) => key % rows);
}
