// Made by viewer/wire_types.py from micrographia.report.wire: change it there, then run scripts/viewer.

/** Who answers. The model is opened when the server has started, which may take a while. */
export interface AboutDocument {
  readonly version: string;
  readonly state: "opening" | "ready" | "failed";
  readonly words: string;
  readonly model: string;
  readonly basis: string;
  readonly folder: string;
  readonly has_atlas: boolean;
  readonly can: readonly ("trace" | "what-if" | "test" | "label" | "group" | "attention")[];
}

/** All heads of a prompt. The column `shades` holds the square root of each pattern, in 255 steps. */
export interface AttentionDocument {
  readonly kind: "attention";
  readonly prompt: PromptRecord;
  readonly n_layers: number;
  readonly n_heads: number;
  readonly heads: readonly HeadRow[];
  readonly uniform: UniformRecord;
  readonly n_repeated: number;
  readonly pooled: number;
  readonly columns: readonly ColumnRecord[];
}

/** The end: somebody stopped it. */
export interface CancelledEvent {
  readonly kind: "cancelled";
}

/** What one head has to do with an edge. */
export interface CarrierRow {
  readonly layer: number;
  readonly head: number;
  readonly last: number;
  readonly first: number;
  readonly only: number;
  readonly through: number;
}

/** An edge, split over the heads that carry it: `direct` and all `last`, or all `first`, add up to `edge`. */
export interface CarriersDocument {
  readonly kind: "carriers";
  readonly source: string;
  readonly target: string;
  readonly edge: number;
  readonly direct: number;
  readonly several: number;
  readonly heads: readonly CarrierRow[];
}

/** A feature that changes with it, and how long the change in what it writes is. */
export interface ChangedRecord {
  readonly node: string;
  readonly before: number;
  readonly after: number;
  readonly written: number;
}

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

/** How many claims of a graph there are of each verdict. */
export interface CountsRecord {
  readonly confirmed: number;
  readonly refuted: number;
  readonly untested: number;
}

/** The end, and what came of it. */
export interface DoneEvent {
  readonly kind: "done";
  readonly result: Traced | WhatIfDocument | EvidenceDocument;
}

/** One part of the unit of influence. */
export interface EntryRecord {
  readonly name: string;
  readonly share: number;
  readonly state: "shown" | "unexplained" | "left out";
  readonly words: string;
}

/** Why not, in one sentence. */
export interface ErrorDocument {
  readonly error: string;
}

/** What is known about the claims of a graph: about its answer, and about its inside. */
export interface EvidenceDocument {
  readonly target: number;
  readonly name: string;
  readonly value: number;
  readonly probability: number | null;
  readonly rate: number;
  readonly claims: readonly ClaimRecord[];
  readonly links: readonly LinkRecord[];
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
  readonly selection: string;
  readonly work: string;
  readonly versions: { readonly [name: string]: string };
}

