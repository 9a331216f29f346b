// The subgraph: what was pinned and grouped, small enough to be read as a sentence.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Graph } from "../data/graph";
import { type Box, boxesOf, FEW, heightFor, MOST, type Spot, spread } from "../draw/boxes";
import { DASHED, MARKS } from "../draw/marks";
import { select, selectAll, unpinAll, ungroup, rename } from "../state/actions";
import { change, settle, view } from "../state/history";
import { called, groups, lookAt, pinned, selected, visible } from "../state/session";
import { inert, joined, percent, short } from "../words";
import { askText } from "./asking";
import { sentence } from "./claims";
import { GLYPHS } from "./parts";

const SIZE = [118, 30] as const;

export function Subgraph({ graph }: { graph: Graph }) {
  const host = useRef<HTMLDivElement>(null);
  const [isAll, setAll] = useState(false);
  const [room, setRoom] = useState<readonly [number, number]>([600, 240]);
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const sizes = new ResizeObserver(() => setRoom([element.clientWidth, element.clientHeight]));
    sizes.observe(element);
    return () => sizes.disconnect();
  }, []);
  const [now, held, pins] = [visible.value, groups.value, pinned.value];
  const found = useMemo(
    () => now && boxesOf(graph, held, pins, now.nodes, isAll ? MOST : FEW),
    [graph, held, pins, now, isAll],
  );
  if (!found) return null;
  const { boxes, links, left, faint } = found;
  const width = Math.min(SIZE[0], Math.max(room[0] / 4, 84));
  const space = [Math.max(room[0], 200), Math.max(room[1], heightFor(boxes.length, room[0], [width, SIZE[1]]), 120)] as const;
  const spots = spread(boxes, space, [width, SIZE[1]]).map((spot, i) => put(view.value.places[boxes[i]!.key], spot, space));
  const most = links.reduce((best, link) => Math.max(best, link.score), 0) || 1;
  return (
    <section class="panel subgraph" aria-label="Subgraph">
      <header>
        <h2>
          Subgraph <span class="dim">{joined(groups.value.length, "group")}, {joined(pinned.value.size, "pinned node")}</span>
        </h2>
        <span class="dim small">
          {[left > 0 ? `${joined(left, "lighter box", "lighter boxes")} left out` : "", faint > 0 ? `${joined(faint, "faint link")} not drawn` : ""]
            .filter(Boolean)
            .join(", ")}
        </span>
        {(isAll || left > 0) && (
          <button type="button" class="link" onClick={() => setAll(!isAll)}>
            {isAll ? "fewer" : "more"}
          </button>
        )}
        <span class="space" />
        {Object.keys(view.value.places).length > 0 && (
          <button type="button" class="link" onClick={() => change({ places: {} })}>
            arrange
          </button>
        )}
        {pinned.value.size > 0 && (
          <button type="button" class="link" onClick={unpinAll}>
            unpin all
          </button>
        )}
      </header>
      <div class="boxes" ref={host}>
        <svg width={space[0]} height={space[1]} role="group" aria-label={`Subgraph of ${boxes.length} boxes`}>
          {links.map((link) => {
            const [a, b] = [spots[link.from]!, spots[link.to]!];
            const part = link.plus / (link.score || 1);
            const claim = graph.groupClaim(new Set(boxes[link.from]!.nodes), new Set(boxes[link.to]!.nodes));
            return (
              <g key={`${link.from} ${link.to}`}>
              <line
                class={part < 0.5 ? "edge minus" : "edge plus"}
                x1={a.x}
                y1={a.y + (SIZE[1] / 2) * Math.sign(b.y - a.y)}
                x2={b.x}
                y2={b.y + (SIZE[1] / 2) * Math.sign(a.y - b.y)}
                stroke-width={0.8 + 5 * Math.sqrt(link.score / most)}
                stroke-opacity={0.25 + 0.6 * Math.sqrt(link.score / most)}
                stroke-dasharray={part < 0.5 ? DASHED.join(" ") : undefined}
              >
                <title>{[`${percent(link.score)} of all influence, ${percent(part)} of it adds`, claim ? sentence(claim) : ""].filter(Boolean).join("\n")}</title>
              </line>
              {claim && claim.verdict !== "untested" && (
                <text class={`mark of-link v-${claim.verdict}`} x={(a.x + b.x) / 2} y={(a.y + b.y) / 2} data-link={`${boxes[link.from]!.key} ${boxes[link.to]!.key}`}>
                  <title>{sentence(claim)}</title>
                  {MARKS[claim.verdict]}
                </text>
              )}
              </g>
            );
          })}
          {boxes.map((box, i) => (
            <BoxMark key={box.key} graph={graph} box={box} spot={spots[i]!} width={width} space={space} />
          ))}
        </svg>
      </div>
    </section>
  );
}

