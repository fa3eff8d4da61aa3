// Checkpoints, newest first: go back to one, or branch from it.

import { button, clear, h } from "./dom";
import { bytes, firstLine, microseconds } from "./format";
import type { Model } from "./model";
import type { Checkpoint } from "./types";

export interface TimelineHost {
  goBack(checkpoint: number): void;
  branch(checkpoint: number | undefined): void;
  measure(): void;
  mayEdit(): boolean;
}

export class Timeline {
  constructor(
    private readonly element_: HTMLElement,
    private readonly host_: TimelineHost,
  ) {}

  draw(model: Model): void {
    const mayEdit = this.host_.mayEdit();
    const newest = [...model.checkpoints].reverse();
    const items = newest.map((checkpoint) => this.item_(checkpoint, model, mayEdit));
    const now = h(
      "li.now",
      {},
      h(
        "div.head",
        {},
        h("span.count", {}, "now"),
        h("span.line", {}, model.state === "busy" ? "a cell runs" : "the live session"),
      ),
      h(
        "div.actions",
        {},
        mayEdit &&
          button("Branch", () => this.host_.branch(undefined), {
            "aria-label": "Branch from the live session",
          }),
        newest.length > 0 && button("Measure memory", () => this.host_.measure()),
      ),
    );
    const hint =
      newest.length === 0 &&
      h(
        "p.hint",
        {},
        "Before every cell the session keeps a checkpoint; they will be listed here.",
      );
    clear(this.element_, h("ol.timeline", {}, now, ...items), hint);
  }

  private item_(checkpoint: Checkpoint, model: Model, mayEdit: boolean): HTMLElement {
    const n = checkpoint.checkpoint;
    const code = checkpoint.code ?? model.codeOf(n) ?? "";
    const facts = [`kept in ${microseconds(checkpoint.us)}`];
    if (checkpoint.pss !== undefined) facts.push(bytes(checkpoint.pss));
    if (checkpoint.unique !== undefined) facts.push(`${bytes(checkpoint.unique)} own`);
    if (checkpoint.threads > 0)
      facts.push(`without ${checkpoint.threads} thread${checkpoint.threads > 1 ? "s" : ""}`);
    if (checkpoint.children > 0)
      facts.push(
        `without ${checkpoint.children} child process${checkpoint.children > 1 ? "es" : ""}`,
      );
    const label = `Before [${checkpoint.executionCount}]`;
    return h(
      "li",
      { "data-checkpoint": String(n) },
      h(
        "div.head",
        {},
        h("span.count", {}, `[${checkpoint.executionCount}]`),
        h("code.line", {}, firstLine(code) || label),
      ),
      h("p.facts", {}, facts.join(" · ")),
      mayEdit &&
        h(
          "div.actions",
          {},
          button("Go back to here", () => this.host_.goBack(n), {
            "aria-label": `Go back to before cell ${checkpoint.executionCount}`,
          }),
          button("Branch", () => this.host_.branch(n), {
            "aria-label": `Branch from before cell ${checkpoint.executionCount}`,
          }),
        ),
    );
  }
}
