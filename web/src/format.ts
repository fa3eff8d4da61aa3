// Numbers for people.

export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = n;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit] ?? ""}`;
}

export function duration(ms: number): string {
  if (ms < 1) return "< 1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60000);
  return `${minutes} min ${Math.floor((ms % 60000) / 1000)} s`;
}

export function microseconds(us: number): string {
  return us < 1000 ? `${Math.round(us)} µs` : duration(us / 1000);
}

// How long ago, in seconds, roughly.
export function ago(seconds: number): string {
  if (seconds < 10) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export function firstLine(code: string): string {
  return (
    code
      .split("\n")
      .find((line) => line.trim() !== "")
      ?.trim() ?? ""
  );
}

// The server counts code points, the browser UTF-16 units.
export function codePointsBefore(text: string, unit: number): number {
  return [...text.slice(0, unit)].length;
}

export function unitsBefore(text: string, codePoint: number): number {
  return [...text].slice(0, codePoint).join("").length;
}
