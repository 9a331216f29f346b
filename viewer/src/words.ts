// Figures and foreign texts as people read them.

const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu;

/** A text from outside with everything written out that would steer what shows it. */
export function inert(text: string): string {
  return text.replace(UNPRINTABLE, (c) => {
    if (c === "\n") return "⏎";
    if (c === "\t") return "⇥";
    const code = c.codePointAt(0) ?? 0;
    return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** Inert, and cut where it grows too long. */
export function short(text: string, longest: number): string {
  const some = inert(text.length > longest + 1 ? text.slice(0, longest + 1) : text);
  return some.length <= longest ? some : some.slice(0, longest - 1) + "…";
}

const NULLS: Record<string, string> = { shuffled: "other names", random: "random directions", top_token: "its top token" };

/** What else was tried beside a label, with its score. */
export function beside(nulls: Record<string, number>): string {
  return Object.entries(nulls)
    .map(([name, score]) => `${NULLS[name] ?? inert(name)} ${score.toFixed(2)}`)
    .join(", ");
}

/** A token's piece as text: its signs for spaces and line ends are those again. */
export function plain(piece: string): string {
  return piece.replaceAll("␣", " ").replaceAll("⏎", "\n").replaceAll("⇥", "\t").replaceAll("␍", "\r");
}

/** A share of 1: `31.2%`, `0.04%`, and never 0 for what is not. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return "?";
  const size = Math.abs(share);
  if (size > 0 && size < 5e-5) return share > 0 ? "<0.01%" : ">−0.01%";
  return minus((share * 100).toFixed(size < 0.01 ? 2 : 1)) + "%";
}

/** A number of any size in three digits. */
export function significant(value: number): string {
  if (!Number.isFinite(value)) return "?";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return minus(grouped(Math.round(value)));
  if (size < 1e-3) return minus(value.toExponential(1));
  return minus(String(Number(value.toPrecision(3))));
}

/** `+0.31`, `−2.1`. */
export function signed(value: number): string {
  return (value >= 0 ? "+" : "") + significant(value);
}

export function grouped(value: number): string {
  return value.toLocaleString("en-US");
}

/** `1 edge`, `2,031 edges`. */
export function joined(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

function minus(text: string): string {
  return text.replace("-", "−");
}

const BASES: { readonly [kind: string]: string } = {
  Neurons: "neurons",
  PerLayer: "transcoders",
  CrossLayer: "cross-layer transcoders",
};

/** The kind of a basis, in words. */
export function basisWords(kind: string): string {
  return BASES[kind] ?? inert(kind);
}
