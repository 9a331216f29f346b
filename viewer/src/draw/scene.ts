// The link graph on canvas. What is drawn stays as it is while one moves about: layers are carried along by CSS, and
// drawn anew when the hand rests. Strong edges are strokes, faint ones are counted per pixel; nodes lie above; what is
// looked at is drawn on a layer of its own.
import type { Graph } from "../data/graph";
import { greatest } from "../data/columns";
import { Kind } from "../data/graph";
import type { Visible } from "../state/visible";
import { short } from "../words";
import { type Camera, fitting, HOME } from "./camera";
import { drawFrame } from "./frame";
import { Layer } from "./layer";
import { layout, type Place, type Stack } from "./layout";
import { DASHED, lookOf, MARKS, strokeOf, trace } from "./marks";
import { Raster } from "./raster";
import type { Theme } from "./theme";

/** What is to be seen. */
export interface Shown {
  readonly graph: Graph;
  readonly visible: Visible;
  readonly fanned: readonly string[];
  readonly theme: Theme;
  readonly pinned: ReadonlySet<number>;
  readonly selected: readonly number[];
  readonly matches: ReadonlySet<number> | null;
  readonly called: (node: number) => string;
  /** Edges that have a colour of their own, by their numbers. */
  readonly colours?: ReadonlyMap<number, string>;
}

export interface Hit {
  readonly node: number | null;
  readonly stack: Stack | null;
}

const STRONG = 1000;
const STROKES_AT_ONCE = 200;
const NODES_AT_ONCE = 250;
const FOCUSED = 600;
const SLICE = 7;
const BUCKET = 24;
const REACH = 11;
const NAMED = 12;
const REST = 110;

export class Scene {
  readonly #frame: Layer;
  readonly #faint: Layer;
  readonly #strong: Layer;
  readonly #nodes: Layer;
  readonly #names: Layer;
  readonly #focus: Layer;
  readonly #layers: readonly Layer[];
  readonly #sprites = new Map<string, HTMLCanvasElement>();
  #shown: Shown | null = null;
  #place: Place | null = null;
  #size: readonly [number, number] = [0, 0];
  #camera: Camera = HOME;
  #fitted = true;
  #buckets = new Map<number, number[]>();
  #hovered: number | null = null;
  /** The newest piece of work of each kind; older ones stop. */
  readonly #runs = { nodes: 0, edges: 0 };
  #resting = 0;
  #focusFrame = 0;
  /** How many edges are on the layers, when everything is drawn. */
  drawnEdges = 0;
  drawnNodes = 0;
  /** Edges of the whole picture that were stroked so far, again and again: while one moves about or looks, none are. */
  strokes = 0;
  isDone = false;
  /** When the first picture stood there, and when it had every edge, in milliseconds since the page was opened. */
  firstPicture = 0;
  lastEdge = 0;
  whenDone: (() => void) | null = null;
  /** Told of each new camera, so that two scenes can be moved as one. */
  whenLooking: ((camera: Camera) => void) | null = null;

  constructor(readonly host: HTMLElement) {
    const layer = (name: string): Layer => new Layer(name, host);
    this.#frame = layer("frame");
    this.#faint = layer("faint");
    this.#strong = layer("strong");
    this.#nodes = layer("nodes");
    this.#names = layer("names");
    this.#focus = layer("focus");
    this.#layers = [this.#frame, this.#faint, this.#strong, this.#nodes, this.#names, this.#focus];
  }

  get place(): Place | null {
    return this.#place;
  }

  get camera(): Camera {
    return this.#camera;
  }

  get size(): readonly [number, number] {
    return this.#size;
  }

