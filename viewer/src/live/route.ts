// Which view an address means.
export type Route =
  | { readonly view: "start" }
  | { readonly view: "graph"; readonly id: string }
  | { readonly view: "attention"; readonly id: string }
  | { readonly view: "compare"; readonly id: string; readonly other: string }
  | { readonly view: "feature"; readonly layer: number; readonly index: number }
  | { readonly view: "features" };

export function routeOf(path: string): Route {
  const [view = "", first = "", second = ""] = path.split("/").slice(1).map(decoded);
  switch (view) {
    case "graph":
      return { view, id: first };
    case "attention":
      return { view, id: first };
    case "compare":
      return { view, id: first, other: second };
    case "feature":
      return { view, layer: Number(first), index: Number(second) };
    case "features":
      return { view };
    default:
      return { view: "start" };
  }
}

export const link = {
  start: "/",
  features: "/features",
  graph: (id: string): string => `/graph/${encodeURIComponent(id)}`,
  attention: (id: string): string => `/attention/${encodeURIComponent(id)}`,
  compare: (id: string, other: string): string => `/compare/${encodeURIComponent(id)}/${encodeURIComponent(other)}`,
  feature: (layer: number, index: number): string => `/feature/${layer}/${index}`,
};

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
