"""A neighbour that does not keep to the protocol: what it costs, and whom."""

import os
import random
import struct

import pytest
from engine_fixture import WITHIN, frame, until, value_frame

from brood.gateways.core import kinds
from brood.gateways.core.errors import GatewayLost, LoadError, RemoteError
from brood.gateways.core.kinds import (
    BYE, CALL, CLOSE, CREDIT, END, EXEC, GONE, GREET, ITEM, LOG, MAX_FRAME, MODULE, OPEN, PART, PING, RETURN, ROUTE, SENDER,
    SERVICE, SHUTDOWN, START, STATUS, TASKS,
)  # fmt: skip
from brood.gateways.core.values import dumps


@pytest.fixture
def child(contexts):
    """A context whose parent is no engine."""
    engine = contexts.engine(5, (0,), window=10000, item=100000)
    return engine, contexts.raw(engine, 0)


@pytest.fixture
def root(contexts):
    """The root and a child that is no engine."""
    engine = contexts.engine(0, window=10000, item=100000)
    return engine, contexts.raw(engine, 1)


def opened(engine, raw, number=2):
    raw.value(EXEC, number, None)
    return engine.next(TASKS, WITHIN)[3]


def passed(engine, raw, number=1000):
    """Everything that was sent before has been looked at; the link is fine."""
    raw.value(CALL, number, "marker")
    request = engine.next(TASKS, WITHIN)
    assert request[2] == "marker"
    request[3].finish(None)
    while raw.read()[3] != number:
        pass


