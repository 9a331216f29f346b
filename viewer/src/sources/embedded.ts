// The single file: the graph lies in the page itself.
import type { FeatureDocument, FeaturesDocument, GraphDocument } from "../wire";
import type { DataSource, Packed } from "./source";

const DOCUMENT = "graph-document";
const COLUMNS = "graph-columns";
const FEATURES = "graph-features";

export function hasEmbedded(): boolean {
  return document.getElementById(DOCUMENT) !== null;
}

export function embeddedSource(): DataSource {
  let features: Promise<FeaturesDocument> | null = null;
  return {
    kind: "file",
    graph: read,
    async feature(layer: number, index: number): Promise<FeatureDocument | null> {
      features ??= unpacked(FEATURES).then((bytes) => JSON.parse(new TextDecoder().decode(bytes)) as FeaturesDocument);
      return (await features).features[`${layer}.${index}`] ?? null;
    },
  };
}

async function read(): Promise<Packed> {
  const told = JSON.parse(document.getElementById(DOCUMENT)?.textContent ?? "") as GraphDocument;
  return { document: told, columns: await unpacked(COLUMNS) };
}

/** Base64 of gzip, decoded in pieces so that a large file does not need one huge string of bytes. */
async function unpacked(place: string): Promise<ArrayBuffer> {
  const text = document.getElementById(place)?.textContent?.trim() ?? "";
  const step = 1 << 20;
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < text.length; at += step) {
    const some = atob(text.slice(at, at + step));
    const bytes = new Uint8Array(some.length);
    for (let i = 0; i < some.length; i++) bytes[i] = some.charCodeAt(i);
    parts.push(bytes);
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}
