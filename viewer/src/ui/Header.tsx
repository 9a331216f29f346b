// The prompt as chips, what is explained, and the menus.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Graph } from "../data/graph";
import { graph, lookAt, matches, selected } from "../state/session";
import { select, selectAll } from "../state/actions";
import { canRedo, canUndo, change, redo, settle, undo, view } from "../state/history";
import { basisWords, inert, joined, percent, short } from "../words";
import { type Command, commands, keyName, wishes } from "./commands";
import { slots } from "./slots";

export function Header() {
  const open = graph.value;
  return (
    <header class="top">
      <div class="bar">
        <h1>Micrographia</h1>
        {slots.bar.value.map((Item, i) => (
          <Item key={i} />
        ))}
        <span class="space" />
        {open && <Search />}
        <button type="button" class="icon" title="Undo (Ctrl Z)" aria-label="Undo" disabled={!canUndo.value} onClick={undo}>
          ↶
        </button>
        <button type="button" class="icon" title="Redo (Ctrl Y)" aria-label="Redo" disabled={!canRedo.value} onClick={redo}>
          ↷
        </button>
        <Menu />
        <button type="button" onClick={() => wishes.exporting()} disabled={!open}>
          Export
        </button>
        <button type="button" class="icon" title="Keys and signs (?)" aria-label="Keys and signs" onClick={() => wishes.help()}>
          ?
        </button>
      </div>
      {open && <Prompt graph={open} />}
    </header>
  );
}

function Prompt({ graph }: { graph: Graph }) {
  const { prompt, targets, facts } = graph.document;
  const { influence } = graph.nodes;
  const nodes = prompt.pieces.map((_, i) => graph.find(`token@${i}`));
  const most = Math.max(...nodes.map((node) => (node === undefined ? 0 : influence[node]!)), 1e-9);
  const hidden = view.value.filters.positions;
  return (
    <div class="prompt">
      <div class="chips" role="group" aria-label="Prompt">
        {prompt.pieces.map((piece, i) => {
          const node = nodes[i];
          const share = node === undefined ? 0 : influence[node]!;
          return (
            <button
              type="button"
              key={i}
              class={`chip ${hidden.includes(i) ? "off" : ""}`}
              style={{ "--tint": `${Math.round((46 * share) / most)}%` }}
              aria-pressed={node !== undefined && selected.value.includes(node)}
              disabled={node === undefined}
              title={`${i}: ${percent(share)} of the influence`}
              onClick={(event) => node !== undefined && select(node, event.shiftKey)}
              onPointerEnter={() => node !== undefined && lookAt(node, "graph")}
              onPointerLeave={() => lookAt(null, "graph")}
            >
              {short(piece, 30) || "∅"}
            </button>
          );
        })}
      </div>
      <p class="answer">
        <span aria-hidden="true">→ </span>
        {targets.slice(0, 4).map((target, i) => (
          <span key={i}>
            {i > 0 && ", "}
            <button type="button" class="link" onClick={() => select(graph.find(`target.${i}`) ?? null)}>
              {short(target.name, 40) || "∅"}
            </button>
            {target.probability !== null && <span class="dim"> {target.probability.toFixed(3)}</span>}
          </span>
        ))}
        {targets.length > 4 && <span class="dim"> and {joined(targets.length - 4, "other")}</span>}
        {facts && <span class="dim model"> {short(`${facts.model}, read in ${basisWords(facts.basis)}`, 80)}</span>}
      </p>
    </div>
  );
}

function Search() {
  const ref = useRef<HTMLInputElement>(null);
  useEffect(() => {
    wishes.search = () => ref.current?.focus();
  }, []);
  const found = matches.value;
  return (
    <form
      class="search"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        if (found?.size) selectAll([...found].slice(0, 200));
      }}
    >
      <input
        ref={ref}
        type="search"
        aria-label="Search nodes, labels and tokens"
        placeholder="Search  /"
        value={view.value.query}
        onInput={(event) => change({ query: event.currentTarget.value.slice(0, 400) }, "query")}
        onBlur={settle}
      />
      {found && (
        <span class="dim found" aria-live="polite" title={inert(view.value.query)}>
          {joined(found.size, "node")}
        </span>
      )}
    </form>
  );
}

/** Everything that there is a key for, to be found without one. */
function Menu() {
  const [isOpen, setOpen] = useState(false);
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!isOpen) return;
    ref.current?.querySelector<HTMLElement>("[role=menuitem]:not([aria-disabled=true])")?.focus();
    const away = (event: Event): void => {
      if (!ref.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [isOpen]);
  const run = (command: Command): void => {
    setOpen(false);
    command.run();
  };
  return (
    <div class="menu" ref={ref}>
      <button type="button" aria-haspopup="menu" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        Menu
      </button>
      {isOpen && (
        <div class="sheet" role="menu" aria-label="Menu" onKeyDown={(event) => walk(event, () => setOpen(false))}>
          {(["Node", "View", "Edit", "Page"] as const).map((part) => (
            <div role="group" aria-label={part} key={part}>
              <div class="part" aria-hidden="true">
                {part}
              </div>
              {commands()
                .filter((one) => one.menu === part)
                .map((one) => {
                  const can = one.can?.() ?? true;
                  return (
                    <button
                      type="button"
                      role="menuitem"
                      key={one.name}
                      aria-disabled={!can}
                      aria-keyshortcuts={one.ctrl ? `Control+${one.key}` : one.key}
                      onClick={() => can && run(one)}
                    >
                      <span>{one.name}</span>
                      <kbd>{keyName(one)}</kbd>
                    </button>
                  );
                })}
            </div>
          ))}
        </div>
      )}
    </div>
  );
}

function walk(event: KeyboardEvent & { currentTarget: HTMLElement }, close: () => void): void {
  const items = [...event.currentTarget.querySelectorAll<HTMLElement>("[role=menuitem]")];
  const at = items.indexOf(document.activeElement as HTMLElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (event.key === "Escape" || event.key === "Tab") {
    close();
    if (event.key === "Escape") {
      event.preventDefault();
      event.currentTarget.parentElement?.querySelector("button")?.focus();
    }
  } else if (to !== undefined) {
    event.preventDefault();
    items[(to + items.length) % items.length]?.focus();
  }
}
