// The whole page.
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Graph } from "../data/graph";
import { view } from "../state/history";
import { failure, graph, hovered, inGraph, selected, toast, told } from "../state/session";
import { inert } from "../words";
import { Connections } from "./Connections";
import { onKey, singleKeys, theme } from "./commands";
import { Detail } from "./Detail";
import { DialogHost } from "./dialog";
import { FilterBar } from "./FilterBar";
import { Header } from "./Header";
import { Ledger } from "./Ledger";
import { LinkGraph } from "./LinkGraph";
import { slots } from "./slots";
import { Subgraph } from "./Subgraph";
import { Table } from "./Table";
import "./wishes";

const SECONDS = 4;
/** Milliseconds after which a pointer rests. */
const PATIENCE = 70;
/** Lines of a list at first: of what is chosen, of what is only looked at. */
const [MANY, FEW] = [40, 20];

export function App() {
  useEffect(() => {
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme.value;
  }, [theme.value]);
  const open = graph.value;
  const Side = slots.side.value;
  const Empty = slots.empty.value;
  return (
    <>
      <a class="skip" href="#graph" onClick={toGraph}>
        To the graph
      </a>
      <div class={`page ${Side ? "has-side" : ""}`} data-keys={singleKeys.value ? "on" : "off"}>
        <Header />
        {Side && (
          <aside class="side" aria-label="Graphs">
            <Side />
          </aside>
        )}
        {failure.value && (
          <p class="failure" role="alert">
            {inert(failure.value)}
          </p>
        )}
        {open && (
          <>
            <Ledger graph={open} />
            <FilterBar graph={open} />
            <main>
              {view.value.panel === "graph" ? <LinkGraph graph={open} /> : <Table graph={open} />}
              <Subgraph graph={open} />
              <Panels graph={open} />
            </main>
          </>
        )}
        {!open && !failure.value && Empty && (
          <main class="empty">
            <Empty />
          </main>
        )}
      </div>
      <DialogHost />
      <Toast />
      <p class="unseen" role="status" aria-live="polite">
        {told.value}
      </p>
    </>
  );
}

/** What the pointer rests on in the graph, or else what is chosen. A pointer that passes by moves no panel. */
function Panels({ graph }: { graph: Graph }) {
  const passing = inGraph.value ? hovered.value : null;
  const [resting, setResting] = useState<number | null>(null);
  useEffect(() => {
    const timer = setTimeout(() => setResting(passing), PATIENCE);
    return () => clearTimeout(timer);
  }, [passing]);
  const nodes = useMemo(() => (resting !== null ? [resting] : selected.value), [resting, selected.value]);
  return (
    <>
      <Connections graph={graph} nodes={nodes} first={resting === null ? MANY : FEW} />
      <Detail graph={graph} node={nodes[0] ?? null} />
    </>
  );
}

function toGraph(event: Event): void {
  event.preventDefault();
  document.getElementById("graph")?.focus();
}

export function Toast() {
  const text = toast.value;
  useEffect(() => {
    if (!text) return;
    const timer = setTimeout(() => (toast.value = ""), SECONDS * 1000);
    return () => clearTimeout(timer);
  }, [text]);
  return text ? (
    <p class="toast" aria-hidden="true">
      {text}
    </p>
  ) : null;
}
