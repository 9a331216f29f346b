// Starts the page: finds where graphs come from, opens what is there, and keeps the address up to date.
import { effect } from "@preact/signals";
import { render } from "preact";
import "./style.css";
import { savedState } from "./exports/html";
import { show, view } from "./state/history";
import { failure, graph, open, source, visible } from "./state/session";
import { read, START, written } from "./state/view";
import { type Host, live } from "./live";
import { embeddedSource, hasEmbedded } from "./sources/embedded";
import { App } from "./ui/App";
import { scene } from "./ui/LinkGraph";

declare global {
  interface Window {
    micrographia: object;
  }
}

async function start(): Promise<void> {
  const root = document.getElementById("app");
  if (!root) throw new Error("There is no place for the page.");
  const host: Host = hasEmbedded() ? { source: embeddedSource() } : live();
  const Page = host.page ?? App;
  render(<Page />, root);
  if (!host.source) return;
  await open(host.source);
  fromAddress(location.hash.slice(1) || savedState());
  window.addEventListener("hashchange", () => {
    if (location.hash.slice(1) !== last) fromAddress(location.hash.slice(1));
  });
  effect(() => toAddress(written(view.value)));
}

let last = "";

function fromAddress(text: string): void {
  last = text;
  show(text ? read(text) ?? START : START, false);
}

function toAddress(text: string): void {
  if (text === last) return;
  last = text;
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

const ready = start().catch((error: unknown) => {
  failure.value = `The page cannot show this: ${error instanceof Error ? error.message : String(error)}`;
});

/** For tests: what is shown, in numbers. */
window.micrographia = {
  ready,
  get state() {
    return view.value;
  },
  get source() {
    return source.value;
  },
  get graph() {
    return graph.value;
  },
  get visible() {
    return visible.value;
  },
  get scene() {
    return scene.value;
  },
  /** Open the same source anew, as when another graph is chosen. */
  async reopen() {
    if (source.value) await open(source.value);
  },
  counts() {
    const [now, drawn] = [visible.value, scene.value];
    return {
      nodes: graph.value?.n ?? 0,
      edges: graph.value?.m ?? 0,
      nodes_drawn: drawn?.drawnNodes ?? 0,
      edges_drawn: drawn?.isDone ? drawn.drawnEdges : -1,
      strokes: drawn?.strokes ?? 0,
      nodes_hidden: now?.nodesHidden ?? {},
      edges_hidden: now?.edgesHidden ?? {},
    };
  },
};
