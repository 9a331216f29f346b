// The graphs of the folder: to open one, to compare two, to bring one from another tool.
import { useRef, useState } from "preact/hooks";
import { server } from "../sources/live";
import { say } from "../state/actions";
import type { GraphRow } from "../wire";
import { basisWords, grouped, inert, joined, short } from "../words";
import { link } from "./route";
import { about, graphs, openId, refresh } from "./state";
import { askTrace } from "./trace";

/** The list where nothing else is open. */
export function Start() {
  const known = about.value;
  return (
    <section class="panel start" aria-label="Graphs">
      <h2>Graphs</h2>
      {known && (
        <p class="dim">
          in <code>{inert(known.folder)}</code> and beneath it; new ones are kept there
        </p>
      )}
      <p class="buttons left">
        <button type="button" class="main" onClick={() => askTrace()}>
          Trace a prompt
        </button>
        <Bring />
      </p>
      <List />
    </section>
  );
}

export function Side() {
  return (
    <div class="live-side">
      <h2>Graphs</h2>
      <List />
    </div>
  );
}

function List() {
  const [marked, setMarked] = useState<string | null>(null);
  const found = graphs.value;
  if (!found) return <p class="hint">The list of graphs is being read.</p>;
  if (!found.graphs.length) {
    return <p class="hint">There is no graph here yet. Trace a prompt, or bring a graph of circuit-tracer or Neuronpedia.</p>;
  }
  return (
    <>
      <ul class="graph-list">
        {found.graphs.map((row) => (
          <Row key={row.id} row={row} marked={marked} mark={setMarked} />
        ))}
      </ul>
      {found.passed_over > 0 && <p class="dim">{joined(found.passed_over, "folder")} not looked into: deeper than five levels, or too many.</p>}
    </>
  );
}

function Row({ row, marked, mark }: { row: GraphRow; marked: string | null; mark: (id: string | null) => void }) {
  if (row.error !== null) {
    return (
      <li class="graph-row is-broken">
        <strong>{short(row.name, 60)}</strong>
        <p class="dim">cannot be read: {inert(row.error)}</p>
      </li>
    );
  }
  const isOpen = row.id === openId.value;
  const [from, to] = [marked ?? openId.value, row.id];
  return (
    <li class={`graph-row ${isOpen ? "is-open" : ""}`}>
      <a href={link.graph(row.id)} aria-current={isOpen ? "page" : undefined}>
        {short(row.prompt, 90) || "∅"}
      </a>
      <p class="dim">
        → {row.targets.slice(0, 3).map((name) => short(name, 20)).join(", ")}
        {row.targets.length > 3 && ", …"} · {joined(row.n_nodes, "node")}, {joined(row.n_edges, "edge")}
        {row.basis && <> · {short(basisWords(row.basis), 30)}</>} · <code>{short(row.name, 60)}</code>
      </p>
      <p class="row-foot">
        {row.evidence ? <Verdicts {...row.evidence} /> : <span class="dim">no claim tested</span>}
        {from && from !== to ? (
          <a class="small" href={link.compare(from, to)}>
            compare{marked ? " with the marked one" : ""}
          </a>
        ) : (
          !openId.value && (
            <button type="button" class="link small" aria-pressed={marked === row.id} onClick={() => mark(marked === row.id ? null : row.id)}>
              {marked === row.id ? "marked" : "compare with …"}
            </button>
          )
        )}
      </p>
    </li>
  );
}

export function Verdicts(counts: { confirmed: number; refuted: number; untested: number }) {
  return (
    <span class="verdicts">
      <span class="v-confirmed">✓ {grouped(counts.confirmed)} confirmed</span> <span class="v-refuted">✗ {grouped(counts.refuted)} refuted</span>{" "}
      <span class="dim">· {grouped(counts.untested)} not decided</span>
    </span>
  );
}

function Bring() {
  const ref = useRef<HTMLInputElement>(null);
  const take = async (files: FileList | null): Promise<void> => {
    const file = files?.[0];
    if (!file) return;
    try {
      const id = await server.send(file);
      await refresh();
      location.assign(link.graph(id));
    } catch (error) {
      say(`${inert(file.name)} was not taken: ${inert(String(error))}`);
    }
    if (ref.current) ref.current.value = "";
  };
  return (
    <>
      <button type="button" onClick={() => ref.current?.click()}>
        Open a graph's JSON
      </button>
      <input ref={ref} type="file" accept="application/json,.json" class="unseen" tabIndex={-1} aria-label="A graph's JSON" onChange={(event) => void take(event.currentTarget.files)} />
    </>
  );
}
