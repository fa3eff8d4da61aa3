import { describe, expect, it } from "vitest";
import type { JsonObject } from "../src/json";
import { Model } from "../src/model";
import type { CellEntry, NoteEntry, Output } from "../src/notebook";
import recorded from "./recorded.json";

let clock = 1000;

function play(events: JsonObject[], model = new Model(() => clock)): Model {
  for (const event of events) model.apply(event);
  return model;
}

// The events of type `type`, numbered from `first`.
function numbered(first: number, ...events: JsonObject[]): JsonObject[] {
  return events.map((event, i) => ({ cell: 0, ...event, seq: first + i }));
}

function cells(model: Model): CellEntry[] {
  return model.entries.filter((e): e is CellEntry => e.kind === "cell");
}

function notes(model: Model): NoteEntry[] {
  return model.entries.filter((e): e is NoteEntry => e.kind === "note");
}

function streamText(output: Output | undefined): string {
  return output?.kind === "stream" ? output.terminal.text() : `(no stream but ${output?.kind})`;
}

const kRecorded = recorded as JsonObject[];

describe("a recorded session", () => {
  it("becomes its cells with their outputs in order", () => {
    const model = play(kRecorded);
    expect(cells(model).map((c) => [c.number, c.executionCount, c.status])).toEqual([
      [1, 1, "ok"],
      [2, 2, "ok"],
      [3, 3, "error"],
      [4, 3, "crashed"],
    ]);
    const [first, second, third] = cells(model);
    expect(first?.outputs.map((o) => o.kind)).toEqual(["stream", "stream", "stream"]);
    expect(streamText(first?.outputs[0])).toBe("one\ntwo\n");
    expect(second?.outputs.map((o) => o.kind)).toEqual(["display", "result"]);
    expect(third?.outputs.map((o) => o.kind)).toEqual(["error"]);
    expect(model.state).toBe("idle");
  });

  it("is the same when every prefix of it is replayed", () => {
    const whole = play(kRecorded);
    for (let cut = 0; cut <= kRecorded.length; cut++) {
      const model = play(kRecorded.slice(0, cut));
      play(kRecorded, model); // a server that sends everything again
      expect(model.entries).toEqual(whole.entries);
      expect(model.checkpoints).toEqual(whole.checkpoints);
      expect(model.messages).toEqual(whole.messages);
    }
  });

  it("keeps the messages apart from the output", () => {
    expect(play(kRecorded).messages.map((m) => m.text)).toEqual(["hello", "(3 bytes)"]);
  });
});

describe("events that were seen", () => {
  it("change nothing and say so", () => {
    const events = numbered(
      1,
      { type: "cell", cell: 1, code: "x", execution_count: 1 },
      { type: "stdout", cell: 1, data: "a" },
    );
    const model = play(events);
    model.dirty.clear();
    expect(events.map((event) => model.apply(event))).toEqual([false, false]);
    expect(model.dirty.size).toBe(0);
    expect(streamText(cells(model)[0]?.outputs[0])).toBe("a");
  });
});

describe("undo", () => {
  const before = numbered(
    1,
    { type: "checkpoint", cell: 1, checkpoint: 1, execution_count: 1, us: 300 },
    { type: "cell", cell: 1, code: "a = 1", execution_count: 1 },
    { type: "done", cell: 1, status: "ok", execution_count: 1, ms: 1 },
    { type: "checkpoint", cell: 2, checkpoint: 2, execution_count: 2, us: 300 },
    { type: "cell", cell: 2, code: "b = 2", execution_count: 2 },
    { type: "done", cell: 2, status: "ok", execution_count: 2, ms: 1 },
    { type: "cell", cell: 3, code: "input()", execution_count: 3 },
    { type: "input", cell: 3, prompt: "? ", password: false },
  );

  it("greys out what came after the point, with the reason", () => {
    const model = play([
      ...before,
      ...numbered(9, { type: "undone", checkpoint: 2, execution_count: 1, why: "", by: "anna" }),
    ]);
    expect(cells(model).map((c) => c.undone)).toEqual([
      undefined,
      "undone by anna",
      "undone by anna",
    ]);
    expect(model.checkpoints.map((c) => c.checkpoint)).toEqual([1]);
    expect(notes(model).map((n) => n.text)).toEqual(["Back at the state before [2] (by anna)"]);
  });

  it("ends what was running and closes its question", () => {
    const model = play([
      ...before,
      ...numbered(9, { type: "undone", checkpoint: 2, execution_count: 1, why: "", by: "" }),
    ]);
    const last = cells(model)[2];
    expect(last?.status).toBe("undone");
    expect(last?.outputs[0]).toMatchObject({ kind: "input", open: false });
    expect(model.runningCell()).toBeUndefined();
  });

  it("leaves cells alone that are undone already or come later", () => {
    const model = play([
      ...before,
      ...numbered(
        9,
        { type: "undone", checkpoint: 2, execution_count: 1, why: "first", by: "" },
        { type: "cell", cell: 4, code: "c = 3", execution_count: 2 },
        { type: "undone", checkpoint: 1, execution_count: 0, why: "second", by: "" },
        { type: "cell", cell: 5, code: "d = 4", execution_count: 1 },
      ),
    ]);
    expect(cells(model).map((c) => c.undone)).toEqual([
      "second",
      "first",
      "first",
      "second",
      undefined,
    ]);
  });

  it("works with numbers that are used again", () => {
    const model = play([
      ...before,
      ...numbered(
        9,
        { type: "undone", checkpoint: 2, execution_count: 1, why: "", by: "" },
        { type: "cell", cell: 2, code: "again", execution_count: 2 },
        { type: "stdout", cell: 2, data: "new" },
      ),
    ]);
    expect(cells(model).map((c) => [c.number, c.undone])).toEqual([
      [1, undefined],
      [2, "undone"],
      [3, "undone"],
      [2, undefined],
    ]);
    expect(streamText(cells(model)[3]?.outputs[0])).toBe("new");
  });
});

