"""Blocking connections: Link is one socket with its frames, Calls is requests and answers of many threads over a Link."""

import os
import select
import socket
import ssl
import threading
import time

from brood import wire
from brood.errors import ConnectionLost, ProtocolError, Timeout
from brood.handshake import exchange
from brood.turns import Turns

_SENDING = 60  # seconds that the server may leave a request in the socket


def until(seconds):
    """The deadline for a wait of so many seconds from now; None: for ever."""
    return None if seconds is None else time.monotonic() + seconds


class Link:
    """A non-blocking socket that poll() waits for. One thread receives; send() may be called by another meanwhile."""

    def __init__(self, address, ssl_context, deadline):
        self.address = address
        context = (ssl_context or trusting()) if address.kind == "tls" else None
        self._socket = _connect(address, deadline)
        self._tls = None  # the lock that keeps two threads out of one TLS object
        self._closed = False
        try:
            if address.kind == "tls":
                self._socket = _start_tls(self._socket, address, context, deadline)
                self._tls = threading.Lock()
            self._socket.setblocking(False)
        except OSError as error:
            self._socket.close()
            raise tls_failed(address, error) from error
        self._reader = wire.FrameReader()
        self._readable, self._writable, self._state = (self._poll(mask) for mask in (select.POLLIN, select.POLLOUT, select.POLLRDHUP))

    def _poll(self, mask):
        poll = select.poll()
        poll.register(self._socket, mask)
        return poll

    def greet(self, credentials, deadline):
        """Says HELLO and authenticates; returns the server's HELLO."""
        steps = exchange(credentials)
        data = next(steps)
        while True:
            self.send(data)
            try:
                data = steps.send(self.receive(deadline))
            except StopIteration as end:
                return end.value

    def send(self, data):
        view = memoryview(data)
        deadline = None
        while view:
            try:
                view = view[self._write(view) :]
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                deadline = deadline or until(_SENDING)
                if not _wait(self._writable, deadline):
                    raise ConnectionLost(f"the server at {self.address} did not take a request for {_SENDING} s") from None
            except (OSError, ValueError) as error:
                raise self._lost(error) from error

    def receive(self, deadline):
        """The next frame: (type, head, body). Raises Timeout, after which it can go on, and ConnectionLost."""
        while (frame := self._reader.next()) is None:
            try:
                count = self._fill(deadline)
            except (OSError, ValueError) as error:
                raise self._lost(error) from error
            if count == 0:
                raise self._lost("it was closed at the other end")
            self._reader.received(count)
        return frame

    def _fill(self, deadline):
        while True:
            # TLS may hold bytes that poll() does not know of.
            if self._tls is None and not _wait(self._readable, deadline):
                raise _Late()
            try:
                return self._read(self._reader.space())
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if self._tls is not None and not _wait(self._readable, deadline):
                    raise _Late() from None

    def _read(self, view):
        if self._tls is None:
            return self._socket.recv_into(view)
        with self._tls:
            try:
                return self._socket.recv_into(view)
            except ssl.SSLZeroReturnError:
                return 0

    def _write(self, view):
        if self._tls is None:
            return self._socket.send(view)
        with self._tls:
            return self._socket.send(view)

    def alive(self):
        """Whether the other end has not hung up, as far as is known without waiting. Not while another thread asks."""
        return not self._closed and not self._state.poll(0)

    def shut(self):
        """Ends the connection: who waits in receive() gets ConnectionLost. The descriptor stays until close()."""
        self._closed = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already

    def close(self):
        """No thread may be in receive()."""
        self._closed = True
        self._socket.close()

    def _lost(self, why):
        if isinstance(why, _Late):
            return Timeout("the server did not answer in time; give Client(timeout=) more seconds")
        if self._closed:
            return ConnectionLost("the client was closed")
        return ConnectionLost(f"the connection to {self.address} ended: {why}")


class _Late(OSError):
    pass


def _wait(poll, deadline):
    """Whether there was something before the deadline."""
    if deadline is None:
        return bool(poll.poll())
    return bool(poll.poll(max(0, deadline - time.monotonic()) * 1000))


def _connect(address, deadline):
    left = None if deadline is None else max(0.001, deadline - time.monotonic())
    try:
        if address.kind != "unix":
            made = socket.create_connection((address.host, address.port), timeout=left)
            keep_alive(made)
            return made
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise ConnectionLost(address.unreachable(error.strerror or error)) from error
    try:
        made.settimeout(left)
        made.connect(address.path)
    except OSError as error:
        made.close()
        raise ConnectionLost(address.unreachable(error.strerror or error)) from error
    return made


def keep_alive(sock):
    """No delay of small requests, and a server that vanished is noticed within a minute."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10)):
        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def trusting():
    """The TLS context of a client that was given none: trusts what the variable BROOD_CAFILE names, else what the system does."""
    file = os.environ.get("BROOD_CAFILE") or None
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise ValueError(f"cannot read certificates from {file} (BROOD_CAFILE): {error.strerror or error}") from error


def tls_failed(address, error):
    """What to raise when a connection was there, but could not be made safe."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted: {error.verify_message} (BROOD_CAFILE names a file with the certificates to trust)"
        return ConnectionLost(f"{address}: {why}")
    return ConnectionLost(address.unreachable(f"TLS: {error}"))


