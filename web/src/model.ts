// Model: the events of one session in, the state of its notebook out. Pure but for the clock that
// it is given; no documents, no sockets. An event that was seen already changes nothing, so a
// replay after a reconnect is harmless.

import { asFlag, asList, asNumber, asObject, asText, type JsonObject } from "./json";
import type {
  CellEntry,
  Entry,
  InputOutput,
  Message,
  NoteEntry,
  Output,
  StreamOutput,
  Tone,
} from "./notebook";
import { Terminal } from "./terminal";
import { countOf, sessionState, type Checkpoint, type SessionState } from "./types";

const kMaxEntries = 2000;
const kMaxOutputs = 1000; // of one cell
const kMaxMessages = 500;

// Statuses after which the cell's process had to go.
const kKilled: Record<string, string> = {
  timeout: "The cell took too long",
  killed: "The cell ignored the interrupt and was killed",
  crashed: "The cell crashed the interpreter",
  memory: "The cell needed more memory than the session may have",
  cpu: "The cell used more processor time than it may have",
  output: "The cell wrote more output than it may",
  processes: "The cell started more processes than it may have",
};

export function killedText(status: string): string | undefined {
  return kKilled[status];
}

export class Model {
  entries: Entry[] = [];
  messages: Message[] = [];
  checkpoints: Checkpoint[] = [];
  state: SessionState = "starting";
  clients = 0;
  lastSeq = 0;
  // What is to be drawn again; the view clears them.
  dirty = new Set<Entry>();
  structureChanged = false;
  messagesChanged = false;
  checkpointsChanged = false;
  checkpointEvents = 0; // how many have changed the list of checkpoints

  private cells_ = new Map<number, CellEntry>(); // by the server's number: the latest of it
  private displays_ = new Map<string, { cell: CellEntry; output: Output }[]>();
  private nextId_ = 1;

  // Events with a lower seq are a replay: nothing is known of when they happened.
  liveFrom = 0;

  constructor(private readonly now_: () => number = () => Date.now()) {}

  // False: seen before.
  apply(event: JsonObject): boolean {
    const seq = asNumber(event.seq);
    if (seq <= this.lastSeq) return false;
    this.lastSeq = seq;
    this.dispatch_(asText(event.type), event, seq);
    return true;
  }

  // The server's own list, after going back or when memory was measured.
  setCheckpoints(list: Checkpoint[]): void {
    this.checkpoints = list;
    this.checkpointsChanged = true;
  }

  setState(state: SessionState, clients: number): void {
    this.state = state;
    this.clients = clients;
  }

  runningCell(): CellEntry | undefined {
    for (let i = this.entries.length - 1; i >= 0; i--) {
      const entry = this.entries[i];
      if (entry?.kind === "cell" && entry.number > 0) {
        return entry.status === "running" ? entry : undefined;
      }
    }
    return undefined;
  }

  codeOf(cell: number): string | undefined {
    return this.cells_.get(cell)?.code;
  }

  hasCell(cell: number): boolean {
    return this.cells_.has(cell);
  }

  // What was run, oldest first, without immediate repetitions.
  history(): string[] {
    const result: string[] = [];
    for (const entry of this.entries) {
      if (entry.kind !== "cell" || !entry.code) continue;
      if (result[result.length - 1] !== entry.code) result.push(entry.code);
    }
    return result;
  }

  closeInput(cell: CellEntry): void {
    for (const output of cell.outputs) {
      if (output.kind === "input" && output.open) {
        output.open = false;
        output.version++;
        this.touch_(cell);
      }
    }
  }

  private dispatch_(type: string, event: JsonObject, seq: number): void {
    const cell = asNumber(event.cell);
    if (type === "cell") this.beginCell_(cell, event, seq);
    else if (type === "stdout" || type === "stderr")
      this.stream_(this.cellFor_(cell, seq), type, event);
    else if (type === "display") this.display_(this.cellFor_(cell, seq), event);
    else if (type === "result") this.result_(this.cellFor_(cell, seq), event);
    else if (type === "error") this.error_(this.cellFor_(cell, seq), event);
    else if (type === "input") this.input_(this.cellFor_(cell, seq), event);
    else if (type === "done") this.done_(this.cellFor_(cell, seq), event);
    else if (type === "state")
      this.setState(sessionState(event.state), asNumber(event.clients, this.clients));
    else if (type === "message") this.message_(event, seq);
    else if (type === "checkpoint") this.checkpoint_(cell, event, seq);
    else if (type === "forgotten") this.forgotten_(event);
    else if (type === "undone") this.undone_(event, seq);
    else if (type === "branched") this.branched_(event, seq);
    else if (type === "dropped") this.note_(cell, seq, "warning", droppedText(event));
    else if (type === "notice") this.note_(cell, seq, "info", asText(event.text));
    else if (type === "ended") this.ended_(event, seq);
  }

  // --- cells -------------------------------------------------------------------------------------

