// Asking for one line of text.
import { closeDialog, openDialog } from "./dialog";

export function askText(title: string, words: string, start: string, done: (text: string) => void): void {
  openDialog(title, () => (
    <form
      method="dialog"
      onSubmit={(event) => {
        event.preventDefault();
        const text = new FormData(event.currentTarget).get("text");
        closeDialog();
        done(String(text ?? "").trim());
      }}
    >
      <label class="asked">
        {words}
        <input name="text" type="text" autocomplete="off" maxlength={400} data-first defaultValue={start} />
      </label>
      <p class="buttons">
        <button type="button" onClick={closeDialog}>
          Cancel
        </button>
        <button type="submit" class="main">
          {title}
        </button>
      </p>
    </form>
  ));
}
