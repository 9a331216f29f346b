// How to get the same graph again, in Python and on a command line.
import type { Graph } from "../data/graph";
import type { Group, View } from "../state/view";
import { plain } from "../words";

export function python(graph: Graph, view: View, groups: readonly Group[]): string {
  const { document: told } = graph;
  const opened = [quoted(told.model || "smollm2"), ...basis(graph, (name) => `basis=${quoted(name)}`)].join(", ");
  const asked = askedOf(graph).map(([name, value]) => `${PYTHON[name] ?? name}=${typeof value === "number" ? value : quoted(value)}`);
  const lines = ["import micrographia as mg", "", `scope = mg.open(${opened})`, `graph = scope.trace(${[quoted(told.prompt.text), ...asked].join(", ")})`];
  const odd = oddTarget(graph);
  if (odd) lines.push(`# The target was ${quoted(odd)}: say target=…, as it was asked.`);
  if (view.groups) {
    lines.push("", "from micrographia.graph.graph import Supernode", "from micrographia.graph.nodes import NodeId", "");
    const made = groups.map((group) => {
      const members = group.members.map((name) => `NodeId.parse(${quoted(name)})`).join(", ");
      return `    Supernode(${quoted(group.name)}, (${members},), ${quoted(group.reason)}, ${quoted(group.by)}),`;
    });
    lines.push("graph = graph.grouped([", ...made, "])");
  }
  for (const name of view.selected.slice(0, 5)) lines.push(`graph.node(${quoted(name)})`);
  return lines.join("\n") + "\n";
}

export function command(graph: Graph): string {
  const { document: told } = graph;
  const model = told.model ? [`--model ${shell(told.model)}`] : [];
  // With an equals sign: a value may begin with a dash.
  const asked = askedOf(graph).map(([name, value]) => `--${name}=${typeof value === "number" ? value : shell(value)}`);
  const odd = oddTarget(graph);
  const note = odd ? `  # the target was ${odd.replace(/[\r\n]/g, " ")}: say --target, as it was asked` : "";
  return ["micrographia trace", shell(told.prompt.text), ...model, ...basis(graph, (name) => `--basis ${shell(name)}`), ...asked].join(" ") + note + "\n";
}

function basis(graph: Graph, said: (name: string) => string): string[] {
  if (graph.document.basis !== "Neurons") return [];
  const { facts } = graph.document;
  return [said(facts?.gate_rule === "frozen-gate" ? "neurons:frozen-gate" : "neurons")];
}

const MINUS = " − ";
/** Options whose names differ between the command and Python. */
const PYTHON: { readonly [option: string]: string } = { nodes: "max_nodes", "node-share": "node_share", "edge-share": "edge_share" };
/** What a trace does if nothing else is said. */
const USUAL: { readonly [option: string]: number } = { nodes: 2048, share: 0.8, "node-share": 0.8, "edge-share": 0.98 };

/** What was asked beyond the usual. */
function askedOf(graph: Graph): (readonly [string, string | number])[] {
  const { targets, prompt, shares, facts } = graph.document;
  const [only] = targets;
  const found: (readonly [string, string | number])[] = [];
  const pair = only && targets.length === 1 ? sides(only.name) : null;
  if (targets.length === 1 && only?.token != null) found.push(["target", plain(only.name)]);
  else if (pair) found.push(["target", pair[0]], ["against", pair[1]]);
  if (only && only.position !== prompt.ids.length - 1) found.push(["position", only.position]);
  const [, share, nodes] = /until ([0-9.e-]+) of it is followed(?:, at most ([0-9]+) features)?$/.exec(facts?.selection ?? "") ?? [];
  const numbers = { nodes, share, "node-share": shares.nodes, "edge-share": shares.edges };
  for (const [name, value] of Object.entries(numbers)) {
    if (value != null && Number(value) !== USUAL[name]) found.push([name, Number(value)]);
  }
  return found;
}

/** Both tokens of a difference. */
function sides(name: string): [string, string] | null {
  const both = name.split(MINUS);
  return both.length === 2 ? [plain(both[0]!), plain(both[1]!)] : null;
}

/** A target that no option says; empty where there is none. */
function oddTarget(graph: Graph): string {
  const odd = graph.document.targets.find((target) => target.token === null && !sides(target.name));
  return odd?.name ?? "";
}

/** A text as Python has it, in ASCII. */
function quoted(text: string): string {
  let found = "";
  for (const unit of text.split("")) {
    const code = unit.charCodeAt(0);
    if (unit === '"' || unit === "\\") found += `\\${unit}`;
    else if (unit === "\n") found += "\\n";
    else if (code >= 32 && code < 127) found += unit;
    else found += `\\u${code.toString(16).padStart(4, "0")}`;
  }
  return `"${joinedPairs(found)}"`;
}

/** Two halves of one character as Python's one escape for it. */
function joinedPairs(text: string): string {
  return text.replace(/\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})/g, (_, high: string, low: string) => {
    const code = (Number.parseInt(high, 16) - 0xd800) * 0x400 + Number.parseInt(low, 16) - 0xdc00 + 0x10000;
    return `\\U${code.toString(16).padStart(8, "0")}`;
  });
}

/** A text as one word of a POSIX shell. */
function shell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
