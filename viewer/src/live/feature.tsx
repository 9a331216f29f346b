// One feature, and the browser of all.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { Refused, server } from "../sources/live";
import { Known } from "../ui/Detail";
import type { FeatureDocument, FeatureList, LabelRecord } from "../wire";
import { beside, inert, joined, percent, short, significant } from "../words";
import { link } from "./route";
import { can } from "./state";

// ---------------------------------------------------------------- one

type One = { readonly state: "asked" } | { readonly state: "there"; readonly known: FeatureDocument } | { readonly state: "failed"; readonly why: string };

export function FeaturePage({ layer, index }: { layer: number; index: number }) {
  const [one, set] = useState<One>({ state: "asked" });
  useEffect(() => retried(() => server.feature(layer, index).then((known) => set({ state: "there", known })), (why) => set({ state: "failed", why })), [layer, index]);
  return (
    <section class="panel feature-page" aria-label="Feature">
      <h2>
        Feature {layer}/{index}
      </h2>
      {one.state === "asked" && <p class="hint">It is being looked up.</p>}
      {one.state === "failed" && (
        <p class="failure" role="alert">
          {inert(one.why)}
        </p>
      )}
      {one.state === "there" && (
        <>
          <Label known={one.known} />
          <Known known={one.known} here={null} />
        </>
      )}
    </section>
  );
}

function Label({ known }: { known: FeatureDocument }) {
  const [label, set] = useState<LabelRecord | null>(known.label);
  const [said, say] = useState("");
  const keep = async (text: string): Promise<void> => {
    try {
      set(await server.label(known.layer, known.index, text));
      say(text ? "Kept." : "Taken back.");
    } catch (error) {
      say(`The label was not kept: ${inert(String(error))}`);
    }
  };
  return (
    <div class="own-label">
      <p>
        <strong data-label>{label?.text ? short(label.text, 512) : "no label"}</strong>
        {label?.kind && <span class="kind"> {label.kind}</span>}
        {label && label.score !== null && <span> score {label.score.toFixed(2)}</span>}
        {label && Object.keys(label.nulls).length > 0 && (
          <span class="dim"> (beside it: {beside(label.nulls)})</span>
        )}
      </p>
      {label?.evidence && <p class="dim">{short(label.evidence, 600)}</p>}
      {can("label") && (
        <form
          class="asked-row"
          onSubmit={(event) => {
            event.preventDefault();
            void keep(String(new FormData(event.currentTarget).get("text") ?? "").trim());
          }}
        >
          <label class="asked">
            Your own label; empty takes it back
            <input name="text" type="text" maxLength={512} autocomplete="off" defaultValue={label?.by === "person" ? label.text : ""} />
          </label>
          <button type="submit">Keep</button>
          <span role="status">{said}</span>
        </form>
      )}
    </div>
  );
}

// ---------------------------------------------------------------- all

const PAGE = 50;
const KINDS = ["input", "output", "both", "cross", "obscure", "dense", "dead"];

interface Wanted {
  readonly layer: string;
  readonly kind: string;
  readonly text: string;
  readonly promotes: string;
  readonly density_min: string;
  readonly density_max: string;
  readonly offset: number;
}

const NOTHING: Wanted = { layer: "", kind: "", text: "", promotes: "", density_min: "", density_max: "", offset: 0 };
const wanted = signal<Wanted>(fromAddress());

function fromAddress(): Wanted {
  const query = new URLSearchParams(location.search);
  const text = (name: string): string => query.get(name) ?? "";
  return {
    layer: text("layer"),
    kind: text("kind"),
    text: text("text"),
    promotes: text("promotes"),
    density_min: text("density_min"),
    density_max: text("density_max"),
    offset: Math.max(0, Math.trunc(Number(text("offset")) || 0)),
  };
}

function queryOf(now: Wanted): URLSearchParams {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(now)) if (value !== "" && value !== 0) found.set(name, String(value));
  return found;
}

type All = { readonly state: "asked" } | { readonly state: "there"; readonly found: FeatureList } | { readonly state: "failed"; readonly why: string };

