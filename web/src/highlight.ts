// Python with colours, once as a CodeMirror extension and once for code that is only shown.

import { syntaxHighlighting } from "@codemirror/language";
import { classHighlighter, highlightCode } from "@lezer/highlight";
import { parser } from "@lezer/python";
import { h } from "./dom";

export const highlighting = syntaxHighlighting(classHighlighter);

const kLongest = 100_000; // longer code is shown plain

export function showCode(code: string): HTMLElement {
  const pre = h("code.python");
  if (code.length > kLongest) {
    pre.textContent = code;
    return pre;
  }
  const put = (text: string, classes: string) => {
    pre.append(classes ? h("span", { class: classes }, text) : text);
  };
  highlightCode(code, parser.parse(code), classHighlighter, put, () => pre.append("\n"));
  return pre;
}
