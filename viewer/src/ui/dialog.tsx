// One dialog at a time, the browser's own: it holds the focus and closes by Escape.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

export const dialog = signal<{ readonly title: string; readonly body: () => ComponentChildren } | null>(null);

export function openDialog(title: string, body: () => ComponentChildren): void {
  dialog.value = { title, body };
}

export function closeDialog(): void {
  dialog.value = null;
}

export function DialogHost() {
  const ref = useRef<HTMLDialogElement>(null);
  const now = dialog.value;
  useEffect(() => {
    const element = ref.current;
    if (!now || !element) return;
    const before = document.activeElement;
    element.showModal();
    element.querySelector<HTMLElement>("[data-first]")?.focus();
    return () => {
      element.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, [now]);
  if (!now) return null;
  return (
    <dialog
      ref={ref}
      aria-labelledby="dialog-title"
      onCancel={(event) => {
        event.preventDefault();
        closeDialog();
      }}
      onClick={(event) => event.target === ref.current && closeDialog()}
    >
      <div class="dialog">
        <header>
          <h2 id="dialog-title">{now.title}</h2>
          <button type="button" class="plain" aria-label="Close" onClick={closeDialog}>
            ✕
          </button>
        </header>
        {now.body()}
      </div>
    </dialog>
  );
}
