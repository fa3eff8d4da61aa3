"""Engines of several contexts in this process, and peers that speak frames by hand."""

import os
import socket
import struct
import threading
import types

import pytest

from brood.gateways.core import kinds
from brood.gateways.core.values import dumps, loads

WITHIN = 20  # seconds for what should take milliseconds
ENGINES = ["python", "native"]


def load_engine(name):
    if name == "python":
        from brood.gateways.core.channel import NO_ENDMARKER, Channel
        from brood.gateways.core.engine import Engine
    else:
        from brood.gateways.core.native import NO_ENDMARKER, Channel, Engine
    return types.SimpleNamespace(name=name, Engine=Engine, Channel=Channel, NO_ENDMARKER=NO_ENDMARKER)


@pytest.fixture(params=ENGINES)
def engine_module(request):
    return load_engine(request.param)


@pytest.fixture
def contexts(engine_module):
    """Makes engines and links. Fails the test when one leaves a thread or a descriptor behind."""
    threads, descriptors = count_threads(), open_descriptors()
    made = Contexts(engine_module)
    yield made
    made.close()
    until(lambda: count_threads() <= threads)
    after = open_descriptors()
    assert after == descriptors, set(after.items()) ^ set(descriptors.items())


def count_threads():
    return len(os.listdir("/proc/self/task"))


def open_descriptors():
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink("/proc/self/fd/" + number)
        except OSError:  # that of listdir
            pass
    return found


def until(condition, within=WITHIN):
    """For what nothing tells of: a thread of the kernel's that ends, a frame that is dropped."""
    pause = threading.Event()
    for _ in range(within * 200):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it did not come about")


def frame(kind, to, source, channel=0, body=b""):
    return struct.pack("<IHHIII", len(body) + 12, kind, 1, to, source, channel) + body


def value_frame(kind, to, source, channel, value):
    return frame(kind, to, source, channel, dumps(value))


def stream(kind):
    """((reader, writer), (reader, writer)) of the two sides."""
    if kind == "socket":
        ours, theirs = (side.detach() for side in socket.socketpair())
        return (ours, ours), (theirs, theirs)
    (reader, far_writer), (far_reader, writer) = os.pipe(), os.pipe()
    return (reader, writer), (far_reader, far_writer)


class Contexts:
    def __init__(self, module):
        self.module = module
        self._engines, self._sockets, self._descriptors = [], [], []

    def engine(self, context, ancestors=(), **options):
        engine = self.module.Engine(context, tuple(ancestors), **options)
        self._engines.append(engine)
        if ancestors and hasattr(type(engine), "watch_writer"):
            reader, writer = os.pipe()  # nobody reads: what kills is not there
            self._descriptors += [reader, writer]
            engine.watch_writer = writer
            engine.watch_reader = reader
        return engine

    def pair(self, kind="socket", **options):
        """The root and its child, context 1."""
        root, child = self.engine(0, **options), self.engine(1, (0,), **options)
        self.link(root, child, kind)
        return root, child

    def link(self, parent, child, kind="socket", **options):
        (reader, writer), far = stream(kind)
        parent.add_link(child.context, reader, writer, **options)
        child.add_link(parent.context, *far, **options)

    def chain(self, **options):
        """The root, its child 1, and 2 behind that."""
        engines = [self.engine(0, **options), self.engine(1, (0,), **options), self.engine(2, (1, 0), **options)]
        self.link(engines[0], engines[1])
        self.link(engines[1], engines[2])
        engines[0].add_route(2, 1)
        return engines

    def raw(self, engine, context, ahead=b"", **options):
        """A neighbour of that engine that is no engine."""
        ours, theirs = socket.socketpair()
        descriptor = theirs.detach()
        engine.add_link(context, descriptor, descriptor, ahead=ahead, **options)
        raw = Raw(ours, context, engine.context)
        self._sockets.append(raw)
        return raw

    def close(self):
        for engine in reversed(self._engines):
            engine.stop()
        for raw in self._sockets:
            raw.close()
        for descriptor in self._descriptors:
            os.close(descriptor)


class Raw:
    def __init__(self, connection, context, peer):
        self.socket, self.context, self.peer = connection, context, peer
        self.socket.settimeout(WITHIN)
        self._data = b""

    def send(self, *frames):
        self.socket.sendall(b"".join(frames))

    def frame(self, kind, channel=0, body=b""):
        self.send(frame(kind, self.peer, self.context, channel, body))

    def value(self, kind, channel, value):
        self.frame(kind, channel, dumps(value))

    def read(self):
        """(kind, to, source, channel, body) of the next frame; None at the end."""
        while len(self._data) < 20 or len(self._data) < 8 + struct.unpack_from("<I", self._data)[0]:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self._data, "a frame is cut"
                return None
            self._data += data
        length, kind, version, to, source, channel = struct.unpack_from("<IHHIII", self._data)
        assert version == 1 and 12 <= length <= kinds.MAX_FRAME
        body, self._data = self._data[20 : 8 + length], self._data[8 + length :]
        return kind, to, source, channel, body

    def expect(self, kind, channel=None):
        """The body of the next frame, which is of that kind."""
        got = self.read()
        assert got is not None and got[0] == kind, got
        assert got[1:3] == (self.context, self.peer)
        assert channel is None or got[3] == channel
        return got[4]

    def expect_value(self, kind, channel=None):
        return loads(self.expect(kind, channel))

    def wait_for_end(self):
        """What came until the link has ended: kinds."""
        seen = []
        while True:
            got = self.read()
            if got is None:
                return seen
            seen.append(got[0])

    def close(self):
        self.socket.close()


def connected(root, child):
    """The two ends of a channel."""
    near = root.request(child.context, kinds.EXEC, None)
    kind, peer, value, far = child.next(kinds.TASKS, WITHIN)
    assert (kind, peer, value) == (kinds.EXEC, root.context, None)
    return near, far


def receive(channel):
    return channel.receive(WITHIN)


def in_thread(function, *arguments):
    """Starts it; .result() waits for what it returns or raises."""
    return Started(function, arguments)


class Started(threading.Thread):
    def __init__(self, function, arguments):
        super().__init__(daemon=True)
        self._call = function, arguments
        self._outcome = None
        self.start()

    def run(self):
        function, arguments = self._call
        try:
            self._outcome = True, function(*arguments)
        except BaseException as error:
            self._outcome = False, error

    def result(self):
        self.join(WITHIN)
        assert self._outcome is not None, "it does not end"
        fine, value = self._outcome
        if not fine:
            raise value
        return value


def sleeps(thread):
    """Whether that thread waits for a lock or a descriptor, rather than works."""
    state = open("/proc/self/task/%d/stat" % thread.native_id).read().rpartition(")")[2].split()[0]
    return state == "S"
