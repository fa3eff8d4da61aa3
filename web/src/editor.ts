// The input cell: CodeMirror with Python, completion and inspection from the live session, and a
// history. Knows nothing of the server; it asks whoever made it.

import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  completionStatus,
  startCompletion,
  type Completion,
  type CompletionContext,
  type CompletionResult,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, indentOnInput, indentUnit } from "@codemirror/language";
import { Compartment, EditorState, Prec, StateEffect, StateField } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  keymap,
  placeholder,
  showTooltip,
  type Tooltip,
} from "@codemirror/view";
import { h } from "./dom";
import { codePointsBefore, unitsBefore } from "./format";
import { highlighting } from "./highlight";
import type { Match } from "./types";

export interface EditorHost {
  run(code: string, goOn: boolean): void; // goOn: empty the editor
  complete(
    code: string,
    cursor: number,
  ): Promise<{ matches: Match[]; start: number; end: number } | undefined>;
  inspect(code: string, cursor: number): Promise<string | undefined>;
  history(): string[];
}

const showInspection = StateEffect.define<Tooltip | null>();

const inspection = StateField.define<Tooltip | null>({
  create: () => null,
  update(value, transaction) {
    for (const effect of transaction.effects) if (effect.is(showInspection)) return effect.value;
    return transaction.docChanged ? null : value;
  },
  provide: (field) => showTooltip.from(field),
});

// The server's kinds of names (those of Python's tools) as CodeMirror's.
const kKinds: Record<string, string> = {
  module: "namespace",
  class: "class",
  function: "function",
  method: "method",
  instance: "variable",
  variable: "variable",
  keyword: "keyword",
  param: "variable",
  property: "property",
  magic: "function",
  path: "text",
  statement: "variable",
  builtin: "function",
};

export class Editor {
  private readonly view_: EditorView;
  private readonly writable_ = new Compartment();
  private historyAt_: number | undefined; // place in the history; undefined: what is being written
  private draft_ = "";

  constructor(
    parent: HTMLElement,
    private readonly host_: EditorHost,
  ) {
    this.view_ = new EditorView({
      parent,
      state: EditorState.create({ extensions: this.extensions_() }),
    });
  }

  get code(): string {
    return this.view_.state.doc.toString();
  }

  set code(code: string) {
    const length = this.view_.state.doc.length;
    this.view_.dispatch({
      changes: { from: 0, to: length, insert: code },
      selection: { anchor: code.length },
      scrollIntoView: true,
    });
  }

  focus(): void {
    this.view_.focus();
  }

  setWritable(writable: boolean): void {
    this.view_.dispatch({
      effects: this.writable_.reconfigure([
        EditorState.readOnly.of(!writable),
        EditorView.editable.of(writable),
      ]),
    });
  }

  run(goOn: boolean): void {
    const code = this.code;
    if (code.trim() === "") return;
    this.host_.run(code, goOn);
    if (goOn) this.code = "";
    this.historyAt_ = undefined;
  }

  private extensions_() {
    const keys = Prec.highest(
      keymap.of([
        { key: "Shift-Enter", run: () => (this.run(true), true) },
        { key: "Ctrl-Enter", mac: "Cmd-Enter", run: () => (this.run(false), true) },
        { key: "Ctrl-Enter", run: () => (this.run(false), true) },
        { key: "Shift-Tab", run: () => (void this.inspect_(), true) },
        { key: "Escape", run: () => this.closeInspection_() },
        { key: "Tab", run: (view) => acceptCompletion(view) || this.completeAtWord_(view) },
        { key: "ArrowUp", run: () => this.walkHistory_(-1) },
        { key: "ArrowDown", run: () => this.walkHistory_(1) },
      ]),
    );
    return [
      keys,
      history(),
      drawSelection(),
      indentUnit.of("    "),
      indentOnInput(),
      bracketMatching(),
      closeBrackets(),
      python(),
      highlighting,
      autocompletion({
        override: [(context) => this.complete_(context)],
        icons: false,
        aboveCursor: true, // there is no room below
      }),
      inspection,
      placeholder("Python. Shift-Enter runs it."),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({
        "aria-label": "Code of the next cell",
        spellcheck: "false",
      }),
      this.writable_.of([]),
      keymap.of([
        ...closeBracketsKeymap,
        ...completionKeymap,
        ...historyKeymap,
        ...defaultKeymap,
        indentWithTab,
      ]),
    ];
  }

  // --- completion and inspection -----------------------------------------------------------------

  private completeAtWord_(view: EditorView): boolean {
    const { head, empty } = view.state.selection.main;
    const line = view.state.doc.lineAt(head);
    const before = line.text.slice(0, head - line.from);
    return empty && /[\w.\])'"]$/.test(before) && startCompletion(view);
  }

  private async complete_(context: CompletionContext): Promise<CompletionResult | null> {
    const word = context.matchBefore(/[\w.]+/);
    if (!context.explicit && (!word || (!word.text.includes(".") && word.text.length < 2)))
      return null;
    if (!context.explicit && word && /^[\d.]+$/.test(word.text)) return null;
    const code = context.state.doc.toString();
    const answer = await this.host_.complete(code, codePointsBefore(code, context.pos));
    if (!answer || context.aborted || answer.matches.length === 0) return null;
    const options = answer.matches.map((match): Completion => {
      const kind = kKinds[match.type];
      return kind ? { label: match.text, type: kind, detail: match.type } : { label: match.text };
    });
    return {
      from: unitsBefore(code, answer.start),
      to: unitsBefore(code, answer.end),
      options,
      validFor: /^\w*$/,
    };
  }

  private async inspect_(): Promise<void> {
    const state = this.view_.state;
    const at = state.selection.main.head;
    const text = await this.host_.inspect(this.code, codePointsBefore(this.code, at));
    if (this.view_.state.doc !== state.doc) return; // edited meanwhile
    const create = () => ({
      dom: h("div.inspection", { role: "tooltip" }, text ?? "Nothing is known about this."),
    });
    this.view_.dispatch({ effects: showInspection.of({ pos: at, above: true, create }) });
  }

  private closeInspection_(): boolean {
    if (this.view_.state.field(inspection) === null) return false;
    this.view_.dispatch({ effects: showInspection.of(null) });
    return true;
  }

  // --- history -----------------------------------------------------------------------------------

  // Up at the first line goes back, down at the last line comes forward again.
  private walkHistory_(step: -1 | 1): boolean {
    const state = this.view_.state;
    const selection = state.selection.main;
    if (completionStatus(state) === "active" || !selection.empty) return false;
    const line = state.doc.lineAt(selection.head).number;
    if (step < 0 ? line !== 1 : line !== state.doc.lines || this.historyAt_ === undefined)
      return false;
    const codes = this.host_.history();
    if (this.historyAt_ === undefined) this.draft_ = this.code;
    const at = (this.historyAt_ ?? codes.length) + step;
    if (at < 0) return true;
    this.historyAt_ = at < codes.length ? at : undefined;
    this.code = codes[at] ?? this.draft_;
    if (step < 0) this.view_.dispatch({ selection: { anchor: this.view_.state.doc.line(1).to } });
    return true;
  }
}
