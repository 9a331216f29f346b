// Hundreds of thousands of faint lines: counted per pixel in plain arrays, a slice at a time, and coloured once.
import type { Graph } from "../data/graph";
import { rgb, type Theme } from "./theme";
import type { Camera } from "./camera";
import type { Place } from "./layout";

/** How clear one faint line is, and how clear a pixel that all of them cross. */
const FAINT = 14;
const CLEAREST = 92;
const DASH = 4;

/** Draws edges into an image; `step` goes on for some milliseconds and says whether that was the end. */
export class Raster {
  readonly #plus: Uint32Array;
  readonly #minus: Uint32Array;
  #next = 0;

  constructor(
    readonly graph: Graph,
    readonly place: Place,
    readonly edges: Uint32Array,
    readonly camera: Camera,
    readonly width: number,
    readonly height: number,
  ) {
    this.#plus = new Uint32Array(width * height);
    this.#minus = new Uint32Array(width * height);
  }

  get drawn(): number {
    return this.#next;
  }

  step(milliseconds: number): boolean {
    const until = performance.now() + milliseconds;
    while (this.#next < this.edges.length) {
      const end = Math.min(this.#next + 256, this.edges.length);
      for (; this.#next < end; this.#next++) this.#line(this.edges[this.#next]!);
      if (performance.now() > until) break;
    }
    return this.#next >= this.edges.length;
  }

  image(theme: Theme): ImageData {
    const image = new ImageData(this.width, this.height);
    const pixels = new Uint32Array(image.data.buffer);
    const [plus, minus] = [rgb(theme.plus), rgb(theme.minus)];
    let most = 1;
    for (let i = 0; i < pixels.length; i++) most = Math.max(most, this.#plus[i]! + this.#minus[i]!);
    const rise = (CLEAREST - FAINT) / Math.max(Math.log(most), 1);
    const alpha = Uint8Array.from({ length: most + 1 }, (_, n) => (n ? Math.round(FAINT + rise * Math.log(n)) : 0));
    for (let i = 0; i < pixels.length; i++) {
      const [p, m] = [this.#plus[i]!, this.#minus[i]!];
      const n = p + m;
      if (!n) continue;
      const part = m / n;
      const r = plus[0] + (minus[0] - plus[0]) * part;
      const g = plus[1] + (minus[1] - plus[1]) * part;
      const b = plus[2] + (minus[2] - plus[2]) * part;
      pixels[i] = (alpha[n]! << 24) | (b << 16) | (g << 8) | r;
    }
    return image;
  }

  #line(e: number): void {
    const { source, target, weight } = this.graph.edges;
    const [s, t] = [source[e]!, target[e]!];
    const isMinus = weight[e]! < 0;
    const counts = isMinus ? this.#minus : this.#plus;
    const { k, x, y } = this.camera;
    const x0 = this.place.x[s]! * k + x;
    const y0 = this.place.y[s]! * k + y;
    const dx = this.place.x[t]! * k + x - x0;
    const dy = this.place.y[t]! * k + y - y0;
    const n = Math.max(Math.abs(dx), Math.abs(dy)) | 0;
    const { width, height } = this;
    const [sx, sy] = n ? [dx / n, dy / n] : [0, 0];
    let [px, py] = [x0, y0];
    for (let i = 0; i <= n; i++, px += sx, py += sy) {
      if (px < 0 || py < 0 || px >= width || py >= height || (isMinus && i & DASH)) continue;
      counts[(py | 0) * width + (px | 0)]!++;
    }
  }
}
