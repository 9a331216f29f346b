// Nodes and edges as rows: sortable, to be walked by keys, copied as TSV. Only the rows in sight are in the page.
import { useMemo, useRef, useState } from "preact/hooks";
import type { Graph } from "../data/graph";
import { say, select } from "../state/actions";
import { change, view } from "../state/history";
import { lookAt, selected, visible } from "../state/session";
import type { Sorting } from "../state/view";
import { copy } from "../exports/save";
import { grouped, joined, percent, short, significant } from "../words";
import { GLYPHS } from "./parts";
import { type ColumnForm, columnsOf, rowsOf, tsv } from "./rows";

const HEIGHT = 28;
const SPARE = 12;

export function Table({ graph }: { graph: Graph }) {
  const sorting = view.value.table;
  const now = visible.value;
  const host = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [active, setActive] = useState(0);
  const rows = useMemo(() => (now ? rowsOf(graph, now, sorting) : new Uint32Array()), [graph, now, sorting, view.value.labels]);
  const columns = columnsOf(sorting.rows);
  const inSight = Math.ceil((host.current?.clientHeight ?? 600) / HEIGHT);
  const first = Math.max(Math.floor(top / HEIGHT) - SPARE, 0);
  const last = Math.min(first + inSight + 2 * SPARE, rows.length);
  const nodeOf = (row: number): number => (sorting.rows === "nodes" ? row : graph.edges.target[row]!);
  const goTo = (at: number): void => {
    const to = Math.min(Math.max(at, 0), rows.length - 1);
    setActive(to);
    const element = host.current;
    if (!element || to < 0) return;
    const y = to * HEIGHT;
    if (y < element.scrollTop) element.scrollTop = y;
    else if (y + 2 * HEIGHT > element.scrollTop + element.clientHeight) element.scrollTop = y + 2 * HEIGHT - element.clientHeight;
  };
  const onKey = (event: KeyboardEvent): void => {
    const page = Math.max(inSight - 2, 1);
    const to = { ArrowDown: active + 1, ArrowUp: active - 1, Home: 0, End: rows.length - 1, PageDown: active + page, PageUp: active - page }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      goTo(to);
    } else if (event.key === "Enter" && event.target === host.current && rows.length) {
      event.preventDefault();
      select(nodeOf(rows[active]!), event.shiftKey);
    }
  };
  return (
    <section class="panel table" aria-label="Table">
      <header>
        <div class="set" role="group" aria-label="Rows">
          {(["nodes", "edges"] as const).map((each) => (
            <button type="button" class="tab" key={each} aria-pressed={sorting.rows === each} onClick={() => sortRows(each)}>
              {each} <span class="count">{grouped(each === "nodes" ? now?.nodesShown ?? 0 : now?.edgesShown ?? 0)}</span>
            </button>
          ))}
        </div>
        <span class="space" />
        <button
          type="button"
          onClick={() => {
            void copy(tsv(graph, rows, sorting.rows)).then((done) => say(done ? `${joined(rows.length, "row")} copied as TSV.` : "This browser does not let pages copy; use Export."));
          }}
        >
          Copy as TSV
        </button>
        <button type="button" onClick={() => change({ panel: "graph" })}>
          Back to the graph
        </button>
      </header>
      <div
        class="grid"
        id="graph"
        ref={host}
        tabIndex={0}
        role="table"
        aria-label={`${sorting.rows} that are shown`}
        aria-rowcount={rows.length + 1}
        aria-colcount={columns.length}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
        onKeyDown={onKey}
      >
        <div role="rowgroup" class="heads">
          <div role="row" aria-rowindex={1} class={`row of-${sorting.rows}`}>
            {columns.map((column) => (
              <Head key={column.name} column={column} sorting={sorting} />
            ))}
          </div>
        </div>
        <div role="rowgroup" style={{ height: `${rows.length * HEIGHT}px`, position: "relative" }}>
          {Array.from(rows.subarray(first, last), (row, i) => {
            const at = first + i;
            const node = nodeOf(row);
            return (
              <div
                role="row"
                key={row}
                aria-rowindex={at + 2}
                class={`row of-${sorting.rows} ${at === active ? "active" : ""} ${selected.value.includes(node) ? "chosen" : ""}`}
                style={{ transform: `translateY(${at * HEIGHT}px)` }}
                onClick={(event) => {
                  setActive(at);
                  select(node, event.shiftKey);
                }}
                onPointerEnter={() => lookAt(node, "graph")}
                onPointerLeave={() => lookAt(null, "graph")}
              >
                {columns.map((column) => (
                  <span role="cell" key={column.name} class={column.isNumber ? "n" : undefined}>
                    {cellOf(graph, column, row)}
                  </span>
                ))}
              </div>
            );
          })}
        </div>
      </div>
    </section>
  );
}

function Head({ column, sorting }: { column: ColumnForm; sorting: Sorting }) {
  const isBy = sorting.by === column.name;
  return (
    <span role="columnheader" class={column.isNumber ? "n" : undefined} aria-sort={isBy ? (sorting.descending ? "descending" : "ascending") : "none"}>
      <button
        type="button"
        onClick={() => change({ table: { ...sorting, by: column.name, descending: isBy ? !sorting.descending : column.isNumber } })}
      >
        {column.words}
        <span aria-hidden="true">{isBy ? (sorting.descending ? " ↓" : " ↑") : ""}</span>
      </button>
    </span>
  );
}

function sortRows(rows: Sorting["rows"]): void {
  change({ table: { rows, by: rows === "nodes" ? "influence" : "score", descending: true } });
}

function cellOf(graph: Graph, column: ColumnForm, row: number): string {
  const value = column.value(graph, row);
  if (typeof value === "string") return column.name === "kind" ? `${GLYPHS[graph.kind(row)]} ${value}` : short(value, 60);
  if (column.name === "influence" || column.name === "share" || column.name === "score") return percent(value);
  if ((column.name === "layer" || column.name === "position") && value < 0) return "";
  return significant(value);
}