# --- what is no frame -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, text",
    [
        (struct.pack("<IHH", MAX_FRAME + 1, ITEM, 1), "8388609|long|limit"),
        (struct.pack("<IHH", 0xFFFFFFFF, ITEM, 1) + bytes(100), "4294967295|long|limit"),
        (struct.pack("<IHH", 12, ITEM, 2) + bytes(12), "version"),
        (struct.pack("<IHH", 11, ITEM, 1) + bytes(11), "short|head"),
        (struct.pack("<IHH", 0, PING, 1), "short|head"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "version|long|limit"),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_what_is_no_frame_ends_the_link(root, data, text, piece):
    engine, raw = root
    for at in range(0, len(data), piece):
        try:
            raw.send(data[at : at + piece])
        except OSError:  # it has seen enough
            break
    kind, _, (lost, why), _ = engine.next(SERVICE, WITHIN)
    assert (kind, lost) == (GONE, [1])
    assert any(word in why for word in text.split("|")), why
    assert raw.wait_for_end() == []


def test_frames_arrive_however_they_are_cut(child):
    engine, raw = child
    channel = opened(engine, raw)
    frames = b"".join(value_frame(ITEM, 5, 0, 2, value) for value in ("one", b"x" * 300, None))
    for cut in range(1, len(frames)):
        raw.send(frames[:cut])
        raw.send(frames[cut:])
        assert [channel.receive(WITHIN) for _ in range(3)] == ["one", b"x" * 300, None]
    for byte in frames:
        raw.send(bytes([byte]))
    assert [channel.receive(WITHIN) for _ in range(3)] == ["one", b"x" * 300, None]


def test_a_link_that_ends_within_a_frame(contexts):
    root = contexts.engine(0)
    data = value_frame(LOG, 0, 0, 0, ["a", 20, "b"])
    for cut in range(len(data)):
        context = cut + 1
        raw = contexts.raw(root, context)
        raw.send(data[:8] + struct.pack("<II", 0, context) + data[16:], data[:cut])
        raw.close()
        assert root.next(SERVICE, WITHIN)[:2] == (LOG, context)
        assert root.next(SERVICE, WITHIN)[2][0] == [context]


def test_frames_behind_the_greeting(contexts):
    child = contexts.engine(1, (0,))
    data = value_frame(EXEC, 1, 0, 2, "first") + value_frame(EXEC, 1, 0, 4, "second")
    for at in (len(data), len(data) - 5):
        if at == len(data):
            raw = contexts.raw(child, 0, ahead=data[:at])
            assert [child.next(TASKS, WITHIN)[2] for _ in range(2)] == ["first", "second"]
            raw.close()
    other = contexts.engine(2, (0,))
    raw = contexts.raw(other, 0, ahead=value_frame(EXEC, 2, 0, 2, "cut")[:-2])
    raw.send(value_frame(EXEC, 2, 0, 2, "cut")[-2:])
    assert other.next(TASKS, WITHIN)[2] == "cut"


# --- what is not allowed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [(GREET, 0), (79, 0), (99, 0), (0, 2), (0xFFFF, 2)])
def test_three_frames_that_nothing_explains_end_the_link(child, bad):
    engine, raw = child
    kind, number = bad
    raw.frame(kind, number)
    raw.frame(kind, number)
    passed(engine, raw)
    raw.frame(kind, number)
    raw.wait_for_end()
    assert engine.next(SERVICE, WITHIN)[0] == GONE


def test_a_child_may_not_ask_its_parent(root):
    engine, raw = root
    for kind in (EXEC, CALL, STATUS, START):
        raw.value(kind, 1, None)
    raw.value(SHUTDOWN, 0, 1.0)
    raw.frame(ROUTE, 0, struct.pack("<II", 7, 1))
    raw.frame(OPEN, 0, struct.pack("<II", 7, 3))
    raw.frame(PING, 0)
    raw.value(LOG, 0, ["a", 20, "marker"])
    assert engine.next(SERVICE, WITHIN)[0] == LOG
    assert engine.next(TASKS, 0) is engine.next(SERVICE, 0) is None
    assert engine.stats()["dropped"] >= 7 and engine.stats()["channels"] == 0


def test_a_parent_is_asked_for_nothing_by_its_parent(child):
    engine, raw = child
    raw.value(MODULE, 2, ["a", []])
    raw.value(LOG, 0, ["a", 20, "b"])
    passed(engine, raw)
    assert engine.next(SERVICE, 0) is None


@pytest.mark.parametrize("number", [0, 3])
def test_numbers_that_are_not_the_opener_s(child, number):
    engine, raw = child
    raw.value(EXEC, number, None)
    passed(engine, raw)
    assert engine.next(TASKS, 0) is None


def test_a_number_that_is_in_use(child):
    engine, raw = child
    channel = opened(engine, raw)
    raw.value(EXEC, 2, None)
    passed(engine, raw)
    assert engine.next(TASKS, 0) is None
    raw.value(ITEM, 2, "fine")
    assert channel.receive(WITHIN) == "fine"


def test_frames_for_channels_that_are_not_open_are_dropped(child):
    engine, raw = child
    for kind in (ITEM, PART, RETURN, CLOSE, END, CREDIT):
        for number in (0, 2, 3, 0xFFFFFFFF):
            raw.frame(kind, number, b"\0\0\0\0")
    passed(engine, raw)
    assert engine.stats()["channels"] == 0 and engine.stats()["dropped"] > 10


def test_after_its_end_a_channel_takes_nothing(child):
    engine, raw = child
    channel = opened(engine, raw)
    raw.value(ITEM, 2, 1)
    raw.frame(END, 2)
    raw.frame(END, 2)
    raw.frame(CLOSE, 2)
    raw.value(ITEM, 2, 2)
    raw.value(RETURN, 2, 3)
    raw.frame(CLOSE, 2, dumps({"type": "a", "text": "b", "traceback": "c"}))
    passed(engine, raw)
    assert list(channel) == [1]


@pytest.mark.parametrize("kind", [GONE, LOG, SHUTDOWN, OPEN, ROUTE, CREDIT, CLOSE, BYE, PING, STATUS, MODULE])
@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x90", b"\xc0", dumps([1, 2]), dumps([[None], 5]), bytes(7), bytes(9)], ids=repr
)
def test_bodies_that_are_not_what_the_table_says(contexts, kind, body):
    if contexts.module.name == "native" and kind == LOG:
        pytest.skip("leaves that to who takes it")
    root = contexts.engine(0)
    raw, other = contexts.raw(root, 1), contexts.raw(root, 2)
    number = root.request(1, EXEC, None).number
    raw.send(*(frame(kind, 0, 1, channel, body) for channel in (number, number + 2, 1)))
    other.value(LOG, 0, ["a", 20, "marker"])
    while root.next(SERVICE, WITHIN)[:2] != (LOG, 2):
        pass
    assert root.request(2, EXEC, None)


