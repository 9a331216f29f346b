// The link graph: tokens from left to right, layers upwards. Pointer, wheel, touch and arrow keys.
import { useEffect, useRef } from "preact/hooks";
import { signal } from "@preact/signals";
import type { Graph } from "../data/graph";
import { zoomed } from "../draw/camera";
import { Scene } from "../draw/scene";
import { themeOf } from "../draw/theme";
import { select } from "../state/actions";
import { change, view } from "../state/history";
import { called, hovered, lookAt, matches, pinned, selected, told, visible } from "../state/session";
import { inert, percent } from "../words";
import { theme, wishes } from "./commands";
import { Glyph, placeOf } from "./parts";

export const scene = signal<Scene | null>(null);
const systemTheme = signal(0);

const KEYED_STEP = 60;

export function LinkGraph({ graph }: { graph: Graph }) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = new Scene(element);
    scene.value = made;
    const sizes = new ResizeObserver(() => made.resize(element.clientWidth, element.clientHeight));
    sizes.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const contrast = matchMedia("(forced-colors: active)");
    const turned = (): void => void systemTheme.value++;
    dark.addEventListener("change", turned);
    contrast.addEventListener("change", turned);
    const pointing = new Pointing(element, made);
    wishes.fit = () => made.fit();
    wishes.zoom = (factor) => made.look(zoomed(made.camera, factor, [made.size[0] / 2, made.size[1] / 2]));
    made.resize(element.clientWidth, element.clientHeight);
    return () => {
      sizes.disconnect();
      dark.removeEventListener("change", turned);
      contrast.removeEventListener("change", turned);
      pointing.close();
      made.close();
      wishes.fit = () => {};
      wishes.zoom = () => {};
      scene.value = null;
    };
  }, [graph]);
  const [now, chosen, found, pins, fanned] = [visible.value, selected.value, matches.value, pinned.value, view.value.fanned];
  const [labels, groups] = [view.value.labels, view.value.groups];
  useEffect(() => {
    if (!scene.value || !host.current || !now) return;
    // A theme that was just chosen is not yet that of the document.
    document.documentElement.dataset["theme"] = theme.value;
    const colours = themeKept(host.current, `${theme.value} ${systemTheme.value}`);
    scene.value.show({ graph, visible: now, fanned, theme: colours, pinned: pins, selected: chosen, matches: found, called });
  }, [graph, now, chosen, found, pins, fanned, labels, groups, graph.evidence.value, theme.value, systemTheme.value, scene.value]);
  useEffect(() => {
    const first = chosen[0];
    if (chosen.length === 1 && first !== undefined) scene.value?.reveal(first);
  }, [chosen]);
  return (
    <section class="panel links" aria-label="Link graph">
      <div
        ref={host}
        id="graph"
        class="canvas"
        role="application"
        aria-roledescription="graph"
        aria-label={`Link graph of ${graph.n} nodes and ${graph.m} edges. Arrow keys walk from node to node, Enter chooses, Shift and Enter adds. The table view has the same as rows.`}
        tabIndex={0}
        onKeyDown={(event) => keys(event, graph)}
      />
      <Tip graph={graph} />
      <div class="zoom" role="group" aria-label="Zoom">
        <button type="button" aria-label="Closer" title="Closer (+)" onClick={() => wishes.zoom(1.4)}>
          +
        </button>
        <button type="button" aria-label="Farther" title="Farther (−)" onClick={() => wishes.zoom(1 / 1.4)}>
          −
        </button>
        <button type="button" aria-label="Show the whole graph" title="Show the whole graph (f)" onClick={() => wishes.fit()}>
          ⤢
        </button>
        <button type="button" aria-label="Table of nodes and edges" title="Table (t)" onClick={() => change({ panel: "table" })}>
          ☰
        </button>
        {fanned.length > 0 && (
          <button type="button" aria-label="Stack the cells that are fanned out" title="Stack again" onClick={() => change({ fanned: [] })}>
            ⊟
          </button>
        )}
      </div>
      <p class="legend dim">
        ● feature ■ token, target ◆ error ▲ bias <span class="is-plus">— adds</span> <span class="is-minus">┄ takes away</span>
      </p>
    </section>
  );
}

let kept: { key: string; theme: ReturnType<typeof themeOf> } | null = null;

function themeKept(element: Element, key: string): ReturnType<typeof themeOf> {
  if (kept?.key !== key) kept = { key, theme: themeOf(element) };
  return kept.theme;
}

/** What is under the pointer, in short. */
function Tip({ graph }: { graph: Graph }) {
  const node = hovered.value;
  useEffect(() => scene.value?.hover(node), [node]);
  const at = node === null ? null : scene.value?.where(node);
  if (node === null || !at || !scene.value || scene.value.place?.stacked[node]) return null;
  const [width] = scene.value.size;
  const isRight = at[0] > width / 2;
  return (
    <div
      class="tip"
      aria-hidden="true"
      style={{ top: `${at[1] + 12}px`, ...(isRight ? { right: `${width - at[0] + 10}px` } : { left: `${at[0] + 10}px` }) }}
    >
      <strong>
        <Glyph kind={graph.kind(node)} /> {inert(called(node)).slice(0, 80)}
      </strong>
      <span>
        {graph.names[node]} · {placeOf(graph, node)}
      </span>
      {graph.kind(node) !== "target" && <span>influence {percent(graph.nodes.influence[node]!)}</span>}
    </div>
  );
}

