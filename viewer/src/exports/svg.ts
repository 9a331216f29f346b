// The link graph as an SVG file: what is shown, as it lies, with nothing that runs or is fetched.
import type { Graph } from "../data/graph";
import { greatest } from "../data/columns";
import { Kind } from "../data/graph";
import type { Scene } from "../draw/scene";
import { DASHED, lookOf, strokeOf } from "../draw/marks";
import type { Theme } from "../draw/theme";
import type { Visible } from "../state/visible";
import { inert, joined, percent, short } from "../words";

const MOST_EDGES = 20_000;
const SPACE = "http://www.w3.org/2000/svg";

export function svgOf(scene: Scene, graph: Graph, visible: Visible, theme: Theme, called: (node: number) => string): string {
  const place = scene.place;
  if (!place) return "";
  const shown: number[] = [];
  for (const e of graph.byScore) if (!visible.edges[e] && shown.push(e) >= MOST_EDGES) break;
  const left = visible.edgesShown - shown.length;
  const { source, target, weight, share, score } = graph.edges;
  const mostScore = shown.length ? score[shown[0]!]! : 1;
  const mostInfluence = greatest(graph.nodes.influence);
  const note = left ? `The strongest ${shown.length} of ${joined(visible.edgesShown, "edge")}.` : `${joined(shown.length, "edge")}.`;
  const lines = [
    `<svg xmlns="${SPACE}" viewBox="0 0 ${f(place.width)} ${f(place.height)}" width="${f(place.width)}" height="${f(place.height)}" font-family="ui-sans-serif,system-ui,sans-serif" font-size="11">`,
    `<title>${escaped(short(graph.document.prompt.text, 200))}</title>`,
    `<desc>${escaped(note)}</desc>`,
    `<rect width="100%" height="100%" fill="${theme.paper}"/>`,
    `<g fill="none">`,
    ...shown.reverse().map((e) => {
      const { width, alpha } = strokeOf(share[e]!, score[e]!, mostScore);
      const isMinus = weight[e]! < 0;
      const [s, t] = [source[e]!, target[e]!];
      return `<path class="edge" data-edge="${graph.names[s]} ${graph.names[t]}" d="M${f(place.x[s]!)} ${f(place.y[s]!)}L${f(place.x[t]!)} ${f(place.y[t]!)}" stroke="${isMinus ? theme.minus : theme.plus}" stroke-width="${width.toFixed(2)}" stroke-opacity="${alpha.toFixed(2)}"${isMinus ? ` stroke-dasharray="${DASHED.join(" ")}"` : ""}/>`;
    }),
    `</g>`,
  ];
  for (let i = 0; i < graph.n; i++) {
    if (visible.nodes[i] || place.stacked[i]) continue;
    const look = lookOf(graph, i, mostInfluence, theme);
    const title = escaped(`${graph.names[i]} · ${short(called(i), 80)} · influence ${percent(graph.nodes.influence[i]!)}`);
    lines.push(mark(graph, i, place.x[i]!, place.y[i]!, look.radius, look.fill, theme.paper, title));
  }
  for (const stack of place.stacks) {
    lines.push(`<text x="${f(stack.x)}" y="${f(stack.y + 3)}" font-size="9" text-anchor="middle" fill="${theme.ink}">+${stack.nodes.length}</text>`);
  }
  graph.document.prompt.pieces.forEach((piece, i) => {
    const [x, y] = [place.left[i]! + place.widths[i]! / 2 - 3, place.rows[0]! + 16];
    lines.push(`<text x="${f(x)}" y="${f(y)}" transform="rotate(35 ${f(x)} ${f(y)})" fill="${theme.ink}">${escaped(short(piece, 13))}</text>`);
  });
  for (let i = 0; i < graph.n; i++) {
    if (graph.nodes.kind[i] !== Kind.target || visible.nodes[i]) continue;
    lines.push(`<text x="${f(place.x[i]! + 9)}" y="${f(place.y[i]! + 4)}" font-weight="600" fill="${theme.ink}">${escaped(short(called(i), 24))}</text>`);
  }
  return [...lines, "</svg>", ""].join("\n");
}

function mark(graph: Graph, node: number, x: number, y: number, r: number, fill: string, line: string, title: string): string {
  const style = `class="node" data-node="${graph.names[node]}" fill="${fill}" stroke="${line}"`;
  const inner = `<title>${title}</title>`;
  switch (graph.kind(node)) {
    case "feature":
      return `<circle ${style} cx="${f(x)}" cy="${f(y)}" r="${r.toFixed(1)}">${inner}</circle>`;
    case "error":
      return `<path ${style} d="M${f(x)} ${f(y - r)}l${f(r)} ${f(r)} ${f(-r)} ${f(r)} ${f(-r)} ${f(-r)}z">${inner}</path>`;
    case "bias":
      return `<path ${style} d="M${f(x)} ${f(y - r)}l${f(r)} ${f(2 * r)}h${f(-2 * r)}z">${inner}</path>`;
    default:
      return `<rect ${style} x="${f(x - r)}" y="${f(y - r)}" width="${f(2 * r)}" height="${f(2 * r)}">${inner}</rect>`;
  }
}

function f(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escaped(text: string): string {
  return inert(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
