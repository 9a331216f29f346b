// Every attention head of a prompt, sorted by what it looks at; one of them in detail.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { server } from "../sources/live";
import type { AttentionDocument, HeadDocument, HeadRow } from "../wire";
import { inert, short, signed, significant } from "../words";
import { link } from "../live/route";

const SCORES = ["induction", "previous", "first", "entropy"] as const;
type Score = (typeof SCORES)[number];
const WORDS: { readonly [name in Score]: string } = {
  induction: "on random tokens said twice, to the token after the earlier copy",
  previous: "to the token just before",
  first: "to the first token",
  entropy: "how widely it looks, in bits",
};
const FIRST = 48;

interface Chosen {
  readonly layer: number;
  readonly head: number;
}

/** Which head is looked at, in the address: `#12.3`. */
const chosen = signal<Chosen | null>(fromHash());

function fromHash(): Chosen | null {
  const found = /^#(\d+)\.(\d+)$/.exec(location.hash);
  return found ? { layer: Number(found[1]), head: Number(found[2]) } : null;
}

function choose(one: Chosen): void {
  chosen.value = one;
  history.replaceState(null, "", `#${one.layer}.${one.head}`);
}

type All =
  | { readonly state: "asked" }
  | { readonly state: "there"; readonly known: AttentionDocument; readonly shades: Uint8Array }
  | { readonly state: "failed"; readonly why: string };

export function AttentionPage({ id }: { id: string }) {
  const [all, set] = useState<All>({ state: "asked" });
  useEffect(() => {
    server.attention(id).then(
      (found) => set({ state: "there", known: found.document, shades: found.shades }),
      (error: unknown) => set({ state: "failed", why: String(error) }),
    );
    const back = (): void => void (chosen.value = fromHash());
    window.addEventListener("hashchange", back);
    return () => window.removeEventListener("hashchange", back);
  }, [id]);
  return (
    <section class="attention" aria-label="Attention">
      {all.state === "asked" && <p class="hint">The model is being run on this prompt.</p>}
      {all.state === "failed" && (
        <p class="failure" role="alert">
          {inert(all.why)}
        </p>
      )}
      {all.state === "there" && (
        <>
          <p class="attended">
            <a href={link.graph(id)}>{short(all.known.prompt.text, 200) || "∅"}</a>
          </p>
          <div class="attention-pair">
            <Heads known={all.known} shades={all.shades} />
            {chosen.value ? (
              <Head id={id} known={all.known} one={chosen.value} />
            ) : (
              <section class="panel" aria-label="One head">
                <p class="hint">Choose a head: where it looks, what it brings from there, and what its output says stand here.</p>
              </section>
            )}
          </div>
        </>
      )}
    </section>
  );
}

// ---------------------------------------------------------------- all of them

