// Reading JSON that came from outside: every accessor gives a value of its type, whatever arrived.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

export function asObject(value: Json | undefined): JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

export function asList(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

export function asText(value: Json | undefined, otherwise = ""): string {
  return typeof value === "string" ? value : otherwise;
}

export function asNumber(value: Json | undefined, otherwise = 0): number {
  return typeof value === "number" ? value : otherwise;
}

export function asFlag(value: Json | undefined): boolean {
  return value === true;
}

// A MIME bundle's text: some producers send lists of lines.
export function joinedText(value: Json | undefined): string {
  return Array.isArray(value) ? value.map((line) => asText(line)).join("") : asText(value);
}

export function parseObject(text: string): JsonObject {
  try {
    return asObject(JSON.parse(text) as Json);
  } catch {
    return {};
  }
}
