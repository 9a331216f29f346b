// One layer of the link graph: what is seen stays as it is while it is drawn anew, and follows the camera meanwhile.
import { type Camera, HOME, moved } from "./camera";

/** Two canvases: one is seen, the other is drawn on until it takes its place. */
export class Layer {
  #seen: HTMLCanvasElement;
  #next: HTMLCanvasElement;
  #drawn: Camera = HOME;
  #coming: Camera = HOME;
  #isEmpty = true;
  #isWaiting = false;

  constructor(name: string, host: HTMLElement) {
    [this.#seen, this.#next] = [canvasOf(name), canvasOf(name)];
    this.#next.hidden = true;
    host.append(this.#seen, this.#next);
  }

  get canvas(): HTMLCanvasElement {
    return this.#seen;
  }

  /** An empty canvas of the right size, in CSS pixels. What is there first is seen while it is drawn. */
  begin(size: readonly [number, number], camera: Camera, ratio: number): CanvasRenderingContext2D {
    const [w, h] = [Math.round(size[0] * ratio), Math.round(size[1] * ratio)];
    const canvas = this.#next;
    if (canvas.width !== w || canvas.height !== h) {
      [canvas.width, canvas.height] = [w, h];
      canvas.style.width = `${size[0]}px`;
      canvas.style.height = `${size[1]}px`;
    }
    const context = canvas.getContext("2d");
    if (!context) throw new Error("This browser has no canvas.");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.globalAlpha = 1;
    context.clearRect(0, 0, size[0], size[1]);
    this.#coming = camera;
    this.#isWaiting = true;
    if (this.#isEmpty) this.end(camera);
    return context;
  }

  /** What was drawn is seen now, from where one looks now. */
  end(now: Camera): void {
    if (!this.#isWaiting) return;
    [this.#seen, this.#next] = [this.#next, this.#seen];
    this.#seen.hidden = false;
    this.#next.hidden = true;
    this.#drawn = this.#coming;
    this.#isEmpty = this.#isWaiting = false;
    this.follow(now);
  }

  follow(camera: Camera): void {
    this.#seen.style.transform = camera === this.#drawn ? "" : moved(this.#drawn, camera);
  }

  close(): void {
    this.#seen.remove();
    this.#next.remove();
  }
}

function canvasOf(name: string): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.className = `layer ${name}`;
  canvas.setAttribute("aria-hidden", "true");
  return canvas;
}