function Heads({ known, shades }: { known: AttentionDocument; shades: Uint8Array }) {
  const [by, setBy] = useState<Score>("induction");
  const [most, setMost] = useState(FIRST);
  const [isUp, setUp] = useState(false);
  const order = [...known.heads].sort((a, b) => (isUp ? a[by] - b[by] : b[by] - a[by]) || a.layer - b.layer || a.head - b.head);
  const left = order.length - most;
  const uniform = known.uniform[by].reduce((sum, one) => sum + one, 0) / known.uniform[by].length;
  return (
    <section class="panel heads" aria-label="All heads">
      <p class="asked-row">
        <label class="asked short">
          Sorted by
          <select value={by} onChange={(event) => setBy(event.currentTarget.value as Score)}>
            {SCORES.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <button type="button" aria-pressed={isUp} onClick={() => setUp(!isUp)}>
          {isUp ? "least first" : "most first"}
        </button>
        <span class="dim">
          {WORDS[by]}; uniform attention has {significant(uniform)}
          {by === "induction" && `, on ${known.n_repeated} random sequences`}
        </span>
      </p>
      <ul class="head-grid">
        {order.slice(0, most).map((row) => (
          <li key={`${row.layer}.${row.head}`}>
            <Thumb known={known} shades={shades} row={row} by={by} />
          </li>
        ))}
      </ul>
      {left > 0 && (
        <button type="button" class="link" onClick={() => setMost(most * 4)}>
          {left} more heads
        </button>
      )}
    </section>
  );
}

function Thumb({ known, shades, row, by }: { known: AttentionDocument; shades: Uint8Array; row: HeadRow; by: Score }) {
  const ref = useRef<HTMLCanvasElement>(null);
  const size = known.columns[0]?.shape[3] ?? 0;
  const name = `${row.layer}.${row.head}`;
  const isChosen = chosen.value?.layer === row.layer && chosen.value.head === row.head;
  useEffect(() => {
    const canvas = ref.current;
    const context = canvas?.getContext("2d");
    if (!canvas || !context || !size) return;
    const start = (row.layer * known.n_heads + row.head) * size * size;
    const image = context.createImageData(size, size);
    const [r, g, b] = inkOf(canvas);
    for (let i = 0; i < size * size; i++) {
      image.data.set([r, g, b, shades[start + i] ?? 0], 4 * i);
    }
    context.putImageData(image, 0, 0);
  }, [known, shades, row]);
  return (
    <button type="button" class="thumb" data-head={name} aria-pressed={isChosen} onClick={() => choose(row)} title={`Layer ${row.layer}, head ${row.head}`}>
      <canvas ref={ref} width={size} height={size} aria-hidden="true" />
      <span>
        {name} <span class="dim">{significant(row[by])}</span>
      </span>
    </button>
  );
}

function inkOf(element: Element): readonly [number, number, number] {
  const probe = document.createElement("canvas").getContext("2d");
  if (!probe) return [0, 0, 0];
  probe.fillStyle = getComputedStyle(element).color;
  probe.fillRect(0, 0, 1, 1);
  const [r = 0, g = 0, b = 0] = probe.getImageData(0, 0, 1, 1).data;
  return [r, g, b];
}

// ---------------------------------------------------------------- one

type One = { readonly state: "asked" } | { readonly state: "there"; readonly head: HeadDocument } | { readonly state: "failed"; readonly why: string };

const MOST_KEYS = 12;

function Head({ id, known, one }: { id: string; known: AttentionDocument; one: Chosen }) {
  const [found, set] = useState<One>({ state: "asked" });
  const [query, setQuery] = useState(known.prompt.pieces.length - 1);
  useEffect(() => {
    let isOver = false;
    server.head(id, one.layer, one.head).then(
      (head) => !isOver && set({ state: "there", head }),
      (error: unknown) => !isOver && set({ state: "failed", why: String(error) }),
    );
    return () => {
      isOver = true;
    };
  }, [id, one.layer, one.head]);
  const row = known.heads.find((each) => each.layer === one.layer && each.head === one.head);
  return (
    <section class="panel one-head" aria-label="One head">
      <h2>
        Layer {one.layer}, head {one.head}
      </h2>
      {row && (
        <dl class="figures">
          {SCORES.map((name) => (
            <div key={name} title={WORDS[name]}>
              <dt>{name}</dt>
              <dd>
                {significant(row[name])} <span class="dim">uniform {significant(known.uniform[name][one.layer] ?? NaN)}</span>
              </dd>
            </div>
          ))}
        </dl>
      )}
      {found.state === "asked" && <p class="hint">It is being looked up.</p>}
      {found.state === "failed" && (
        <p class="failure" role="alert">
          {inert(found.why)}
        </p>
      )}
      {found.state === "there" && (
        <>
          <p>At this token:</p>
          <div class="chips" role="group" aria-label="Position">
            {known.prompt.pieces.map((piece, i) => {
              const weight = found.head.pattern[query]?.[i] ?? 0;
              return (
                <button
                  type="button"
                  key={i}
                  class="chip"
                  style={{ "--tint": `${Math.round(70 * Math.sqrt(weight))}%` }}
                  aria-pressed={i === query}
                  title={i <= query ? `${i}: ${weight.toFixed(3)} of the attention` : `${i}: behind it`}
                  onClick={() => setQuery(i)}
                >
                  {short(piece, 30) || "∅"}
                </button>
              );
            })}
          </div>
          <Reads known={known} head={found.head} query={query} />
          <Writes head={found.head} query={query} />
        </>
      )}
    </section>
  );
}

function Reads({ known, head, query }: { known: AttentionDocument; head: HeadDocument; query: number }) {
  const [pattern, moved] = [head.pattern[query] ?? [], head.moved[query] ?? []];
  const all = moved.reduce((sum, one) => sum + one, 0) || 1;
  const keys = pattern.map((_, i) => i).sort((a, b) => (moved[b] ?? 0) - (moved[a] ?? 0) || a - b);
  return (
    <div>
      <h3>Reads</h3>
      <table class="reads">
        <thead>
          <tr>
            <th scope="col">token</th>
            <th scope="col" title="Of its attention">
              attention
            </th>
            <th scope="col" title="The length of what it brings from there, as a share of all that it brings">
              brought
            </th>
          </tr>
        </thead>
        <tbody>
          {keys.slice(0, MOST_KEYS).map((key) => (
            <tr key={key}>
              <th scope="row">
                {key} <span class="tok">{short(known.prompt.pieces[key] ?? "", 24)}</span>
              </th>
              <td>{(pattern[key] ?? 0).toFixed(3)}</td>
              <td>{((moved[key] ?? 0) / all).toFixed(3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {keys.length > MOST_KEYS && <p class="dim">{keys.length - MOST_KEYS} more tokens, from which it brings less.</p>}
    </div>
  );
}

function Writes({ head, query }: { head: HeadDocument; query: number }) {
  const said = head.written[query];
  if (!said) return null;
  return (
    <div class="says">
      {(["promoted", "suppressed"] as const).map((side) => (
        <div key={side}>
          <h3>{side === "promoted" ? "Writes: makes likelier" : "and less likely"}</h3>
          <p>
            {said[side].map((one, i) => (
              <span class="tok" key={i} title={`${signed(one.logit)} to its logit, through the final norm alone`}>
                {short(one.token, 24)}
              </span>
            ))}
          </p>
        </div>
      ))}
    </div>
  );
}