  private beginCell_(number: number, event: JsonObject, seq: number): void {
    const known = this.cells_.get(number);
    if (known && known.code === undefined && known.status === "running") {
      known.code = asText(event.code); // its checkpoint or a notice came first
      known.executionCount = asNumber(event.execution_count);
      known.by = asText(event.by);
      this.touch_(known);
      return;
    }
    const cell = this.addCell_(number, seq);
    cell.code = asText(event.code);
    cell.executionCount = asNumber(event.execution_count);
    cell.by = asText(event.by);
    if (seq >= this.liveFrom) cell.startedAt = this.now_();
  }

  private addCell_(number: number, seq: number): CellEntry {
    const cell: CellEntry = {
      kind: "cell",
      key: seq,
      number,
      code: undefined,
      executionCount: 0,
      by: "",
      outputs: [],
      hiddenOutputs: 0,
      status: number > 0 ? "running" : "",
      ms: 0,
      why: "",
      undone: undefined,
      startedAt: undefined,
      version: 0,
    };
    this.cells_.set(number, cell);
    this.addEntry_(cell);
    return cell;
  }

  private cellFor_(number: number, seq: number): CellEntry {
    const known = this.cells_.get(number);
    if (known && (number > 0 || this.entries[this.entries.length - 1] === known)) return known;
    return this.addCell_(number, seq);
  }

  private addEntry_(entry: Entry): void {
    this.entries.push(entry);
    if (this.entries.length > kMaxEntries) {
      const gone = this.entries.shift();
      if (gone?.kind === "cell" && this.cells_.get(gone.number) === gone)
        this.cells_.delete(gone.number);
    }
    this.structureChanged = true;
    this.dirty.add(entry);
  }

  private touch_(entry: Entry): void {
    entry.version++;
    this.dirty.add(entry);
  }

  private done_(cell: CellEntry, event: JsonObject): void {
    cell.status = asText(event.status, "ok");
    cell.executionCount = asNumber(event.execution_count, cell.executionCount);
    cell.ms = asNumber(event.ms);
    cell.why = asText(event.why);
    if (asFlag(event.undone)) cell.undone ??= cell.why || cell.status;
    this.closeInput(cell);
    this.touch_(cell);
  }

  // --- outputs -----------------------------------------------------------------------------------

  private addOutput_(cell: CellEntry, output: Output): void {
    cell.outputs.push(output);
    if (cell.outputs.length > kMaxOutputs) {
      cell.outputs.shift();
      cell.hiddenOutputs++;
    }
    this.touch_(cell);
  }

  private id_(): { id: number; version: number } {
    return { id: this.nextId_++, version: 0 };
  }

  private stream_(cell: CellEntry, name: "stdout" | "stderr", event: JsonObject): void {
    let output: StreamOutput | undefined;
    const last = cell.outputs[cell.outputs.length - 1];
    if (last?.kind === "stream" && last.name === name) output = last;
    if (!output) {
      output = { ...this.id_(), kind: "stream", name, terminal: new Terminal() };
      this.addOutput_(cell, output);
    }
    output.terminal.write(asText(event.data));
    output.version++;
    this.touch_(cell);
  }

  private display_(cell: CellEntry, event: JsonObject): void {
    const displayId = asText(event.display_id);
    if (asFlag(event.update) && this.updateDisplays_(displayId, event)) return;
    const output: Output = {
      ...this.id_(),
      kind: "display",
      data: asObject(event.data),
      metadata: asObject(event.metadata),
      displayId,
    };
    this.addOutput_(cell, output);
    if (displayId === "") return;
    const shown = this.displays_.get(displayId) ?? [];
    shown.push({ cell, output });
    this.displays_.set(displayId, shown);
  }

  private updateDisplays_(displayId: string, event: JsonObject): boolean {
    const shown = this.displays_.get(displayId) ?? [];
    for (const { cell, output } of shown) {
      if (output.kind !== "display") continue;
      output.data = asObject(event.data);
      output.metadata = asObject(event.metadata);
      output.version++;
      this.touch_(cell);
    }
    return shown.length > 0;
  }

  private result_(cell: CellEntry, event: JsonObject): void {
    const executionCount = asNumber(event.execution_count, cell.executionCount);
    this.addOutput_(cell, {
      ...this.id_(),
      kind: "result",
      data: asObject(event.data),
      executionCount,
    });
  }

  private error_(cell: CellEntry, event: JsonObject): void {
    const traceback = asList(event.traceback)
      .map((line) => asText(line).replace(/\n$/, ""))
      .join("\n");
    const name = asText(event.name, "Error");
    this.addOutput_(cell, {
      ...this.id_(),
      kind: "error",
      name,
      value: asText(event.value),
      traceback,
    });
  }

  private input_(cell: CellEntry, event: JsonObject): void {
    this.closeInput(cell);
    const output: InputOutput = {
      ...this.id_(),
      kind: "input",
      prompt: asText(event.prompt),
      password: asFlag(event.password),
      open: true,
    };
    this.addOutput_(cell, output);
  }

