"""Connections for asyncio: Link is one with its frames, Calls is requests and answers over a Link."""

import asyncio
import collections
import ssl

from brood import wire
from brood.errors import ConnectionLost, ProtocolError, Timeout
from brood.handshake import exchange
from brood.link import keep_alive, tls_failed, trusting
from brood.turns import Turns

_BEHIND = 1 << 20  # bytes of frames that wait for the program before their connection is not read any more
_LATE = "the server did not answer in time; give AsyncClient(timeout=) more seconds"


class Link(asyncio.BufferedProtocol):
    """One connection. Frames wait in a queue, or go to `deliver` at once when that is set."""

    def __init__(self, address):
        self.address = address
        self.end = None  # the exception that ended it
        self._deliver = None
        self._reader = wire.FrameReader()
        self._frames = collections.deque()  # (frame, size)
        self._waiting = 0  # bytes in _frames
        self._wake = None  # a future of who waits for a frame
        self._transport = None
        self._paused = False
        self._drained = None  # a future of who waits until less is to be written

    # --- called by the event loop

    def connection_made(self, transport):
        self._transport = transport

    def get_buffer(self, sizehint):
        return self._reader.space()

    def buffer_updated(self, count):
        self._reader.received(count)
        try:
            while True:
                before = self._reader.buffered
                frame = self._reader.next()
                if frame is None:
                    break
                if self._deliver is not None:
                    self._deliver(frame)
                else:
                    self._frames.append((frame, before - self._reader.buffered))
                    self._waiting += before - self._reader.buffered
        except ProtocolError as error:
            self.fail(error)
        if self._waiting > _BEHIND and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake_up()

    def eof_received(self):
        return False

    def connection_lost(self, why):
        self.fail(ConnectionLost(f"the connection to {self.address} ended: {why or 'it was closed at the other end'}"))

    def pause_writing(self):
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self):
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # --- called by the clients

    def deliver_to(self, function):
        """Frames go there from now on, then None at the end."""
        self._deliver = function

    def write(self, data):
        """Sends without waiting until there is room."""
        self._transport.write(data)

    async def send(self, data):
        if self.end is not None:
            raise self.end
        self._transport.write(data)
        if self._drained is not None:
            await asyncio.shield(self._drained)

    async def receive(self):
        while not self._frames:
            if self.end is not None:
                raise self.end
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        frame, size = self._frames.popleft()
        self._waiting -= size
        if self._paused and self._waiting <= _BEHIND // 2 and self.end is None:
            self._paused = False
            self._transport.resume_reading()
        return frame

    def fail(self, error):
        """Ends it, once."""
        if self.end is not None:
            return
        self.end = error
        if self._transport is not None:
            self._transport.abort()
        self.resume_writing()
        self._wake_up()
        if self._deliver is not None:
            self._deliver(None)

    def close(self):
        self.fail(ConnectionLost("the client was closed"))

    def _wake_up(self):
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)


async def within(seconds, coroutine, text):
    """What the coroutine returns; Timeout with that text after so many seconds (None: never)."""
    try:
        return await asyncio.wait_for(coroutine, seconds)
    except asyncio.TimeoutError:  # not TimeoutError before Python 3.11
        raise Timeout(text) from None


async def open_link(address, credentials, ssl_context):
    """A connection that is authenticated, and the server's HELLO."""
    loop = asyncio.get_running_loop()
    link = Link(address)
    try:
        if address.kind == "unix":
            await loop.create_unix_connection(lambda: link, address.path)
        else:
            context = (ssl_context or trusting()) if address.kind == "tls" else None
            transport, _ = await loop.create_connection(lambda: link, address.host, address.port, ssl=context)
            keep_alive(transport.get_extra_info("socket"))
    except ssl.SSLError as error:
        raise tls_failed(address, error) from error
    except OSError as error:
        raise ConnectionLost(address.unreachable(error.strerror or error)) from error
    try:
        return link, await _greet(link, credentials)
    except BaseException:
        link.close()
        raise


async def _greet(link, credentials):
    steps = exchange(credentials)
    data = next(steps)
    while True:
        await link.send(data)
        try:
            data = steps.send(await link.receive())
        except StopIteration as end:
            return end.value


class Calls:
    """Requests and answers over one link."""

    def __init__(self, link):
        self.link = link
        self._futures = {}  # request -> future of its turn, then of its frame
        self._next = 1
        self._turns = Turns()
        link.deliver_to(self._deliver)

    async def call(self, method, members, body, seconds):
        """The answer's frame. Raises Timeout so many seconds (None: never) after it was sent, ConnectionLost."""
        number = self._next
        self._next += 1
        data = wire.encode(wire.REQUEST, {"request": number, "method": method, **members}, body)
        sent = False
        try:
            if not self._turns.ask(number, method):
                await self._await_turn(number, seconds)
            sent = True
            return await within(seconds, self._exchange(number, data), _LATE)
        finally:
            self._futures.pop(number, None)
            if not sent:
                self._admit(self._turns.done(number))

    async def _await_turn(self, number, seconds):
        """Raises Timeout when the server has answered nothing at all for so many seconds."""
        turn = self._futures[number] = asyncio.get_running_loop().create_future()
        while True:
            answered = self._turns.answered
            try:
                return await within(seconds, asyncio.shield(turn), _LATE)
            except Timeout:
                if self._turns.answered == answered:
                    turn.cancel()
                    raise

    async def _exchange(self, number, data):
        future = self._futures[number] = asyncio.get_running_loop().create_future()
        try:
            await self.link.send(data)
            return await future
        finally:
            if future.done() and not future.cancelled():
                future.exception()  # send() may have failed first: it is known

    def _admit(self, numbers):
        for number in numbers:
            turn = self._futures.get(number)
            if turn is not None and not turn.done():
                turn.set_result(None)

    def _deliver(self, frame):
        if frame is None:
            for future in self._futures.values():
                if not future.done():
                    future.set_exception(type(self.link.end)(str(self.link.end)))
            return
        kind, head, _ = frame
        number = head.get("request")
        if kind == wire.ANSWER and number == 0:
            problem = head.get("error") if isinstance(head.get("error"), dict) else {}
            raise ProtocolError(f"the server ended the connection: {problem.get('text', 'no reason given')}")
        if kind != wire.ANSWER or not isinstance(number, int):
            return
        future = self._futures.get(number)
        if future is not None and not future.done():
            future.set_result(frame)
        self._admit(self._turns.done(number))
