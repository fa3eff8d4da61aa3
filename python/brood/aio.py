"""The asyncio client of `brood serve`: AsyncClient, AsyncSession, AsyncEventStream. The names are those of client.py,
as coroutines; the connections, too: one for requests, one for each stream of events, so that a slow consumer holds up
nothing but its own stream. A stream that is behind by more than 1 MiB is not read any more until it is taken.
"""

import asyncio
import collections
import contextlib
import inspect
import io

from brood import wire
from brood.aio_link import Calls, open_link, within
from brood.client import PIECE, opened
from brood.errors import ConnectionLost, Error, NotFound, SessionEnded
from brood.handshake import Address, Credentials, answer_of, member
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

_IDLE_LINKS = 4


class AsyncClient:
    """brood.Client for asyncio: the same arguments, names and errors. Belongs to the event loop that first uses it."""

    def __init__(self, address=None, *, token=None, user=None, password=None, ssl_context=None, timeout=60):
        self.address = Address(address)
        self.timeout = timeout
        self._credentials = Credentials(token, user, password)
        self._ssl_context = ssl_context
        self._loop = None  # the event loop that the connections belong to
        self._calls = None
        self._connecting = None  # a lock, made in the loop
        self._idle = []
        self._active = set()
        self._closed = False
        self._greeting = None

    async def __aenter__(self):
        self._check_loop()
        return self

    async def __aexit__(self, *_):
        await self.close()

    def __repr__(self):
        return f"<brood.AsyncClient of {self.address}>"

    async def close(self):
        """Ends the connections; what waits gets ConnectionLost. Sessions go on."""
        self._check_loop()
        self._closed = True
        links = [*self._idle, *self._active, *([self._calls.link] if self._calls else [])]
        for link in links:
            link.close()
        self._idle.clear()
        await asyncio.sleep(0)  # the loop closes the sockets in its next round

    async def server(self):
        """The server's greeting: {"server", "version", "user", "role", "limits"}."""
        await self._connected()
        return {name: self._greeting.get(name) for name in ("server", "version", "user", "role", "limits")}

    async def environments(self):
        """A list of {"name", "default", "python", "preload", "state", "error", "sessions_ahead"}."""
        return member(await self.call("environments"), "environments", list)

    async def sessions(self):
        """The descriptions (dicts) of one's own sessions and those shared with one; an admin's: all."""
        return member(await self.call("sessions"), "sessions", list)

    async def new(self, env=None, *, name=None, checkpoints=None, limits=None, idle_timeout=None, no_clients_timeout=None):
        """Starts a session, as Client.new(). `async with` removes it at the end."""
        members = given(
            env=env, name=name, checkpoints=checkpoints, limits=limits, idle_timeout=idle_timeout, no_clients_timeout=no_clients_timeout
        )
        return AsyncSession(self, member(await self.call("new", **members), "session", dict), owned=True)

    async def session(self, id):  # noqa: A002
        """A session that exists. `async with` does not remove it. Raises SessionNotFound."""
        return AsyncSession(self, member(await self.call("info", session=id), "session", dict), owned=False)

    async def call(self, method, **members):
        """Any method of docs/protocol.md, section 5: returns the answer's members."""
        return (await self.request(method, members))[0]

    async def request(self, method, members, body=b"", timeout=...):
        """The same with a body: returns (members, body). timeout: seconds, None: for ever; default: the client's."""
        calls = await self._connected()
        seconds = self.timeout if timeout is ... else timeout
        return answer_of(await calls.call(method, members, body, seconds), method)

    def _check_loop(self):
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise RuntimeError("this AsyncClient belongs to another event loop, that of its first use: make one in each asyncio.run()")

    async def _connected(self):
        self._check_loop()
        if self._calls is None or self._calls.link.end is not None:
            self._connecting = self._connecting or asyncio.Lock()
            async with self._connecting:
                if self._calls is None or self._calls.link.end is not None:
                    self._calls = Calls(await self._open_link())
        return self._calls

    async def _open_link(self):
        if self._closed:
            raise ConnectionLost("this client was closed; make another brood.AsyncClient")
        opening = open_link(self.address, self._credentials, self._ssl_context)
        link, self._greeting = await within(self.timeout, opening, self.address.unreachable(f"nothing within {self.timeout} s"))
        return link

    async def _take_link(self):
        self._check_loop()
        while self._idle:
            link = self._idle.pop()
            if link.end is None:
                break
        else:
            link = await self._open_link()
        self._active.add(link)
        return link

    def _give_back(self, link, reusable):
        self._active.discard(link)
        if reusable and not self._closed and len(self._idle) < _IDLE_LINKS:
            self._idle.append(link)
        else:
            link.close()


