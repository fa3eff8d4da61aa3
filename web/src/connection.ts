// Connection: one browser joined to one session, for as long as the page wants it. Asks by number,
// hands on events in order, and when the socket breaks comes back with what it has seen last.

import { asNumber, asObject, asText, parseObject, type JsonObject } from "./json";

export type Link =
  | { state: "connecting" }
  | { state: "live" }
  | { state: "waiting"; until: number } // local clock, ms: when it tries again
  | { state: "closed"; why: "left" | "unauthorized" | "gone" | "ended" };

export class ServerError extends Error {
  constructor(
    readonly code: string,
    text: string,
  ) {
    super(text);
  }
}

export interface Follower {
  lastSeq(): number;
  onJoined(session: JsonObject, nextSeq: number): void;
  onEvent(event: JsonObject): void;
  onLink(link: Link): void;
}

interface Waiting {
  resolve(answer: JsonObject): void;
  reject(error: Error): void;
}

const kFirstDelay = 500;
const kLongestDelay = 15000;
const kCloseUnauthorized = 4401;
const kCloseGone = 4404;
const kCloseEnded = 4410;

export class Connection {
  private socket_: WebSocket | undefined;
  private nextRequest_ = 1;
  private waiting_ = new Map<number, Waiting>();
  private delay_ = kFirstDelay;
  private timer_: number | undefined;
  private closed_ = false;

  // `probe` says why a socket could not be opened: the browser does not.
  constructor(
    private readonly session_: string,
    private readonly follower_: Follower,
    private readonly probe_: (session: string) => Promise<"ok" | "unauthorized" | "gone">,
  ) {
    this.open_();
  }

  // Rejects with a ServerError for what the server refuses, and when there is no connection.
  ask(method: string, members: JsonObject = {}): Promise<JsonObject> {
    const socket = this.socket_;
    if (!socket || socket.readyState !== WebSocket.OPEN) {
      return Promise.reject(
        new ServerError("unavailable", "not connected to the server; try again when it is back"),
      );
    }
    const request = this.nextRequest_++;
    return new Promise((resolve, reject) => {
      this.waiting_.set(request, { resolve, reject });
      socket.send(JSON.stringify({ ...members, request, method }));
    });
  }

  tryNow(): void {
    if (this.closed_ || this.timer_ === undefined) return;
    clearTimeout(this.timer_);
    this.timer_ = undefined;
    this.open_();
  }

  close(): void {
    this.finish_("left");
  }

  private open_(): void {
    this.follower_.onLink({ state: "connecting" });
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const after = this.follower_.lastSeq();
    const path = `/v1/sessions/${encodeURIComponent(this.session_)}/stream`;
    const socket = new WebSocket(
      `${scheme}//${location.host}${path}${after > 0 ? `?after=${after}` : ""}`,
    );
    this.socket_ = socket;
    let joined = false;
    socket.onmessage = (message) => {
      if (this.socket_ !== socket || typeof message.data !== "string") return;
      const event = parseObject(message.data);
      if (event.type === "joined") {
        joined = true;
        this.delay_ = kFirstDelay;
        this.follower_.onLink({ state: "live" });
        this.follower_.onJoined(asObject(event.session), asNumber(event.next_seq));
      } else if ("request" in event) {
        this.answer_(event);
      } else {
        this.follower_.onEvent(event);
      }
    };
    socket.onclose = (event) => {
      if (this.socket_ === socket) void this.lost_(event.code, joined);
    };
  }

  private answer_(message: JsonObject): void {
    const number = asNumber(message.request);
    const waiting = this.waiting_.get(number);
    if (!waiting) return;
    this.waiting_.delete(number);
    if ("error" in message) {
      const error = asObject(message.error);
      waiting.reject(
        new ServerError(asText(error.code, "internal"), asText(error.text, "the server refused")),
      );
    } else {
      waiting.resolve(message);
    }
  }

  private async lost_(code: number, joined: boolean): Promise<void> {
    this.socket_ = undefined;
    this.rejectAll_();
    if (this.closed_) return;
    if (code === kCloseUnauthorized) return this.finish_("unauthorized");
    if (code === kCloseGone) return this.finish_("gone");
    if (code === kCloseEnded) return this.finish_("ended");
    if (!joined) {
      const found = await this.probe_(this.session_).catch(() => "ok" as const);
      if (this.closed_) return;
      if (found !== "ok") return this.finish_(found);
    }
    const delay = this.delay_ * (0.8 + 0.4 * Math.random());
    this.delay_ = Math.min(kLongestDelay, this.delay_ * 2);
    this.timer_ = window.setTimeout(() => this.tryNow(), delay);
    this.follower_.onLink({ state: "waiting", until: Date.now() + delay });
  }

  private finish_(why: "left" | "unauthorized" | "gone" | "ended"): void {
    if (this.closed_) return;
    this.closed_ = true;
    clearTimeout(this.timer_);
    const socket = this.socket_;
    this.socket_ = undefined;
    socket?.close();
    this.rejectAll_();
    this.follower_.onLink({ state: "closed", why });
  }

  private rejectAll_(): void {
    const waiting = [...this.waiting_.values()];
    this.waiting_.clear();
    for (const one of waiting)
      one.reject(new ServerError("unavailable", "the connection to the server was lost"));
  }
}
