// The table of contents of the page: who is asked, what is made, what is wired to what.

import "./style.css";
import { api, onLoggedOut } from "./api";
import { Cells } from "./cells";
import { ServerError } from "./connection";
import { failed, openHelp, toast } from "./dialogs";
import { button, clear, h, must, sign } from "./dom";
import { Editor } from "./editor";
import { Files } from "./files";
import { duration, firstLine } from "./format";
import { Joined, type View } from "./joined";
import { showLogin } from "./login";
import { Messages } from "./messages";
import { Sessions } from "./sessions";
import { Shell } from "./shell";
import { switchTheme } from "./theme";
import { Timeline } from "./timeline";
import type { Me } from "./types";

// A part of an address; what is none, such as that of a link that was cut off, is empty.
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

class App implements View {
  private me_: Me = { user: "", role: "", version: "" };
  private joined_: Joined | undefined;
  private couldEdit_ = false;
  private sideShown_ = "";
  private readonly scroll_ = must("scroll");
  private stick_ = true; // the end of the cells is in view and stays there

  private readonly sessions_ = new Sessions(must("session-list"), {
    join: (id) => this.join(id),
    joined: () => this.joined_?.id,
    removed: (id) => {
      if (this.joined_?.id === id) this.leave_();
    },
    listed: () => this.drawBar_(),
  });
  private readonly cells_ = new Cells(must("cells"), {
    edit: (code) => this.edit_(code),
    answer: (cell, line) => this.joined_?.answer(cell, line),
    openSession: (id) => this.join(id),
    mayEdit: () => this.joined_?.mayEdit === true,
    user: () => this.me_.user,
  });
  private readonly timeline_ = new Timeline(must("timeline"), {
    goBack: this.andWrite_((checkpoint: number) => this.joined_?.undo(checkpoint)),
    branch: this.andWrite_((at: number | undefined) => this.joined_?.branch(at)),
    measure: () => this.joined_?.measure(),
    mayEdit: () => this.joined_?.mayEdit === true,
  });
  private readonly files_ = new Files(must("files"), {
    session: () => this.joined_?.id,
    mayEdit: () => this.joined_?.mayEdit === true,
  });
  private readonly messages_ = new Messages(must("messages"), (text) =>
    this.joined_?.sendMessage(text),
  );
  private readonly editor_ = new Editor(must("editor"), {
    run: (code) => this.run_(code),
    complete: async (code, cursor) => this.joined_?.complete(code, cursor),
    inspect: async (code, cursor) => this.joined_?.inspect(code, cursor),
    history: () => this.joined_?.model.history() ?? [],
  });
  private readonly shell_ = new Shell({
    interrupt: () => this.interrupt_(),
    busy: () => this.joined_?.model.state === "busy",
    undo: () => this.undo_(),
    focusEditor: () => this.editor_.focus(),
    drop: (files) => {
      this.shell_.show("files");
      void this.files_.upload(files);
    },
    tabShown: (tab) => {
      if (tab === "files") void this.files_.refresh();
    },
  });

  constructor() {
    this.wireButtons_();
    this.followTheEnd_();
    window.setInterval(() => this.tick_(), 100);
    window.addEventListener("hashchange", () => this.joinFromAddress_());
    onLoggedOut(() => this.login_());
    window.addEventListener("online", () => this.joined_?.tryNow());
  }

  async start(): Promise<void> {
    try {
      this.me_ = await api.me();
    } catch (error) {
      if (error instanceof ServerError && error.code === "unauthorized") {
        this.login_();
        return;
      }
      failed("brood")(error);
      window.setTimeout(() => void this.start(), 3000);
      return;
    }
    must("app").hidden = false;
    must("user").textContent = this.me_.user;
    must("user").title = `${this.me_.user} (${this.me_.role}), brood ${this.me_.version}`;
    this.sessions_.start();
    await this.sessions_.refresh();
    this.joinFromAddress_();
    this.drawWelcome_();
  }

  join(id: string): void {
    if (this.joined_?.id === id) {
      this.shell_.closeDrawers();
      return;
    }
    this.joined_?.close();
    this.reset_();
    this.joined_ = new Joined(id, this);
    if (location.hash !== `#${id}`) history.pushState(null, "", `#${id}`);
    this.shell_.closeDrawers();
    this.sessions_.draw();
    if (this.shell_.tab === "files") void this.files_.refresh();
  }

  // --- View --------------------------------------------------------------------------------------

  draw(joined: Joined): void {
    if (joined !== this.joined_) return;
    const mayEdit = joined.mayEdit;
    this.cells_.update(joined.model);
    if (mayEdit !== this.couldEdit_) {
      this.couldEdit_ = mayEdit;
      this.editor_.setWritable(mayEdit);
      this.cells_.redraw();
      if (mayEdit) this.editor_.focus();
    }
    this.drawBar_();
    this.drawInput_();
    this.drawLink_();
    this.drawSide_();
    this.drawWelcome_();
    if (this.stick_) this.scroll_.scrollTop = this.scroll_.scrollHeight;
  }

