// Outputs of a cell as elements: the richest format that the page can show.

import { button, h } from "./dom";
import { showHtml } from "./frame";
import { joinedText } from "./json";
import { showJson } from "./jsontree";
import { showMarkdown } from "./markdown";
import type { ErrorOutput, InputOutput, NoteOutput } from "./notebook";
import { showTerminal } from "./stream";
import { Terminal } from "./terminal";
import type { MimeBundle } from "./types";

const kImages = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const kMaxText = 200_000; // characters of one text that are put on the page
const kEscapes = /\x1b\[[0-9;:?]*[ -/]*[@-~]/g;

export function showBundle(data: MimeBundle): HTMLElement {
  if ("text/html" in data) return showHtml(joinedText(data["text/html"]));
  if ("image/svg+xml" in data)
    return image("image/svg+xml", base64Of(joinedText(data["image/svg+xml"])), data);
  for (const type of kImages) {
    if (type in data) return image(type, joinedText(data[type]).replace(/\s+/g, ""), data);
  }
  if ("text/markdown" in data) return showMarkdown(joinedText(data["text/markdown"]));
  if ("text/latex" in data) return plain(joinedText(data["text/latex"]), "latex");
  for (const [type, value] of Object.entries(data)) {
    if (/^application\/(.+\+)?json$/.test(type)) return h("div.json-root", {}, showJson(value));
  }
  if ("text/plain" in data) return plain(joinedText(data["text/plain"]), "plain");
  return plain(
    `(a value of type ${Object.keys(data).join(", ") || "nothing"}; this page cannot show it)`,
    "plain",
  );
}

function plain(text: string, name: string): HTMLElement {
  const terminal = new Terminal();
  terminal.write(text.slice(0, kMaxText));
  const pre = h(`pre.text.${name}`, {}, ...showTerminal(terminal));
  if (text.length <= kMaxText) return pre;
  // In one piece, as a terminal would cut lines off; then without its colours.
  const rest = () => pre.replaceChildren(text.replace(kEscapes, ""));
  pre.append(button(`Show all ${text.length} characters`, rest, { class: "link" }));
  return pre;
}

function image(type: string, base64: string, data: MimeBundle): HTMLElement {
  const alt = joinedText(data["text/plain"]) || "Image output";
  return h("img.figure", { src: `data:${type};base64,${base64}`, alt: alt.slice(0, 200) });
}

function base64Of(text: string): string {
  let binary = "";
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}

export function showError(output: ErrorOutput): HTMLElement {
  const text = output.traceback || `${output.name}: ${output.value}`;
  return h(
    "div.error",
    { role: "group", "aria-label": "Error" },
    h("pre", {}, ...tracebackLines(text, output.name)),
  );
}

// The colours that it brings; without any, places are quiet and the error itself stands out.
function tracebackLines(text: string, name: string): Node[] {
  if (text.includes("\x1b")) {
    const terminal = new Terminal();
    terminal.write(text);
    return showTerminal(terminal);
  }
  return text.split("\n").map((line) => {
    const place = /^\s*(File "|Traceback \(|During handling|The above exception)/.test(line);
    const what = line.startsWith(name);
    return h(what ? "span.what" : place ? "span.place" : "span", {}, `${line}\n`);
  });
}

export function showNote(output: NoteOutput): HTMLElement {
  return h(`p.note.${output.tone}`, { role: "note" }, output.text);
}

// `answer` gets a line, or null for the end of the input; undefined for those who may only look on.
export function showInput(
  output: InputOutput,
  answer: ((line: string | null) => void) | undefined,
): HTMLElement {
  const prompt = h("span.prompt", {}, output.prompt);
  if (!output.open)
    return h("div.stdin", {}, prompt, h("span.answered", {}, output.password ? "••••" : ""));
  if (!answer) return h("div.stdin.open", {}, prompt, h("span.answered", {}, "waiting for a line"));
  const field = h("input", {
    type: output.password ? "password" : "text",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-label": output.prompt.trim() || "Line for the program's input",
    title: "Enter sends the line, Ctrl-D ends the input",
  }) as HTMLInputElement;
  field.addEventListener("keydown", (event) => {
    if (event.key !== "d" || !event.ctrlKey || field.value !== "") return;
    event.preventDefault();
    answer(null);
  });
  const send = (event: Event) => {
    event.preventDefault();
    answer(field.value);
  };
  const form = h(
    "form.stdin.open",
    { onsubmit: send },
    prompt,
    field,
    h("button", { type: "submit" }, "Send"),
  );
  queueMicrotask(() => field.focus({ preventScroll: true }));
  return form;
}
