"""The blocking client of `brood serve`: Client, Session, EventStream. docs/python.md is the guide.

Requests and answers of all threads share one connection. Every stream of events has a connection of its own, taken from
a few idle ones: a program that is slow to take its events stops reading that connection alone, the server then holds
that session's output back, and neither other sessions nor requests (an interrupt!) wait behind it. There are no
background threads: whoever waits for something reads it. So memory is bounded by one buffer (256 KiB, or the longest
frame that is arriving, at most 8 MiB) for each stream.
"""

import contextlib
import io
import os
import threading
import time

from brood import wire
from brood.errors import ConnectionLost, Error, NotFound, SessionEnded, Timeout
from brood.handshake import Address, Credentials, answer_of, member
from brood.link import Calls, Link, until
from brood.results import (
    Answers,
    Checkpoints,
    Collector,
    EndOfCell,
    EventMaker,
    Result,
    a_tag,
    checked_bytes,
    checked_text,
    encoded,
    given,
    goal_of_undo,
    line_of,
    lost_messages,
    message_of,
)

PIECE = 1 << 20  # bytes of a file in one request: what `get` gives at most
_IDLE_LINKS = 4  # connections of streams that are kept for the next ones


class Client:
    """A connection to `brood serve`. Connects when it is first needed, and again after the connection was lost.

    address: `unix:PATH`, `tcp:HOST:PORT` or `tls:HOST:PORT`; default: BROOD_SERVER, else this user's own server.
    token: default BROOD_TOKEN; or user and password. None is needed on a Unix socket of one's own server.
    ssl_context: for `tls:`; default: one that trusts the certificates in the file BROOD_CAFILE, else the system's.
    timeout: seconds until a connection is made and a request is answered, else Timeout; None: for ever. The time of
    cells is not counted: run(timeout=) is for that.

    Threads: any number may use one client and its sessions at the same time. A stream of events belongs to one thread
    at a time. close() ends what waits, in any thread, with ConnectionLost. After a fork the child's client connects
    anew.
    """

    def __init__(self, address=None, *, token=None, user=None, password=None, ssl_context=None, timeout=60):
        self.address = Address(address)
        self.timeout = timeout
        self._credentials = Credentials(token, user, password)
        self._ssl_context = ssl_context
        self._lock = threading.Lock()  # of what follows
        self._calls = None
        self._idle = []  # Links of streams that have ended
        self._active = set()  # Links of streams
        self._owner = os.getpid()
        self._closed = False
        self._greeting = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"<brood.Client of {self.address}>"

    def close(self):
        """Ends the connections. Sessions go on. The client cannot be used afterwards."""
        with self._lock:
            self._closed = True
            calls, self._calls = self._calls, None
            idle, self._idle = self._idle, []
            for link in self._active:
                link.shut()  # their streams close them
        if calls is not None:
            calls.close()
        for link in idle:
            link.close()

    def server(self):
        """The server's greeting: {"server", "version", "user", "role", "limits"}."""
        self._connected()
        return {name: self._greeting.get(name) for name in ("server", "version", "user", "role", "limits")}

    def environments(self):
        """A list of {"name", "default", "python", "preload", "state", "error", "sessions_ahead"}."""
        return member(self.call("environments"), "environments", list)

    def sessions(self):
        """The descriptions (dicts) of one's own sessions and those shared with one; an admin's: all."""
        return member(self.call("sessions"), "sessions", list)

    def new(self, env=None, *, name=None, checkpoints=None, limits=None, idle_timeout=None, no_clients_timeout=None):
        """Starts a session in an environment (default: the server's). `with` removes it at the end.

        checkpoints: how many are kept, 0: none. limits: {"memory": bytes, ...}. idle_timeout, no_clients_timeout:
        seconds after which a session that does nothing, or that nobody is joined to, ends; 0: never.
        Raises EnvironmentUnavailable, LimitExceeded.
        """
        members = given(
            env=env, name=name, checkpoints=checkpoints, limits=limits, idle_timeout=idle_timeout, no_clients_timeout=no_clients_timeout
        )
        return Session(self, member(self.call("new", **members), "session", dict), owned=True)

    def session(self, id):  # noqa: A002
        """A session that exists. `with` does not remove it. Raises SessionNotFound."""
        return Session(self, member(self.call("info", session=id), "session", dict), owned=False)

    def call(self, method, **members):
        """Any method of docs/protocol.md, section 5: returns the answer's members."""
        return self.request(method, members)[0]

    def request(self, method, members, body=b"", timeout=...):
        """The same with a body: returns (members, body). timeout: seconds, None: for ever; default: the client's."""
        seconds = self.timeout if timeout is ... else timeout
        return answer_of(self._connected().call(method, members, body, seconds), method)

    def _connected(self):
        """The Calls that requests go over, connected if need be."""
        calls = self._calls
        if calls is not None and calls.alive():
            return calls
        with self._lock:
            self._check_open()
            if self._calls is None or not self._calls.alive():
                if self._calls is not None:
                    self._calls.close("the connection to the server was lost")
                self._calls = None
                self._calls = Calls(self._open_link())
            return self._calls

    def _check_open(self):
        if self._closed:
            raise ConnectionLost("this client was closed; make another brood.Client")
        if self._owner != os.getpid():
            self._owner, self._idle, self._active = os.getpid(), [], set()

    def _open_link(self):
        deadline = until(self.timeout)
        link = Link(self.address, self._ssl_context, deadline)
        try:
            self._greeting = link.greet(self._credentials, deadline)
        except BaseException:
            link.close()
            raise
        return link

    def _take_link(self):
        """A connection for a stream."""
        with self._lock:
            self._check_open()
            while self._idle:
                link = self._idle.pop()
                if link.alive():
                    self._active.add(link)
                    return link
                link.close()
        link = self._open_link()
        with self._lock:
            self._active.add(link)
        return link

    def _give_back(self, link, reusable):
        with self._lock:
            self._active.discard(link)
            if reusable and not self._closed and self._owner == os.getpid() and len(self._idle) < _IDLE_LINKS:
                self._idle.append(link)
                return
        link.close()


