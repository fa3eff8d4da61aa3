"""wire.py against bytes written down by hand, and against what no server should send."""

import random
import struct

import pytest
from brood import wire
from brood.errors import ProtocolError

GOLDEN = [  # type, head, body, the headers in hexadecimal, the JSON
    (66, {"request": 1, "method": "info", "session": "a1"}, b"", "30000000 4200 0100 2c000000", b'{"request":1,"method":"info","session":"a1"}'),
    (68, {"type": "stdout"}, b"hi\n", "18000000 4400 0100 11000000", b'{"type":"stdout"}'),
    (67, {}, b'\x00\xff', "08000000 4300 0100 02000000", b'{}'),
    (65, {"data": "ä"}, b"", "15000000 4100 0100 11000000", b'{"data":"\\u00e4"}'),
]


def feed(reader, data):
    """Everything that comes out when the data goes in, however it is cut."""
    frames, data = [], memoryview(data)
    while data:
        space = reader.space()
        assert len(space) > 0
        count = min(len(space), len(data))
        space[:count] = data[:count]
        del space
        reader.received(count)
        data = data[count:]
        while (frame := reader.next()) is not None:
            frames.append(frame)
    return frames


@pytest.mark.parametrize("kind,head,body,header,text", GOLDEN, ids=["request", "event", "body only", "not ascii"])
def test_golden(kind, head, body, header, text):
    data = bytes.fromhex(header) + text + body
    assert wire.encode(kind, head, body) == data
    assert feed(wire.FrameReader(), data) == [(kind, head, body)]


def test_frames_in_pieces_of_any_size():
    chance = random.Random(7)
    sent = [(68, {"n": i, "x": "y" * chance.choice((0, 3, 500))}, bytes(chance.choice((0, 1, 900, 70_000)))) for i in range(60)]
    data = b"".join(wire.encode(*frame) for frame in sent)
    for size in (64, 1000, 100_000):
        reader, got, at = wire.FrameReader(size), [], 0
        while at < len(data):
            step = chance.choice((1, 7, 400, 66_000))
            got += feed(reader, data[at : at + step])
            at += step
        assert got == sent and reader.buffered == 0


def test_the_buffer_is_small_again_after_a_long_frame():
    reader = wire.FrameReader(1024)
    assert feed(reader, wire.encode(68, {}, bytes(3 << 20)))[0][2] == bytes(3 << 20)
    assert len(reader.space()) == 1024


@pytest.mark.parametrize(
    "data,says",
    [
        (struct.pack("<IHH", 4, 64, 2), "version 2"),
        (b"HTTP/1.1", "web server"),
        (struct.pack("<IHH", (8 << 20) + 1, 64, 1), "8388609"),
        (struct.pack("<IHH", 3, 64, 1) + b"abc", "too short"),
        (struct.pack("<IHHI", 6, 64, 1, 3) + b"{}", "has 3 bytes"),
        (struct.pack("<IHHI", 6, 64, 1, (4 << 20) + 1) + b"{}", "head has"),
        (struct.pack("<IHHI", 6, 64, 1, 2) + b"[]", "no JSON object"),
        (struct.pack("<IHHI", 6, 64, 1, 2) + b"{]", "no JSON"),
        (struct.pack("<IHHI", 6, 64, 1, 2) + b"\xff\xff", "no JSON"),
        (struct.pack("<IHHI", 13, 64, 1, 9) + b'{"a":NaN}', "no JSON"),
        (struct.pack("<IHHI", 300_004, 64, 1, 300_000) + b"[" * 300_000, "no JSON"),
    ],
)
def test_malformed(data, says):
    with pytest.raises(ProtocolError, match=says):
        feed(wire.FrameReader(), data)


def test_garbage_is_an_error_or_incomplete():
    chance = random.Random(8)
    good = wire.encode(68, {"type": "stdout", "seq": 5}, b"body")
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chance.choice((1, 2, 8))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        reader = wire.FrameReader(64)
        try:
            for _, head, body in feed(reader, data):
                assert isinstance(head, dict) and isinstance(body, bytes)
        except ProtocolError:
            pass
        assert len(reader.space()) <= (8 << 20) + 8


def test_nothing_too_long_is_sent():
    with pytest.raises(ValueError, match="4194304"):
        wire.encode(66, {"code": "x" * (4 << 20)})
    with pytest.raises(ValueError, match="8388608"):
        wire.encode(66, {}, bytes(8 << 20))
    with pytest.raises(ValueError):
        wire.encode(66, {"timeout": float("nan")})
