// The colours of the page, read from its style so that canvas and document are of one mind.

export interface Theme {
  readonly ink: string;
  readonly dim: string;
  readonly line: string;
  readonly paper: string;
  readonly plus: string;
  readonly minus: string;
  readonly node: string;
  readonly token: string;
  readonly odd: string;
  readonly accent: string;
  readonly good: string;
  readonly bad: string;
}

const NAMES = ["ink", "dim", "line", "paper", "plus", "minus", "node", "token", "odd", "accent", "good", "bad"] as const;

export function themeOf(element: Element): Theme {
  const style = getComputedStyle(element);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()])) as unknown as Theme;
}

/** Red, green and blue of a colour, as the browser understands it. */
export function rgb(colour: string): readonly [number, number, number] {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  if (!context) return [128, 128, 128];
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [r = 0, g = 0, b = 0] = context.getImageData(0, 0, 1, 1).data;
  return [r, g, b];
}
