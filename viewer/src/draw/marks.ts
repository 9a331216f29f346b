// The marks of nodes: ● feature ■ token or target ◆ error ▲ bias.
import { Kind, type Graph } from "../data/graph";
import type { Theme } from "./theme";

/** Of verdicts. */
export const MARKS = { confirmed: "✓", refuted: "✗", untested: "·" } as const;

export interface Look {
  readonly radius: number;
  readonly fill: string;
}

/** How large a node is, by its influence, and its colour. */
export function lookOf(graph: Graph, node: number, most: number, theme: Theme): Look {
  const kind = graph.nodes.kind[node]!;
  const share = Math.sqrt(Math.max(graph.nodes.influence[node]!, 0) / (most || 1));
  const radius = kind === Kind.target ? 5 : 2.6 + 3.4 * share;
  const fill = kind === Kind.feature ? theme.node : kind === Kind.error || kind === Kind.bias ? theme.odd : theme.token;
  return { radius, fill };
}

export function trace(path: CanvasPath, kind: number, x: number, y: number, r: number): void {
  switch (kind) {
    case Kind.feature:
      path.moveTo(x + r, y);
      path.arc(x, y, r, 0, 2 * Math.PI);
      break;
    case Kind.error:
      path.moveTo(x, y - r);
      path.lineTo(x + r, y);
      path.lineTo(x, y + r);
      path.lineTo(x - r, y);
      path.closePath();
      break;
    case Kind.bias:
      path.moveTo(x, y - r);
      path.lineTo(x + r, y + r);
      path.lineTo(x - r, y + r);
      path.closePath();
      break;
    default:
      path.rect(x - r, y - r, 2 * r, 2 * r);
  }
}

/** Width and clearness of an edge: by its share of the target's input, and of all influence. */
export function strokeOf(share: number, score: number, most: number): { readonly width: number; readonly alpha: number } {
  return { width: 0.4 + 4.6 * Math.sqrt(Math.max(share, 0)), alpha: 0.05 + 0.7 * Math.max(score / (most || 1), 0) ** 0.55 };
}

export const DASHED: readonly number[] = [5, 3];
