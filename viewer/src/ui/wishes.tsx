// The dialogs that keys and menus ask for: help, exports, saved views.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { command, python } from "../exports/code";
import { singleFile, withView } from "../exports/html";
import { graphJson } from "../exports/json";
import { copy, save, saveText, slug } from "../exports/save";
import { svgOf } from "../exports/svg";
import { say } from "../state/actions";
import { show, view } from "../state/history";
import { called, graph, groups, source, visible } from "../state/session";
import { checked, START, type View } from "../state/view";
import { inert } from "../words";
import { themeOf } from "../draw/theme";
import { askText } from "./asking";
import { commands, keyName, singleKeys, wishes } from "./commands";
import { closeDialog, openDialog } from "./dialog";
import { scene } from "./LinkGraph";
import { rowsOf, tsv } from "./rows";

wishes.help = () => openDialog("Keys and signs", () => <Help />);
wishes.exporting = () => openDialog("Export", () => <Exports />);
wishes.views = () => openDialog("Saved views", () => <Views />);

function Help() {
  return (
    <div class="help">
      <p>
        Each column is a token of the prompt, each row a layer; what the model reads is below, what it says on top. An edge says how much its lower end
        adds to the upper one in this prompt, with attention and norms held as they were.
      </p>
      <ul class="signs">
        <li>● feature, ■ token or target, ◆ what is not explained, ▲ all that is constant; the larger, the more influence</li>
        <li>
          <span class="is-plus">blue, unbroken</span> adds, <span class="is-minus">orange, dashed</span> takes away; as wide as its share of what its target gets
        </li>
        <li>✓ confirmed, ✗ refuted by a test on the real model beside controls, · not decided, or not tested</li>
        <li>“says …” is what a feature promotes, where it has no label</li>
        <li>+n is a full cell: click to fan it out. Double-click shows the whole graph, the wheel comes closer, drag moves.</li>
        <li>In the graph: arrow keys walk, Enter chooses, Shift and Enter adds, Shift and arrows move the picture. Esc goes back.</li>
      </ul>
      <table>
        <caption class="unseen">Keys</caption>
        <thead>
          <tr>
            <th scope="col">key</th>
            <th scope="col">what it does</th>
          </tr>
        </thead>
        <tbody>
          {commands().map((one) => (
            <tr key={one.name}>
              <td>
                <kbd>{keyName(one)}</kbd>
              </td>
              <td>{one.name}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <label class="check">
        <input type="checkbox" checked={singleKeys.value} onChange={(event) => (singleKeys.value = event.currentTarget.checked)} /> Single keys do something (switch
        this off if you speak to your machine)
      </label>
    </div>
  );
}

// ---------------------------------------------------------------- exports

interface Export {
  readonly name: string;
  readonly words: string;
  readonly run: () => void | Promise<void>;
  readonly can?: () => boolean;
}

function name(ending: string): string {
  return `${slug(graph.value?.document.prompt.text ?? "")}.${ending}`;
}

async function copied(text: string, what: string): Promise<void> {
  say((await copy(text)) ? `Copied: ${what}.` : "This browser does not let pages copy.");
}

const EXPORTS: readonly Export[] = [
  {
    name: "HTML",
    words: "This page with this view, as one file that opens anywhere",
    run: async () => {
      const served = await source.value?.html?.();
      save(name("html"), served ? await withView(served, view.value) : singleFile(view.value));
    },
    can: () => source.value?.kind === "file" || source.value?.html !== undefined,
  },
  {
    name: "SVG",
    words: "The link graph as it lies, to be edited",
    run: () => {
      const [open, now, drawn] = [graph.value, visible.value, scene.value];
      if (open && now && drawn) saveText(name("svg"), svgOf(drawn, open, now, themeOf(drawn.host), called), "image/svg+xml");
    },
    can: () => scene.value !== null,
  },
  {
    name: "PNG",
    words: "The link graph as it is on the screen",
    run: async () => {
      const canvas = scene.value?.picture();
      const made = await new Promise<Blob | null>((done) => (canvas ? canvas.toBlob(done, "image/png") : done(null)));
      if (made) save(name("png"), made);
    },
    can: () => scene.value !== null,
  },
  ...(["nodes", "edges"] as const).map((rows) => ({
    name: `TSV of ${rows}`,
    words: `The ${rows} that are shown, for a spreadsheet`,
    run: () => {
      const [open, now] = [graph.value, visible.value];
      if (!open || !now) return;
      const order = rowsOf(open, now, { rows, by: rows === "nodes" ? "influence" : "score", descending: true });
      saveText(name(`${rows}.tsv`), tsv(open, order, rows), "text/tab-separated-values");
    },
  })),
  {
    name: "Graph JSON",
    words: "The whole graph, books included, with your groups and labels; also for circuit-tracer and Neuronpedia",
    run: () => {
      if (graph.value) saveText(name("json"), graphJson(graph.value, view.value, groups.value, null), "application/json");
    },
  },
  {
    name: "Graph JSON of what is shown",
    words: "The nodes and edges that are shown, for circuit-tracer and Neuronpedia; without bias and books",
    run: () => {
      const [open, now] = [graph.value, visible.value];
      if (open && now) saveText(name("shown.json"), graphJson(open, view.value, groups.value, now), "application/json");
    },
  },
  {
    name: "Copy as Python",
    words: "The lines that make this graph, with these groups",
    run: () => (graph.value ? copied(python(graph.value, view.value, groups.value), "Python") : undefined),
  },
  {
    name: "Copy as command",
    words: "The line that traces this prompt again",
    run: () => (graph.value ? copied(command(graph.value), "the command") : undefined),
  },
  {
    name: "Copy the address of this view",
    words: "It holds everything that you chose, pinned, grouped and hid",
    run: () => copied(location.href, "the address"),
  },
];

function Exports() {
  return (
    <ul class="exports">
      {EXPORTS.map((one) => (
        <li key={one.name}>
          <button
            type="button"
            disabled={!(one.can?.() ?? true)}
            onClick={() => {
              closeDialog();
              Promise.resolve(one.run()).catch((error: unknown) => say(`That did not work: ${inert(String(error))}`));
            }}
          >
            {one.name}
          </button>
          <span class="dim">{one.words}</span>
        </li>
      ))}
    </ul>
  );
}

// ---------------------------------------------------------------- saved views

const SHELF = "micrographia-views";
const shelf = signal<readonly { readonly name: string; readonly view: View }[]>([]);

/** Views are kept by the browser, per graph, where it keeps anything. */
function shelfKey(): string {
  const told = graph.value?.document;
  return `${SHELF}:${told?.facts?.model_fingerprint.slice(0, 16) ?? ""}:${told?.prompt.ids.join(",") ?? ""}`;
}

function takeDown(): void {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(shelfKey()) ?? "[]");
    if (!Array.isArray(found)) return;
    shelf.value = found.flatMap((one: { name?: unknown; view?: unknown }) =>
      typeof one?.name === "string" ? [{ name: one.name, view: checked(one.view) }] : [],
    );
  } catch {
    // A browser that keeps nothing, or something that was not ours: begin anew.
    shelf.value = [];
  }
}

function putUp(next: typeof shelf.value): void {
  shelf.value = next;
  try {
    localStorage.setItem(shelfKey(), JSON.stringify(next));
  } catch {
    say("This browser keeps nothing for this page: the view is there until it is closed.");
  }
}

function Views() {
  useEffect(takeDown, []);
  return (
    <div class="views">
      <p class="dim">A view is what is chosen, pinned, grouped, labelled, hidden. It is in the address as well.</p>
      <ul>
        {shelf.value.map((one, i) => (
          <li key={i}>
            <button
              type="button"
              onClick={() => {
                closeDialog();
                show(one.view);
              }}
            >
              {inert(one.name)}
            </button>
            <button type="button" class="plain" aria-label={`Delete ${inert(one.name)}`} onClick={() => putUp(shelf.value.filter((_, j) => j !== i))}>
              ✕
            </button>
          </li>
        ))}
      </ul>
      <p class="buttons">
        <button
          type="button"
          onClick={() => {
            closeDialog();
            show(START);
          }}
        >
          The graph as it came
        </button>
        <button
          type="button"
          class="main"
          onClick={() =>
            askText("Save view", "A name for this view", "", (said) => {
              if (said) putUp([...shelf.value.filter((one) => one.name !== said), { name: said, view: view.value }]);
            })
          }
        >
          Save this view
        </button>
      </p>
    </div>
  );
}
