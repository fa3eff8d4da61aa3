// The parts of a notebook, as the model (model.ts) makes them and the views show them. Whoever
// changes one counts its `version` up, so that a view knows what to draw again.

import type { JsonObject } from "./json";
import type { Terminal } from "./terminal";
import type { MimeBundle } from "./types";

export type Tone = "info" | "warning" | "undone" | "ended";

interface OutputBase {
  id: number; // unique in the notebook
  version: number;
}

export interface StreamOutput extends OutputBase {
  kind: "stream";
  name: "stdout" | "stderr";
  terminal: Terminal;
}

export interface DisplayOutput extends OutputBase {
  kind: "display";
  data: MimeBundle;
  metadata: JsonObject;
  displayId: string;
}

export interface ResultOutput extends OutputBase {
  kind: "result";
  data: MimeBundle;
  executionCount: number;
}

export interface ErrorOutput extends OutputBase {
  kind: "error";
  name: string;
  value: string;
  traceback: string;
}

export interface InputOutput extends OutputBase {
  kind: "input";
  prompt: string;
  password: boolean;
  open: boolean; // still waiting for a line
}

export interface NoteOutput extends OutputBase {
  kind: "note";
  tone: Tone;
  text: string;
}

export type Output =
  StreamOutput | DisplayOutput | ResultOutput | ErrorOutput | InputOutput | NoteOutput;

export interface CellEntry {
  kind: "cell";
  key: number;
  number: number; // the server's; 0: output that belongs to no cell
  code: string | undefined; // undefined: began before what the server still knows
  executionCount: number;
  by: string;
  outputs: Output[];
  hiddenOutputs: number; // so many of the oldest were let go
  status: string; // "running", then that of `done`
  ms: number;
  why: string;
  undone: string | undefined; // why its effects are gone
  startedAt: number | undefined; // local clock, ms; only if it began while we looked
  version: number;
}

export interface NoteEntry {
  kind: "note";
  key: number;
  tone: Tone;
  text: string;
  link: string; // id of a session it speaks of, or ""
  version: number;
}

export type Entry = CellEntry | NoteEntry;

export interface Message {
  key: number;
  text: string;
}
