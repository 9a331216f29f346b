// The single file again, with the view as it is now: the page that is open, without what it has drawn.
import { written } from "../state/view";
import type { View } from "../state/view";

export const STATE = "graph-view";

export function singleFile(view: View): Blob {
  const copy = document.documentElement.cloneNode(true) as HTMLElement;
  copy.removeAttribute("data-theme");
  copy.querySelector(`#${STATE}`)?.remove();
  const app = copy.querySelector("#app");
  app?.replaceChildren();
  const state = document.createElement("script");
  state.type = "text/plain";
  state.id = STATE;
  state.textContent = written(view);
  app?.after(state);
  for (const stray of copy.querySelectorAll("body > a[download], body > textarea")) stray.remove();
  // A reader puts what stands behind the body's end into the body, each time it is opened.
  const body = copy.querySelector("body");
  while (body?.lastChild instanceof Text && !body.lastChild.data.trim()) body.lastChild.remove();
  return new Blob(["<!doctype html>\n", copy.outerHTML, "\n"], { type: "text/html;charset=utf-8" });
}

/** A file that the server made, with the view as it is now. */
export async function withView(file: Blob, view: View): Promise<Blob> {
  const text = await file.text();
  const place = '<div id="app"></div>';
  const at = text.indexOf(place) + place.length;
  // What is written of a view has letters, digits, - and _ only.
  const state = `<script type="text/plain" id="${STATE}">${written(view)}</script>`;
  return new Blob([text.slice(0, at), state, text.slice(at)], { type: "text/html;charset=utf-8" });
}

/** The view that a file was saved with. */
export function savedState(): string {
  return document.getElementById(STATE)?.textContent?.trim() ?? "";
}
