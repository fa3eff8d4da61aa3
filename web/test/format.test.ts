import { expect, it } from "vitest";
import {
  ago,
  bytes,
  codePointsBefore,
  duration,
  firstLine,
  microseconds,
  unitsBefore,
} from "../src/format";

it("counts the cursor as the server does", () => {
  const code = "s = '🐍🐍'; s.up";
  expect(codePointsBefore(code, code.length)).toBe(code.length - 2);
  expect(unitsBefore(code, codePointsBefore(code, 12))).toBe(12);
});

it("writes numbers for people", () => {
  expect([bytes(0), bytes(1023), bytes(1536), bytes(512 * 1024 ** 2)]).toEqual([
    "0 B",
    "1023 B",
    "1.5 KiB",
    "512 MiB",
  ]);
  expect([duration(0.2), duration(250), duration(1500), duration(61_000)]).toEqual([
    "< 1 ms",
    "250 ms",
    "1.5 s",
    "1 min 1 s",
  ]);
  expect([microseconds(640), microseconds(2400)]).toEqual(["640 µs", "2 ms"]);
  expect([ago(-3), ago(59), ago(3600), ago(200_000)]).toEqual(["now", "59 s", "1 h", "2 d"]);
  expect(firstLine("\n\n  a = 1\nb")).toBe("a = 1");
});
