// The page around the notebook: panels and drawers, tabs, keys of the whole page, dropped files.

import { anyDialog, openHelp } from "./dialogs";
import { must } from "./dom";

export type Tab = "timeline" | "files" | "messages";
const kTabs: Tab[] = ["timeline", "files", "messages"];
const kTwice = 600; // ms between two Escapes that belong together

export interface ShellHost {
  interrupt(): void; // the running cell, if one runs
  busy(): boolean;
  undo(): void;
  focusEditor(): void;
  drop(files: File[]): void;
  tabShown(tab: Tab): void;
}

const narrow = window.matchMedia("(max-width: 60rem)");

export class Shell {
  private tab_: Tab = "timeline";
  private escapeAt_ = 0;

  constructor(private readonly host_: ShellHost) {
    must("toggle-sessions").onclick = () => this.toggle("sessions");
    must("toggle-side").onclick = () => this.toggle("side");
    must("close-side").onclick = () => this.toggle("side", false);
    must("shade").onclick = () => this.closeDrawers();
    for (const tab of kTabs) {
      const element = must(`tab-${tab}`);
      element.onclick = () => this.show(tab);
      element.onkeydown = (event) => this.tabKey_(event, tab);
    }
    document.addEventListener("keydown", (event) => this.key_(event));
    this.acceptDrops_();
    narrow.addEventListener("change", () => this.layout_());
    this.layout_();
  }

  get tab(): Tab {
    return this.tab_;
  }

  show(tab: Tab): void {
    this.tab_ = tab;
    for (const one of kTabs) {
      const selected = one === tab;
      must(one).hidden = !selected;
      must(`tab-${one}`).setAttribute("aria-selected", String(selected));
      must(`tab-${one}`).tabIndex = selected ? 0 : -1;
    }
    this.host_.tabShown(tab);
  }

  // A panel beside the notebook, or on a small screen a drawer over it.
  toggle(panel: "sessions" | "side", open?: boolean): void {
    const app = must("app");
    const show = open ?? app.dataset[panel] !== "open";
    if (show && narrow.matches) this.closeDrawers();
    app.dataset[panel] = show ? "open" : "closed";
    must(`toggle-${panel}`).setAttribute("aria-expanded", String(show));
    this.shade_();
    if (show && narrow.matches) must(panel).querySelector<HTMLElement>("button")?.focus();
  }

  closeDrawers(): void {
    if (!narrow.matches) return;
    this.toggle("sessions", false);
    this.toggle("side", false);
  }

  private shade_(): void {
    const app = must("app").dataset;
    must("shade").hidden = !narrow.matches || (app.sessions !== "open" && app.side !== "open");
  }

  private layout_(): void {
    for (const panel of ["sessions", "side"] as const) this.toggle(panel, !narrow.matches);
  }

  private tabKey_(event: KeyboardEvent, tab: Tab): void {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const next = kTabs[(kTabs.indexOf(tab) + step + kTabs.length) % kTabs.length] ?? tab;
    this.show(next);
    must(`tab-${next}`).focus();
  }

  // --- keys of the whole page --------------------------------------------------------------------

  private key_(event: KeyboardEvent): void {
    if (anyDialog() || must("app").hidden) return;
    const writing =
      event.target instanceof Element &&
      event.target.closest("input, textarea, select, .cm-editor") !== null;
    const control = (event.ctrlKey || event.metaKey) && !event.altKey;
    if (event.key === "Escape") this.escape_();
    else if (event.ctrlKey && event.key === "c" && this.host_.busy() && !selected())
      this.take_(event, () => this.host_.interrupt());
    else if (control && event.key === ".") this.take_(event, () => this.host_.focusEditor());
    else if (control && event.key === "b") this.take_(event, () => this.toggle("sessions"));
    else if (control && event.key === "z" && !event.shiftKey && !writing)
      this.take_(event, () => this.host_.undo());
    else if (event.key === "?" && !writing) this.take_(event, openHelp);
  }

  private take_(event: KeyboardEvent, action: () => void): void {
    event.preventDefault();
    action();
  }

  private escape_(): void {
    const now = performance.now();
    if (now - this.escapeAt_ < kTwice) this.host_.interrupt();
    this.escapeAt_ = now;
    this.closeDrawers();
  }

  // --- dropped files -----------------------------------------------------------------------------

  private acceptDrops_(): void {
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") === true;
    const mark = (on: boolean) => document.body.classList.toggle("dropping", on);
    document.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      mark(true);
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) mark(false);
    });
    document.addEventListener("drop", (event) => {
      mark(false);
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.host_.drop([...(event.dataTransfer?.files ?? [])]);
    });
  }
}

// Something that Ctrl-C would copy.
function selected(): boolean {
  const field = document.activeElement;
  if (field instanceof HTMLInputElement) return field.selectionStart !== field.selectionEnd;
  return document.getSelection()?.isCollapsed === false;
}