function put(own: readonly [number, number] | undefined, spot: Spot, space: readonly [number, number]): Spot {
  return own ? { x: own[0] * space[0], y: own[1] * space[1] } : spot;
}

function BoxMark(props: { graph: Graph; box: Box; spot: Spot; width: number; space: readonly [number, number] }) {
  const { graph, box, spot, width, space } = props;
  const drag = useRef<{ x: number; y: number; moved: boolean } | null>(null);
  const held = groups.value[box.group];
  const first = box.nodes[0]!;
  const name = held ? held.name : called(first).replace(/^says /, "");
  const kind = graph.kind(first);
  const verdicts = new Set(box.nodes.map((node) => graph.verdict(node)));
  const verdict = verdicts.size === 1 ? [...verdicts][0] : null;
  const share = box.nodes.reduce((sum, node) => sum + graph.nodes.influence[node]!, 0);
  const isChosen = box.nodes.every((node) => selected.value.includes(node));
  const shown = short(name, Math.floor((width - (box.nodes.length > 1 ? 52 : 26)) / 6.8));
  const words = `${shown}${box.nodes.length > 1 ? ` ×${box.nodes.length}` : ""}${shown === inert(name) ? "" : `, ${name}`}${kind === "target" ? "" : `, influence ${percent(share)}`}${verdict ? `, ${verdict}` : ""}${held ? `. ${held.reason}` : ""}`;
  const choose = (add: boolean): void => (box.nodes.length > 1 && !add ? selectAll(box.nodes) : box.nodes.length > 1 ? selectAll([...new Set([...selected.value, ...box.nodes])]) : select(first, add));
  return (
    <g
      class={`box k-${kind} ${held ? "is-group" : ""} ${isChosen ? "chosen" : ""} ${pinned.value.has(first) ? "is-pinned" : ""}`}
      transform={`translate(${spot.x - width / 2} ${spot.y - SIZE[1] / 2})`}
      role="button"
      tabindex={0}
      aria-label={inert(words)}
      aria-pressed={isChosen}
      data-box={box.key}
      onPointerEnter={() => box.nodes.length === 1 && lookAt(first, "list")}
      onPointerLeave={() => lookAt(null, "list")}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        drag.current = { x: event.clientX - spot.x, y: event.clientY - spot.y, moved: false };
      }}
      onPointerMove={(event) => {
        const from = drag.current;
        if (!from) return;
        const [x, y] = [event.clientX - from.x, event.clientY - from.y];
        if (!from.moved && Math.hypot(x - spot.x, y - spot.y) < 5) return;
        from.moved = true;
        const at = [Math.min(Math.max(x / space[0], 0.02), 0.98), Math.min(Math.max(y / space[1], 0.05), 0.95)] as const;
        change({ places: { ...view.value.places, [box.key]: at } }, `move ${box.key}`);
      }}
      onPointerUp={(event) => {
        const moved = drag.current?.moved;
        drag.current = null;
        settle();
        if (!moved) choose(event.shiftKey || event.ctrlKey || event.metaKey);
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          choose(event.shiftKey);
        } else if (event.key === "Delete" && held) ungroup(box.group);
        else if (event.key === "F2" && held) askRename(box.group, held.name);
      }}
      onDblClick={() => held && askRename(box.group, held.name)}
    >
      <title>{inert(words)}</title>
      {box.nodes.length > 1 && <rect class="behind" x={3} y={3} width={width} height={SIZE[1]} rx={6} />}
      <rect width={width} height={SIZE[1]} rx={6} />
      <text x={8} y={SIZE[1] / 2 + 1}>
        <tspan class={`glyph k-${kind}`} aria-hidden="true">{GLYPHS[kind]}</tspan> {shown}
      </text>
      {box.nodes.length > 1 && (
        <text class="many" aria-hidden="true" x={width - 6} y={SIZE[1] / 2 + 1}>
          ×{box.nodes.length}
        </text>
      )}
      {verdict && (
        <text class={`mark v-${verdict}`} aria-hidden="true" x={width - 2} y={2}>
          {MARKS[verdict]}
        </text>
      )}
    </g>
  );
}

function askRename(number: number, name: string): void {
  askText("Rename", "The group's name", name, (text) => text && rename(number, text));
}
