"""One link: the bytes to and from a neighbour, as frames (docs/protocol.md, "Frames" and section 7)."""

import os
import struct
from collections import deque
from time import monotonic

from .kinds import MAX_FRAME, PART, PIECE
from .waiting import Waiters

FRAME = struct.Struct("<IHHIII")  # length, type, version; to, from, channel
HEAD = 12  # bytes of a frame's payload before its body
READ = 64 << 10  # bytes taken at once
READ_INTO = 256 << 10  # bytes of a frame that is read without a copy
INCOMPLETE = b"incomplete"  # what read() gives in the middle of such a frame
FULL = 32 << 20  # bytes that wait to be written: who can wait, waits
LOW = 512 << 10  # and goes on
VERSION = 1
TWO = struct.Struct("<II")  # body of OPEN and ROUTE
_START = struct.Struct("<IHH")


class NotAFrame(Exception):
    """What the neighbour sent; the link is of no more use."""


def make_frame(kind, to, source, channel, body=b""):
    return FRAME.pack(len(body) + HEAD, kind, VERSION, to, source, channel) + body


class Bulk:
    """A long value on its way in pieces, which are made when they can be written. Only the engine's thread makes them."""

    __slots__ = ("end", "kind", "view", "at", "head", "then")

    def __init__(self, end, kind, head, data):
        self.end, self.kind, self.head = end, kind, head  # head: to, from, channel
        self.view = memoryview(data)
        self.at = 0
        self.then = []  # frames of that channel, to be sent behind it

    def next(self):
        """The next frame, in two parts."""
        piece = self.view[self.at : self.at + PIECE]
        self.at += len(piece)
        kind = self.kind if self.at == len(self.view) else PART
        return FRAME.pack(len(piece) + HEAD, kind, VERSION, *self.head), piece

    @property
    def left(self):
        return len(self.view) - self.at


class Link:
    """Passive. What is written is guarded by the engine's lock, what is read belongs to the engine's thread.

    A signal's exception may come between any two steps of a thread that sends. What was written is therefore never
    deducted: `_out` is (data, counts of it that were written, frames to be sent afterwards); os.write puts its count
    there without a step in between, and one assignment goes on to the next data.
    """

    def __init__(self, peer, is_parent, reader, writer, name, heartbeat):
        self.peer, self.is_parent, self.name = peer, is_parent, name
        self.reader, self.writer = reader, writer
        self.heartbeat = heartbeat
        self.heard = monotonic()
        self.pinged = 0.0 if is_parent else self.heard
        self.pings = False  # the child has sent one, thus it will go on
        self.closed = False  # nothing is read or written any more
        self.broken = ""  # why it cannot be written to; what it has sent is still read
        self.waits = False  # for being writable: the engine's thread goes on then
        self.busy = False  # somebody is changing what follows
        self.late = deque()  # (End or None, frame) that came while it was busy
        self.wrote = self.pace = 0.0  # when the last frame was queued; less than so many seconds later the next one waits a bit
        self.strikes = 0
        self.queued = 0  # bytes of the frames in _out
        self.logs = 0  # frames of LOG among them
        self.bulk = deque()
        self.bytes_in = self.bytes_out = 0
        self.paused = 0  # nothing is read while so many links are full of what came from here
        self.senders = Waiters()  # threads that wait because it is full
        self.resumes = []  # what is to be called in the engine's thread when it is no longer
        self._out = (b"", [], [])
        self._buffer = None  # for a long frame
        self._chunks, self._have, self._need = [], 0, FRAME.size  # what was read of an incomplete frame

    # --- writing ----------------------------------------------------------------------------------------------------

    def queue_of(self, end):
        """Where the next frame of that channel belongs; another list after each write()."""
        return self._out[2] if end is None or end.bulk is None else end.bulk.then

    def pending(self):
        """Bytes that wait to be written, without those of bulk."""
        data, counts, _ = self._out
        return self.queued + len(data) - sum(counts)

    def is_idle(self):
        data, counts, queue = self._out
        return not queue and not self.bulk and sum(counts) == len(data)

    def write(self):
        """Writes what the kernel takes. True if nothing is left of what was queued. Any thread."""
        while not self.broken:
            data, counts, queue = self._out
            start = sum(counts)
            if start == len(data):
                if not queue:
                    return True
                data, counts, start = queue[0] if len(queue) == 1 else b"".join(queue), [], 0
                self._out = data, counts, []
                self.queued = self.logs = 0
                self.bytes_out += len(data)
            try:
                counts.extend(map(os.write, (self.writer,), (memoryview(data)[start:] if start else data,)))
            except BlockingIOError:
                return False
            except OSError as error:
                self.broken = "cannot be written to: %s" % error.strerror
        return True

    def write_all(self):
        """The same, and bulk. The engine's thread."""
        while self.write():
            if self.broken or not self.bulk:
                self._out = b"", [], []
                return True
            bulk = self.bulk[0]
            self._out[2].extend(bulk.next())
            if bulk.left:
                self.bulk.rotate(-1)
            else:
                self.bulk.popleft()
                self._go_on_behind(bulk)
        return False

    def _go_on_behind(self, bulk):
        end, rest = bulk.end, iter(bulk.then)
        end.bulk = None
        for frame in rest:
            if type(frame) is Bulk:
                end.bulk = frame
                frame.then = list(rest)
                self.bulk.append(frame)
            else:
                self._out[2].append(frame)

    def give_up(self, bulk):
        """Nobody wants the rest of it."""
        self.bulk.remove(bulk)
        bulk.end.bulk = None

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(self):
        """Bytes from the other side, empty at its end. BlockingIOError, OSError."""
        if self._need >= READ_INTO:
            return self._read_into()
        data = os.read(self.reader, READ)
        self.bytes_in += len(data)
        return data

    def _read_into(self):
        """The rest of a long frame, to where it belongs."""
        if self._buffer is None:
            self._buffer = bytearray(self._need)
            self._buffer[: self._have] = b"".join(self._chunks)
            self._chunks = []
        size = os.readv(self.reader, (memoryview(self._buffer)[self._have :],))
        self.bytes_in += size
        self._have += size
        if self._have < self._need:
            return INCOMPLETE if size else b""
        data, self._buffer = self._buffer, None
        self._have, self._need = 0, FRAME.size
        return data

    def frames(self, data):
        """The frames that are complete with `data`: (kind, to, from, channel, bytes, where it begins and ends in them). NotAFrame."""
        if data is INCOMPLETE:
            return
        if self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need and self._need > FRAME.size:
                return
            data = b"".join(self._chunks)
        at, end, size, unpack = 0, len(data), FRAME.size, FRAME.unpack_from
        need = size
        while end - at >= size:
            length, kind, version, to, source, channel = unpack(data, at)
            if length > MAX_FRAME or length < HEAD or version != VERSION:
                _check(length, version)
            stop = at + 8 + length
            if stop > end:
                need = stop - at
                break
            yield kind, to, source, channel, data, at, stop
            at = stop
        if 8 <= end - at < size:
            length, _, version = _START.unpack_from(data, at)
            _check(length, version)
        self._chunks = [data[at:]] if at < end else []
        self._have, self._need = end - at, need


def _check(length, version):
    if version != VERSION:
        raise NotAFrame("sent a frame of version %d, expected %d" % (version, VERSION))
    if length > MAX_FRAME:
        raise NotAFrame("sent a frame of %d bytes, at most %d are allowed" % (length, MAX_FRAME))
    if length < HEAD:
        raise NotAFrame("sent a frame of %d bytes, too short for its head" % length)