describe("what was lost", () => {
  it("is told in the cell it belongs to", () => {
    const model = play(
      numbered(
        1,
        { type: "cell", cell: 1, code: "x", execution_count: 1 },
        { type: "stdout", cell: 1, data: "a" },
        { type: "dropped", cell: 1, events: 3, bytes: 900 },
        { type: "stdout", cell: 1, data: "z" },
      ),
    );
    const outputs = cells(model)[0]?.outputs ?? [];
    expect(outputs.map((o) => o.kind)).toEqual(["stream", "note", "stream"]);
    expect(outputs[1]).toMatchObject({
      tone: "warning",
      text: "3 events (900 bytes) before this point were not kept",
    });
  });

  it("is told between the cells when it belongs to none", () => {
    const model = play(
      numbered(
        40,
        { type: "dropped", events: 1, bytes: 10 },
        { type: "stdout", cell: 7, data: "late" },
      ),
    );
    expect(notes(model)[0]?.text).toBe("1 event (10 bytes) before this point were not kept");
    expect(cells(model)[0]).toMatchObject({ number: 7, code: undefined, status: "running" });
  });
});

describe("displays", () => {
  it("are replaced by an update of the same id, wherever they are", () => {
    const model = play(
      numbered(
        1,
        { type: "cell", cell: 1, code: "x", execution_count: 1 },
        {
          type: "display",
          cell: 1,
          data: { "text/plain": "0%" },
          metadata: {},
          display_id: "bar",
          update: false,
        },
        { type: "done", cell: 1, status: "ok", execution_count: 1, ms: 1 },
        { type: "cell", cell: 2, code: "y", execution_count: 2 },
      ),
    );
    model.dirty.clear();
    model.apply({
      seq: 5,
      type: "display",
      cell: 2,
      data: { "text/plain": "100%" },
      display_id: "bar",
      update: true,
    });
    expect(cells(model)[0]?.outputs).toMatchObject([
      { data: { "text/plain": "100%" }, version: 1 },
    ]);
    expect(cells(model)[1]?.outputs).toEqual([]);
    expect([...model.dirty]).toEqual([cells(model)[0]]);
  });
});

describe("the clock", () => {
  it("is only asked for cells that begin while one looks", () => {
    const model = new Model(() => clock);
    model.liveFrom = 2;
    clock = 5000;
    play(
      numbered(
        1,
        { type: "cell", cell: 1, code: "x", execution_count: 1 },
        { type: "cell", cell: 2, code: "y", execution_count: 2 },
      ),
      model,
    );
    expect(cells(model).map((c) => c.startedAt)).toEqual([undefined, 5000]);
  });
});

describe("the end", () => {
  it("stops the running cell and keeps no checkpoints", () => {
    const model = play(
      numbered(
        1,
        { type: "checkpoint", cell: 1, checkpoint: 1, execution_count: 1, us: 1 },
        { type: "cell", cell: 1, code: "x", execution_count: 1 },
        { type: "ended", why: "the session was idle", exit_status: 0 },
      ),
    );
    expect(model.state).toBe("ended");
    expect(cells(model)[0]?.status).toBe("ended");
    expect(model.checkpoints).toEqual([]);
    expect(notes(model)[0]?.text).toBe(
      "The session has ended: the session was idle (exit status 0)",
    );
  });
});

describe("bad events", () => {
  it("do no harm", () => {
    const model = play([
      { seq: 1 },
      { seq: 2, type: "unheard-of", cell: "x" },
      { seq: 3, type: "display", cell: 1, data: 7 },
      { seq: 4, type: "error", cell: 1, traceback: "no list" },
      { seq: 5, type: "forgotten", checkpoints: "all" },
      { type: "stdout", data: "without a number" },
    ]);
    expect(model.lastSeq).toBe(5);
    expect(cells(model)).toHaveLength(1);
  });
});

it("forgets the oldest outputs of a cell that displays without end", () => {
  const model = play(numbered(1, { type: "cell", cell: 1, code: "x", execution_count: 1 }));
  for (let i = 0; i < 1200; i++)
    model.apply({ seq: 2 + i, type: "display", cell: 1, data: { "text/plain": String(i) } });
  expect(cells(model)[0]?.outputs).toHaveLength(1000);
  expect(cells(model)[0]?.hiddenOutputs).toBe(200);
});

it("lists what was run without immediate repetitions", () => {
  const run = (cell: number, code: string) => ({ type: "cell", cell, code, execution_count: cell });
  expect(play(numbered(1, run(1, "a"), run(2, "a"), run(3, "b"), run(4, "a"))).history()).toEqual([
    "a",
    "b",
    "a",
  ]);
});
