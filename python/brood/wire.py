"""Frames and messages of docs/protocol.md, sections "Frames", 4 and 5. Pure: bytes in, values or an error out.

    frame   := length:u32 type:u16 version:u16 payload[length]           little-endian
    message := head_length:u32 head[head_length] body[rest]              the payload; head is a JSON object
"""

import json
import struct

from brood.errors import ProtocolError

VERSION = 1
MAX_PAYLOAD = 8 << 20  # bytes of a frame
MAX_HEAD = 4 << 20  # bytes of a message's JSON

HELLO, AUTH, REQUEST, ANSWER, EVENT = 64, 65, 66, 67, 68

_FRAME = struct.Struct("<IHH")
_BOTH = struct.Struct("<IHHI")  # a frame's header and the head_length behind it
_BUFFER = 256 << 10  # bytes read at once; a longer frame makes the buffer grow to that frame's size
_SMALLEST, _LARGEST = -(1 << 63), (1 << 64) - 1  # numbers
_GROWN = 2 << 20  # bytes; a buffer that grew over this is given back when the frame was taken


def _no_constant(name):
    raise ValueError(f"{name} is no JSON")


_encode_head = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode_head = json.JSONDecoder(parse_constant=_no_constant).decode


def encode(kind, head, body=b""):
    """A frame. `head` is a dict, `body` anything bytes-like. ValueError when it is over a limit or no JSON."""
    _check(head, "the request")
    text = _encode_head(head).encode("ascii")
    length = 4 + len(text) + len(body)
    if len(text) > MAX_HEAD:
        raise ValueError(f"the request has {len(text)} bytes of JSON, at most {MAX_HEAD} are allowed; send long data as a file")
    if length > MAX_PAYLOAD:
        raise ValueError(f"the request has {length} bytes, at most {MAX_PAYLOAD} are allowed; send it in pieces")
    return b"".join((_BOTH.pack(length, kind, VERSION, len(text)), text, body))


def _check(value, name):
    """Raises ValueError if there is something in it that is no JSON for the server, which would end the connection."""
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check(key, f"a name in {name}")
            _check(inner, key)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check(inner, name)
    elif isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        raise ValueError(f"{name} is a number of more than 64 bits")


def _check_text(text, name):
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise ValueError(f"{name} has {half} at {error.start}, half of a surrogate pair: no text that can be sent") from None


class FrameReader:
    """Takes frames off a stream. Receive into space(), say received(n), then call next() until it is None.

    Holds one buffer, which is used again and again: what next() returns is a copy. Never more than one frame of the
    largest size is buffered. After a ProtocolError the stream is of no more use. One thread at a time.
    """

    def __init__(self, size=_BUFFER):
        self._size = size
        self._view = memoryview(bytearray(size))
        self._start = self._end = 0  # what is in the buffer and was not taken yet
        self._need = _FRAME.size  # bytes that the frame at _start has, as far as known

    def space(self):
        """A writable memoryview, not empty."""
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._view) > max(self._size, _GROWN) and self._need <= self._size:
                self._view = memoryview(bytearray(self._size))
        if self._start + self._need > len(self._view) or self._end == len(self._view):
            self._make_room()
        return self._view[self._end :]

    def received(self, count):
        self._end += count

    @property
    def buffered(self):
        """Bytes received and not taken yet."""
        return self._end - self._start

    def next(self):
        """(type, head, body) of the next complete frame, else None. Raises ProtocolError."""
        start, there = self._start, self._end - self._start
        if there < self._need:
            return None
        length, kind, version = _FRAME.unpack_from(self._view, start)
        if version != VERSION and self._view[start : start + 5] == b"HTTP/":
            raise ProtocolError("a web server answers there: give the tcp:, tls: or unix: address of brood serve, not that of http:")
        if version != VERSION:
            raise ProtocolError(f"the server speaks version {version} of brood's frames, expected {VERSION}; is this brood's native port?")
        if length > MAX_PAYLOAD:
            raise ProtocolError(f"the server sent a frame of {length} bytes, at most {MAX_PAYLOAD} are allowed")
        self._need = _FRAME.size + length
        if there < self._need:
            return None
        self._start = start + self._need
        self._need = _FRAME.size
        return (kind, *decode_message(self._view[start + 8 : self._start]))

    def _make_room(self):
        kept = self._view[self._start : self._end]
        size = max(self._need, self._size)
        if size > len(self._view):
            grown = memoryview(bytearray(size))
            grown[: len(kept)] = kept
            self._view = grown
        else:
            self._view[: len(kept)] = kept  # memoryview moves overlapping memory correctly
        self._start, self._end = 0, len(kept)


def decode_message(payload):
    """(head, body) of a frame's payload, a memoryview. Raises ProtocolError."""
    size = len(payload)
    if size < 4:
        raise ProtocolError(f"the server sent a message of {size} bytes, too short for its length")
    length = int.from_bytes(payload[:4], "little")
    if length > MAX_HEAD or length > size - 4:
        raise ProtocolError(f"the server sent a message whose head has {length} bytes, but it has {size - 4} in all")
    try:
        head = _decode_head(str(payload[4 : 4 + length], "utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the server sent a message whose head is no JSON: {error}") from None
    if not isinstance(head, dict):
        raise ProtocolError("the server sent a message whose head is no JSON object")
    return head, bytes(payload[4 + length :])
