// A stream's text on the page. Long output is folded: its beginning, a button, its end.

import { button, clear, h } from "./dom";
import type { StreamOutput } from "./notebook";
import { kPlain, type Line, type Segment, type Style, type Terminal } from "./terminal";

const kFoldAbove = 120; // lines
const kHead = 20;
const kTail = 60;
const kLongLine = 2000; // characters of a line that are shown while it is folded

export class StreamView {
  readonly element: HTMLElement;
  private open_ = false;

  constructor(private readonly output_: StreamOutput) {
    this.element = h(`pre.stream.${output_.name}`, { tabindex: "-1" });
    this.update();
  }

  update(): void {
    const terminal = this.output_.terminal;
    const lines = visibleLines(terminal);
    const parts: Node[] = [];
    if (terminal.droppedLines > 0) {
      parts.push(h("span.fold", {}, `${terminal.droppedLines} earlier lines are not kept\n`));
    }
    const long = lines.length > kFoldAbove || lines.some((line) => lengthOf(line) > kLongLine);
    if (!long || this.open_) {
      parts.push(...lines.map((line) => showLine(line, Infinity)));
      if (long) parts.push(this.toggle_("Show less"));
    } else if (lines.length > kFoldAbove) {
      parts.push(...lines.slice(0, kHead).map((line) => showLine(line, kLongLine)));
      parts.push(this.toggle_(`Show all ${lines.length} lines`));
      parts.push(...lines.slice(-kTail).map((line) => showLine(line, kLongLine)));
    } else {
      parts.push(...lines.map((line) => showLine(line, kLongLine)));
      parts.push(this.toggle_("Show whole lines"));
    }
    clear(this.element, ...parts);
  }

  private toggle_(label: string): HTMLElement {
    const flip = () => {
      this.open_ = !this.open_;
      this.update();
    };
    return h(
      "span.fold",
      {},
      button(label, flip, { class: "link", "aria-expanded": String(this.open_) }),
      "\n",
    );
  }
}

export function showTerminal(terminal: Terminal): Node[] {
  return visibleLines(terminal).map((line) => showLine(line, Infinity));
}

function visibleLines(terminal: Terminal): Line[] {
  const lines = terminal.lines;
  const last = lines[lines.length - 1];
  return last && last.length === 0 ? lines.slice(0, -1) : lines;
}

function lengthOf(line: Line): number {
  return line.reduce((sum, segment) => sum + segment.text.length, 0);
}

function showLine(line: Line, limit: number): Node {
  const row = document.createDocumentFragment();
  let room = limit;
  for (const segment of line) {
    const text = segment.text.length > room ? `${segment.text.slice(0, room)} …` : segment.text;
    row.append(showSegment({ text, style: segment.style }));
    room -= segment.text.length;
    if (room <= 0) break;
  }
  row.append("\n");
  return row;
}

function showSegment(segment: Segment): Node {
  if (segment.style === kPlain) return document.createTextNode(segment.text);
  const span = h("span", {}, segment.text);
  applyStyle(span, segment.style);
  return span;
}

function applyStyle(span: HTMLElement, style: Style): void {
  const fg = style.inverse ? style.bg || "paper" : style.fg;
  const bg = style.inverse ? style.fg || "ink" : style.bg;
  if (fg) span.style.color = colour(fg);
  if (bg) span.style.backgroundColor = colour(bg);
  if (style.bold) span.style.fontWeight = "600";
  if (style.dim) span.style.opacity = "0.65";
  if (style.italic) span.style.fontStyle = "italic";
  if (style.underline) span.style.textDecoration = "underline";
}

function colour(name: string): string {
  if (name.startsWith("#")) return name;
  return /^\d/.test(name) ? `var(--ansi-${name})` : `var(--${name})`;
}