class AsyncEventStream:
    """An asynchronous iterator over events. The cell starts with the first event that is asked for (or with `async
    with`). aclose() it, use `async with`, or let go of it: the session stays usable. One task at a time."""

    def __init__(self, client, session, after, code=None, members=None):
        self._client, self._session = client, session
        self._after, self._code, self._members = after, code, members
        self._link = None
        self._state = "new"  # then "open", then "over"
        self._maker = EventMaker()
        self._early = collections.deque()
        self._end = EndOfCell()

    @property
    def cell(self):
        """The number of the cell, 0: a stream of everything, or not yet started."""
        return self._end.cell

    def __aiter__(self):
        return self

    async def __anext__(self):
        event = await self.read(None)
        if event is None:
            raise StopAsyncIteration
        return event

    async def read(self, timeout=None):
        """The next event, None at the end. Raises Timeout after so many seconds (None: never), and can go on then."""
        self._client._check_loop()
        await self._begin()
        text = f"no event of session {self._session} within {timeout} s"
        return await (self._read() if timeout is None else within(timeout, self._read(), text))

    async def aclose(self):
        """Stops. A cell that runs goes on; interrupt() ends it."""
        self._drop()

    async def __aenter__(self):
        await self._begin()
        return self

    async def __aexit__(self, *_):
        self._drop()

    def __del__(self):
        with contextlib.suppress(RuntimeError, AttributeError):  # the loop may be closed already
            self._drop()

    async def _begin(self):
        """Joins, and executes. Both requests travel together."""
        if self._state != "new":
            return
        self._state = "open"
        try:
            if self._code is not None:
                answer = await self._client.call("info", session=self._session)
                self._after = member(member(answer, "session", dict), "next_seq", int) - 1
            self._link = await self._client._take_link()
            starting = within(self._client.timeout, self._start(), "the server did not start the cell in time")
            await starting
        except BaseException:
            self._drop()
            raise

    async def _start(self):
        joining = wire.encode(wire.REQUEST, {"request": 2, "method": "join", "session": self._session, **given(after=self._after)})
        if self._code is None:
            await self._link.send(joining)
            await self._answer(2, "join")
            return
        executing = {"request": 3, "method": "execute", "session": self._session, "code": self._code, **self._members}
        await self._link.send(joining + wire.encode(wire.REQUEST, executing))
        await self._answer(2, "join")
        self._end = EndOfCell(member(await self._answer(3, "execute"), "cell", int))

    async def _answer(self, number, method):
        while True:
            frame = await self._link.receive()
            if frame[0] == wire.EVENT:
                if number == 3:  # those before the join are of the stream that used the connection before
                    self._early.append(frame)
            elif frame[0] == wire.ANSWER and frame[1].get("request") in (number, 0):
                return answer_of(frame, method)[0]

    async def _read(self):
        while self._link is not None:
            link = self._link
            try:
                frame = self._early.popleft() if self._early else await link.receive()
                event = self._event_of(frame)
            except Error:
                self._drop()
                raise
            if event is not None:
                return event
        return None

    def _event_of(self, frame):
        kind, head, body = frame
        if kind == wire.ANSWER and head.get("request") == 0:
            answer_of(frame, "join")
        if kind != wire.EVENT or head.get("session") != self._session:
            return None
        event = self._maker.make(head, body)
        if self._end.passed(event):
            self._drop()
            return None
        if not self._end.wants(event):
            return None
        if self._end.ends(event):
            self._finish()
        return event

    def _finish(self):
        """At the end: leaves the session, and keeps the connection for another stream."""
        link, self._link = self._link, None
        self._state = "over"
        if link is not None:
            link.write(wire.encode(wire.REQUEST, {"request": 1, "method": "leave", "session": self._session}))
            self._client._give_back(link, link.end is None)

    def _drop(self):
        link, self._link = self._link, None
        self._state = "over"
        if link is not None:
            self._client._give_back(link, False)


