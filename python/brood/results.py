"""What comes back from a session: events, results, and how the one becomes the other. Values; no sockets."""

import codecs
import os

from brood.errors import CellError, Error, LimitExceeded, SessionEnded

OUTPUT_KEPT = 16 << 20  # bytes of stdout and of stderr in a Result, unless max_output says otherwise


class Event:
    """One thing that happened in a session (docs/protocol.md, "Events").

    type: "stdout", "display", "result", "error", "done", ...; seq: its number in the session; cell: the cell it belongs
    to, 0: none; session: the id; text: of stdout and stderr, as str (a character that was cut comes with the next
    event); body: the raw bytes of stdout, stderr and message; head: the other members, which are attributes, too:
    `event.status` of a done, `event.data` of a display.
    """

    __slots__ = ("type", "seq", "cell", "session", "text", "body", "head")

    def __init__(self, head, body=b"", text=None):
        self.type = head.get("type", "")
        self.seq = head.get("seq", 0)
        self.cell = head.get("cell", 0)
        self.session = head.get("session", "")
        self.text = head.get("text", "") if text is None else text
        self.body = body
        self.head = head

    def __getattr__(self, name):
        if name not in Event.__slots__ and name in self.head:
            return self.head[name]
        raise AttributeError(f"an event has no {name!r}")

    def __repr__(self):
        members = {k: v for k, v in self.head.items() if k not in ("type", "seq", "cell", "session")}
        body = f" body={self.body[:60]!r}{'...' if len(self.body) > 60 else ''}" if self.body else ""
        return f"<Event {self.seq} {self.type} cell={self.cell} {members}{body}>"


class EventMaker:
    """Makes the events of one stream: keeps characters that were cut between two pieces of output."""

    def __init__(self):
        self._cut = {}  # type -> the decoder that holds the first bytes of a character

    def make(self, head, body):
        kind = head.get("type")
        if kind != "stdout" and kind != "stderr":
            return Event(head, body)
        if kind not in self._cut:
            try:
                return Event(head, body, body.decode())
            except UnicodeDecodeError:
                self._cut[kind] = codecs.getincrementaldecoder("utf-8")("replace")
        decoder = self._cut[kind]
        event = Event(head, body, decoder.decode(body))
        if not decoder.getstate()[0]:
            del self._cut[kind]
        return event


class ErrorReport:
    """An exception of a cell: its name, its value as text, its traceback as a list of lines. str() is the traceback."""

    __slots__ = ("name", "value", "traceback")

    def __init__(self, members):
        self.name = str(members.get("name", ""))
        self.value = str(members.get("value", ""))
        self.traceback = [str(line) for line in members.get("traceback") or ()]

    def __str__(self):
        return "\n".join(line.rstrip("\n") for line in self.traceback) or f"{self.name}: {self.value}"

    def __repr__(self):
        return f"<ErrorReport {self.name}: {self.value}>"


class Result:
    """How a cell ended.

    status: "ok", "error", "interrupted", "exit", "cancelled" (it never ran), "timeout", "killed", "crashed", "memory",
    "cpu", "output", "processes"; ok: whether it is "ok"; stdout, stderr: str; data: {MIME type: value} of the last expression, empty
    without one; value: its text/plain, else None; displays: list of {MIME type: value}, binary ones in base64; error:
    an ErrorReport or None; execution_count; cell: its number; ms: milliseconds it took; undone: the session is what it
    was before the cell; why: text about a cell that was killed; truncated: there was more output than was kept.
    """

    def __init__(self, members):
        self.status = str(members.get("status", ""))
        self.stdout = members.get("stdout") or ""
        self.stderr = members.get("stderr") or ""
        self.data = members.get("result") or {}
        self.displays = members.get("displays") or []
        self.error = ErrorReport(members["error"]) if members.get("error") else None
        self.execution_count = members.get("execution_count", 0)
        self.cell = members.get("cell", 0)
        self.ms = members.get("ms", 0)
        self.undone = bool(members.get("undone"))
        self.why = members.get("why") or ""
        self.truncated = bool(members.get("truncated"))

    @property
    def ok(self):
        return self.status == "ok"

    @property
    def value(self):
        return self.data.get("text/plain")

    def check(self):
        """Returns the result if the cell is ok, else raises CellError with the remote traceback in its text."""
        if self.ok:
            return self
        undone = "; the session is what it was before the cell" if self.undone else ""
        why = f": {self.why}" if self.why else ""
        text = f"the cell ended with status {self.status!r}{why}{undone}"
        if self.error is not None:
            text = f"{self.error.name}: {self.error.value}\n\nThe traceback in the session{undone}:\n{self.error}"
        raise CellError(text, self)

    def __repr__(self):
        shown = [f"{name}={value!r}" for name in ("value", "stdout", "stderr", "error", "why") if (value := getattr(self, name))]
        return " ".join(["<Result", self.status, *shown]) + ">"


