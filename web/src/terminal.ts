// Text as a terminal would show it: carriage returns overwrite, colours become styles, everything
// else a terminal can be told is left out. Bounded: the oldest lines go when there are too many.

export interface Style {
  fg: string; // "" or "0".."15", or "#rrggbb"
  bg: string;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
  inverse: boolean;
}

export interface Segment {
  text: string;
  style: Style;
}

export type Line = Segment[];

export const kPlain: Style = {
  fg: "",
  bg: "",
  bold: false,
  dim: false,
  italic: false,
  underline: false,
  inverse: false,
};

const kMaxLines = 20000;
const kMaxColumns = 20000; // of one line; what is beyond is not kept
const kMaxEscape = 256; // an escape sequence longer than this is taken as text

const kTokens =
  /\x1b\[([0-9;:?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b[@-Z\\^_=>78]|\r\n|[\r\n\b\x07\x0c]|[^\x1b\r\n\b\x07\x0c]+|\x1b/g;

export class Terminal {
  lines: Line[] = [[]];
  droppedLines = 0;
  private row_ = 0;
  private column_ = 0;
  private style_: Style = kPlain;
  private rest_ = ""; // an escape sequence, or "\r", whose end has not come yet

  write(piece: string): void {
    const { whole, rest } = splitUnfinished(this.rest_ + piece);
    this.rest_ = rest;
    for (const token of whole.matchAll(kTokens)) this.take_(token);
    if (this.lines.length > kMaxLines) {
      const excess = this.lines.length - kMaxLines;
      this.lines.splice(0, excess);
      this.droppedLines += excess;
      this.row_ = Math.max(0, this.row_ - excess);
    }
  }

  text(): string {
    return this.lines.map((line) => line.map((s) => s.text).join("")).join("\n");
  }

  private take_(token: RegExpMatchArray): void {
    const text = token[0];
    if (token[2] !== undefined) this.control_(token[2], token[1] ?? "");
    else if (text === "\n" || text === "\r\n") this.goTo_(this.row_ + 1);
    else if (text === "\r") this.column_ = 0;
    else if (text === "\b") this.column_ = Math.max(0, this.column_ - 1);
    else if (!/^[\x1b\x07\x0c]/.test(text)) this.put_(text);
  }

  private goTo_(row: number): void {
    this.row_ = Math.max(0, row);
    this.column_ = 0;
    while (this.lines.length <= this.row_) this.lines.push([]);
  }

  private control_(final: string, parameters: string): void {
    const n = Math.max(1, parseInt(parameters, 10) || 1);
    if (final === "m") this.style_ = styleAfter(this.style_, parameters);
    else if (final === "K") this.erase_(parseInt(parameters, 10) || 0);
    else if (final === "A") this.row_ = Math.max(0, this.row_ - n);
    else if (final === "B") this.row_ = Math.min(this.lines.length - 1, this.row_ + n);
    else if (final === "C") this.column_ = Math.min(kMaxColumns, this.column_ + n);
    else if (final === "D") this.column_ = Math.max(0, this.column_ - n);
    else if (final === "G") this.column_ = Math.min(kMaxColumns, n - 1);
  }

  private erase_(what: number): void {
    const line = this.lines[this.row_] ?? [];
    if (what === 0) this.lines[this.row_] = cut(line, 0, this.column_);
    else if (what === 2) this.lines[this.row_] = [];
    else {
      const blank = { text: " ".repeat(this.column_), style: kPlain };
      this.lines[this.row_] = [blank, ...cut(line, this.column_, Infinity)];
    }
  }

  private put_(text: string): void {
    const line = this.lines[this.row_] ?? [];
    const length = line.reduce((sum, s) => sum + s.text.length, 0);
    const room = kMaxColumns - this.column_;
    const kept = text.length > room ? text.slice(0, Math.max(0, room)) : text;
    if (kept === "") return;
    const last = line[line.length - 1];
    if (this.column_ === length && last && last.style === this.style_) {
      last.text += kept;
    } else {
      const before = cut(line, 0, this.column_);
      const gap = this.column_ - length;
      if (gap > 0) before.push({ text: " ".repeat(gap), style: kPlain });
      const after = cut(line, this.column_ + kept.length, Infinity);
      this.lines[this.row_] = [...before, { text: kept, style: this.style_ }, ...after];
    }
    this.column_ += kept.length;
  }
}

// Keeps back the beginning of an escape sequence whose end may come with the next piece.
function splitUnfinished(text: string): { whole: string; rest: string } {
  const at = text.lastIndexOf("\x1b");
  if (at >= 0 && text.length - at < kMaxEscape) {
    const tail = text.slice(at);
    if (/^\x1b(?:\[[0-9;:?]*[ -/]*|\][^\x07]*|[()])?$/.test(tail)) {
      return { whole: text.slice(0, at), rest: tail };
    }
  }
  if (text.endsWith("\r")) return { whole: text.slice(0, -1), rest: "\r" };
  return { whole: text, rest: "" };
}

function cut(line: Line, from: number, to: number): Line {
  const result: Line = [];
  let at = 0;
  for (const segment of line) {
    const text = segment.text.slice(Math.max(0, from - at), Math.max(0, to - at));
    if (text !== "") result.push({ text, style: segment.style });
    at += segment.text.length;
  }
  return result;
}

function styleAfter(style: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map((p) => parseInt(p, 10) || 0);
  let next: Style = { ...style };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i] ?? 0;
    if (code === 38 || code === 48) {
      const { colour, used } = extendedColour(codes.slice(i + 1));
      next = code === 38 ? { ...next, fg: colour } : { ...next, bg: colour };
      i += used;
    } else {
      next = simpleStyle(next, code);
    }
  }
  return next;
}

function simpleStyle(style: Style, code: number): Style {
  if (code === 0) return kPlain;
  if (code === 1) return { ...style, bold: true };
  if (code === 2) return { ...style, dim: true };
  if (code === 3) return { ...style, italic: true };
  if (code === 4) return { ...style, underline: true };
  if (code === 7) return { ...style, inverse: true };
  if (code === 22) return { ...style, bold: false, dim: false };
  if (code === 23) return { ...style, italic: false };
  if (code === 24) return { ...style, underline: false };
  if (code === 27) return { ...style, inverse: false };
  if (code >= 30 && code <= 37) return { ...style, fg: String(code - 30) };
  if (code === 39) return { ...style, fg: "" };
  if (code >= 40 && code <= 47) return { ...style, bg: String(code - 40) };
  if (code === 49) return { ...style, bg: "" };
  if (code >= 90 && code <= 97) return { ...style, fg: String(code - 82) };
  if (code >= 100 && code <= 107) return { ...style, bg: String(code - 92) };
  return style;
}

function extendedColour(codes: number[]): { colour: string; used: number } {
  if (codes[0] === 5) return { colour: paletteColour(codes[1] ?? 0), used: 2 };
  if (codes[0] === 2) return { colour: hex(codes.slice(1, 4)), used: 4 };
  return { colour: "", used: 0 };
}

// The palette of 256: 16 named ones, a cube of 6 x 6 x 6, 24 greys.
function paletteColour(index: number): string {
  if (index < 16) return String(index);
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return hex([grey, grey, grey]);
  }
  const level = (step: number) => (step === 0 ? 0 : 55 + step * 40);
  const i = index - 16;
  return hex([level(Math.floor(i / 36)), level(Math.floor(i / 6) % 6), level(i % 6)]);
}

function hex(parts: number[]): string {
  const one = (n: number) => Math.min(255, Math.max(0, n)).toString(16).padStart(2, "0");
  return `#${[0, 1, 2].map((i) => one(parts[i] ?? 0)).join("")}`;
}
