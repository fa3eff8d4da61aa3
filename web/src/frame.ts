// HTML of cells is shown in a frame that has no origin: it runs its own scripts but cannot read
// the page, its cookies, or the server, nor lead the window elsewhere. /frame.html is the frame's
// document (with a policy of its own); the content is handed over by a message.

import { h } from "./dom";
import { isDark, onThemeChange } from "./theme";

const kMaxHeight = 3000; // px; higher content scrolls inside

interface Shown {
  frame: HTMLIFrameElement;
  html: string;
}

const shown = new Set<Shown>();

export function showHtml(html: string): HTMLElement {
  const frame = h("iframe.html", {
    sandbox: "allow-scripts",
    src: "/frame.html",
    title: "HTML output",
    referrerpolicy: "no-referrer",
  }) as HTMLIFrameElement;
  frame.style.height = "2.5rem";
  shown.add({ frame, html });
  return frame;
}

// The notebook that they belonged to has gone.
export function forgetFrames(): void {
  shown.clear();
}

function send(one: Shown, withContent: boolean): void {
  const content = withContent ? { html: one.html } : {};
  // The frame's origin is opaque: no other target but "*" reaches it. It only gets its own content.
  one.frame.contentWindow?.postMessage({ ...content, dark: isDark() }, "*");
}

window.addEventListener("message", (event: MessageEvent<unknown>) => {
  for (const one of shown) {
    if (event.source === null || one.frame.contentWindow !== event.source) continue;
    const message = event.data;
    if (typeof message !== "object" || message === null) return;
    if ("ready" in message) send(one, true);
    if (
      "height" in message &&
      typeof message.height === "number" &&
      Number.isFinite(message.height)
    ) {
      one.frame.style.height = `${Math.min(kMaxHeight, Math.max(0, Math.ceil(message.height)))}px`;
    }
    return;
  }
});

onThemeChange(() => {
  for (const one of shown) send(one, false);
});
