// The server that the page comes from: graphs, features, jobs. What it refuses, it refuses in one sentence.
import { signal } from "@preact/signals";
import type {
  AboutDocument,
  AttentionDocument,
  CarriersDocument,
  EvidenceDocument,
  FeatureDocument,
  FeatureList,
  GraphDocument,
  GraphList,
  GroupsSaved,
  HeadDocument,
  LabelRecord,
  TraceRequest,
  Traced,
  WhatIfDocument,
} from "../wire";
import type { DataSource, GroupWanted, Job, JobEvent, Packed } from "./source";

/** Why the server cannot be asked; empty while it answers. */
export const lost = signal("");

const GONE = "The server does not answer. If it has ended, start it again: micrographia view.";
const STRANGER = "The server was started anew, and this page has the token of the one before. Open the address that it printed; then reload this page.";

/** What was refused, in the server's own sentence. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    words: string,
  ) {
    super(words);
  }

  override toString(): string {
    return this.message;
  }
}

async function ask(path: string, how: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, { ...how, cache: "no-store" });
  } catch {
    lost.value = GONE;
    throw new Refused(0, GONE);
  }
  lost.value = answer.status === 401 ? STRANGER : "";
  if (answer.ok) return answer;
  throw new Refused(answer.status, answer.status === 401 ? STRANGER : await sentence(answer));
}

async function sentence(answer: Response): Promise<string> {
  try {
    const said: unknown = await answer.json();
    if (typeof said === "object" && said && "error" in said && typeof said.error === "string") return said.error;
  } catch {
    // What is no JSON says nothing: its number is all that is known.
  }
  return `The server answered with ${answer.status}.`;
}

async function told<Document>(path: string, how: RequestInit = {}): Promise<Document> {
  return (await (await ask(path, how)).json()) as Document;
}

function sending(method: string, content: unknown): RequestInit {
  return { method, body: JSON.stringify(content), headers: { "content-type": "application/json" } };
}

const part = encodeURIComponent;

/** Null where the server knows nothing of it. */
async function orNull<Found>(asked: Promise<Found>): Promise<Found | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

// ---------------------------------------------------------------- what can be asked without a graph

export const server = {
  about: (): Promise<AboutDocument> => told("/api/about"),
  graphs: (): Promise<GraphList> => told("/api/graphs"),
  features: (query: URLSearchParams): Promise<FeatureList> => told(`/api/features?${query.toString()}`),
  feature: (layer: number, index: number, graph?: string): Promise<FeatureDocument> =>
    told(`/api/features/${layer}/${index}${graph ? `?graph=${part(graph)}` : ""}`),
  label: (layer: number, index: number, text: string): Promise<LabelRecord> =>
    told(`/api/labels/${layer}/${index}`, sending("PUT", { text })),
  trace: (wanted: Partial<TraceRequest>): Job<Traced> => job("/api/traces", wanted),
  async send(content: Blob): Promise<string> {
    return (await told<{ id: string }>("/api/graphs", { method: "POST", body: content, headers: { "content-type": "application/json" } })).id;
  },
  async graph(id: string): Promise<Packed> {
    const place = `/api/graphs/${part(id)}`;
    const [document, columns] = await Promise.all([told<GraphDocument>(place), ask(`${place}/columns`).then((found) => found.arrayBuffer())]);
    return { document, columns };
  },
  attention: async (id: string): Promise<{ document: AttentionDocument; shades: Uint8Array }> => {
    const place = `/api/graphs/${part(id)}/attention`;
    const document = await told<AttentionDocument>(place);
    return { document, shades: new Uint8Array(await (await ask(`${place}/columns`)).arrayBuffer()) };
  },
  head: (id: string, layer: number, head: number): Promise<HeadDocument> => told(`/api/graphs/${part(id)}/attention/${layer}/${head}`),
  carriers: (id: string, source: string, target: string): Promise<CarriersDocument> =>
    told(`/api/graphs/${part(id)}/carriers?source=${part(source)}&target=${part(target)}`),
};