  left(why: "unauthorized" | "gone"): void {
    if (why === "unauthorized") {
      this.login_();
    } else {
      this.leave_();
      toast("That session does not exist any more", "error");
    }
  }

  opened(id: string): void {
    void this.sessions_.refresh();
    toast("Branched: this is the new session");
    this.join(id);
  }

  // --- actions -----------------------------------------------------------------------------------

  private run_(code: string): void {
    this.stick_ = true;
    this.joined_?.run(code);
  }

  private interrupt_(): void {
    if (this.joined_?.model.state === "busy" && this.joined_.mayEdit) this.joined_.interrupt();
  }

  private undo_(): void {
    if (this.joined_?.mayEdit) this.joined_.undo();
  }

  // For a button about the session: after it one goes on writing. If it kept the focus, the
  // Shift-Enter that is to run the next cell would press it again.
  private andWrite_<T extends unknown[]>(action: (...given: T) => void): (...given: T) => void {
    return (...given) => {
      action(...given);
      this.editor_.focus();
    };
  }

  private edit_(code: string): void {
    this.editor_.code = code;
    this.editor_.focus();
  }

  private login_(): void {
    this.joined_?.close();
    this.joined_ = undefined;
    this.sessions_.stop();
    this.reset_();
    showLogin(() => void this.start());
  }

  private leave_(): void {
    this.joined_?.close();
    this.joined_ = undefined;
    this.reset_();
    history.replaceState(null, "", location.pathname);
    this.sessions_.draw();
    this.drawWelcome_();
  }

  private reset_(): void {
    this.cells_.reset();
    this.files_.reset();
    this.messages_.reset();
    this.couldEdit_ = false;
    this.stick_ = true;
    this.editor_.setWritable(false);
    this.drawBar_();
    this.drawInput_();
    this.drawLink_();
    this.sideShown_ = "";
    clear(must("timeline"));
  }

  private joinFromAddress_(): void {
    if (must("app").hidden) return;
    const id = decoded(location.hash.slice(1));
    if (id !== "") this.join(id);
    else if (this.joined_) this.leave_();
  }

  private wireButtons_(): void {
    const on = (id: string, icon: string, action: () => void, label = "") => {
      const element = must(id);
      element.append(sign(icon));
      if (label !== "") element.append(h("span", {}, label));
      element.onclick = action;
    };
    const withSession = (action: (session: NonNullable<Joined["session"]>) => void) => () => {
      const listed = this.sessions_.list.find((s) => s.id === this.joined_?.id);
      const session = listed ?? this.joined_?.session;
      if (session) action(session);
    };
    on("new-session", "plus", () => void this.sessions_.openNew());
    on("theme", "theme", switchTheme);
    on("help", "help", openHelp);
    on(
      "logout",
      "leave",
      () =>
        void api
          .logout()
          .then(() => this.login_())
          .catch(failed("Not logged out")),
    );
    on(
      "interrupt",
      "stop",
      this.andWrite_(() => this.interrupt_()),
      "Interrupt",
    );
    on(
      "undo",
      "undo",
      this.andWrite_(() => this.undo_()),
      "Undo",
    );
    on(
      "rename",
      "edit",
      withSession((s) => this.sessions_.rename(s)),
      "Rename",
    );
    on(
      "share",
      "share",
      withSession((s) => this.sessions_.share(s)),
      "Share",
    );
    on(
      "remove",
      "trash",
      withSession((s) => this.sessions_.remove(s)),
      "Remove",
    );
    on(
      "run",
      "play",
      this.andWrite_(() => this.editor_.run(true)),
    );
    must("toggle-sessions").append(sign("menu"));
    must("toggle-side").append(sign("clock"));
    must("close-side").append(sign("close"));
  }

  // --- drawing -----------------------------------------------------------------------------------

  private drawBar_(): void {
    const joined = this.joined_;
    const model = joined?.model;
    const listed = this.sessions_.list.find((s) => s.id === joined?.id);
    const session = listed ?? joined?.session;
    const name = session?.name || session?.id || "";
    must("name").textContent = name;
    const clients = model && model.clients > 1 ? `${model.clients} here` : "";
    const facts = [
      session?.env ?? "",
      /^\d/.test(session?.python ?? "") ? `Python ${session?.python}` : "",
      clients,
    ];
    must("facts").textContent = facts.filter((s) => s !== "").join(" · ");
    const busy = model?.state === "busy";
    document.title = `${busy ? "● " : ""}${name === "" ? "brood" : `${name} · brood`}`;
    must("tools").hidden = joined === undefined;
    must("toggle-side").hidden = joined === undefined;
    setDisabled("interrupt", !busy || !joined?.mayEdit);
    setDisabled("undo", !joined?.mayEdit || (model?.checkpoints.length ?? 0) === 0);
    must("session-tools").hidden = joined === undefined || session?.access !== "owner";
    must("app").dataset.joined = String(joined !== undefined);
    if (listed && model && joined.session && listed.state !== model.state) {
      listed.state = model.state;
      listed.used = Date.now() / 1000;
      this.sessions_.draw();
    }
    must("busy").hidden = !busy && model?.state !== "starting";
    this.tick_();
  }

