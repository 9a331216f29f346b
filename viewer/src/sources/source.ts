// Where graphs come from and what can be asked: a single file answers the first two questions, a server all of them.
import type { EvidenceDocument, FeatureDocument, GraphDocument, LabelRecord, WhatIfDocument } from "../wire";

export interface Packed {
  readonly document: GraphDocument;
  readonly columns: ArrayBuffer;
}

/** What a job says while it runs. The last event is "done", "failed" or "cancelled". */
export type JobEvent<Result, Partial = never> =
  | { readonly kind: "progress"; readonly done: number; readonly total: number; readonly words: string }
  | { readonly kind: "partial"; readonly partial: Partial }
  | { readonly kind: "done"; readonly result: Result }
  | { readonly kind: "failed"; readonly error: string }
  | { readonly kind: "cancelled" };

export interface Job<Result, Partial = never> {
  readonly events: AsyncIterable<JobEvent<Result, Partial>>;
  cancel(): Promise<void>;
}

export interface GroupWanted {
  readonly name: string;
  readonly members: readonly string[];
  readonly reason: string;
}

export interface DataSource {
  readonly kind: "file" | "server";
  /** The graph that is shown. Null where the host has none to show yet. */
  graph(): Promise<Packed | null>;
  /** What is known of a feature over a corpus; null where nothing is. */
  feature(layer: number, index: number): Promise<FeatureDocument | null>;
  /** Only a server has the model: its answer with activations changed, and the claims of the graph tested. */
  whatIf?(changes: readonly string[]): Job<WhatIfDocument>;
  test?(seconds: number): Job<EvidenceDocument, EvidenceDocument>;
  /** Keep groups and labels where others find them. */
  saveGroups?(groups: readonly GroupWanted[]): Promise<void>;
  saveLabel?(layer: number, index: number, text: string): Promise<LabelRecord | null>;
  /** The page with this graph as one file. */
  html?(): Promise<Blob>;
}
