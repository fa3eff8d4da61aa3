// The list of cells. Draws what the model says has changed, and only that: a frame or an image that
// is there already stays.

import { clear, h, iconButton } from "./dom";
import { duration } from "./format";
import { forgetFrames } from "./frame";
import { showCode } from "./highlight";
import { killedText, type Model } from "./model";
import type { CellEntry, Entry, NoteEntry, Output } from "./notebook";
import { showBundle, showError, showInput, showNote } from "./outputs";
import { StreamView } from "./stream";

export interface CellsHost {
  edit(code: string): void; // take the code into the editor
  answer(cell: CellEntry, line: string | null): void; // null: the end of the input
  openSession(id: string): void;
  mayEdit(): boolean;
  user(): string;
}

interface OutputView {
  element: HTMLElement;
  version: number;
  update: (() => void) | undefined;
}

class CellView {
  readonly element: HTMLElement;
  private readonly label_ = h("div.label");
  private readonly source_ = h("div.source");
  private readonly outputs_ = h("div.outputs");
  private readonly foot_ = h("div.foot");
  private readonly views_ = new Map<number, OutputView>();
  private shownCode_: string | undefined | null = null; // null: nothing shown yet

  constructor(
    private readonly cell_: CellEntry,
    private readonly host_: CellsHost,
  ) {
    const body = h("div.body", {}, this.source_, this.outputs_, this.foot_);
    this.element = h("article.cell", { "data-cell": String(cell_.number) }, this.label_, body);
    this.update();
  }

  update(): void {
    const cell = this.cell_;
    this.element.dataset.status = cell.status;
    this.element.classList.toggle("undone", cell.undone !== undefined);
    this.element.setAttribute(
      "aria-label",
      `Cell ${cell.executionCount || cell.number}${cell.undone ? ", undone" : ""}`,
    );
    this.element.setAttribute("aria-busy", String(cell.status === "running"));
    this.label_.textContent =
      cell.number === 0 ? "" : cell.executionCount > 0 ? `[${cell.executionCount}]` : "[ ]";
    if (this.shownCode_ !== cell.code) this.showSource_();
    this.showOutputs_();
    this.showFoot_();
  }

  private showSource_(): void {
    const code = this.cell_.code;
    this.shownCode_ = code;
    if (code === undefined) {
      const gone = this.cell_.number > 0 ? "The code of this cell is not kept any more." : "";
      clear(this.source_, gone && h("p.gone", {}, gone));
      return;
    }
    const pre = h("pre.code", { title: "Click to edit and run again" }, showCode(code));
    pre.addEventListener("click", () => {
      if (document.getSelection()?.isCollapsed !== false && this.host_.mayEdit())
        this.host_.edit(code);
    });
    const again = iconButton("edit", "Edit and run again", () => this.host_.edit(code), ".again");
    clear(this.source_, pre, again);
  }

  private showOutputs_(): void {
    const present = new Set(this.cell_.outputs.map((o) => o.id));
    for (const [id, view] of this.views_) {
      if (present.has(id)) continue;
      view.element.remove();
      this.views_.delete(id);
    }
    for (const output of this.cell_.outputs) {
      const view = this.views_.get(output.id);
      if (!view) this.addOutput_(output);
      else if (view.version !== output.version) this.changeOutput_(output, view);
    }
  }

  private addOutput_(output: Output): void {
    const view = this.viewOf_(output);
    this.views_.set(output.id, view);
    this.outputs_.append(view.element);
  }

  private changeOutput_(output: Output, view: OutputView): void {
    view.version = output.version;
    if (view.update) {
      view.update();
      return;
    }
    const made = this.viewOf_(output);
    view.element.replaceWith(made.element);
    this.views_.set(output.id, made);
  }

  private viewOf_(output: Output): OutputView {
    const version = output.version;
    if (output.kind === "stream") {
      const stream = new StreamView(output);
      return { element: stream.element, version, update: () => stream.update() };
    }
    return { element: this.elementOf_(output), version, update: undefined };
  }