def test_an_item_that_is_no_value_closes_the_channel(child):
    engine, raw = child
    channel = opened(engine, raw)
    raw.value(ITEM, 2, 1)
    raw.frame(ITEM, 2, b"\xc1")
    assert channel.receive(WITHIN) == 1
    with pytest.raises(LoadError):
        channel.receive(WITHIN)
    assert raw.expect_value(CLOSE, 2)["type"] == "LoadError"
    with pytest.raises(EOFError):
        channel.receive(WITHIN)


@pytest.mark.parametrize("body", [b"\xc1", dumps(5), dumps({}), dumps({"type": 5, "text": [], "traceback": None})])
def test_an_error_that_is_none(child, body):
    engine, raw = child
    channel = opened(engine, raw)
    raw.frame(CLOSE, 2, body)
    with pytest.raises((RemoteError, LoadError)):
        channel.receive(WITHIN)


def test_a_channel_in_a_value_that_nobody_announced(child):
    engine, raw = child
    channel = opened(engine, raw)
    raw.frame(ITEM, 2, b"\xd7\x06" + struct.pack("<II", 9, 8))
    with pytest.raises(LoadError):
        channel.receive(WITHIN)


# --- too much -------------------------------------------------------------------------------------------------------


def test_an_end_that_overdraws_its_window_loses_the_channel(child):
    engine, raw = child
    channel, other = opened(engine, raw, 2), opened(engine, raw, 4)
    cost = len(dumps("x" * 900)) + kinds.ITEM_COST
    for _ in range(10000 // cost + 1):  # the last may overshoot
        raw.value(ITEM, 2, "x" * 900)
    passed(engine, raw)
    assert not channel.isclosed()
    raw.value(ITEM, 2, "too much")
    assert raw.expect(CLOSE, 2)
    for _ in range(10000 // cost + 1):
        assert len(channel.receive(WITHIN)) == 900
    with pytest.raises(RemoteError, match="window"):
        channel.receive(WITHIN)
    raw.value(ITEM, 4, "fine")
    assert other.receive(WITHIN) == "fine"


def test_credit_that_was_not_asked_for_gives_nothing(child):
    engine, raw = child
    channel = opened(engine, raw)
    for _ in range(10):
        raw.frame(CREDIT, 2, b"\xff\xff\xff\xff")
    passed(engine, raw)
    sent = 0
    with pytest.raises(OSError):
        while sent < 100:
            channel.send("x" * 900, 0)
            sent += 1
    assert sent == 11


@pytest.mark.parametrize("sizes", [[100001], [60000, 60000], [1] * 200], ids=len)
def test_a_value_longer_than_allowed_loses_the_channel(child, sizes):
    engine, raw = child
    channel = opened(engine, raw)
    if sizes == [1] * 200:
        sizes = [0] * 1000 + [501] * 200
    for size in sizes:
        raw.frame(PART, 2, bytes(size))
    assert raw.expect(CLOSE, 2)
    with pytest.raises(RemoteError):
        channel.receive(WITHIN)
    passed(engine, raw)


def test_a_longer_value_in_one_frame(child):
    engine, raw = child
    for kind, number in (ITEM, 2), (RETURN, 4):
        channel = opened(engine, raw, number)
        raw.frame(kind, number, dumps(b"x" * 100000))
        with pytest.raises(RemoteError):
            channel.receive(WITHIN)


def test_parts_before_a_request_are_limited_too(child, contexts):
    if contexts.module.name == "native":
        pytest.skip("a request is one frame there")
    engine, raw = child
    for _ in range(3):
        raw.frame(PART, 2, bytes(50000))
    assert raw.expect(CLOSE, 2)
    raw.frame(PART, 4, bytes(50000))
    raw.frame(ITEM, 4, b"")
    raw.frame(PART, 6, bytes(50000))
    raw.frame(CLOSE, 6)
    passed(engine, raw)
    assert engine.stats()["channels"] == 0


def test_requests_for_modules_are_limited(root):
    engine, raw = root
    for number in range(300):
        raw.value(MODULE, 2 * number + 1, ["a", []])
    refused = [raw.read() for _ in range(300 - 256)]
    assert {got[0] for got in refused} == {CLOSE}
    kept = [engine.next(SERVICE, WITHIN)[3] for _ in range(256)]
    assert engine.next(SERVICE, 0) is None
    kept[0].finish([])
    assert raw.expect_value(RETURN, 1) == []
    raw.value(MODULE, 601, ["a", []])
    assert engine.next(SERVICE, WITHIN)[0] == MODULE


@pytest.fixture
def few_channels(contexts, monkeypatch):
    if contexts.module.name == "native":
        pytest.skip("cannot be lowered there")
    monkeypatch.setattr(kinds, "MAX_CHANNELS", 100)


def test_channels_are_limited(few_channels, child):
    engine, raw = child
    for number in range(2, 302, 2):
        raw.value(EXEC, number, None)
    refused = [raw.read() for _ in range(50)]
    assert {got[0] for got in refused} == {CLOSE} and refused[0][3] == 202
    with pytest.raises(OSError, match="100"):
        engine.open(0)
    with pytest.raises(OSError, match="100"):
        engine.request(0, MODULE, [])


def test_announced_channels_are_limited(few_channels, root):
    engine, raw = root
    for number in range(1, 1001, 2):
        raw.frame(OPEN, 0, struct.pack("<II", SENDER, number))
        raw.frame(CLOSE, number)
    raw.value(LOG, 0, ["a", 20, "marker"])
    assert engine.next(SERVICE, WITHIN)[0] == LOG
    assert engine.stats()["channels"] == 0 and engine.stats()["dropped"] == 800


def test_who_asks_and_does_not_listen_is_read_no_more(contexts):
    root = contexts.engine(0)
    raw = contexts.raw(root, 1)
    raw.socket.setblocking(False)
    data = frame(EXEC, 9, 1, 2) * 1000  # for nobody: each is answered
    sent = 0
    try:
        while sent < 100 << 20:
            sent += raw.socket.send(data)
            if root.stats()["unwritten"] > 40 << 20:
                break
            os.sched_yield()
    except BlockingIOError:
        until(lambda: root.stats()["unwritten"] < 40 << 20)
    assert root.stats()["unwritten"] < 40 << 20


def test_bye_is_an_orderly_end(contexts):
    root = contexts.engine(0)
    raw = contexts.raw(root, 1, name="gw1")
    call = root.request(1, CALL, None)
    raw.frame(BYE)
    if contexts.module.name == "native":
        raw.close()
    with pytest.raises(GatewayLost, match="gw1 has left"):
        call.receive(WITHIN)


@pytest.mark.parametrize("seed", range(6))
def test_random_frames_harm_nobody_else(contexts, seed):
    """From children; a parent is trusted, its frames are only not to be misunderstood."""
    r = random.Random(seed)
    root = contexts.engine(0, window=5000, item=20000)
    child = contexts.engine(1, (0,))
    contexts.link(root, child)
    near = root.request(1, EXEC, None)
    far = child.next(TASKS, WITHIN)[3]
    for context in range(2, 12):
        raw = contexts.raw(root, context)
        kept = root.request(context, EXEC, None)
        numbers = [0, 1, 2, 3, 4, 0xFFFFFFFF]
        bodies = [b"", b"\xc1", dumps([1]), dumps([[2, 1], "why"]), dumps(["a", 2, "b"]), struct.pack("<II", SENDER, 3)]
        data = b""
        for _ in range(200):
            body = r.choice((*bodies, bytes(r.getrandbits(8) for _ in range(r.randrange(30)))))
            source = context if r.random() < 0.995 else r.randrange(12)
            kind = r.randrange(80, 99) if r.random() < 0.995 else r.getrandbits(16)
            data += frame(kind, r.choice((0, 0, 0, 1, 9)), source, r.choice(numbers), body)
        if r.random() < 0.5:
            at = r.randrange(len(data))
            data = data[:at] + bytes([r.getrandbits(8)]) + data[at + 1 :]
        try:
            raw.send(data)
        except OSError:  # it was cut
            pass
        raw.close()
        until(lambda: root.open(context).isclosed())
        assert kept.isclosed()
        while root.next(SERVICE, 0) is not None:
            pass
        near.send(context)
        assert far.receive(WITHIN) == context
        far.send(context)
        assert near.receive(WITHIN) == context