  // A note stands in its cell's output, or, if it belongs to none, between the cells.
  private note_(cell: number, seq: number, tone: Tone, text: string, link = ""): void {
    const known = this.cells_.get(cell);
    if (cell > 0 && known) {
      this.addOutput_(known, { ...this.id_(), kind: "note", tone, text });
    } else {
      const note: NoteEntry = { kind: "note", key: seq, tone, text, link, version: 0 };
      this.addEntry_(note);
    }
  }

  private message_(event: JsonObject, seq: number): void {
    const text =
      "data" in event ? asText(event.data) : `(${byteCount(asText(event.base64))} bytes)`;
    this.messages.push({ key: seq, text });
    if (this.messages.length > kMaxMessages) this.messages.shift();
    this.messagesChanged = true;
  }

  // --- checkpoints -------------------------------------------------------------------------------

  private checkpoint_(cell: number, event: JsonObject, seq: number): void {
    const error = asText(event.error);
    if (error !== "") {
      this.note_(cell, seq, "warning", `There is no checkpoint before this cell: ${error}`);
      return;
    }
    const checkpoint = asNumber(event.checkpoint);
    this.checkpoints = this.checkpoints.filter((c) => c.checkpoint !== checkpoint);
    this.checkpoints.push({
      checkpoint,
      executionCount: asNumber(event.execution_count),
      code: undefined,
      us: asNumber(event.us),
      pss: undefined,
      unique: undefined,
      threads: countOf(event.threads),
      children: countOf(event.children),
    });
    this.checkpoints.sort((a, b) => a.checkpoint - b.checkpoint);
    this.checkpointEvents++;
    this.checkpointsChanged = true;
  }

  private forgotten_(event: JsonObject): void {
    const gone = new Set(asList(event.checkpoints).map((n) => asNumber(n)));
    this.checkpoints = this.checkpoints.filter((c) => !gone.has(c.checkpoint));
    this.checkpointEvents++;
    this.checkpointsChanged = true;
  }

  // Everything from that cell on has never happened.
  private undone_(event: JsonObject, seq: number): void {
    const checkpoint = asNumber(event.checkpoint);
    const why = whyUndone(event);
    const by = asText(event.by);
    const reason = why || (by ? `undone by ${by}` : "undone");
    for (const entry of this.entries) {
      if (entry.kind !== "cell" || entry.number < checkpoint || entry.undone !== undefined)
        continue;
      entry.undone = reason;
      if (entry.status === "running") entry.status = "undone";
      this.closeInput(entry);
      this.touch_(entry);
    }
    this.checkpoints = this.checkpoints.filter((c) => c.checkpoint < checkpoint);
    this.checkpointEvents++;
    this.checkpointsChanged = true;
    this.note_(
      0,
      seq,
      "undone",
      undoneText(event, this.cells_.get(checkpoint)?.executionCount ?? 0),
    );
  }

  private branched_(event: JsonObject, seq: number): void {
    const by = asText(event.by);
    const checkpoint = asNumber(event.checkpoint);
    const where = checkpoint > 0 ? " from a checkpoint" : "";
    this.note_(0, seq, "info", `Branched${where}${by ? ` by ${by}` : ""}`, asText(event.into));
  }

  private ended_(event: JsonObject, seq: number): void {
    this.state = "ended";
    const running = this.runningCell();
    if (running) {
      running.status = "ended";
      this.closeInput(running);
      this.touch_(running);
    }
    this.checkpoints = [];
    this.checkpointsChanged = true;
    const why = asText(event.why);
    this.note_(
      0,
      seq,
      "ended",
      `The session has ended${why ? `: ${why}` : ""}${endingText(event)}`,
    );
  }
}

function undoneText(event: JsonObject, executionCount: number): string {
  const by = asText(event.by);
  const detail = [whyUndone(event), by ? `by ${by}` : ""].filter((s) => s !== "").join(", ");
  const cell = executionCount > 0 ? `[${executionCount}]` : `cell ${asNumber(event.checkpoint)}`;
  return `Back at the state before ${cell}${detail ? ` (${detail})` : ""}`;
}

// Somebody's wish needs no reason.
function whyUndone(event: JsonObject): string {
  const why = asText(event.why);
  return why === "undo" ? "" : why;
}

function endingText(event: JsonObject): string {
  if (typeof event.signal === "number" || typeof event.signal === "string")
    return ` (signal ${event.signal})`;
  if (typeof event.exit_status === "number") return ` (exit status ${event.exit_status})`;
  return "";
}

function droppedText(event: JsonObject): string {
  const events = asNumber(event.events);
  const bytes = asNumber(event.bytes);
  return `${events} event${events === 1 ? "" : "s"} (${bytes} bytes) before this point were not kept`;
}

function byteCount(base64: string): number {
  return Math.floor((base64.replace(/=+$/, "").length * 3) / 4);
}
