"""The first bytes on a link: the mark of the child, then GREET in both directions (docs/protocol.md, section 7).

`dumps` and `loads` are those of values.py, or of the extension module: who has that need not import the other.
"""
import os

from .kinds import GREET, MARK, MAX_FRAME

MAX_BANNER = 64 << 10  # bytes before the mark
_SIZES = 4, 2, 2, 4, 4, 4  # bytes of length, type, version; to, from, channel
_HEAD = 12  # bytes of these numbers that belong to the payload


class BadGreeting(Exception):
    """What came is no greeting; the text is a clause about who sent it."""


def frame(to, source, greet, dumps):
    """GREET, as bytes."""
    body = dumps(greet)
    numbers = len(body) + _HEAD, GREET, 1, to, source, 0
    return b"".join([number.to_bytes(size, "little") for number, size in zip(numbers, _SIZES)]) + body


def _length(start):
    """Bytes of the frame's payload, of its first 8 bytes."""
    length, kind, version = (int.from_bytes(start[begin:end], "little") for begin, end in ((0, 4), (4, 6), (6, 8)))
    if version != 1 or kind != GREET or not _HEAD < length <= MAX_FRAME:
        raise BadGreeting("sent something else than a greeting of brood's gateways, version 1: %r" % (bytes(start),))
    return length


def _value(payload, loads):
    greet = loads(payload[_HEAD:])
    if not isinstance(greet, dict):
        raise BadGreeting("sent a greeting that is no map")
    return greet


def read(descriptor, loads):
    """The GREET of the parent, and not a byte more. Blocks. BadGreeting, EOFError, OSError, LoadError."""
    return _value(_read(descriptor, _length(_read(descriptor, 8))), loads)


def _read(descriptor, size):
    data = b""
    while len(data) < size:
        more = os.read(descriptor, size - len(data))
        if not more:
            raise EOFError("the link has ended")
        data += more
    return data


class Incoming:
    """What a child sends first. `banner` is what came before the mark, `ahead` what came behind its GREET."""

    def __init__(self, loads):
        self._loads = loads
        self.banner = b""
        self.ahead = b""
        self._marked = False
        self._data = b""

    def feed(self, data):
        """The GREET once it is complete, else None. BadGreeting, LoadError."""
        self._data += data
        if not self._marked:
            before, self._marked, rest = self._data.partition(MARK)
            if not self._marked:
                if len(before) > MAX_BANNER + len(MARK):
                    raise BadGreeting("sent more than %d bytes that are not brood's" % MAX_BANNER)
                self.banner = before
                return None
            self.banner, self._data = before, rest
        if len(self._data) < 8:
            return None
        end = 8 + _length(self._data[:8])
        if len(self._data) < end:
            return None
        self.ahead = self._data[end:]
        return _value(self._data[8:end], self._loads)
