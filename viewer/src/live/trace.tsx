// A new trace: what is asked, how far it is, and the graph when it is there.
import { useState } from "preact/hooks";
import { server } from "../sources/live";
import { closeDialog, openDialog } from "../ui/dialog";
import type { TraceRequest } from "../wire";
import { link } from "./route";
import { about, follow, refresh } from "./state";

const FIRST: TraceRequest = {
  prompt: "",
  target: null,
  against: null,
  position: -1,
  nodes: 2048,
  share: 0.8,
  node_share: 0.8,
  edge_share: 0.98,
  basis: null,
};
let last: TraceRequest = FIRST;

export function askTrace(prompt?: string): void {
  openDialog("Trace a prompt", () => <Form start={prompt === undefined ? last : { ...last, prompt }} />);
}

function Form({ start }: { start: TraceRequest }) {
  const [wanted, set] = useState(start);
  const put = (made: Partial<TraceRequest>): void => set({ ...wanted, ...made });
  const share = (name: "share" | "node_share" | "edge_share", words: string) => (
    <label class="asked short">
      {words}
      <input
        type="number"
        min="0.01"
        max="1"
        step="0.01"
        value={wanted[name]}
        onInput={(event) => put({ [name]: Number(event.currentTarget.value) || FIRST[name] })}
      />
    </label>
  );
  return (
    <form
      class="trace-form"
      onSubmit={(event) => {
        event.preventDefault();
        last = wanted;
        closeDialog();
        void begin(wanted);
      }}
    >
      <label class="asked">
        The text that the model goes on from
        <textarea rows={3} required maxLength={100_000} data-first value={wanted.prompt} onInput={(event) => put({ prompt: event.currentTarget.value })} />
      </label>
      <label class="asked">
        The token to explain, its space included; empty: the likeliest ones
        <input type="text" maxLength={200} autocomplete="off" value={wanted.target ?? ""} onInput={(event) => put({ target: event.currentTarget.value || null })} />
      </label>
      <label class="asked">
        Against this token: why is the other likelier? Empty: no comparison
        <input type="text" maxLength={200} autocomplete="off" value={wanted.against ?? ""} onInput={(event) => put({ against: event.currentTarget.value || null })} />
      </label>
      <details>
        <summary>More</summary>
        <div class="asked-row">
          <label class="asked short">
            Position
            <input type="number" step="1" value={wanted.position} onInput={(event) => put({ position: Math.trunc(Number(event.currentTarget.value)) })} />
          </label>
          <label class="asked short">
            Features at most
            <input type="number" min="1" max="100000" step="1" value={wanted.nodes} onInput={(event) => put({ nodes: Math.max(1, Math.trunc(Number(event.currentTarget.value))) })} />
          </label>
          <label class="asked short">
            Basis
            <select value={wanted.basis ?? ""} onChange={(event) => put({ basis: (event.currentTarget.value || null) as TraceRequest["basis"] })}>
              <option value="">{about.value?.basis || "as started"}</option>
              <option value="neurons">neurons</option>
              <option value="transcoders">transcoders</option>
            </select>
          </label>
          {share("share", "Influence traced")}
          {share("node_share", "Nodes shown for")}
          {share("edge_share", "Edges shown for")}
        </div>
      </details>
      <p class="buttons">
        <button type="button" onClick={closeDialog}>
          Cancel
        </button>
        <button type="submit" class="main" disabled={!wanted.prompt}>
          Trace
        </button>
      </p>
    </form>
  );
}

async function begin(wanted: TraceRequest): Promise<void> {
  // Whoever looks at a graph, or at anything else, is not taken away from it.
  const stays = location.pathname !== link.start;
  const found = await follow(`Trace of ${wanted.prompt}`, server.trace(wanted), undefined, (one) => (stays ? link.graph(one.id) : null));
  if (!found) return;
  await refresh();
  if (!stays) location.assign(link.graph(found.id));
}
