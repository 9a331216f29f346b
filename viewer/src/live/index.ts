// The page of a server: what it shows beside the graph, by the address.
import type { ComponentType } from "preact";
import type { DataSource } from "../sources/source";

export interface Host {
  readonly source?: DataSource;
  /** Another page than the graph's. */
  readonly page?: ComponentType;
}

export function live(): Host {
  throw new Error("there is no graph in this file");
}