  private elementOf_(output: Exclude<Output, { kind: "stream" }>): HTMLElement {
    if (output.kind === "display") return h("div.display", {}, showBundle(output.data));
    if (output.kind === "error") return showError(output);
    if (output.kind === "note") return showNote(output);
    if (output.kind === "result") {
      const label = h("span.out", { title: `Out [${output.executionCount}]` }, "Out");
      return h("div.result", {}, label, showBundle(output.data));
    }
    const answer = (line: string | null) => this.host_.answer(this.cell_, line);
    return showInput(output, this.host_.mayEdit() ? answer : undefined);
  }

  private showFoot_(): void {
    const cell = this.cell_;
    const parts: (Node | false)[] = [];
    if (cell.hiddenOutputs > 0)
      parts.push(h("p.note.warning", {}, `${cell.hiddenOutputs} earlier outputs are not shown`));
    const killed = killedText(cell.status);
    if (killed !== undefined) parts.push(bannerOf(cell, killed));
    else if (cell.status === "interrupted") parts.push(h("p.note.warning", {}, "Interrupted"));
    else if (cell.status === "exit") parts.push(h("p.note.info", {}, "The program exited"));
    if (cell.undone !== undefined && killed === undefined) {
      const reason = cell.undone.startsWith("undone")
        ? cell.undone.slice(1)
        : `ndone: ${cell.undone}`;
      parts.push(h("p.note.undone", {}, `U${reason}`));
    }
    parts.push(this.facts_());
    clear(this.foot_, ...parts);
  }

  private facts_(): HTMLElement | false {
    const cell = this.cell_;
    const facts: string[] = [];
    if (cell.by && cell.by !== this.host_.user()) facts.push(cell.by);
    if (cell.status !== "running" && cell.ms >= 100) facts.push(duration(cell.ms));
    return facts.length > 0 && h("p.facts", {}, facts.join(" · "));
  }
}

// A cell that had to be killed: what happened, and that nothing else was lost.
function bannerOf(cell: CellEntry, killed: string): HTMLElement {
  const why = cell.why ? `: ${cell.why}` : "";
  const after =
    cell.undone !== undefined
      ? "The session goes on from the state before this cell; nothing else is lost."
      : "There was no checkpoint to go back to.";
  return h("div.banner", { role: "alert" }, h("strong", {}, `${killed}${why}.`), ` ${after}`);
}

function noteView(note: NoteEntry, host: CellsHost): HTMLElement {
  const open = h(
    "button.link",
    { type: "button", onclick: () => host.openSession(note.link) },
    "Open the branch",
  );
  return h(
    `div.between.${note.tone}`,
    { role: "note" },
    h("span", {}, note.text),
    note.link !== "" && open,
  );
}

export class Cells {
  private views_ = new Map<Entry, { element: HTMLElement; update: () => void }>();

  constructor(
    private readonly list_: HTMLElement,
    private readonly host_: CellsHost,
  ) {}

  reset(): void {
    forgetFrames();
    this.views_.clear();
    clear(this.list_);
  }

  // Takes over what has changed in the model.
  update(model: Model): void {
    if (model.structureChanged) this.updateStructure_(model);
    for (const entry of model.dirty) this.views_.get(entry)?.update();
    model.dirty.clear();
    model.structureChanged = false;
  }

  redraw(): void {
    for (const view of this.views_.values()) view.update();
  }

  private updateStructure_(model: Model): void {
    const present = new Set(model.entries);
    for (const [entry, view] of this.views_) {
      if (present.has(entry)) continue;
      view.element.remove();
      this.views_.delete(entry);
    }
    for (const entry of model.entries) {
      if (this.views_.has(entry)) continue;
      const view = this.viewOf_(entry);
      this.views_.set(entry, view);
      this.list_.append(view.element);
    }
  }

  private viewOf_(entry: Entry): { element: HTMLElement; update: () => void } {
    if (entry.kind === "note")
      return { element: noteView(entry, this.host_), update: () => undefined };
    const view = new CellView(entry, this.host_);
    return { element: view.element, update: () => view.update() };
  }
}