/** Everything about one graph. */
export class LiveSource implements DataSource {
  readonly kind = "server";
  readonly #place: string;

  constructor(readonly id: string) {
    this.#place = `/api/graphs/${part(id)}`;
  }

  graph(): Promise<Packed> {
    return server.graph(this.id);
  }

  feature(layer: number, index: number): Promise<FeatureDocument | null> {
    return orNull(server.feature(layer, index, this.id));
  }

  whatIf(changes: readonly string[]): Job<WhatIfDocument> {
    return job(`${this.#place}/what-if`, { changes });
  }

  test(seconds: number): Job<EvidenceDocument, EvidenceDocument> {
    return job(`${this.#place}/tests`, { seconds });
  }

  async saveGroups(groups: readonly GroupWanted[]): Promise<void> {
    const wanted = groups.map(({ name, members, reason }) => ({ name, members, reason }));
    const saved = await told<GroupsSaved>(`${this.#place}/groups`, sending("PUT", { groups: wanted }));
    if (saved.forgotten.length) forgotten.value = saved.forgotten;
  }

  saveLabel(layer: number, index: number, text: string): Promise<LabelRecord> {
    return server.label(layer, index, text);
  }

  async html(): Promise<Blob> {
    return (await ask(`${this.#place}/html`)).blob();
  }
}

/** Claims whose evidence went with the groups that they were about. */
export const forgotten = signal<readonly string[]>([]);

// ---------------------------------------------------------------- jobs

function job<Result, Partial = never>(path: string, wanted: unknown): Job<Result, Partial> {
  const begun = told<{ job: string }>(path, sending("POST", wanted)).then((found) => `/api/jobs/${part(found.job)}`);
  begun.catch(() => undefined); // whoever listens hears of it
  return {
    events: heard<Result, Partial>(begun),
    async cancel(): Promise<void> {
      await ask(await begun, { method: "DELETE" });
    },
  };
}

async function* heard<Result, Partial>(begun: Promise<string>): AsyncGenerator<JobEvent<Result, Partial>> {
  let place: string;
  try {
    place = await begun;
  } catch (error) {
    yield { kind: "failed", error: String(error) };
    return;
  }
  const waiting: JobEvent<Result, Partial>[] = [];
  let wake = (): void => {};
  const ear = new Ear(`${place}/events`, (said) => {
    waiting.push(said as JobEvent<Result, Partial>);
    wake();
  });
  try {
    for (;;) {
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        yield next;
        if (next.kind === "done" || next.kind === "failed" || next.kind === "cancelled") return;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (waiting.length) resolve();
      });
    }
  } finally {
    ear.close();
  }
}

/** Listens to a stream of events. A browser has few lines to one server: a page that nobody sees gives its own back, and
 * misses nothing, because the server keeps the newest event of each kind. */
class Ear {
  #stream: EventSource | null = null;
  readonly #away = new AbortController();

  constructor(
    readonly place: string,
    readonly hear: (said: unknown) => void,
  ) {
    document.addEventListener("visibilitychange", () => this.#turn(), { signal: this.#away.signal });
    this.#turn();
  }

  close(): void {
    this.#away.abort();
    this.#stream?.close();
  }

  #turn(): void {
    if (document.visibilityState === "hidden") {
      this.#stream?.close();
      this.#stream = null;
    } else this.#stream ??= this.#open();
  }

  #open(): EventSource {
    const stream = new EventSource(this.place);
    stream.onmessage = (message: MessageEvent<string>) => {
      const said = JSON.parse(message.data) as { kind: string; result?: unknown };
      this.hear(said.kind === "partial" ? { kind: "partial", partial: said.result } : said);
    };
    stream.onerror = () => {
      if (stream.readyState === EventSource.CLOSED) this.hear({ kind: "failed", error: lost.value || "The server knows nothing of this work any more: it may have been started anew." });
      else lost.value = GONE;
    };
    stream.onopen = () => (lost.value = "");
    return stream;
  }
}
