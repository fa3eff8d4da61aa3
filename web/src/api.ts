// The HTTP interface, as far as the page uses it outside of the socket (docs/http.md). The cookie
// of the login goes along by itself.

import { asList, asObject, asText, type Json, type JsonObject } from "./json";
import { ServerError } from "./connection";
import {
  readCheckpoint,
  readEnvironment,
  readFiles,
  readMe,
  readSession,
  type Checkpoint,
  type Environment,
  type FileEntry,
  type Me,
  type Session,
} from "./types";

let loggedOut = () => {};

// `action` is called when the server does not know the login any more.
export function onLoggedOut(action: () => void): void {
  loggedOut = action;
}

async function request(method: string, path: string, body?: Json): Promise<Json> {
  const init: RequestInit = {
    method,
    headers: { Accept: "application/json" },
    credentials: "same-origin",
  };
  if (body !== undefined) {
    init.headers = { Accept: "application/json", "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new ServerError("unavailable", "the server cannot be reached");
  }
  const text = await response.text();
  if (response.status === 401 && path !== "/v1/login" && path !== "/v1/me") loggedOut();
  if (!response.ok) throw problemOf(response.status, text);
  try {
    return text === "" ? null : (JSON.parse(text) as Json);
  } catch {
    throw new ServerError("internal", "the server's answer is not JSON");
  }
}

function problemOf(status: number, text: string): ServerError {
  let problem: JsonObject = {};
  try {
    problem = asObject(JSON.parse(text) as Json);
  } catch {
    // a proxy's own page, perhaps: the status says enough
  }
  const code = asText(
    problem.code,
    status === 401 ? "unauthorized" : status === 404 ? "not_found" : "internal",
  );
  return new ServerError(
    code,
    asText(problem.detail) || asText(problem.title) || `the server answered ${status}`,
  );
}

const session = (id: string) => `/v1/sessions/${encodeURIComponent(id)}`;

function filePath(id: string, path: string): string {
  return `${session(id)}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
}

export const api = {
  async login(credentials: JsonObject): Promise<void> {
    await request("POST", "/v1/login", credentials);
  },
  async logout(): Promise<void> {
    await request("POST", "/v1/logout", {});
  },
  async me(): Promise<Me> {
    return readMe(await request("GET", "/v1/me"));
  },
  async environments(): Promise<Environment[]> {
    const answer = asObject(await request("GET", "/v1/environments"));
    return asList(answer.environments).map(readEnvironment);
  },
  async sessions(): Promise<Session[]> {
    const answer = asObject(await request("GET", "/v1/sessions"));
    return asList(answer.sessions).map(readSession);
  },
  async session(id: string): Promise<Session> {
    return readSession(await request("GET", session(id)));
  },
  async create(members: JsonObject): Promise<Session> {
    return readSession(await request("POST", "/v1/sessions", members));
  },
  async rename(id: string, name: string): Promise<void> {
    await request("PATCH", session(id), { name });
  },
  async remove(id: string): Promise<void> {
    await request("DELETE", session(id));
  },
  async share(id: string, user: string, access: string): Promise<Record<string, string>> {
    const answer = asObject(await request("POST", `${session(id)}/share`, { with: user, access }));
    return Object.fromEntries(
      Object.entries(asObject(answer.shares)).map(([k, v]) => [k, asText(v)]),
    );
  },
  async fork(id: string, members: JsonObject): Promise<Session> {
    return readSession(await request("POST", `${session(id)}/fork`, members));
  },
  async checkpoints(id: string, memory: boolean): Promise<Checkpoint[]> {
    const answer = asObject(
      await request("GET", `${session(id)}/checkpoints${memory ? "?memory=1" : ""}`),
    );
    return asList(answer.checkpoints).map(readCheckpoint);
  },
  async files(id: string, folder: string): Promise<FileEntry[]> {
    return readFiles(
      await request("GET", folder === "" ? `${session(id)}/files` : `${filePath(id, folder)}/`),
    );
  },
  async deleteFile(id: string, path: string): Promise<void> {
    await request("DELETE", filePath(id, path));
  },
  fileAddress(id: string, path: string): string {
    return filePath(id, path);
  },
  // `progress` gets a share from 0 to 1.
  putFile(id: string, path: string, file: Blob, progress: (share: number) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const transfer = new XMLHttpRequest();
      transfer.open("PUT", filePath(id, path));
      transfer.setRequestHeader("Content-Type", "application/octet-stream");
      transfer.upload.onprogress = (event) => {
        if (event.lengthComputable) progress(event.loaded / event.total);
      };
      transfer.onload = () => {
        if (transfer.status < 300) resolve();
        else reject(problemOf(transfer.status, transfer.responseText));
      };
      transfer.onerror = () => reject(new ServerError("unavailable", "the upload broke off"));
      transfer.send(file);
    });
  },
};