  private drawInput_(): void {
    const joined = this.joined_;
    must("input").hidden = joined === undefined;
    const mayEdit = joined?.mayEdit === true;
    const ended = joined?.model.state === "ended";
    const known = joined?.session !== undefined || ended;
    must("input-cell").hidden = known && !mayEdit;
    must("readonly").hidden = !known || mayEdit;
    must("readonly").textContent = ended
      ? "This session has ended. Its cells can still be read."
      : "You may look on in this session, not run anything.";
    const waiting = [...(joined?.queued.values() ?? [])].map((code) =>
      h("li", {}, h("code", {}, firstLine(code))),
    );
    clear(must("queued"), ...waiting);
  }

  private drawLink_(): void {
    const element = must("link");
    const link = this.joined_?.link;
    const fine = link === undefined || link.state === "live" || link.state === "closed";
    element.hidden = fine || (link.state === "connecting" && this.joined_?.session === undefined);
    element.dataset.state = link?.state ?? "";
    if (link?.state === "connecting") clear(element, "Connecting…");
    if (link?.state !== "waiting") return;
    clear(
      element,
      h("span", {}, "The connection is lost. ", h("span.countdown", { "aria-hidden": "true" })),
      button("Try now", () => this.joined_?.tryNow(), { class: "link" }),
    );
    this.tick_();
  }

  private drawSide_(): void {
    const joined = this.joined_;
    if (!joined) return;
    const model = joined.model;
    const shown = `${joined.id} ${model.state} ${joined.mayEdit}`; // what the panels depend on, too
    const other = shown !== this.sideShown_;
    this.sideShown_ = shown;
    if (other || model.checkpointsChanged) this.timeline_.draw(model);
    if (other || model.messagesChanged) this.messages_.draw(model, joined.mayEdit);
    model.checkpointsChanged = model.messagesChanged = false;
  }

  private drawWelcome_(): void {
    const element = must("welcome");
    const joined = this.joined_;
    element.hidden =
      joined !== undefined &&
      (joined.model.entries.length > 0 || joined.session === undefined || !joined.mayEdit);
    if (element.hidden || element.dataset.for === (joined?.id ?? "none")) return;
    element.dataset.for = joined?.id ?? "none";
    if (joined) {
      clear(
        element,
        h("p.big", {}, "A fresh interpreter."),
        h("p.hint", {}, "Write Python below. Whatever you run can be undone."),
      );
    } else {
      const make = button("New session", () => void this.sessions_.openNew(), { class: "primary" });
      clear(
        element,
        h("p.big", {}, `Hello, ${this.me_.user}.`),
        h("p.hint", {}, "Choose a session, or start one: it is there at once, warm."),
        make,
      );
    }
  }

  // What changes with time alone.
  private tick_(): void {
    const model = this.joined_?.model;
    const running = model?.runningCell();
    const since = running?.startedAt;
    const text =
      model?.state === "starting"
        ? "starting"
        : since === undefined
          ? "running"
          : duration(Math.max(0, Date.now() - since));
    const elapsed = must("elapsed");
    if (elapsed.textContent !== text) elapsed.textContent = text;
    const link = this.joined_?.link;
    const countdown = document.querySelector("#link .countdown");
    if (link?.state === "waiting" && countdown) {
      const seconds = `Trying again in ${Math.max(0, Math.ceil((link.until - Date.now()) / 1000))} s.`;
      if (countdown.textContent !== seconds) countdown.textContent = seconds;
    }
  }

  private followTheEnd_(): void {
    this.scroll_.addEventListener("scroll", () => {
      const below = this.scroll_.scrollHeight - this.scroll_.scrollTop - this.scroll_.clientHeight;
      this.stick_ = below < 60;
    });
    const keep = () => {
      if (this.stick_) this.scroll_.scrollTop = this.scroll_.scrollHeight;
    };
    const watcher = new ResizeObserver(keep);
    watcher.observe(must("cells"));
    watcher.observe(this.scroll_);
  }
}

function setDisabled(id: string, disabled: boolean): void {
  (must(id) as HTMLButtonElement).disabled = disabled;
}

void new App().start();
