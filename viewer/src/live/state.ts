// What the live page knows beside the graph: who answers, which graphs there are, what runs.
import { signal } from "@preact/signals";
import { lost, server } from "../sources/live";
import type { Job } from "../sources/source";
import type { AboutDocument, GraphList } from "../wire";

export const about = signal<AboutDocument | null>(null);
export const graphs = signal<GraphList | null>(null);
/** The graph that is open; empty where none is. */
export const openId = signal("");

export function can(what: AboutDocument["can"][number]): boolean {
  return about.value?.can.includes(what) ?? false;
}

const SOON = 700;
const LATER = 8000;

/** Ask now and then whether the server is there, and whether its model is. */
export function watch(): void {
  const look = (): void => {
    if (document.visibilityState === "hidden") return void setTimeout(look, LATER);
    const was = lost.value;
    server.about().then(
      (found) => {
        about.value = found;
        if (was) void refresh();
        setTimeout(look, found.state === "opening" ? SOON : LATER);
      },
      () => void setTimeout(look, SOON * 4),
    );
  };
  look();
}

export async function refresh(): Promise<void> {
  try {
    graphs.value = await server.graphs();
  } catch {
    // `lost` says why, at the top of the page.
  }
}

// ---------------------------------------------------------------- what runs

export interface Running {
  readonly key: number;
  readonly title: string;
  readonly words: string;
  /** From 0 to 1; null where it is not known. */
  readonly share: number | null;
  readonly state: "works" | "done" | "failed" | "stopped";
  readonly stop: () => void;
  /** Where what came of it is. */
  readonly to?: string;
}

export const running = signal<readonly Running[]>([]);
let count = 0;

/** Follow a job to its end; its result, or null where it has none. */
export async function follow<Result, Partial>(
  title: string,
  job: Job<Result, Partial>,
  heard: (partial: Partial) => void = () => {},
  to: (result: Result) => string | null = () => null,
): Promise<Result | null> {
  const key = ++count;
  const stop = (): void => void job.cancel().catch(() => undefined);
  running.value = [...running.value, { key, title, words: "waits for its turn", share: null, state: "works", stop }];
  const now = (made: Partial_<Running>): void => {
    running.value = running.value.map((one) => (one.key === key ? { ...one, ...made } : one));
  };
  for await (const event of job.events) {
    switch (event.kind) {
      case "progress":
        now({ words: event.words, share: event.total ? event.done / event.total : null });
        break;
      case "partial":
        heard(event.partial);
        break;
      case "done": {
        const place = to(event.result);
        if (place === null) dismiss(key);
        else now({ words: "is there", state: "done", share: null, to: place });
        return event.result;
      }
      case "failed":
        now({ words: event.error, state: "failed", share: null });
        return null;
      case "cancelled":
        now({ words: "stopped", state: "stopped", share: null });
        return null;
    }
  }
  return null;
}

type Partial_<Record> = { readonly [Name in keyof Record]?: Record[Name] };

export function dismiss(key: number): void {
  running.value = running.value.filter((one) => one.key !== key);
}