def _start_tls(plain, address, context, deadline):
    plain.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
    return context.wrap_socket(plain, server_hostname=address.host)


class _Slot:
    """One request that waits for its turn, then for its answer."""

    __slots__ = ("may_go", "sent", "frame", "wake")

    def __init__(self):
        self.may_go = False
        self.sent = False
        self.frame = None
        self.wake = None  # a lock that its thread sleeps on while another one reads

    def ready(self):
        """Whether it has what it waits for."""
        return self.frame is not None if self.sent else self.may_go

    def rouse(self):
        """Wakes its thread, if that sleeps."""
        wake, self.wake = self.wake, None
        if wake is not None:
            wake.release()


class Calls:
    """Requests of any number of threads over one Link. No thread of its own: of those that wait for an answer one
    reads, and hands the others theirs; a single thread never waits for another."""

    def __init__(self, link):
        self.link = link
        self.owner = os.getpid()
        self._lock = threading.Lock()  # of what follows
        self._sending = threading.Lock()
        self._slots = {}  # request -> _Slot
        self._turns = Turns()
        self._next = 1
        self._reading = False
        self._end = None  # why there are no more answers

    def alive(self):
        """Whether a request may be sent. False in a forked child: the connection is its parent's."""
        if self.owner != os.getpid():
            return False
        with self._lock:
            return self._end is None and (self._reading or self.link.alive())

    def call(self, method, members, body, seconds):
        """The answer's frame. Raises Timeout so many seconds (None: never) after it was sent, ConnectionLost."""
        slot = _Slot()
        with self._lock:
            number = self._next
            self._next += 1
        data = wire.encode(wire.REQUEST, {"request": number, "method": method, **members}, body)
        with self._lock:
            self._slots[number] = slot
            slot.may_go = self._turns.ask(number, method)
        try:
            self._await_turn(slot, seconds)
            self._send(data, slot)
            self._await(slot, until(seconds))
        finally:
            with self._lock:
                self._slots.pop(number, None)
                if not slot.sent:
                    self._admit(self._turns.done(number))
                if not self._reading:  # it may have been woken to read just when it stopped waiting
                    self._wake_next()
        return slot.frame

    def _await_turn(self, slot, seconds):
        """Raises Timeout when the server has answered nothing at all for so many seconds."""
        while not slot.may_go:
            answered = self._turns.answered
            try:
                self._await(slot, until(seconds))
            except Timeout:
                if self._turns.answered == answered:
                    raise

    def close(self, why="the client was closed"):
        """Whoever waits gets ConnectionLost. Any thread."""
        with self._lock:
            if self._end is not None:
                return
            self._end = ConnectionLost(why)
            reading = self._reading
            self._wake_all()
        if self.owner == os.getpid():  # a forked child must not end its parent's connection
            self.link.shut()
        if not reading:
            self.link.close()

    def _send(self, data, slot):
        with self._sending:
            if self._end is not None:
                raise type(self._end)(str(self._end))
            slot.sent = True
            try:
                self.link.send(data)
            except BaseException:
                self.close("the connection was given up in the middle of a request")
                raise

    def _await(self, slot, deadline):
        while True:
            with self._lock:
                if slot.ready():
                    return
                if self._end is not None:
                    raise type(self._end)(str(self._end))  # each thread its own
                if lead := not self._reading:
                    self._reading = True
                else:
                    wake = slot.wake = threading.Lock()
                    wake.acquire()
            if lead:
                self._lead(slot, deadline)
            elif not wake.acquire(timeout=-1 if deadline is None else max(0, deadline - time.monotonic())):
                raise Timeout("the server did not answer in time; give Client(timeout=) more seconds")

    def _lead(self, slot, deadline):
        """Reads until the slot has what it waits for."""
        why = None
        try:
            while not slot.ready():
                self._dispatch(self.link.receive(deadline))
        except Timeout:
            raise
        except BaseException as error:  # also KeyboardInterrupt: it may have come between a read and its accounting
            why = error if isinstance(error, ConnectionLost) else ConnectionLost("the connection was given up in the middle of an answer")
            raise
        finally:
            self._stop_leading(why)

    def _stop_leading(self, why):
        with self._lock:
            self._reading = False
            over = self._end is not None
            if why is not None and not over:
                self._end, over = why, True
            if over:
                self._wake_all()
            else:
                self._wake_next()
        if over:
            self.link.close()

    def _wake_next(self):
        for slot in self._slots.values():
            if slot.wake is not None and not slot.ready():
                slot.rouse()
                return

    def _wake_all(self):
        for slot in self._slots.values():
            slot.rouse()

    def _dispatch(self, frame):
        kind, head, _ = frame
        if kind != wire.ANSWER:
            return  # an event of nobody's
        number = head.get("request")
        if number == 0:
            problem = head.get("error") if isinstance(head.get("error"), dict) else {}
            raise ProtocolError(f"the server ended the connection: {problem.get('text', 'no reason given')}")
        if not isinstance(number, int):
            return
        with self._lock:
            slot = self._slots.get(number)
            if slot is not None:  # else who asked has stopped waiting
                slot.frame = frame
                slot.rouse()
            self._admit(self._turns.done(number))

    def _admit(self, numbers):
        for number in numbers:
            slot = self._slots[number]
            slot.may_go = True
            slot.rouse()