// ---------------------------------------------------------------- keys

function keys(event: KeyboardEvent, graph: Graph): void {
  const place = scene.value?.place;
  if (!place || event.ctrlKey || event.metaKey || event.altKey) return;
  const now = hovered.value ?? selected.value.at(-1) ?? null;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    if (hovered.value !== null) select(hovered.value, event.shiftKey);
    return;
  }
  if (event.shiftKey && event.key.startsWith("Arrow")) {
    event.preventDefault();
    const { camera } = scene.value!;
    const dx = { ArrowLeft: KEYED_STEP, ArrowRight: -KEYED_STEP }[event.key] ?? 0;
    const dy = { ArrowUp: KEYED_STEP, ArrowDown: -KEYED_STEP }[event.key] ?? 0;
    return scene.value!.look({ ...camera, x: camera.x + dx, y: camera.y + dy });
  }
  const next = neighbour(event.key, now);
  if (next === undefined) return;
  event.preventDefault();
  if (next === null) return;
  lookAt(next, "graph");
  scene.value?.reveal(next);
  told.value = `${graph.names[next]}, ${inert(called(next))}, influence ${percent(graph.nodes.influence[next]!)}`;
}

/** The node that an arrow key leads to; undefined for other keys, null where there is none. */
function neighbour(key: string, from: number | null): number | null | undefined {
  const place = scene.value?.place;
  if (!place || !["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(key)) return undefined;
  const rows = place.inRow;
  const row = from === null ? -1 : rows.findIndex((nodes) => nodes.includes(from));
  if (row < 0 || from === null) return rows.findLast((nodes) => nodes.length > 0)?.[0] ?? null;
  const here = rows[row] ?? [];
  const at = here.indexOf(from);
  switch (key) {
    case "ArrowLeft":
      return here[at - 1] ?? from;
    case "ArrowRight":
      return here[at + 1] ?? from;
    case "Home":
      return here[0] ?? from;
    case "End":
      return here.at(-1) ?? from;
    default: {
      const step = key === "ArrowUp" ? 1 : -1;
      for (let r = row + step; r >= 0 && r < rows.length; r += step) {
        const nearest = closest(rows[r] ?? [], place.x, place.x[from]!);
        if (nearest !== null) return nearest;
      }
      return from;
    }
  }
}

function closest(nodes: readonly number[], x: Float32Array, at: number): number | null {
  let best: number | null = null;
  for (const node of nodes) if (best === null || Math.abs(x[node]! - at) < Math.abs(x[best]! - at)) best = node;
  return best;
}

// ---------------------------------------------------------------- pointers

const STILL = 4;

/** Hover, click, drag, wheel, and two fingers. */
class Pointing {
  readonly #away = new AbortController();
  readonly #pointers = new Map<number, readonly [number, number]>();
  #moved = 0;

  constructor(
    readonly element: HTMLElement,
    readonly scene: Scene,
  ) {
    const on = <Name extends keyof HTMLElementEventMap>(name: Name, act: (event: HTMLElementEventMap[Name]) => void, passive = true): void =>
      element.addEventListener(name, act, { signal: this.#away.signal, passive });
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => {
      this.#moved = Infinity;
      this.#up(event);
    });
    on("pointerleave", () => this.#pointers.size === 0 && lookAt(null, "graph"));
    on("wheel", (event) => this.#wheel(event), false);
    on("dblclick", () => scene.fit());
  }

  close(): void {
    this.#away.abort();
  }

  #at(event: MouseEvent): readonly [number, number] {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #down(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.element.focus({ preventScroll: true });
    this.element.setPointerCapture(event.pointerId);
    if (!this.#pointers.size) this.#moved = 0;
    this.#pointers.set(event.pointerId, this.#at(event));
  }

  #move(event: PointerEvent): void {
    const now = this.#at(event);
    const was = this.#pointers.get(event.pointerId);
    if (!was) {
      const { node, stack } = this.scene.hit(now[0], now[1]);
      this.element.style.cursor = node !== null || stack ? "pointer" : "";
      if (node !== hovered.value) lookAt(node, "graph");
      return;
    }
    const [dx, dy] = [now[0] - was[0], now[1] - was[1]];
    this.#moved += Math.abs(dx) + Math.abs(dy);
    if (this.#moved <= STILL) return;
    const { camera } = this.scene;
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, now);
    if (other) {
      const factor = Math.hypot(now[0] - other[0], now[1] - other[1]) / Math.max(Math.hypot(was[0] - other[0], was[1] - other[1]), 1);
      this.scene.look(zoomed(camera, factor, other), true);
    } else this.scene.look({ ...camera, x: camera.x + dx, y: camera.y + dy }, true);
  }

  #up(event: PointerEvent): void {
    const was = this.#pointers.delete(event.pointerId);
    if (!was || this.#pointers.size) return;
    if (this.#moved > STILL) return this.scene.look(this.scene.camera);
    const { node, stack } = this.scene.hit(...this.#at(event));
    if (stack) change({ fanned: [...view.value.fanned, stack.cell] });
    else select(node, event.shiftKey || event.ctrlKey || event.metaKey);
  }

  #wheel(event: WheelEvent): void {
    event.preventDefault();
    const size = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
    this.scene.look(zoomed(this.scene.camera, Math.exp(-size / 300), this.#at(event)));
  }
}