class EventStream:
    """An iterator over events. For one thread at a time; close() it, use `with`, or let go of it.

    Reads only when it is asked for an event: see the module about what that means. After it has ended or was closed
    the session and the client are as usable as before.
    """

    def __init__(self, client, session, after, code=None, members=None):
        self._client, self._session = client, session
        self._link = client._take_link()
        self._owner = os.getpid()
        self._maker = EventMaker()
        self._early = []  # frames that came before the answers, newest first
        self._end = EndOfCell()
        try:
            self._begin(after, code, members)
        except BaseException:
            self._drop()
            raise

    @property
    def cell(self):
        """The number of the cell, 0: a stream of everything."""
        return self._end.cell

    def __iter__(self):
        return self

    def __next__(self):
        event = self.read(None)
        if event is None:
            raise StopIteration
        return event

    def read(self, timeout=None):
        """The next event, None at the end. Raises Timeout after so many seconds (None: never), and can go on then."""
        deadline = until(timeout)
        while self._link is not None:
            try:
                event = self._next(deadline)
            except Timeout:
                raise Timeout(f"no event of session {self._session} within {timeout} s") from None
            except BaseException as error:
                if self._link is None and isinstance(error, ConnectionLost):
                    return None  # close() in another thread
                self._drop()
                raise
            if event is not None:
                return event
        return None

    def close(self):
        """Stops, also when another thread is in read(). A cell that runs goes on; interrupt() ends it."""
        self._drop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._drop()

    def __del__(self):
        if getattr(self, "_link", None) is not None:
            self._drop()

    def _begin(self, after, code, members):
        """Joins, and executes. Both requests travel together."""
        deadline = until(self._client.timeout)
        joining = wire.encode(wire.REQUEST, {"request": 2, "method": "join", "session": self._session, **given(after=after)})
        if code is None:
            self._link.send(joining)
            self._answer(2, "join", deadline)
            return
        executing = {"request": 3, "method": "execute", "session": self._session, "code": code, **members}
        self._link.send(joining + wire.encode(wire.REQUEST, executing))
        self._answer(2, "join", deadline)
        self._end = EndOfCell(member(self._answer(3, "execute", deadline), "cell", int))
        self._early.reverse()

    def _answer(self, number, method, deadline):
        while True:
            frame = self._link.receive(deadline)
            if frame[0] == wire.EVENT:
                if number == 3:  # those before the join are of the stream that used the connection before
                    self._early.append(frame)
            elif frame[0] == wire.ANSWER and frame[1].get("request") in (number, 0):
                return answer_of(frame, method)[0]

    def _next(self, deadline):
        """One frame's event if it is one for the caller."""
        link = self._link
        if link is None:
            return None
        kind, head, body = self._early.pop() if self._early else link.receive(deadline)
        if kind == wire.ANSWER and head.get("request") == 0:
            answer_of((kind, head, body), "join")
        if kind != wire.EVENT or head.get("session") != self._session:
            return None
        event = self._maker.make(head, body)
        if self._end.passed(event):
            self._drop()
            return None
        if not self._end.wants(event):
            return None
        if self._end.ends(event) and self._link is not None:
            self._finish()
        return event

    def _finish(self):
        """At the end: leaves the session, and keeps the connection for another stream."""
        link, self._link = self._link, None
        left = True
        try:
            link.send(wire.encode(wire.REQUEST, {"request": 1, "method": "leave", "session": self._session}))
        except ConnectionLost:
            left = False
        self._client._give_back(link, left)

    def _drop(self):
        link, self._link = self._link, None
        if link is not None:
            if self._owner == os.getpid():  # a forked child must not end its parent's connection
                link.shut()
            self._client._give_back(link, False)


