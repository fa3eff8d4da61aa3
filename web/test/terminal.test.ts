import { expect, it } from "vitest";
import { Terminal } from "../src/terminal";

function written(...pieces: string[]): Terminal {
  const terminal = new Terminal();
  for (const piece of pieces) terminal.write(piece);
  return terminal;
}

it("overwrites after a carriage return", () => {
  expect(written("10%\r20%\r100%\n").text()).toBe("100%\n");
  expect(written("long line\rshort").text()).toBe("shortline");
});

it("takes \\r\\n as one line end, even in two pieces", () => {
  expect(written("a\r", "\nb\r\n").text()).toBe("a\nb\n");
});

it("erases lines and moves the cursor as progress bars ask", () => {
  expect(written("full\x1b[2K\rnew").text()).toBe("new");
  expect(written("first\nsecond\x1b[A\rFIRST").text()).toBe("FIRST\nsecond");
  expect(written("abc\b\bX").text()).toBe("aXc");
});

it("makes colours into styles and keeps them over pieces", () => {
  const terminal = written(
    "\x1b[1;3",
    "1mred\x1b[0m plain \x1b[38;5;196mcube\x1b[38;2;1;2;3mtrue\x1b[m",
  );
  expect(terminal.text()).toBe("red plain cubetrue");
  expect(terminal.lines[0]?.map((s) => [s.text, s.style.fg, s.style.bold])).toEqual([
    ["red", "1", true],
    [" plain ", "", false],
    ["cube", "#ff0000", false],
    ["true", "#010203", false],
  ]);
});

it("leaves out what a page cannot do", () => {
  expect(written("\x1b]0;title\x07a\x1b[?25lb\x1b(Bc\x07").text()).toBe("abc");
});

it("keeps what is no escape sequence in the end", () => {
  expect(written("\x1b[" + ";".repeat(400), "x").text()).not.toBe("");
});

it("is bounded in lines and in columns", () => {
  const lines = written("x\n".repeat(30000));
  expect(lines.lines.length).toBe(20000);
  expect(lines.droppedLines).toBe(10001);
  expect(written("y".repeat(1_000_000)).text().length).toBe(20000);
  expect(written("\x1b[999999999Cz\x1b[999999B").lines.length).toBe(1);
});
