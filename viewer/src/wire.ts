// Made by viewer/wire_types.py from micrographia.report.wire: change it there, then run scripts/viewer.

/** A claim with its verdict; members are numbers of nodes. What was not measured is null. */
export interface ClaimRecord {
  readonly name: string;
  readonly members: readonly number[];
  readonly predicted: number;
  readonly direct: number;
  readonly effect: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly verdict: "confirmed" | "refuted" | "untested";
  readonly why: string;
  readonly p: number | null;
  readonly n_controls: number;
}

/** Where a column lies in the binary data: little-endian, at a multiple of eight bytes. */
export interface ColumnRecord {
  readonly name: string;
  readonly dtype: "u8" | "i16" | "i32" | "f32" | "f64";
  readonly shape: readonly number[];
  readonly offset: number;
}

/** One part of the unit of influence. */
export interface EntryRecord {
  readonly name: string;
  readonly share: number;
  readonly state: "shown" | "unexplained" | "left out";
  readonly words: string;
}

/** What is known about the claims of a graph. */
export interface EvidenceDocument {
  readonly target: number;
  readonly name: string;
  readonly value: number;
  readonly probability: number | null;
  readonly rate: number;
  readonly claims: readonly ClaimRecord[];
}

/** One place where a feature is active, the tokens around it, and which of them it is. */
export interface ExampleRecord {
  readonly tokens: readonly string[];
  readonly activations: readonly number[];
  readonly at: number;
}

/** Where the graph comes from. */
export interface FactsRecord {
  readonly model: string;
  readonly basis: string;
  readonly model_fingerprint: string;
  readonly basis_fingerprint: string;
  readonly gate_rule: string | null;
  readonly work: string;
  readonly versions: { readonly [name: string]: string };
}

/** What a feature does over a corpus. `deciles` are ten lists of examples, the weakest first. */
export interface FeatureDocument {
  readonly layer: number;
  readonly index: number;
  readonly count: number;
  readonly n_positions: number;
  readonly density: number;
  readonly mean: number;
  readonly largest: number;
  readonly negative: number;
  readonly histogram: HistogramRecord;
  readonly strongest: readonly ExampleRecord[];
  readonly deciles: readonly (readonly ExampleRecord[])[];
  readonly promoted: readonly SaidRecord[];
  readonly suppressed: readonly SaidRecord[];
  readonly label: LabelRecord | null;
}

/** A graph, but for its columns. `labels` are by node name, `features` by `layer.index`. */
export interface GraphDocument {
  readonly schema_version: 1;
  readonly kind: "graph";
  readonly model: string;
  readonly basis: string;
  readonly prompt: PromptRecord;
  readonly targets: readonly TargetRecord[];
  readonly shares: SharesRecord;
  readonly n_layers: number;
  readonly supernodes: readonly GroupRecord[];
  readonly ledger: LedgerRecord | null;
  readonly scores: readonly ReadingRecord[];
  readonly facts: FactsRecord | null;
  readonly pieces: { readonly [name: string]: string };
  readonly labels: { readonly [name: string]: LabelRecord };
  readonly evidence: EvidenceDocument | null;
  readonly features: { readonly [name: string]: FeatureDocument };
  readonly columns: readonly ColumnRecord[];
}

/** A supernode; members are numbers of nodes. */
export interface GroupRecord {
  readonly name: string;
  readonly members: readonly number[];
  readonly reason: string;
  readonly by: string;
}

/** How many activations lie between each two edges. */
export interface HistogramRecord {
  readonly edges: readonly number[];
  readonly counts: readonly number[];
}

/** What a feature or node is called, and what that rests on. */
export interface LabelRecord {
  readonly text: string;
  readonly kind: string | null;
  readonly score: number | null;
  readonly nulls: { readonly [name: string]: number };
  readonly evidence: string;
  readonly by: string;
}

/** Where the unit of influence ends, and sentences about what no entry counts. */
export interface LedgerRecord {
  readonly entries: readonly EntryRecord[];
  readonly sentences: readonly string[];
}

/** The tokenised prompt. */
export interface PromptRecord {
  readonly ids: readonly number[];
  readonly pieces: readonly string[];
  readonly text: string;
  readonly prepended: number;
}

/** Both scores in one reading. */
export interface ReadingRecord {
  readonly reading: string;
  readonly replacement: number;
  readonly completeness: number;
  readonly words: string;
}

/** A token, and what a unit of activation does to its logit. */
export interface SaidRecord {
  readonly token: string;
  readonly logit: number;
}

/** Of all influence of the trace, the shares that nodes and edges were kept for. */
export interface SharesRecord {
  readonly nodes: number | null;
  readonly edges: number | null;
}

/** What is explained. */
export interface TargetRecord {
  readonly name: string;
  readonly position: number;
  readonly weight: number;
  readonly probability: number | null;
  readonly token: number | null;
}
