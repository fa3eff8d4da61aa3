// JSON as a tree that opens and closes.

import { h } from "./dom";
import type { Json } from "./json";

const kMaxChildren = 500; // of one node

export function showJson(value: Json, depth = 0): HTMLElement {
  if (typeof value !== "object" || value === null) return leaf(value);
  const isList = Array.isArray(value);
  const items: [string, Json][] = isList
    ? value.map((v, i) => [String(i), v])
    : Object.entries(value);
  const brackets = isList ? `[${items.length}]` : `{${items.length}}`;
  if (items.length === 0) return h("span.json", {}, isList ? "[]" : "{}");
  const node = h(
    "details.json",
    { open: depth < 1 },
    h("summary", {}, brackets),
  ) as HTMLDetailsElement;
  let filled = false;
  const fill = () => {
    if (filled || !node.open) return;
    filled = true;
    for (const [name, item] of items.slice(0, kMaxChildren)) {
      node.append(h("div.json-item", {}, h("span.json-name", {}, name), showJson(item, depth + 1)));
    }
    if (items.length > kMaxChildren)
      node.append(h("div.json-item", {}, `… ${items.length - kMaxChildren} more`));
  };
  node.addEventListener("toggle", fill);
  fill();
  return node;
}

function leaf(value: string | number | boolean | null): HTMLElement {
  return h(
    `span.json-leaf.json-${value === null ? "null" : typeof value}`,
    {},
    JSON.stringify(value),
  );
}
