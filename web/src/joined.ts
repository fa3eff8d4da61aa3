// Joined: the session on the screen. Events go into the model, the model's changes onto the page,
// once for each frame; what the user asks goes to the server and comes back as events.

import { api } from "./api";
import { Connection, type Follower, type Link, ServerError } from "./connection";
import { failed } from "./dialogs";
import { asList, asNumber, asObject, asText, joinedText, type JsonObject } from "./json";
import { Model } from "./model";
import type { CellEntry } from "./notebook";
import { readSession, type Match, type Session } from "./types";

const kCheckpointAttempts = 4;

export interface View {
  draw(joined: Joined): void; // the model, the session's description or the link has changed
  left(why: "unauthorized" | "gone"): void;
  opened(id: string): void; // a branch was made here
}

export class Joined implements Follower {
  readonly model = new Model();
  session: Session | undefined;
  link: Link = { state: "connecting" };
  queued = new Map<number, string>(); // cells of this page that wait for their turn: number, code
  private readonly connection_: Connection;
  private planned_ = false;
  private replayUntil_ = 0;
  private checkpointsAsked_ = false;
  private closed_ = false;

  constructor(
    readonly id: string,
    private readonly view_: View,
  ) {
    this.connection_ = new Connection(id, this, probe);
  }

  close(): void {
    this.closed_ = true;
    this.connection_.close();
  }

  tryNow(): void {
    this.connection_.tryNow();
  }

  get mayEdit(): boolean {
    return (
      this.session !== undefined && this.session.access !== "view" && this.model.state !== "ended"
    );
  }

  get replaying(): boolean {
    return this.model.lastSeq + 1 < this.replayUntil_;
  }

  // --- what the user asks ------------------------------------------------------------------------

  run(code: string): void {
    this.connection_
      .ask("execute", { code })
      .then((answer) => {
        const cell = asNumber(answer.cell);
        if (cell > 0 && !this.model.hasCell(cell)) this.queued.set(cell, code);
        this.plan_();
      })
      .catch(failed("Not run"));
  }

  interrupt(): void {
    this.connection_.ask("interrupt").catch(failed("Not interrupted"));
  }

  undo(to?: number): void {
    this.connection_.ask("undo", to === undefined ? {} : { to }).catch(failed("Not undone"));
  }

  branch(at: number | undefined): void {
    api
      .fork(this.id, at === undefined ? {} : { at })
      .then((session) => this.view_.opened(session.id))
      .catch(failed("Not branched"));
  }

  answer(cell: CellEntry, line: string | null): void {
    this.connection_
      .ask("stdin", line === null ? { eof: true } : { data: `${line}\n` })
      .then(() => {
        this.model.closeInput(cell);
        this.plan_();
      })
      .catch(failed("Not sent"));
  }

  sendMessage(text: string): void {
    this.connection_.ask("message", { data: text }).catch(failed("Not sent"));
  }

  measure(): void {
    void this.readCheckpoints_(true);
  }

  async complete(
    code: string,
    cursor: number,
  ): Promise<{ matches: Match[]; start: number; end: number } | undefined> {
    if (this.model.state !== "idle") return undefined; // it is asked of the interpreter itself
    try {
      const answer = await this.connection_.ask("complete", { code, cursor });
      const matches = asList(answer.matches).map((item) => {
        const match = asObject(item);
        return { text: asText(match.text), type: asText(match.type) };
      });
      return { matches, start: asNumber(answer.start, cursor), end: asNumber(answer.end, cursor) };
    } catch {
      return undefined;
    }
  }

  // The text to show; undefined: nothing is known.
  async inspect(code: string, cursor: number): Promise<string | undefined> {
    try {
      const answer = await this.connection_.ask("inspect", { code, cursor });
      if (answer.found !== true) return undefined;
      const text = joinedText(asObject(answer.data)["text/plain"]);
      const signature = asText(answer.signature);
      return signature !== "" && !text.startsWith(signature) ? `${signature}\n\n${text}` : text;
    } catch (error) {
      return error instanceof ServerError && error.code === "busy"
        ? "The session is busy."
        : undefined;
    }
  }

  // --- Follower ----------------------------------------------------------------------------------

  lastSeq(): number {
    return this.model.lastSeq;
  }

  onJoined(session: JsonObject, nextSeq: number): void {
    this.session = readSession(session);
    if (this.model.state !== "ended") this.model.setState(this.session.state, this.session.clients);
    this.replayUntil_ = nextSeq;
    this.model.liveFrom = nextSeq;
    this.queued.clear();
    void this.readCheckpoints_(false);
    this.plan_();
  }

  onEvent(event: JsonObject): void {
    if (!this.model.apply(event)) return;
    if (event.type === "cell") this.queued.delete(asNumber(event.cell));
    if (event.type === "undone") void this.readCheckpoints_(false);
    if (event.type === "state" && event.state === "idle") this.queued.clear();
    this.plan_();
  }

  onLink(link: Link): void {
    this.link = link;
    if (link.state === "closed" && link.why === "ended") this.model.setState("ended", 0);
    if (link.state === "closed" && (link.why === "unauthorized" || link.why === "gone"))
      this.view_.left(link.why);
    this.plan_();
  }

  // --- drawing -----------------------------------------------------------------------------------

  // A replay of thousands of events is drawn once, not once for each. Not with
  // requestAnimationFrame: a page in the background has to keep up, too.
  private plan_(): void {
    if (this.planned_) return;
    this.planned_ = true;
    setTimeout(() => {
      this.planned_ = false;
      if (!this.closed_) this.view_.draw(this);
    }, 16);
  }

  // The server's list; asked again if events have changed the list while it was on its way.
  private async readCheckpoints_(memory: boolean): Promise<void> {
    if (this.checkpointsAsked_ && !memory) return;
    this.checkpointsAsked_ = true;
    try {
      for (let attempt = 0; attempt < kCheckpointAttempts && !this.closed_; attempt++) {
        const before = this.model.checkpointEvents;
        const list = await api.checkpoints(this.id, memory);
        if (this.model.checkpointEvents !== before || this.replaying) continue;
        if (this.model.state !== "ended") this.model.setCheckpoints(list);
        break;
      }
    } catch (error) {
      if (memory) failed("Not measured")(error);
    }
    this.checkpointsAsked_ = false;
    this.plan_();
  }
}

async function probe(id: string): Promise<"ok" | "unauthorized" | "gone"> {
  try {
    await api.session(id);
    return "ok";
  } catch (error) {
    const code = error instanceof ServerError ? error.code : "";
    return code === "unauthorized" ? "unauthorized" : code === "not_found" ? "gone" : "ok";
  }
}
