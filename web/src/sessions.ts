// The list of sessions on the left: join, make, rename, share, remove.

import { api } from "./api";
import { askText, confirmThat, failed, openDialog } from "./dialogs";
import { button, clear, h, iconButton } from "./dom";
import { ago } from "./format";
import type { Environment, Session } from "./types";

export interface SessionsHost {
  join(id: string): void;
  joined(): string | undefined;
  removed(id: string): void;
  listed(): void; // the list was read again
}

const kRefreshEvery = 10_000; // ms

export class Sessions {
  list: Session[] = [];
  private environments_: Environment[] = [];
  private timer_: number | undefined;

  constructor(
    private readonly element_: HTMLElement,
    private readonly host_: SessionsHost,
  ) {}

  start(): void {
    clearInterval(this.timer_);
    this.timer_ = window.setInterval(() => {
      if (!document.hidden) void this.refresh();
    }, kRefreshEvery);
  }

  stop(): void {
    clearInterval(this.timer_);
    clear(this.element_);
  }

  // Keeps the old list when the server cannot be asked: the connection's state says so already.
  async refresh(): Promise<void> {
    try {
      this.list = await api.sessions();
    } catch {
      return;
    }
    this.list.sort(
      (a, b) => Number(a.state === "ended") - Number(b.state === "ended") || b.used - a.used,
    );
    this.draw();
    this.host_.listed();
  }

  draw(): void {
    const joined = this.host_.joined();
    const focus =
      document.activeElement instanceof HTMLElement
        ? document.activeElement.dataset.session
        : undefined;
    const now = Date.now() / 1000;
    const items = this.list.map((session) => this.item_(session, session.id === joined, now));
    const none = h("p.hint", {}, "No sessions yet.");
    clear(this.element_, ...(items.length > 0 ? items : [none]));
    if (focus)
      this.element_.querySelector<HTMLElement>(`[data-session="${CSS.escape(focus)}"]`)?.focus();
  }

  private item_(session: Session, current: boolean, now: number): HTMLElement {
    const idle =
      session.state === "busy"
        ? "busy"
        : session.state === "ended"
          ? "ended"
          : ago(now - session.used);
    const shared =
      session.access !== "owner"
        ? `of ${session.owner}`
        : Object.keys(session.shares).length > 0
          ? "shared"
          : "";
    const facts = [session.env, shared, idle].filter((s) => s !== "").join(" · ");
    const open = h(
      "button.session",
      {
        type: "button",
        "data-session": session.id,
        "aria-current": current ? "true" : undefined,
        onclick: () => this.host_.join(session.id),
      },
      h("span.dot", { "data-state": session.state, title: session.state }),
      h("span.name", {}, session.name || session.id),
      h("span.facts", {}, facts),
    );
    return h("li", { "data-current": current }, open);
  }

  // --- a new one ---------------------------------------------------------------------------------

  async openNew(): Promise<void> {
    try {
      this.environments_ = await api.environments();
    } catch (error) {
      failed("The environments could not be read")(error);
      return;
    }
    const name = h("input", {
      type: "text",
      maxlength: "200",
      autocomplete: "off",
      placeholder: "optional",
      name: "name",
    }) as HTMLInputElement;
    const choices = this.environments_.map((environment) => this.choice_(environment));
    const submit = (event: Event) => {
      event.preventDefault();
      const env = form.querySelector<HTMLInputElement>("input[name=env]:checked")?.value;
      dialog.close();
      void this.create_(env, name.value.trim());
    };
    const form = h(
      "form",
      { onsubmit: submit },
      h("fieldset.environments", {}, h("legend", {}, "Environment"), ...choices),
      h("label", {}, "Name", name),
      h("div.actions", {}, h("button.primary", { type: "submit" }, "Start")),
    );
    const dialog = openDialog("New session", form);
    form.querySelector<HTMLInputElement>("input:checked")?.focus();
  }

  private choice_(environment: Environment): HTMLElement {
    const hasDefault = this.environments_.some((e) => e.isDefault);
    const checked = hasDefault ? environment.isDefault : environment === this.environments_[0];
    const detail = environment.error || environment.preload || "plain Python";
    return h(
      "label.environment",
      {},
      h("input", { type: "radio", name: "env", value: environment.name, checked }),
      h("span.name", {}, environment.name),
      h("span.facts", {}, [environment.state, detail].filter((s) => s !== "").join(" · ")),
    );
  }

  private async create_(env: string | undefined, name: string): Promise<void> {
    try {
      const session = await api.create({ ...(env ? { env } : {}), ...(name ? { name } : {}) });
      this.host_.join(session.id);
      await this.refresh();
    } catch (error) {
      failed("The session could not be started")(error);
    }
  }

  // --- the joined one ----------------------------------------------------------------------------

  rename(session: Session): void {
    askText("Rename session", "Name", session.name, "Rename", (name) => {
      api
        .rename(session.id, name)
        .then(() => this.refresh())
        .catch(failed("Not renamed"));
    });
  }

  remove(session: Session): void {
    const text = `“${session.name || session.id}” and its files, checkpoints and output go for good.`;
    confirmThat("Remove session?", text, "Remove", () => {
      api
        .remove(session.id)
        .then(() => {
          this.host_.removed(session.id);
          return this.refresh();
        })
        .catch(failed("Not removed"));
    });
  }

  share(session: Session): void {
    const rows = h("ul.shares");
    const change = (user: string, access: string) => {
      api
        .share(session.id, user, access)
        .then((shares) => {
          session.shares = shares;
          draw();
          void this.refresh();
        })
        .catch(failed("Not shared"));
    };
    const draw = () => {
      const items = Object.entries(session.shares).map(([user, access]) =>
        h(
          "li",
          {},
          h("span.name", {}, user === "*" ? "Everyone" : user),
          h("span.facts", {}, access === "edit" ? "may edit" : "may look on"),
          iconButton("close", `Stop sharing with ${user === "*" ? "everyone" : user}`, () =>
            change(user, "none"),
          ),
        ),
      );
      clear(
        rows,
        ...(items.length > 0 ? items : [h("li.hint", {}, "Only you can see this session.")]),
      );
    };
    draw();
    const user = h("input", {
      type: "text",
      autocomplete: "off",
      placeholder: "user name",
      "aria-label": "User",
    }) as HTMLInputElement;
    const access = h(
      "select",
      { "aria-label": "Access" },
      h("option", { value: "view" }, "may look on"),
      h("option", { value: "edit" }, "may edit"),
    ) as HTMLSelectElement;
    const submit = (event: Event) => {
      event.preventDefault();
      if (user.value.trim() === "") return;
      change(user.value.trim(), access.value);
      user.value = "";
    };
    const form = h(
      "form.row",
      { onsubmit: submit },
      user,
      access,
      h("button.primary", { type: "submit" }, "Share"),
    );
    const everyone = button("Share with everyone", () => change("*", access.value));
    openDialog("Share session", rows, form, h("div.actions", {}, everyone));
  }
}
