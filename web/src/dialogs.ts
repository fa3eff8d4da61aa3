// Dialogs: small windows over the page that keep the focus and close with Escape.

import { button, h, iconButton, type Child } from "./dom";

export function openDialog(title: string, ...content: Child[]): HTMLDialogElement {
  const heading = h("h2", {}, title);
  const dialog = h("dialog", { "aria-label": title }) as HTMLDialogElement;
  const close = iconButton("close", "Close", () => dialog.close());
  dialog.append(
    h("header", {}, heading, close),
    ...content.filter((c): c is Node | string => c !== undefined && c !== false),
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside the window
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export function anyDialog(): boolean {
  return document.querySelector("dialog[open]") !== null;
}

export function askText(
  title: string,
  label: string,
  value: string,
  verb: string,
  then: (text: string) => void,
): void {
  const field = h("input", {
    type: "text",
    value,
    maxlength: "200",
    autocomplete: "off",
  }) as HTMLInputElement;
  const submit = (event: Event) => {
    event.preventDefault();
    dialog.close();
    then(field.value.trim());
  };
  const form = h(
    "form",
    { onsubmit: submit },
    h("label", {}, label, field),
    h("div.actions", {}, h("button.primary", { type: "submit" }, verb)),
  );
  const dialog = openDialog(title, form);
  field.select();
}

export function confirmThat(title: string, text: string, verb: string, then: () => void): void {
  const yes = button(
    verb,
    () => {
      dialog.close();
      then();
    },
    { class: "danger" },
  );
  const no = button("Cancel", () => dialog.close());
  const dialog = openDialog(title, h("p", {}, text), h("div.actions", {}, no, yes));
  no.focus();
}

const kShortcuts: [string, string][] = [
  ["Shift Enter", "run the code and go on with an empty cell"],
  ["Ctrl Enter", "run the code and keep it"],
  ["Tab", "complete the name before the cursor"],
  ["Ctrl Space", "list completions anywhere"],
  ["Shift Tab", "tell what is known of the name at the cursor"],
  ["↑", "at the first line: earlier code; ↓ at the last line comes back"],
  ["Ctrl C", "interrupt the running cell, when nothing is selected"],
  ["Escape Escape", "interrupt the running cell"],
  ["Ctrl Z", "undo the last cell, outside of the editor"],
  ["Ctrl .", "go to the editor"],
  ["Ctrl B", "show or hide the sessions"],
  ["?", "this list, outside of the editor"],
];

export function openHelp(): void {
  const rows = kShortcuts.map(([keys, text]) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, ...keys.split(" ").flatMap((k) => [h("kbd", {}, k), " "])),
      h("td", {}, text),
    ),
  );
  openDialog(
    "Keyboard",
    h("table.shortcuts", {}, ...rows),
    h(
      "p.hint",
      {},
      "Click a cell's code to take it into the editor. Drop files anywhere to upload them.",
    ),
    h(
      "p.hint",
      {},
      h("a", { href: "/licenses.txt", target: "_blank", rel: "noopener" }, "Licences"),
      " of what this page is made of.",
    ),
  );
}

let toastTimer: number | undefined;

// One line over the notebook that goes away by itself.
export function toast(text: string, tone: "info" | "error" = "info"): void {
  document.querySelector(".toast")?.remove();
  const line = h(`div.toast.${tone}`, { role: tone === "error" ? "alert" : "status" }, text);
  document.body.append(line);
  clearTimeout(toastTimer);
  toastTimer = window.setTimeout(() => line.remove(), tone === "error" ? 8000 : 4000);
}

export function failed(what: string): (error: unknown) => void {
  return (error) =>
    toast(`${what}: ${error instanceof Error ? error.message : String(error)}`, "error");
}
