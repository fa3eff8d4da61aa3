// Messages: the channel between the session's program and its clients, apart from its output.

import { clear, h } from "./dom";
import type { Model } from "./model";

export class Messages {
  private readonly list_ = h("ol.messages", { "aria-label": "Messages of the program" });
  private readonly form_: HTMLElement;
  private seen_ = 0; // key of the newest that is drawn

  constructor(element: HTMLElement, send: (text: string) => void) {
    const field = h("input", {
      type: "text",
      autocomplete: "off",
      placeholder: "A message to the program",
      "aria-label": "Message",
    }) as HTMLInputElement;
    const submit = (event: Event) => {
      event.preventDefault();
      if (field.value === "") return;
      send(field.value);
      field.value = "";
    };
    this.form_ = h(
      "form.row",
      { onsubmit: submit },
      field,
      h("button", { type: "submit" }, "Send"),
    );
    const hint = h(
      "p.hint",
      {},
      "What the program sends with ",
      h("code", {}, "brood.messages.send"),
      " appears here; what you send, it can receive.",
    );
    clear(element, hint, this.list_, this.form_);
  }

  reset(): void {
    this.seen_ = 0;
    clear(this.list_);
  }

  draw(model: Model, mayEdit: boolean): void {
    this.form_.hidden = !mayEdit;
    for (const message of model.messages) {
      if (message.key <= this.seen_) continue;
      this.seen_ = message.key;
      this.list_.append(h("li", {}, message.text));
    }
    while (this.list_.childElementCount > model.messages.length)
      this.list_.firstElementChild?.remove();
  }
}
