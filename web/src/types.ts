// What the server tells, as values of the page (docs/protocol.md, section 5).

import { asFlag, asList, asNumber, asObject, asText, type Json, type JsonObject } from "./json";

export type Access = "owner" | "edit" | "view";
export type SessionState = "starting" | "idle" | "busy" | "ended";
export type MimeBundle = JsonObject;

export interface Me {
  user: string;
  role: string;
  version: string;
}

export interface Environment {
  name: string;
  isDefault: boolean;
  preload: string;
  state: string;
  error: string;
}

export interface Session {
  id: string;
  name: string;
  env: string;
  owner: string;
  access: Access;
  shares: Record<string, string>;
  state: SessionState;
  executionCount: number;
  clients: number;
  created: number; // seconds since the epoch, as `used`
  used: number;
  python: string;
}

export interface Checkpoint {
  checkpoint: number;
  executionCount: number;
  code: string | undefined; // undefined: look at the cell it precedes
  us: number;
  pss: number | undefined; // bytes; undefined: not measured
  unique: number | undefined;
  threads: number;
  children: number;
}

export interface FileEntry {
  name: string;
  type: "file" | "folder" | "other";
  size: number;
  mtime: number;
}

export interface Match {
  text: string;
  type: string;
}

function access(value: Json | undefined): Access {
  return value === "owner" || value === "edit" ? value : "view";
}

export function sessionState(value: Json | undefined): SessionState {
  return value === "starting" || value === "busy" || value === "ended" ? value : "idle";
}

// A list of names or a plain number: how many there are.
export function countOf(value: Json | undefined): number {
  return Array.isArray(value) ? value.length : asNumber(value);
}

export function readMe(value: Json): Me {
  const o = asObject(value);
  return { user: asText(o.user), role: asText(o.role), version: asText(o.version) };
}

export function readEnvironment(value: Json): Environment {
  const o = asObject(value);
  const preload = Array.isArray(o.preload)
    ? o.preload.map((m) => asText(m)).join(", ")
    : asText(o.preload);
  return {
    name: asText(o.name),
    isDefault: asFlag(o.default),
    preload,
    state: asText(o.state),
    error: asText(o.error),
  };
}

export function readSession(value: Json): Session {
  const o = asObject(value);
  const shares: Record<string, string> = {};
  for (const [user, level] of Object.entries(asObject(o.shares))) shares[user] = asText(level);
  return {
    id: asText(o.id),
    name: asText(o.name),
    env: asText(o.env),
    owner: asText(o.owner),
    access: access(o.access),
    shares,
    state: sessionState(o.state),
    executionCount: asNumber(o.execution_count),
    clients: asNumber(o.clients),
    created: asNumber(o.created),
    used: asNumber(o.used),
    python: asText(o.python),
  };
}

export function readCheckpoint(value: Json): Checkpoint {
  const o = asObject(value);
  return {
    checkpoint: asNumber(o.checkpoint),
    executionCount: asNumber(o.execution_count),
    code: typeof o.code === "string" ? o.code : undefined,
    us: asNumber(o.us),
    pss: typeof o.pss === "number" ? o.pss : undefined,
    unique: typeof o.unique === "number" ? o.unique : undefined,
    threads: countOf(o.threads),
    children: countOf(o.children),
  };
}

export function readFiles(value: Json): FileEntry[] {
  return asList(asObject(value).files).map((item) => {
    const o = asObject(item);
    const type = o.type === "folder" || o.type === "other" ? o.type : "file";
    return { name: asText(o.name), type, size: asNumber(o.size), mtime: asNumber(o.mtime) };
  });
}