class Collector:
    """Makes a Result of a cell's events. Keeps at most `limit` bytes of stdout, and of stderr."""

    def __init__(self, limit=None):
        self._limit = OUTPUT_KEPT if limit is None else limit
        self._output = {"stdout": [], "stderr": []}  # lists of bytes
        self._kept = {"stdout": 0, "stderr": 0}
        self._named = {}  # display_id -> its place in displays
        self._members = {"displays": [], "result": None, "error": None, "truncated": False}
        self._ended = None

    def add(self, event):
        adder = getattr(self, "_add_" + event.type, None)
        if adder is not None:
            adder(event)

    def result(self):
        """After the stream has ended."""
        if "status" not in self._members:
            if self._ended is not None:
                raise SessionEnded(f"the session ended while the cell ran: {self._ended}")
            raise Error("the end of the cell was dropped from the session's log; read its events faster")
        text = {name: b"".join(pieces).decode("utf-8", "replace") for name, pieces in self._output.items()}
        return Result({**self._members, **text})

    def _add_stdout(self, event):
        room = self._limit - self._kept[event.type]
        piece = event.body if len(event.body) <= room else event.body[:room]
        self._members["truncated"] |= len(piece) < len(event.body)
        if piece:
            self._output[event.type].append(piece)
            self._kept[event.type] += len(piece)

    _add_stderr = _add_stdout

    def _add_display(self, event):
        data, name, displays = event.head.get("data") or {}, event.head.get("display_id"), self._members["displays"]
        if event.head.get("update"):
            if name in self._named:
                displays[self._named[name]] = data
            return
        if name:
            self._named[name] = len(displays)
        displays.append(data)

    def _add_result(self, event):
        self._members["result"] = event.head.get("data")

    def _add_error(self, event):
        self._members["error"] = event.head

    def _add_dropped(self, event):
        self._members["truncated"] = True

    def _add_done(self, event):
        self._members.update(event.head)

    def _add_ended(self, event):
        self._ended = event.head.get("why") or "no reason given"


class Answers:
    """Answers input() of a cell: from a callable that gets the prompt, or from the lines of a text. None is the end of input."""

    def __init__(self, source):
        if source is None or callable(source):
            self._ask = source
        elif isinstance(source, str):
            lines = iter(source.splitlines())
            self._ask = lambda prompt: next(lines, None)
        else:
            raise TypeError("input must be a str, or a callable that takes the prompt and returns a str")

    def __bool__(self):
        return self._ask is not None

    def ask(self, event):
        """What to answer: a str, None, or what an async callable returns."""
        return self._ask(event.head.get("prompt", ""))


def line_of(answer):
    """(members, body) of the `stdin` request for an answer of Answers."""
    if answer is None:
        return {"eof": True}, b""
    checked_text(answer, "what input= returns")
    return {}, (answer if answer.endswith("\n") else answer + "\n").encode()


class EndOfCell:
    """Which events of a joined session belong to one cell, and when it has ended. cell 0: all, until the session ends."""

    def __init__(self, cell=0):
        self.cell = cell

    def wants(self, event):
        return self.cell == 0 or event.cell == self.cell or event.type in ("dropped", "ended")

    def ends(self, event):
        if event.type == "ended":
            return True
        return self.cell != 0 and event.cell == self.cell and event.type == "done"

    def passed(self, event):
        """A later cell has begun, so that the end of this one was dropped."""
        return self.cell != 0 and event.type == "cell" and event.cell > self.cell


class Checkpoints(list):
    """A list of checkpoints (dicts), oldest first; `live`: the memory of the running session, {"pss", "unique"} or {}."""

    def __init__(self, answer):
        super().__init__(answer.get("checkpoints") or ())
        self.live = answer.get("live") or {}


def checked_text(value, name):
    """The value, a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return value


def checked_bytes(value, name):
    """The value as bytes, or what is like them."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        hint = ": encode() it, or open the file in binary mode" if isinstance(value, str) else ""
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}{hint}")
    return value.tobytes() if isinstance(value, memoryview) else value


def goal_of_undo(steps, to):
    """The members that say how far to go back."""
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps must be a whole number from 1 on, not {steps!r}")
    return given(steps=steps, to=to)


def encoded(data):
    """What goes to the standard input of a session: a str, or bytes."""
    return data.encode() if isinstance(data, str) else checked_bytes(data, "data (unless it is a str)")


def a_tag():
    """A name for a cell that no other one has."""
    return os.urandom(12).hex()


def given(**members):
    """The members that were given."""
    return {name: value for name, value in members.items() if value is not None}


def lost_messages(event):
    """How many messages of the session such an event says to be lost."""
    return event.head.get("messages", 0) if event.type == "dropped" else 0


def message_of(event):
    """The bytes of a message. Raises LimitExceeded if the event tells of lost ones."""
    if lost := lost_messages(event):
        raise LimitExceeded(f"{lost} messages are lost: the session keeps 1 MiB of events for who is not reading; "
                            "receive while it sends, in a thread or a task")
    return event.body
