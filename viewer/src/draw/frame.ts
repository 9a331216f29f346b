// What stands around the nodes: a line and a name for each token, a name for each layer.
import type { Graph } from "../data/graph";
import { short } from "../words";
import type { Camera } from "./camera";
import type { Place } from "./layout";
import type { Theme } from "./theme";

export function drawFrame(context: CanvasRenderingContext2D, graph: Graph, theme: Theme, place: Place, { k, x, y }: Camera): void {
  const [bottom, top] = [place.rows[0]! * k + y, place.rows[place.rows.length - 1]! * k + y];
  context.strokeStyle = theme.line;
  context.lineWidth = 1;
  context.fillStyle = theme.dim;
  context.font = "11px ui-sans-serif, system-ui, sans-serif";
  context.textBaseline = "middle";
  let free = -Infinity;
  place.left.forEach((left, position) => {
    const at = left * k + x;
    context.beginPath();
    context.moveTo(Math.round(at) + 0.5, top - 10);
    context.lineTo(Math.round(at) + 0.5, bottom + 8);
    context.stroke();
    const middle = at + (place.widths[position]! * k) / 2;
    if (middle - free < 13) return;
    free = middle;
    context.save();
    context.translate(middle - 3, bottom + 15);
    context.rotate(0.6);
    context.fillStyle = theme.ink;
    context.fillText(short(graph.piece(position), 13), 0, 0);
    context.restore();
  });
  context.fillStyle = theme.dim;
  const rowHeight = place.rows.length > 2 ? (place.rows[1]! - place.rows[2]!) * k : 99;
  const each = Math.max(Math.ceil(16 / Math.max(rowHeight, 1)), 1);
  const step = each <= 1 ? 1 : each <= 2 ? 2 : each <= 5 ? 5 : 10;
  for (let layer = 0; layer < graph.document.n_layers; layer += step) {
    context.fillText(`L${layer}`, 6, place.rows[layer + 1]! * k + y);
  }
  context.fillText("out", 6, top);
  context.fillText("in", 6, bottom + 4);
}