class AsyncSession:
    """brood.Session for asyncio: the same names, arguments and errors, as coroutines."""

    def __init__(self, client, description, owned):
        self.client = client
        self.id = member(description, "id", str)
        self.description = description
        self._owned = owned
        self._seen = max(0, description.get("next_seq", 1) - 1)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        if self._owned:
            with contextlib.suppress(NotFound, SessionEnded, ConnectionLost):
                await self.remove()

    def __repr__(self):
        return f"<brood.AsyncSession {self.id} {self.name!r}>"

    @property
    def name(self):
        return self.description.get("name", "")

    async def run(
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
        """Runs a cell and waits for its end, as Session.run(). Callbacks may be coroutine functions. A task that is
        cancelled meanwhile interrupts the cell, and no other."""
        tag = a_tag()
        try:
            if on_stdout is on_stderr is on_display is input is None:
                members = given(session=self.id, code=checked_text(code, "code"), timeout=timeout, checkpoint=checkpoint, max_output=max_output, tag=tag)
                return Result((await self.client.request("run", members, timeout=None))[0])
            answers = Answers(input)
            callbacks = {"stdout": on_stdout, "stderr": on_stderr, "display": on_display}
            members = given(timeout=timeout, checkpoint=checkpoint, tag=tag)
            events = AsyncEventStream(self.client, self.id, None, checked_text(code, "code"), members)
            async with events:
                return await self._follow(events, Collector(max_output), callbacks, answers, tag)
        except asyncio.CancelledError:
            await self._give_up_cell(tag)
            raise

    async def _follow(self, events, collector, callbacks, answers, tag):
        async for event in events:
            collector.add(event)
            try:
                await self._call_back(event, callbacks, answers)
            except (KeyboardInterrupt, asyncio.CancelledError):
                raise  # run() interrupts
            except BaseException:
                await self._give_up_cell(tag)
                raise
        return collector.result()

    async def _call_back(self, event, callbacks, answers):
        callback = callbacks.get(event.type)
        if callback is not None:
            await _maybe(callback(event if event.type == "display" else event.text))
        elif event.type == "input" and answers:
            members, body = line_of(await _maybe(answers.ask(event)))
            await self._call("stdin", body, **members)

    async def _give_up_cell(self, tag):
        with contextlib.suppress(Error):
            await self._call("interrupt", tag=tag)

    def stream(self, code, *, timeout=None, checkpoint=None):
        """An AsyncEventStream of a cell: `async for event in session.stream(code)`. Ends with its "done"."""
        return AsyncEventStream(self.client, self.id, None, checked_text(code, "code"), given(timeout=timeout, checkpoint=checkpoint))

    def events(self, after=None):
        """An AsyncEventStream of everything in the session, as Session.events()."""
        return AsyncEventStream(self.client, self.id, after)

    async def interrupt(self):
        """KeyboardInterrupt in the running cell."""
        await self._call("interrupt")

    async def signal(self, signal):
        """Sends a signal to the session's process: a number, or a name such as "TERM". Busy while the session starts."""
        await self._call("signal", signal=signal)

    async def stdin(self, data=b"", eof=False):
        """Writes to the session's standard input: str (as UTF-8) or bytes. eof: its end, after the data, for one cell."""
        await self._call("stdin", encoded(data), **({"eof": True} if eof else {}))

    async def complete(self, code, cursor=None):
        """{"matches": [{"text", "type"}], "start", "end"}. cursor: in characters; default: the end of the code."""
        return await self._call("complete", code=checked_text(code, "code"), cursor=len(code) if cursor is None else cursor)

    async def inspect(self, code, cursor=None):
        """{"found", "data": {MIME type: text}, "signature"} of the name at the cursor."""
        return await self._call("inspect", code=checked_text(code, "code"), cursor=len(code) if cursor is None else cursor)

    async def send(self, data):
        """Sends a message (bytes) to the session."""
        await self._call("message", checked_bytes(data, "data"))

    async def receive(self, timeout=None):
        """The next message (bytes) from the session, as Session.receive()."""
        return await within(timeout, self._receive(), f"no message of session {self.id} within {timeout} s")

    async def _receive(self):
        async with self.events(after=self._seen) as events:
            async for event in events:
                self._seen = max(self._seen, event.seq if event.type != "ended" else event.seq - 1)
                if event.type == "message" or lost_messages(event):
                    events._finish()
                    return message_of(event)
        raise SessionEnded(f"session {self.id} has ended: no more messages")

    async def undo(self, steps=None, *, to=None):
        """Goes back before the last `steps` cells (default 1), or to a checkpoint, as Session.undo()."""
        return await self._call("undo", **goal_of_undo(steps, to))

    async def fork(self, *, at=None, name=None):
        """A second session with the same state (or that of the checkpoint `at`). `async with` removes it at the end."""
        answer = await self._call("fork", **given(at=at, name=name))
        return type(self)(self.client, member(answer, "session", dict), owned=True)

    async def checkpoints(self, memory=False):
        """A list of checkpoints, as Session.checkpoints()."""
        return Checkpoints(await self._call("checkpoints", **({"memory": True} if memory else {})))

    async def files(self, path=None):
        """A list of {"name", "type", "size" bytes, "mtime" seconds} in the session's folder, or one below it."""
        return member(await self._call("files", **given(path=path)), "files", list)

    async def put(self, path, data):
        """Writes a file in the session, as Session.put(). Local files are read in a thread."""
        with opened(data) as file:
            offset = 0
            while True:
                piece = checked_bytes(await asyncio.to_thread(file.read, PIECE), "what the file gives")
                if piece or offset == 0:
                    await self._call("put", piece, path=path, offset=offset)
                if not piece:
                    return offset
                offset += len(piece)

    upload = put

    async def get(self, path):
        """The bytes of a file in the session. Raises NotFound."""
        parts = io.BytesIO()
        await self._copy(path, parts)
        return parts.getvalue()

    async def download(self, path, local):
        """Copies a file of the session to a local path or into a binary file object, 1 MiB at a time. Returns its size."""
        if hasattr(local, "write"):
            return await self._copy(path, local)
        with await asyncio.to_thread(open, local, "wb") as file:
            return await self._copy(path, file)

    async def _copy(self, path, file):
        offset = 0
        while True:
            members = {"session": self.id, "path": path, "offset": offset, "length": PIECE}
            head, piece = await self.client.request("get", members)
            await asyncio.to_thread(file.write, piece)
            offset += len(piece)
            if head.get("eof") or not piece:
                return offset

    async def delete(self, path):
        """Removes a file of the session. Raises NotFound."""
        await self._call("delete", path=path)

    async def info(self):
        """The session's description, fresh from the server."""
        self.description = member(await self._call("info"), "session", dict)
        return self.description

    async def rename(self, name):
        """Gives the session another name. Returns its description."""
        self.description = member(await self._call("rename", name=name), "session", dict)
        return self.description

    async def share(self, user, access):
        """Lets a user ("*": everyone) "edit" or "view" the session, or ("none") no longer. Returns {user: access}."""
        return member(await self._call("share", **{"with": user, "access": access}), "shares", dict)

    async def remove(self):
        """Ends the session, and forgets its files and checkpoints."""
        await self._call("remove")

    async def _call(self, method, body=b"", **members):
        return (await self.client.request(method, {"session": self.id, **members}, body))[0]


async def _maybe(value):
    """What a function returned, or its coroutine does."""
    return await value if inspect.isawaitable(value) else value
