// The view that is shown now, those before it, and those that were taken back.
import { batch, computed, signal } from "@preact/signals";
import { START, type View } from "./view";

const MOST = 200;

export const view = signal<View>(START);
const before = signal<readonly View[]>([]);
const after = signal<readonly View[]>([]);

export const canUndo = computed(() => before.value.length > 0);
export const canRedo = computed(() => after.value.length > 0);

/** Change the view. Changes with the same tag that follow each other, as those of a slider, are one step back. */
let lastTag = "";
export function change(made: Partial<View>, tag = ""): void {
  batch(() => {
    if (!tag || tag !== lastTag) before.value = [...before.value.slice(-MOST), view.value];
    lastTag = tag;
    after.value = [];
    view.value = { ...view.value, ...made };
  });
}

/** End a row of changes with the same tag. */
export function settle(): void {
  lastTag = "";
}

/** Show a view that comes from elsewhere, such as an address. */
export function show(found: View, keep = true): void {
  batch(() => {
    if (keep) before.value = [...before.value.slice(-MOST), view.value];
    after.value = [];
    lastTag = "";
    view.value = found;
  });
}

export function undo(): void {
  step(before, after);
}

export function redo(): void {
  step(after, before);
}

function step(from: typeof before, to: typeof after): void {
  const last = from.value.at(-1);
  if (!last) return;
  batch(() => {
    from.value = from.value.slice(0, -1);
    to.value = [...to.value, view.value];
    lastTag = "";
    view.value = last;
  });
}
