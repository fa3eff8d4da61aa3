// Making elements. Text is always set as text, never as HTML.

export type Child = Node | string | undefined | false;
type Handler = (event: Event) => void;
export type Attributes = Record<string, string | boolean | undefined | Handler>;

// h("button.small", {type: "button", onclick: f}, "Run"): a tag with classes, attributes (those
// that begin with "on" are listeners), children.
export function h(spec: string, attributes: Attributes = {}, ...children: Child[]): HTMLElement {
  const [tag = "div", ...classes] = spec.split(".");
  const element = document.createElement(tag);
  if (classes.length > 0) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (typeof value === "string") element.setAttribute(name, value);
  }
  element.append(...children.filter((c): c is Node | string => c !== undefined && c !== false));
  return element;
}

export function button(
  label: string,
  onclick: () => void,
  attributes: Attributes = {},
): HTMLButtonElement {
  const element = h("button", { type: "button", ...attributes, onclick }, label);
  return element as HTMLButtonElement;
}

// A button that is only a sign: `label` is what it is called.
export function iconButton(
  icon: string,
  label: string,
  onclick: () => void,
  spec = "",
): HTMLButtonElement {
  const made = h(
    `button.icon${spec}`,
    { type: "button", title: label, "aria-label": label, onclick },
    sign(icon),
  );
  return made as HTMLButtonElement;
}

const kSigns: Record<string, string> = {
  menu: "M3 6h18M3 12h18M3 18h18",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  undo: "M9 14L4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  stop: "M7 7h10v10H7z",
  play: "M8 5l11 7-11 7z",
  branch: "M6 4v16M6 14c0-5 12-3 12-9M18 5V4M15 7l3-3 3 3",
  edit: "M4 20h4L19 9l-4-4L4 16z",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  share: "M16 6l-4-4-4 4M12 2v13M5 12v8h14v-8",
  upload: "M12 16V4M7 9l5-5 5 5M4 20h16",
  download: "M12 4v12M7 11l5 5 5-5M4 20h16",
  folder: "M3 6h6l2 2h10v11H3z",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  clock: "M12 7v5l3 3M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18",
  message: "M4 5h16v11H9l-5 4z",
  help: "M9 9a3 3 0 1 1 4 3c-1 .4-1 1-1 2M12 18h.01",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  leave: "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
  refresh: "M20 11a8 8 0 1 0-2 6M20 4v7h-7",
};

export function sign(name: string): SVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", kSigns[name] ?? "");
  svg.append(path);
  return svg;
}

export function clear(element: Element, ...children: Child[]): void {
  element.replaceChildren(
    ...children.filter((c): c is Node | string => c !== undefined && c !== false),
  );
}

export function must(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element ${id}`);
  return element;
}