  /** Show something else, or the same in another way. Places are only found anew where they may have changed. */
  show(shown: Shown): void {
    const was = this.#shown;
    this.#shown = shown;
    const moves =
      !was || was.graph !== shown.graph || was.visible !== shown.visible || was.fanned !== shown.fanned;
    if (moves || !this.#place) this.#settle();
    else if (was.theme !== shown.theme) this.#draw();
    else {
      this.#go("nodes", this.#nodeWork());
      this.#drawFocus();
    }
  }

  resize(width: number, height: number): void {
    if (width === this.#size[0] && height === this.#size[1]) return;
    this.#size = [width, height];
    if (this.#shown && width > 0 && height > 0) this.#settle();
  }

  hover(node: number | null): void {
    if (node === this.#hovered) return;
    this.#hovered = node;
    cancelAnimationFrame(this.#focusFrame);
    this.#focusFrame = requestAnimationFrame(() => this.#drawFocus());
  }

  /** Look from elsewhere: at once by moving what is drawn, sharply when the hand rests, or lets go. */
  look(camera: Camera, isHeld = false): void {
    this.#camera = camera;
    this.#fitted = false;
    // What is half drawn was meant for another place.
    this.#runs.nodes++;
    this.#runs.edges++;
    for (const layer of this.#layers) layer.follow(camera);
    clearTimeout(this.#resting);
    if (!isHeld) this.#resting = window.setTimeout(() => this.#draw(), REST);
    this.whenLooking?.(camera);
  }

  fit(): void {
    if (!this.#place) return;
    this.#camera = fitting([this.#place.width, this.#place.height], this.#size);
    this.#fitted = true;
    this.#draw();
  }

  /** Bring a node into sight if it is out of it. */
  reveal(node: number): void {
    const at = this.where(node);
    if (!at) return;
    const [w, h] = this.#size;
    const [dx, dy] = [outside(at[0], 30, w - 30), outside(at[1], 30, h - 30)];
    if (dx || dy) this.look({ ...this.#camera, x: this.#camera.x - dx, y: this.#camera.y - dy });
  }

  where(node: number): readonly [number, number] | null {
    if (!this.#place) return null;
    const { k, x, y } = this.#camera;
    return [this.#place.x[node]! * k + x, this.#place.y[node]! * k + y];
  }

  /** What is at a point of the screen. */
  hit(x: number, y: number): Hit {
    const { k } = this.#camera;
    const [wx, wy] = [(x - this.#camera.x) / k, (y - this.#camera.y) / k];
    const reach = REACH / k;
    let [best, nearest] = [null as number | null, reach];
    for (let bx = Math.floor((wx - reach) / BUCKET); bx <= Math.floor((wx + reach) / BUCKET); bx++) {
      for (let by = Math.floor((wy - reach) / BUCKET); by <= Math.floor((wy + reach) / BUCKET); by++) {
        for (const node of this.#buckets.get(bucket(bx, by)) ?? []) {
          const distance = Math.hypot(this.#place!.x[node]! - wx, this.#place!.y[node]! - wy);
          if (distance < nearest) [best, nearest] = [node, distance];
        }
      }
    }
    const stack = this.#place?.stacks.find((one) => Math.hypot(one.x - wx, one.y - wy) < nearest) ?? null;
    return stack ? { node: null, stack } : { node: best, stack: null };
  }

  /** All layers on one canvas, over the paper, for a picture. */
  picture(): HTMLCanvasElement {
    this.#drawFocus();
    const ratio = this.#ratio();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.round(this.#size[0] * ratio), Math.round(this.#size[1] * ratio)];
    const context = canvas.getContext("2d");
    if (!context || !this.#shown) return canvas;
    context.fillStyle = this.#shown.theme.paper;
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (const layer of this.#layers) context.drawImage(layer.canvas, 0, 0, canvas.width, canvas.height);
    return canvas;
  }

  close(): void {
    this.#runs.nodes++;
    this.#runs.edges++;
    clearTimeout(this.#resting);
    cancelAnimationFrame(this.#focusFrame);
    for (const layer of this.#layers) layer.close();
    this.#shown = this.#place = null;
    this.#buckets.clear();
  }

  // ---------------------------------------------------------------- places

  #settle(): void {
    const shown = this.#shown;
    if (!shown || !this.#size[0] || !this.#size[1]) return;
    const place = layout(shown.graph, shown.visible.nodes, shown.fanned, this.#size);
    this.#place = place;
    this.#buckets.clear();
    this.drawnNodes = 0;
    for (const row of place.inRow) {
      for (const node of row) {
        const key = bucket(Math.floor(place.x[node]! / BUCKET), Math.floor(place.y[node]! / BUCKET));
        const there = this.#buckets.get(key);
        if (there) there.push(node);
        else this.#buckets.set(key, [node]);
      }
      this.drawnNodes += row.length;
    }
    for (const stack of place.stacks) this.drawnNodes += stack.nodes.length;
    if (this.#fitted) this.#camera = fitting([place.width, place.height], this.#size);
    this.#draw();
  }

  #ratio(): number {
    return Math.min(window.devicePixelRatio || 1, 2);
  }

  #begin(layer: Layer, ratio = this.#ratio()): CanvasRenderingContext2D {
    return layer.begin(this.#size, this.#camera, ratio);
  }

  #draw(): void {
    if (!this.#place || !this.#shown) return;
    this.#go("nodes", this.#nodeWork());
    this.#drawFocus();
    this.#go("edges", this.#edgeWork());
  }

  /** Do a piece of work in slices, none longer than a frame bears. Work that yields `true` goes on in the next frame. */
  #go(kind: "nodes" | "edges", work: Generator<boolean>): void {
    const run = ++this.#runs[kind];
    const slice = (): void => {
      if (run !== this.#runs[kind]) return;
      const until = performance.now() + SLICE;
      for (;;) {
        const { done, value } = work.next();
        if (done) return;
        if (value || performance.now() > until) break;
      }
      requestAnimationFrame(slice);
    };
    slice();
  }

  // ---------------------------------------------------------------- edges

  *#edgeWork(): Generator<boolean> {
    const { graph, visible, theme } = this.#shown!;
    this.isDone = false;
    this.drawnEdges = 0;
    yield true;
    const order = new Uint32Array(visible.edgesShown);
    let n = 0;
    for (const e of graph.byScore) if (!visible.edges[e]) order[n++] = e;
    const strong = order.subarray(0, STRONG);
    const faint = order.subarray(STRONG);
    const most = order.length ? graph.edges.score[order[0]!]! : 1;
    const [width, height] = this.#size;
    const raster = new Raster(graph, this.#place!, faint, this.#camera, Math.ceil(width), Math.ceil(height));
    const context = this.#begin(this.#strong);
    for (let i = 0; i < strong.length; i++) {
      this.#stroke(context, strong[i]!, most, 1);
      this.strokes++;
      if (i % STROKES_AT_ONCE === STROKES_AT_ONCE - 1) yield true;
    }
    this.firstPicture ||= performance.now();
    while (!raster.step(SLICE)) yield true;
    yield true;
    const image = raster.image(theme);
    yield true;
    this.#begin(this.#faint, 1).putImageData(image, 0, 0);
    this.#strong.end(this.#camera);
    this.#faint.end(this.#camera);
    this.drawnEdges = order.length;
    this.isDone = true;
    this.lastEdge ||= performance.now();
    this.whenDone?.();
  }

  #stroke(context: CanvasRenderingContext2D, e: number, most: number, clear: number): void {
    const { graph, theme } = this.#shown!;
    const { source, target, weight, share, score } = graph.edges;
    const from = this.where(source[e]!)!;
    const to = this.where(target[e]!)!;
    const { width, alpha } = strokeOf(share[e]!, score[e]!, most);
    const isMinus = weight[e]! < 0;
    context.strokeStyle = this.#shown!.colours?.get(e) ?? (isMinus ? theme.minus : theme.plus);
    context.globalAlpha = Math.min(alpha * clear, 1);
    context.lineWidth = width;
    context.setLineDash(isMinus ? (DASHED as number[]) : []);
    context.beginPath();
    context.moveTo(from[0], from[1]);
    context.lineTo(to[0], to[1]);
    context.stroke();
  }

  // ---------------------------------------------------------------- nodes

  *#nodeWork(): Generator<boolean> {
    const place = this.#place!;
    const shown = this.#shown!;
    drawFrame(this.#begin(this.#frame), shown.graph, shown.theme, place, this.#camera);
    const context = this.#begin(this.#nodes);
    const most = greatest(shown.graph.nodes.influence);
    let n = 0;
    for (const row of place.inRow) {
      for (const node of row) {
        this.#drawNode(context, node, most);
        if (++n % NODES_AT_ONCE === 0) yield n % (8 * NODES_AT_ONCE) === 0;
      }
    }
    context.globalAlpha = 1;
    this.#drawStacks(context);
    this.#drawNames(this.#begin(this.#names));
    for (const layer of [this.#frame, this.#nodes, this.#names]) layer.end(this.#camera);
  }

  #drawNode(context: CanvasRenderingContext2D, node: number, most: number): void {
    const { graph, theme, pinned, matches, selected } = this.#shown!;
    const at = this.where(node)!;
    if (at[0] < -20 || at[1] < -20 || at[0] > this.#size[0] + 20 || at[1] > this.#size[1] + 20) return;
    const kind = graph.nodes.kind[node]!;
    const { radius, fill } = lookOf(graph, node, most, theme);
    context.globalAlpha = matches && !matches.has(node) ? 0.22 : 1;
    const sprite = this.#sprite(kind, radius, fill, theme.paper);
    const half = sprite.width / this.#ratio() / 2;
    context.drawImage(sprite, at[0] - half, at[1] - half, 2 * half, 2 * half);
    const isPinned = pinned.has(node);
    const verdict = graph.verdict(node);
    if (isPinned || selected.includes(node) || matches?.has(node)) {
      context.beginPath();
      trace(context, kind, at[0], at[1], radius + 2.5);
      context.lineWidth = isPinned ? 2.2 : 1.6;
      context.strokeStyle = isPinned ? theme.accent : theme.ink;
      context.stroke();
    }
    if (verdict === "confirmed" || verdict === "refuted") {
      context.fillStyle = verdict === "confirmed" ? theme.good : theme.bad;
      context.font = "bold 9px ui-sans-serif, system-ui, sans-serif";
      context.fillText(MARKS[verdict], at[0] + radius, at[1] - radius - 1);
    }
  }

  /** A mark, drawn once for all nodes that look like it. */
  #sprite(kind: number, radius: number, fill: string, line: string): HTMLCanvasElement {
    const [ratio, r] = [this.#ratio(), Math.round(radius * 2) / 2];
    const key = `${kind} ${r} ${fill} ${line} ${ratio}`;
    const known = this.#sprites.get(key);
    if (known) return known;
    const made = document.createElement("canvas");
    made.width = made.height = Math.ceil((2 * r + 3) * ratio);
    const context = made.getContext("2d")!;
    context.setTransform(ratio, 0, 0, ratio, made.width / 2, made.height / 2);
    trace(context, kind, 0, 0, r);
    context.fillStyle = fill;
    context.fill();
    context.strokeStyle = line;
    context.stroke();
    this.#sprites.set(key, made);
    return made;
  }

  #drawStacks(context: CanvasRenderingContext2D): void {
    const { theme } = this.#shown!;
    context.font = "9px ui-sans-serif, system-ui, sans-serif";
    context.fillStyle = theme.ink;
    context.textBaseline = "middle";
    context.textAlign = "center";
    for (const stack of this.#place!.stacks) {
      const [x, y] = [stack.x * this.#camera.k + this.#camera.x, stack.y * this.#camera.k + this.#camera.y];
      context.fillText(`+${stack.nodes.length}`, x + 1, y);
    }
    context.textAlign = "start";
  }

  /** What targets, pinned and the most influential nodes are called, wherever there is room for it. */
  #drawNames(context: CanvasRenderingContext2D): void {
    const { graph, visible, pinned, selected, called } = this.#shown!;
    const place = this.#place!;
    const { kind, influence } = graph.nodes;
    const candidates = place.inRow.flat().filter((i) => !visible.nodes[i] && kind[i] !== Kind.token && kind[i] !== Kind.error && kind[i] !== Kind.bias);
    const weight = (i: number): number =>
      kind[i] === Kind.target ? 4 : selected.includes(i) ? 3 : pinned.has(i) ? 2 : influence[i]!;
    const best = candidates.sort((a, b) => weight(b) - weight(a) || a - b).slice(0, NAMED + pinned.size);
    this.#write(context, best.map((node) => [node, called(node)] as const), false);
  }

  #write(context: CanvasRenderingContext2D, names: readonly (readonly [number, string])[], strong: boolean): void {
    const { theme, graph } = this.#shown!;
    context.font = `${strong ? 600 : 500} 11px ui-sans-serif, system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.lineJoin = "round";
    const taken: (readonly [number, number, number])[] = [];
    for (const [node, name] of names) {
      const text = short(name.replace(/^says /, ""), 20);
      const at = this.where(node)!;
      const width = context.measureText(text).width;
      const isTarget = graph.nodes.kind[node] === Kind.target;
      const right = at[0] + 9 + width > this.#size[0];
      const x = isTarget ? Math.min(at[0] - 6, this.#size[0] - width - 48) : right ? at[0] - 9 - width : at[0] + 9;
      const y = isTarget ? at[1] - 14 : at[1] - 1;
      if (taken.some(([x1, x2, y1]) => Math.abs(y - y1) < 13 && x < x2 && x1 < x + width)) continue;
      taken.push([x, x + width, y]);
      context.strokeStyle = theme.paper;
      context.globalAlpha = 0.9;
      context.lineWidth = 3.5;
      context.strokeText(text, x, y);
      context.globalAlpha = 1;
      context.fillStyle = theme.ink;
      context.fillText(text, x, y);
    }
  }

  // ---------------------------------------------------------------- what is looked at

  #drawFocus(): void {
    const shown = this.#shown;
    if (!shown || !this.#place) return;
    const context = this.#begin(this.#focus);
    context.textBaseline = "middle";
    const looked = this.#hovered !== null ? [this.#hovered] : shown.selected;
    const nodes = looked.filter((node) => !shown.visible.nodes[node]);
    this.host.classList.toggle("dimmed", nodes.length > 0);
    if (nodes.length) this.#drawLooked(context, shown, nodes);
    this.#focus.end(this.#camera);
  }

  #drawLooked(context: CanvasRenderingContext2D, shown: Shown, nodes: readonly number[]): void {
    const edges = this.#edgesOf(nodes);
    const most = edges.reduce((best, e) => Math.max(best, shown.graph.edges.score[e]!), 0);
    for (const e of edges.reverse()) this.#stroke(context, e, most, 1.25);
    context.setLineDash([]);
    this.#drawVerdicts(context, shown, edges);
    this.#drawEnds(context, nodes, edges.reverse());
  }

  /** What tests said of edges, at their middles. */
  #drawVerdicts(context: CanvasRenderingContext2D, { graph, theme }: Shown, edges: readonly number[]): void {
    context.globalAlpha = 1;
    context.font = "bold 11px ui-sans-serif, system-ui, sans-serif";
    context.strokeStyle = theme.paper;
    context.lineWidth = 3.5;
    for (const e of edges) {
      const [source, target] = [graph.edges.source[e]!, graph.edges.target[e]!];
      const verdict = graph.linkVerdict(source, target);
      if (verdict !== "confirmed" && verdict !== "refuted") continue;
      const [from, to] = [this.where(source)!, this.where(target)!];
      const [x, y] = [(from[0] + to[0]) / 2 - 4, (from[1] + to[1]) / 2];
      context.fillStyle = verdict === "confirmed" ? theme.good : theme.bad;
      context.strokeText(MARKS[verdict], x, y);
      context.fillText(MARKS[verdict], x, y);
    }
  }

  #edgesOf(nodes: readonly number[]): number[] {
    const { graph, visible } = this.#shown!;
    const found = new Set<number>();
    for (const node of nodes) {
      for (const e of graph.into(node)) if (!visible.edges[e]) found.add(e);
      for (const e of graph.outOf(node)) if (!visible.edges[e]) found.add(e);
    }
    const { score } = graph.edges;
    return [...found].sort((a, b) => score[b]! - score[a]!).slice(0, FOCUSED);
  }

  #drawEnds(context: CanvasRenderingContext2D, nodes: readonly number[], edges: readonly number[]): void {
    const { graph, theme, called } = this.#shown!;
    const ends = new Set<number>();
    for (const e of edges) ends.add(graph.edges.source[e]!).add(graph.edges.target[e]!);
    const most = greatest(graph.nodes.influence);
    for (const node of ends) if (!this.#place!.stacked[node]) this.#drawNode(context, node, most);
    context.globalAlpha = 1;
    for (const node of nodes) {
      const at = this.where(node)!;
      context.beginPath();
      trace(context, graph.nodes.kind[node]!, at[0], at[1], lookOf(graph, node, most, theme).radius + 3.5);
      context.lineWidth = 2.4;
      context.strokeStyle = theme.accent;
      context.stroke();
    }
    const named = [...nodes, ...[...ends].filter((node) => !nodes.includes(node) && graph.nodes.kind[node] !== Kind.token && graph.nodes.kind[node] !== Kind.error)];
    this.#write(context, named.slice(0, 14).map((node) => [node, called(node)] as const), true);
  }
}

function outside(at: number, low: number, high: number): number {
  return at < low ? at - low : at > high ? at - high : 0;
}

function bucket(x: number, y: number): number {
  return x * 65536 + y;
}
