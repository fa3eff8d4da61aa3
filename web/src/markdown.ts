// A small part of Markdown, made into elements (never into HTML text): headings, paragraphs, lists,
// quotes, code, emphasis, links to the web. Anything else stays as it was written.

import { h } from "./dom";

export function showMarkdown(source: string): HTMLElement {
  const root = h("div.markdown");
  const lines = source.replace(/\r\n/g, "\n").split("\n");
  let at = 0;
  while (at < lines.length) at = block(lines, at, root);
  return root;
}

// Appends the block that begins at line `at`; returns the line after it.
function block(lines: string[], at: number, root: HTMLElement): number {
  const line = lines[at] ?? "";
  if (line.trim() === "") return at + 1;
  if (line.startsWith("```")) return fence(lines, at, root);
  const heading = /^(#{1,6})\s+(.*)$/.exec(line);
  if (heading) {
    const level = Math.min(6, (heading[1] ?? "#").length + 2); // the page has h1 and h2
    root.append(inline(h(`h${level}`), heading[2] ?? ""));
    return at + 1;
  }
  if (/^\s*([-*+]|\d+[.)])\s+/.test(line)) return list(lines, at, root);
  const quote = line.startsWith(">");
  const text: string[] = [];
  let end = at;
  for (; end < lines.length; end++) {
    const next = lines[end] ?? "";
    if (next.trim() === "" || next.startsWith("```") || next.startsWith(">") !== quote) break;
    if (end > at && /^(#{1,6}\s|\s*([-*+]|\d+[.)])\s)/.test(next)) break;
    text.push(quote ? next.replace(/^>\s?/, "") : next);
  }
  root.append(inline(h(quote ? "blockquote" : "p"), text.join("\n")));
  return end;
}

function fence(lines: string[], at: number, root: HTMLElement): number {
  let end = at + 1;
  while (end < lines.length && !(lines[end] ?? "").startsWith("```")) end++;
  root.append(h("pre", {}, lines.slice(at + 1, end).join("\n")));
  return end + 1;
}

function list(lines: string[], at: number, root: HTMLElement): number {
  const ordered = /^\s*\d/.test(lines[at] ?? "");
  const made = h(ordered ? "ol" : "ul");
  let end = at;
  for (; end < lines.length; end++) {
    const item = /^\s*([-*+]|\d+[.)])\s+(.*)$/.exec(lines[end] ?? "");
    if (!item) break;
    made.append(inline(h("li"), item[2] ?? ""));
  }
  root.append(made);
  return end;
}

const kInline = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/g;

function inline(parent: HTMLElement, text: string): HTMLElement {
  let at = 0;
  for (const match of text.matchAll(kInline)) {
    parent.append(text.slice(at, match.index));
    at = match.index + match[0].length;
    const [, code, strong, emphasis, label, address] = match;
    if (code !== undefined) parent.append(h("code", {}, code));
    else if (strong !== undefined) parent.append(h("strong", {}, strong));
    else if (emphasis !== undefined) parent.append(h("em", {}, emphasis));
    else
      parent.append(h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, label));
  }
  parent.append(text.slice(at));
  return parent;
}