/** The end, in one sentence. */
export interface FailedEvent {
  readonly kind: "failed";
  readonly error: string;
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

/** Some of the features that were asked for, of `total`. */
export interface FeatureList {
  readonly total: number;
  readonly rows: readonly FeatureRow[];
}

/** One line of the features browser. */
export interface FeatureRow {
  readonly layer: number;
  readonly index: number;
  readonly density: number;
  readonly largest: number;
  readonly kind: string | null;
  readonly label: string | null;
  readonly score: number | null;
  readonly promoted: readonly string[];
}

/** Features by `layer.index`. */
export interface FeaturesDocument {
  readonly features: { readonly [name: string]: FeatureDocument };
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
  readonly kept: string;
  readonly columns: readonly ColumnRecord[];
}

/** The graphs of the folder; `passed_over` folders lie too deep, or are too many, and were not looked into. */
export interface GraphList {
  readonly graphs: readonly GraphRow[];
  readonly passed_over: number;
}

/** A graph that is there now. */
export interface GraphName {
  readonly id: string;
}

/** One graph of the list. Where it cannot be read, `error` says why, and the numbers are zero. */
export interface GraphRow {
  readonly id: string;
  readonly name: string;
  readonly prompt: string;
  readonly targets: readonly string[];
  readonly model: string;
  readonly basis: string;
  readonly n_nodes: number;
  readonly n_edges: number;
  readonly evidence: CountsRecord | null;
  readonly kept: boolean;
  readonly error: string | null;
}

/** A supernode; members are numbers of nodes. */
export interface GroupRecord {
  readonly name: string;
  readonly members: readonly number[];
  readonly reason: string;
  readonly by: string;
}

/** A group of nodes, by their names. */
export interface GroupRequest {
  readonly name: string;
  readonly members: readonly string[];
  readonly reason: string;
}

/** All groups that a graph is to have. */
export interface GroupsRequest {
  readonly groups: readonly GroupRequest[];
}

/** How many groups there are now, and the claims whose evidence is gone with them. */
export interface GroupsSaved {
  readonly groups: number;
  readonly forgotten: readonly string[];
}

/** One head. Row q of both tables has the keys 0 to q. */
export interface HeadDocument {
  readonly kind: "head";
  readonly layer: number;
  readonly head: number;
  readonly pattern: readonly (readonly number[])[];
  readonly moved: readonly (readonly number[])[];
  readonly written: readonly Written[];
}

/** What one head looks at, by the scores of `micrographia heads`. */
export interface HeadRow {
  readonly layer: number;
  readonly head: number;
  readonly entropy: number;
  readonly previous: number;
  readonly first: number;
  readonly induction: number;
}

/** How many activations lie between each two edges. */
export interface HistogramRecord {
  readonly edges: readonly number[];
  readonly counts: readonly number[];
}

/** Work that was begun, or waits. */
export interface JobName {
  readonly job: string;
}

/** What a feature or node is called, and what that rests on. */
export interface LabelRecord {
  readonly text: string;
  readonly kind: string | null;
  readonly score: number | null;
  readonly nulls: { readonly [name: string]: number };
  readonly evidence: string;
  readonly by: string;
  readonly agrees: boolean | null;
}

/** A person's own label; an empty text takes it back. */
export interface LabelRequest {
  readonly text: string;
}

/** Where the unit of influence ends, and sentences about what no entry counts. */
export interface LedgerRecord {
  readonly entries: readonly EntryRecord[];
  readonly sentences: readonly string[];
}

/** A claim about the inside: without the members, what is read changes by so much of itself. */
export interface LinkRecord {
  readonly kind: "group" | "paths" | "direct";
  readonly name: string;
  readonly to: string;
  readonly members: readonly number[];
  readonly reads: readonly number[];
  readonly predicted: number;
  readonly effect: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly verdict: "confirmed" | "refuted" | "untested";
  readonly why: string;
  readonly p: number | null;
  readonly n_controls: number;
}

/** What is known so far. */
export interface PartialEvent {
  readonly kind: "partial";
  readonly result: EvidenceDocument;
}

/** How far the work is; `total` 0 is not known. */
export interface ProgressEvent {
  readonly kind: "progress";
  readonly words: string;
  readonly done: number;
  readonly total: number;
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

/** What was changed, from which value to which. */
export interface ShiftRecord {
  readonly part: string;
  readonly before: number;
  readonly after: number;
}

/** By how much a target of the graph changes, in logits less their mean. */
export interface TargetChange {
  readonly node: number;
  readonly name: string;
  readonly before: number;
  readonly change: number;
}

/** What is explained. */
export interface TargetRecord {
  readonly name: string;
  readonly position: number;
  readonly weight: number;
  readonly probability: number | null;
  readonly token: number | null;
}

/** How long claims are tested. */
export interface TestRequest {
  readonly seconds: number;
}

/** A new trace; what is left out is as the command has it. */
export interface TraceRequest {
  readonly prompt: string;
  readonly target: string | null;
  readonly against: string | null;
  readonly position: number;
  readonly nodes: number;
  readonly share: number;
  readonly node_share: number;
  readonly edge_share: number;
  readonly basis: "neurons" | "transcoders" | null;
}

/** A new graph is kept. */
export interface Traced {
  readonly kind: "traced";
  readonly id: string;
}

/** The same scores of attention that is uniform; one number for each layer. */
export interface UniformRecord {
  readonly entropy: readonly number[];
  readonly previous: readonly number[];
  readonly first: readonly number[];
  readonly induction: readonly number[];
}

/** The real model's answer to a change. */
export interface WhatIfDocument {
  readonly kind: "what-if";
  readonly mode: "free" | "constrained" | "iterative";
  readonly shifts: readonly ShiftRecord[];
  readonly targets: readonly TargetChange[];
  readonly words: readonly WordRecord[];
  readonly changed: readonly ChangedRecord[];
  readonly seconds: number;
}

/** Changes as the command writes them: `25.567@14=x0.5`. */
export interface WhatIfRequest {
  readonly changes: readonly string[];
  readonly mode: "free" | "constrained" | "iterative";
  readonly tokens: readonly string[];
}

/** A possible next token: its probability before and after, and by how much its logit changes, less the mean. */
export interface WordRecord {
  readonly token: number;
  readonly piece: string;
  readonly before: number;
  readonly after: number;
  readonly logit: number;
}

/** The tokens that a head's output at one position promotes and suppresses through the final norm. */
export interface Written {
  readonly promoted: readonly SaidRecord[];
  readonly suppressed: readonly SaidRecord[];
}