export function FeaturesPage() {
  const [all, set] = useState<All>({ state: "asked" });
  const now = wanted.value;
  useEffect(() => {
    const query = queryOf(now);
    history.replaceState(null, "", location.pathname + (query.size ? `?${query.toString()}` : ""));
    let isOver = false;
    const stop = retried(
      async () => {
        const asked = new URLSearchParams(query);
        asked.set("limit", String(PAGE));
        const found = await server.features(asked);
        if (!isOver) set({ state: "there", found });
      },
      (why) => !isOver && set({ state: "failed", why }),
    );
    return () => {
      isOver = true;
      stop();
    };
  }, [now]);
  const put = (made: Partial<Wanted>): void => void (wanted.value = { ...now, offset: 0, ...made });
  const text = (name: "text" | "promotes", words: string) => <Field words={words} value={now[name]} put={(said) => put({ [name]: said })} />;
  const number = (name: "layer" | "density_min" | "density_max", words: string, step: string) => (
    <Field words={words} value={now[name]} step={step} put={(said) => put({ [name]: said })} />
  );
  return (
    <section class="panel features-page" aria-label="Features">
      <h2>Features</h2>
      <form class="asked-row" onSubmit={(event) => event.preventDefault()}>
        {number("layer", "Layer", "1")}
        <label class="asked short">
          Kind
          <select value={now.kind} onChange={(event) => put({ kind: event.currentTarget.value })}>
            <option value="">any</option>
            {KINDS.map((kind) => (
              <option key={kind}>{kind}</option>
            ))}
          </select>
        </label>
        {text("text", "Label has")}
        {text("promotes", "Promotes the token")}
        {number("density_min", "Density from", "any")}
        {number("density_max", "to", "any")}
        <button type="button" onClick={() => put(NOTHING)}>
          Reset
        </button>
      </form>
      {all.state === "asked" && <p class="hint">They are being looked up.</p>}
      {all.state === "failed" && (
        <p class="failure" role="alert">
          {inert(all.why)}
        </p>
      )}
      {all.state === "there" && <Rows found={all.found} offset={now.offset} turn={(offset) => put({ offset })} />}
    </section>
  );
}

/** What is typed stays, whatever comes in meanwhile; it counts when the field is left, or by Enter. */
function Field({ words, value, step, put }: { words: string; value: string; step?: string; put: (said: string) => void }) {
  const [typed, type] = useState(value);
  useEffect(() => type(value), [value]);
  const form = step ? ({ type: "number", min: "0", step } as const) : ({ type: "text", maxLength: 200 } as const);
  return (
    <label class="asked short">
      {words}
      <input {...form} value={typed} onInput={(event) => type(event.currentTarget.value)} onChange={(event) => put(event.currentTarget.value)} />
    </label>
  );
}

function Rows({ found, offset, turn }: { found: FeatureList; offset: number; turn: (offset: number) => void }) {
  return (
    <>
      <p role="status">
        {joined(found.total, "feature")}
        {found.rows.length > 0 && `, ${offset + 1} to ${offset + found.rows.length} shown`}
      </p>
      <div class="scrolled" tabIndex={0} role="region" aria-label="Features that were found">
        <table class="features">
          <thead>
            <tr>
              <th scope="col">feature</th>
              <th scope="col">label</th>
              <th scope="col">kind</th>
              <th scope="col">score</th>
              <th scope="col">active at</th>
              <th scope="col">at most</th>
              <th scope="col">promotes</th>
            </tr>
          </thead>
          <tbody>
            {found.rows.map((row) => (
              <tr key={`${row.layer}/${row.index}`}>
                <th scope="row">
                  <a href={link.feature(row.layer, row.index)}>
                    {row.layer}/{row.index}
                  </a>
                </th>
                <td>{row.label ? short(row.label, 60) : <span class="dim">no label</span>}</td>
                <td>{row.kind ?? ""}</td>
                <td>{row.score === null ? "" : row.score.toFixed(2)}</td>
                <td>{percent(row.density)}</td>
                <td>{significant(row.largest)}</td>
                <td>
                  {row.promoted.map((token, i) => (
                    <span class="tok" key={i}>
                      {short(token, 20)}
                    </span>
                  ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="buttons left">
        <button type="button" disabled={offset === 0} onClick={() => turn(Math.max(0, offset - PAGE))}>
          Before
        </button>
        <button type="button" disabled={offset + PAGE >= found.total} onClick={() => turn(offset + PAGE)}>
          After
        </button>
      </p>
    </>
  );
}

const AGAIN = 1000;

/** While the model is being opened nothing is known yet: ask again until it is. */
function retried(ask: () => Promise<void>, failed: (why: string) => void): () => void {
  let timer = 0;
  let isOver = false;
  const turn = (): void => {
    ask().catch(async (error: unknown) => {
      if (isOver) return;
      const opening = error instanceof Refused && error.status === 404 && (await server.about().catch(() => null))?.state === "opening";
      if (opening && !isOver) timer = window.setTimeout(turn, AGAIN);
      else failed(String(error));
    });
  };
  turn();
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}