class Session:
    """A Python session: cells that share their state. Made by Client.new(), Client.session() and fork().

    id: the session's id; description: what the server last said of it (docs/protocol.md, "A session description").
    Every method raises SessionNotFound or SessionEnded when the session is gone, ConnectionLost when the server is.
    """

    def __init__(self, client, description, owned):
        self.client = client
        self.id = member(description, "id", str)
        self.description = description
        self._owned = owned
        self._seen = max(0, description.get("next_seq", 1) - 1)  # receive() has everything up to this event

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._owned:
            with contextlib.suppress(NotFound, SessionEnded, ConnectionLost):
                self.remove()

    def __repr__(self):
        return f"<brood.Session {self.id} {self.name!r}>"

    @property
    def name(self):
        return self.description.get("name", "")

    # --- cells -----------------------------------------------------------------------------------------------------

    def run(
        self,
        code,
        *,
        timeout=None,
        checkpoint=None,
        max_output=None,
        on_stdout=None,
        on_stderr=None,
        on_display=None,
        input=None,  # noqa: A002
    ):
        """Runs a cell and waits for its end; returns a Result. A cell that fails is no exception: see Result.check().

        timeout: seconds that the cell may take, after which the server ends it (status "timeout"). checkpoint: False
        keeps no state to undo() to. max_output: bytes of output kept in the Result (default: the server's for a plain
        run, else 16 MiB of each stream).
        on_stdout, on_stderr: called with pieces of text as they come; on_display: with display events (`event.data`).
        input: answers input(): a callable that gets the prompt and returns a line (None: end of input), or a str whose
        lines are the answers. Without it a cell that calls input() waits until its time-out.
        A callback that raises ends run() with that exception, and Ctrl-C does: both interrupt the cell, and no other.
        """
        tag = a_tag()
        try:
            if on_stdout is on_stderr is on_display is input is None:
                members = given(session=self.id, code=checked_text(code, "code"), timeout=timeout, checkpoint=checkpoint, max_output=max_output, tag=tag)
                return Result(self.client.request("run", members, timeout=None)[0])
            answers = Answers(input)
            callbacks = {"stdout": on_stdout, "stderr": on_stderr, "display": on_display}
            with self._stream(code, given(timeout=timeout, checkpoint=checkpoint, tag=tag)) as events:
                return self._follow(events, Collector(max_output), callbacks, answers, tag)
        except KeyboardInterrupt:
            self._give_up_cell(tag)
            raise

    def _follow(self, events, collector, callbacks, answers, tag):
        for event in events:
            collector.add(event)
            try:
                self._call_back(event, callbacks, answers)
            except KeyboardInterrupt:
                raise  # run() interrupts
            except BaseException:
                self._give_up_cell(tag)
                raise
        return collector.result()

    def _call_back(self, event, callbacks, answers):
        callback = callbacks.get(event.type)
        if callback is not None:
            callback(event if event.type == "display" else event.text)
        elif event.type == "input" and answers:
            members, body = line_of(answers.ask(event))
            self._call("stdin", body, **members)

    def _give_up_cell(self, tag):
        with contextlib.suppress(Error):
            self._call("interrupt", tag=tag)

    def stream(self, code, *, timeout=None, checkpoint=None):
        """Starts a cell and returns an EventStream of its events, the last of which is its "done" (or "ended")."""
        return self._stream(code, given(timeout=timeout, checkpoint=checkpoint))

    def _stream(self, code, members):
        checked_text(code, "code")
        after = member(self.info(), "next_seq", int) - 1
        return EventStream(self.client, self.id, after, code, members)

    def events(self, after=None):
        """An EventStream of everything in the session, other clients' cells too, until the session ends.

        after: a seq, only what is newer comes; default: everything that is kept.
        """
        return EventStream(self.client, self.id, after)

    def interrupt(self):
        """KeyboardInterrupt in the running cell. One that ignores it is killed (status "killed")."""
        self._call("interrupt")

    def signal(self, signal):
        """Sends a signal to the session's process: a number, or a name such as "TERM". Busy while the session starts."""
        self._call("signal", signal=signal)

    def stdin(self, data=b"", eof=False):
        """Writes to the session's standard input: str (as UTF-8) or bytes. eof: its end, after the data, for one cell."""
        self._call("stdin", encoded(data), **({"eof": True} if eof else {}))

    def complete(self, code, cursor=None):
        """{"matches": [{"text", "type"}], "start", "end"}. cursor: in characters; default: the end of the code."""
        return self._call("complete", code=checked_text(code, "code"), cursor=len(code) if cursor is None else cursor)

    def inspect(self, code, cursor=None):
        """{"found", "data": {MIME type: text}, "signature"} of the name at the cursor."""
        return self._call("inspect", code=checked_text(code, "code"), cursor=len(code) if cursor is None else cursor)

    # --- messages --------------------------------------------------------------------------------------------------

    def send(self, data):
        """Sends a message (bytes) to the session: brood.messages in there. Apart from its standard input."""
        self._call("message", checked_bytes(data, "data"))

    def receive(self, timeout=None):
        """The next message (bytes) from the session since this object was made.

        Raises Timeout after so many seconds (None: never), SessionEnded, and LimitExceeded when messages were lost: a
        session keeps 1 MiB of events for who is not reading. For one thread at a time.
        """
        deadline = until(timeout)
        with self.events(after=self._seen) as events:
            while True:
                left = None if deadline is None else max(0, deadline - time.monotonic())
                try:
                    event = events.read(left)
                except Timeout:
                    events._finish()
                    raise
                if event is None:
                    raise SessionEnded(f"session {self.id} has ended: no more messages")
                self._seen = max(self._seen, event.seq if event.type != "ended" else event.seq - 1)
                if event.type == "message" or lost_messages(event):
                    events._finish()
                    return message_of(event)

    # --- time travel -----------------------------------------------------------------------------------------------

    def undo(self, steps=None, *, to=None):
        """Goes back before the last `steps` cells (default 1), or to a checkpoint.

        Returns {"checkpoint", "execution_count"}. Raises Busy while a cell runs, NotFound without such a checkpoint.
        """
        return self._call("undo", **goal_of_undo(steps, to))

    def fork(self, *, at=None, name=None):
        """A second session with the same state (or that of the checkpoint `at`). `with` removes it at the end."""
        answer = self._call("fork", **given(at=at, name=name))
        return type(self)(self.client, member(answer, "session", dict), owned=True)

    def checkpoints(self, memory=False):
        """A list of {"checkpoint", "execution_count", "code", "created", "us", ...}, oldest first.

        memory: measure "pss" and "unique" (bytes) of each, and of the live session (the list's attribute `live`).
        """
        return Checkpoints(self._call("checkpoints", **({"memory": True} if memory else {})))

    # --- files -----------------------------------------------------------------------------------------------------

    def files(self, path=None):
        """A list of {"name", "type", "size" bytes, "mtime" seconds} in the session's folder, or one below it."""
        return member(self._call("files", **given(path=path)), "files", list)

    def put(self, path, data):
        """Writes a file in the session: bytes, a local path (str or PathLike), or a binary file object.

        Sent in pieces of 1 MiB, so it may be large. Returns its size.
        """
        with opened(data) as file:
            offset = 0
            while True:
                piece = checked_bytes(file.read(PIECE), "what the file gives")
                if piece or offset == 0:
                    self._call("put", piece, path=path, offset=offset)
                if not piece:
                    return offset
                offset += len(piece)

    upload = put

    def get(self, path):
        """The bytes of a file in the session. Raises NotFound."""
        parts = io.BytesIO()
        self._copy(path, parts)
        return parts.getvalue()

    def download(self, path, local):
        """Copies a file of the session to a local path or into a binary file object, 1 MiB at a time. Returns its size."""
        if hasattr(local, "write"):
            return self._copy(path, local)
        with open(local, "wb") as file:
            return self._copy(path, file)

    def _copy(self, path, file):
        offset = 0
        while True:
            head, piece = self.client.request("get", {"session": self.id, "path": path, "offset": offset, "length": PIECE})
            file.write(piece)
            offset += len(piece)
            if head.get("eof") or not piece:
                return offset

    def delete(self, path):
        """Removes a file of the session. Raises NotFound."""
        self._call("delete", path=path)

    # --- the session itself ----------------------------------------------------------------------------------------

    def info(self):
        """The session's description, fresh from the server."""
        self.description = member(self._call("info"), "session", dict)
        return self.description

    def rename(self, name):
        """Gives the session another name. Returns its description."""
        self.description = member(self._call("rename", name=name), "session", dict)
        return self.description

    def share(self, user, access):
        """Lets a user ("*": everyone) "edit" or "view" the session, or ("none") no longer. Returns {user: access}."""
        return member(self._call("share", **{"with": user, "access": access}), "shares", dict)

    def remove(self):
        """Ends the session, and forgets its files and checkpoints."""
        self._call("remove")

    def _call(self, method, body=b"", **members):
        return self.client.request(method, {"session": self.id, **members}, body)[0]


def opened(data):
    """A context manager: the binary file that put() reads."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return contextlib.nullcontext(io.BytesIO(data))
    if isinstance(data, (str, os.PathLike)):
        return open(data, "rb")
    if not hasattr(data, "read"):
        raise TypeError("expected bytes, a local path or a binary file object")
    return contextlib.nullcontext(data)
