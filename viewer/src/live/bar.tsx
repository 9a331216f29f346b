// In the bar at the top: where one can go, who answers, what runs.
import { lost } from "../sources/live";
import { inert, percent, short } from "../words";
import { link } from "./route";
import { about, can, dismiss, openId, running } from "./state";
import { askTrace } from "./trace";

export function Ways() {
  const here = location.pathname;
  const way = (to: string, words: string) => (
    <a href={to} aria-current={here === to ? "page" : undefined}>
      {words}
    </a>
  );
  return (
    <nav class="ways" aria-label="Pages">
      {way(link.start, "Graphs")}
      {about.value?.has_atlas && way(link.features, "Features")}
      {openId.value && can("attention") && way(link.attention(openId.value), "Attention")}
      {can("trace") && (
        <button type="button" onClick={() => askTrace()}>
          New trace
        </button>
      )}
    </nav>
  );
}

export function Model() {
  const known = about.value;
  if (!known || known.state === "ready") return null;
  return (
    <p class={known.state === "failed" ? "failure" : "dim"} role={known.state === "failed" ? "alert" : "status"}>
      {inert(known.words)}
    </p>
  );
}

/** Why nothing can be asked now. What is open stays. */
export function Lost() {
  return lost.value ? (
    <p class="failure" role="alert" data-lost>
      {lost.value}
    </p>
  ) : null;
}

export function Runs() {
  return (
    <ul class="runs" aria-label="What runs">
      {running.value.map((one) => (
        <li key={one.key} class={`run is-${one.state}`} data-run={one.state}>
          <strong>{short(one.title, 60)}</strong>{" "}
          <span role={one.state === "failed" ? "alert" : "status"}>
            {inert(one.words)}
            {one.share !== null && ` ${percent(one.share)}`}
          </span>
          {one.state === "works" && <progress aria-label={`How far: ${short(one.title, 60)}`} value={one.share ?? undefined} max={1} />}
          {one.to && <a href={one.to}>Open</a>}
          {one.state === "works" ? (
            <button type="button" onClick={one.stop}>
              Stop
            </button>
          ) : (
            <button type="button" class="plain" aria-label="Take this away" onClick={() => dismiss(one.key)}>
              ✕
            </button>
          )}
        </li>
      ))}
    </ul>
  );
}
