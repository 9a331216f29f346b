// How to get the same graph again, in Python and on a command line.
import type { Graph } from "../data/graph";
import type { Group, View } from "../state/view";

export function python(graph: Graph, view: View, groups: readonly Group[]): string {
  const { document: told } = graph;
  const opened = [quoted(told.model || "smollm2"), ...basis(graph, (name) => `basis=${quoted(name)}`)].join(", ");
  const given = [quoted(spoken(graph)), ...asked(graph, ["target=", "position=", "node_share=", "edge_share="], quoted)];
  const lines = ["import micrographia as mg", "", `scope = mg.open(${opened})`, `graph = scope.trace(${given.join(", ")})`];
  const odd = told.targets.find((target) => target.token === null);
  if (odd) lines.push(`# The target was ${quoted(odd.name)}: say target=… and against=…, as it was asked.`);
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
  const given = asked(graph, ["--target ", "--position ", "--node-share ", "--edge-share "], shell);
  return ["micrographia trace", shell(spoken(graph)), ...model, ...basis(graph, (name) => `--basis ${shell(name)}`), ...given].join(" ") + "\n";
}

/** The prompt without what is put in front of every prompt. */
function spoken(graph: Graph): string {
  return graph.document.prompt.text;
}

function basis(graph: Graph, said: (name: string) => string): string[] {
  return graph.document.basis === "Neurons" ? [said("neurons")] : [];
}

function asked(graph: Graph, words: readonly [string, string, string, string], quote: (text: string) => string): string[] {
  const { targets, prompt, shares } = graph.document;
  const [only] = targets;
  const found: string[] = [];
  if (targets.length === 1 && only?.token != null) found.push(words[0] + quote(plain(only.name)));
  if (only && only.position !== prompt.ids.length - 1) found.push(words[1] + String(only.position));
  if (shares.nodes !== null && shares.nodes !== 0.8) found.push(words[2] + String(shares.nodes));
  if (shares.edges !== null && shares.edges !== 0.98) found.push(words[3] + String(shares.edges));
  return found;
}

/** A piece as text: its signs for spaces and line ends are those again. */
function plain(piece: string): string {
  return piece.replaceAll("␣", " ").replaceAll("⏎", "\n").replaceAll("⇥", "\t").replaceAll("␍", "\r");
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
