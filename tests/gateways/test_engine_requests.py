"""Requests, the queues they wait in, logs and captured output."""

import os
import threading

import pytest
from engine_fixture import WITHIN, frame, in_thread, sleeps, until, value_frame

from brood.gateways.core.errors import DumpError, GatewayLost, RemoteError
from brood.gateways.core.kinds import (
    CALL, CALLBACKS, CLOSE, EXEC, GONE, ITEM, LEAVE_WITHIN, LOG, MAX_LOGS, MODULE, PART, RETURN, SERVICE, SHUTDOWN, START, STATUS,
    TASKS,
)  # fmt: skip
from brood.gateways.core.values import dumps

CALLED = ("module", None, "function", (1, 2), {"a": 3}, None, False)


def test_each_request_is_in_its_queue_and_is_answered(contexts):
    root, child = contexts.pair()
    for kind, queue in (EXEC, TASKS), (CALL, TASKS), (START, SERVICE):
        channel = root.request(1, kind, {"of": kind})
        got, peer, value, answer = child.next(queue, WITHIN)
        assert (got, peer, value) == (kind, 0, {"of": kind})
        answer.finish(kind)
        assert channel.receive(WITHIN) == kind
    channel = root.request(1, STATUS, None)
    got, peer, value, answer = child.next(SERVICE, WITHIN)
    assert (got, peer, value) == (STATUS, 0, None)
    channel = child.request(0, MODULE, ["os", []])
    assert root.next(SERVICE, WITHIN)[:3] == (MODULE, 1, ["os", []])


def test_a_call_s_arguments_arrive_as_they_were(contexts):
    root, child = contexts.pair()
    call = root.request(1, CALL, CALLED)
    assert child.next(TASKS, WITHIN)[2] == CALLED
    assert call.number % 2 == 0


def test_arguments_longer_than_a_frame(contexts):
    root, child = contexts.pair()
    first = root.request(1, CALL, b"x" * (20 << 20))
    second = root.request(1, CALL, b"short")
    sizes = {}
    for _ in range(2):
        _, _, value, channel = child.next(TASKS, WITHIN)
        sizes[channel.number] = len(value)
        channel.finish(len(value))
    assert sizes == {first.number: 20 << 20, second.number: 5}
    assert [first.receive(WITHIN), second.receive(WITHIN)] == [20 << 20, 5]


def test_an_error_is_the_answer(contexts):
    root, child = contexts.pair()
    call = root.request(1, CALL, CALLED)
    answer = child.next(TASKS, WITHIN)[3]
    answer.close({"type": "KeyError", "text": "'a'", "traceback": "Traceback"})
    with pytest.raises(RemoteError) as caught:
        call.receive(WITHIN)
    assert caught.value.type == "KeyError"


def test_next_waits_and_gives_up(contexts):
    root, child = contexts.pair()
    assert child.next(TASKS, 0) is None
    assert child.next(SERVICE, timeout=0.01) is None
    waiting = [in_thread(child.next, TASKS) for _ in range(3)]
    until(lambda: all(map(sleeps, waiting)))
    kept = [root.request(1, CALL, number) for number in range(3)]
    assert sorted(each.result()[2] for each in waiting) == [0, 1, 2] and kept


def test_next_is_none_after_stop(contexts):
    _, child = contexts.pair()
    waiting = [in_thread(child.next, queue) for queue in (TASKS, SERVICE, CALLBACKS)]
    until(lambda: all(map(sleeps, waiting)))
    child.stop()
    assert [each.result() for each in waiting] == [None] * 3
    assert child.next(TASKS) is None


def test_a_request_that_cannot_be_sent(contexts):
    root, _ = contexts.pair()
    with pytest.raises(DumpError, match=r"\[2\]"):
        root.request(1, CALL, ("module", None, print))
    with pytest.raises(GatewayLost, match="7"):
        root.request(7, CALL, CALLED)
    assert root.stats()["channels"] == root.stats()["calls"] == 0


def test_a_request_that_is_no_value_is_answered_with_an_error(contexts):
    child = contexts.engine(1, (0,))
    raw = contexts.raw(child, 0)
    raw.send(frame(CALL, 1, 0, 2, b"\xc1"), value_frame(CALL, 1, 0, 4, "fine"))
    assert child.next(TASKS, WITHIN)[2] == "fine"
    assert raw.expect_value(CLOSE, 2)["type"] == "LoadError"


def test_calls_without_an_answer_are_limited(contexts, monkeypatch):
    if contexts.module.name == "python":
        from brood.gateways.core import engine
        monkeypatch.setitem(engine._LIMITS, CALL, 8)
        most = 8
    else:
        most = 16384
    root, child = contexts.pair()
    calls = [root.request(1, CALL, number) for number in range(most)]
    assert root.stats()["calls"] == most
    waiting = in_thread(root.request, 1, CALL, "one more")
    until(lambda: sleeps(waiting))
    assert root.stats()["calls"] == most
    child.next(TASKS, WITHIN)[3].finish(None)
    calls[0].receive(WITHIN)
    assert waiting.result() is not None
    blocked = in_thread(root.request, 1, CALL, "another")
    until(lambda: sleeps(blocked))
    root.lose(1, "it was ended")
    with pytest.raises(GatewayLost, match="it was ended"):
        blocked.result()
    assert root.stats()["calls"] == 0


# --- threads for what waits -----------------------------------------------------------------------------------------


def test_a_thread_is_started_when_nobody_waits(contexts):
    root, child = contexts.pair()
    seen, starts = [], []

    def serve(queue):
        starts.append((queue, threading.current_thread().daemon))
        while True:
            request = child.next(queue, 0.01)
            if request is None:
                return
            seen.append(request[2])
            request[3].finish(None)

    child.set_spawner(serve)
    for number in range(5):
        root.request(1, START, number).receive(WITHIN)
        root.request(1, CALL, number).receive(WITHIN)
    assert sorted(seen) == sorted([*range(5)] * 2)
    assert {queue for queue, _ in starts} == {TASKS, SERVICE}
    assert contexts.module.name == "native" or all(daemon for _, daemon in starts)


def test_threads_that_serve_have_left_when_it_has_stopped(contexts):
    root, child = contexts.pair()
    left = []

    def serve(queue):
        request = child.next(queue)
        while request is not None:
            if request[3] is not None:
                request[3].finish(None)
            request = child.next(queue)
        left.append(queue)

    child.set_spawner(serve)
    for kind in START, EXEC:
        root.request(1, kind, None).receive(WITHIN)
    child.stop()
    assert sorted(left) == [TASKS, SERVICE]


def test_what_waited_before_there_was_a_spawner_is_served(contexts):
    root, child = contexts.pair()
    channel = root.request(1, START, None)
    until(lambda: child.stats()["queued"] == 1)
    child.set_spawner(lambda queue: child.next(queue, WITHIN)[3].finish("served"))
    assert channel.receive(WITHIN) == "served"


def test_whoever_is_in_next_goes_first(contexts):
    root, child = contexts.pair()
    starts = []
    child.set_spawner(starts.append)
    waiting = in_thread(child.next, TASKS)
    until(lambda: sleeps(waiting))
    channel = root.request(1, EXEC, "for the one that waits")
    assert waiting.result()[2] == "for the one that waits" and channel
    assert starts == []


def test_long_tasks_have_a_thread_each(contexts):
    root, child = contexts.pair()
    together = threading.Barrier(6)

    def serve(queue):
        request = child.next(queue, WITHIN)
        while request is not None:
            together.wait(WITHIN)
            request[3].finish(threading.get_ident())
            request = child.next(queue, 0)

    child.set_spawner(serve)
    kept = [root.request(1, EXEC, number) for number in range(6)]
    assert len({channel.receive(WITHIN) for channel in kept}) == 6


def test_a_call_behind_one_that_hangs_gets_a_thread(contexts):
    root, child = contexts.pair()
    go = threading.Event()

    def serve(queue):
        while True:
            request = child.next(queue, 0.01)
            if request is None:
                return
            if request[2] == "hangs":
                go.wait(WITHIN)
            request[3].finish(request[2])

    child.set_spawner(serve)
    hanging = root.request(1, CALL, "hangs")
    assert [root.request(1, CALL, number).receive(WITHIN) for number in range(3)] == [0, 1, 2]
    go.set()
    assert hanging.receive(WITHIN) == "hangs"


def test_callbacks_have_one_thread(contexts):
    root, child = contexts.pair()
    near = root.request(1, EXEC, None)
    far = child.next(TASKS, WITHIN)[3]
    threads, seen = set(), []

    def serve(queue):
        while True:
            request = root.next(queue, 0.01)
            if request is None:
                return
            if queue == CALLBACKS:
                threads.add(threading.get_ident())
                function, argument = request[2]
                function(argument)

    root.set_spawner(serve)
    near.setcallback(seen.append)
    for number in range(1000):
        far.send(number)
    far.close()
    near.waitclose(WITHIN)
    assert seen == list(range(1000)) and len(threads) <= 2  # another one if the first had left


# --- logs -----------------------------------------------------------------------------------------------------------


def test_log_records_arrive(contexts):
    root, child = contexts.pair()
    child.post(0, LOG, ["a.logger", 30, "text \ud800"])
    assert root.next(SERVICE, WITHIN) == (LOG, 1, ["a.logger", 30, "text \ud800"], None)


def test_what_is_posted_to_nobody_is_dropped(contexts):
    child = contexts.engine(1, (0,))
    child.post(0, LOG, ["a", 10, "b"])
    with pytest.raises(DumpError):
        child.post(0, LOG, [object()])


def test_too_many_records_for_the_link_are_counted_and_told(contexts):
    if contexts.module.name == "native":
        pytest.skip("counts bytes")
    child = contexts.engine(1, (0,))
    raw = contexts.raw(child, 0)
    text = "x" * 1000
    for number in range(3 * MAX_LOGS):
        child.post(0, LOG, ["a", 20, text])
    lost = child.stats()["lost_logs"]
    assert lost > 0
    for _ in range(3 * MAX_LOGS - lost):
        assert raw.expect_value(LOG) == ["a", 20, text]
    until(lambda: child.stats()["unwritten"] == 0)
    child.post(0, LOG, ["a", 20, "again"])
    assert raw.expect_value(LOG) == ["brood.gateways", 30, f"{lost} log records were lost, there were too many at once"]
    assert raw.expect_value(LOG) == ["a", 20, "again"]


def test_too_many_records_that_nobody_takes_are_counted_and_told(contexts):
    root = contexts.engine(0)
    raw = contexts.raw(root, 1)
    record = value_frame(LOG, 0, 1, 0, ["a", 20, "b"])
    for _ in range(MAX_LOGS // 1000 + 1):
        raw.send(record * 1000)
    until(lambda: root.stats()["lost_logs"] == 1000)
    for _ in range(MAX_LOGS):
        assert root.next(SERVICE, WITHIN)[2] == ["a", 20, "b"]
    raw.value(LOG, 0, ["a", 20, "again"])
    assert root.next(SERVICE, WITHIN)[2][2] == "1000 log records were lost, there were too many at once"
    assert root.next(SERVICE, WITHIN)[2][2] == "again"


def test_long_records_are_limited_by_their_bytes(contexts):
    root = contexts.engine(0, window=10000)
    raw = contexts.raw(root, 1)
    for _ in range(100):
        raw.value(LOG, 0, ["a", 20, "x" * 1000])
    until(lambda: root.stats()["lost_logs"] > 80)


@pytest.mark.parametrize("record", [None, [], ["a", "b", "c"], ["a", 1], ("a", 1, "b"), ["a", 1, "b", 2]])
def test_what_is_no_record_is_dropped(contexts, record):
    if contexts.module.name == "native":
        pytest.skip("leaves that to who takes it")
    root = contexts.engine(0)
    raw = contexts.raw(root, 1)
    raw.value(LOG, 0, record)
    raw.value(LOG, 0, ["a", 20, "fine"])
    assert root.next(SERVICE, WITHIN)[2] == ["a", 20, "fine"]
    assert root.stats()["dropped"] == 1


# --- captured descriptors -------------------------------------------------------------------------------------------


def lines_of(raw, count):
    return [raw.expect_value(LOG)[2] for _ in range(count)]


@pytest.fixture
def captured(contexts):
    child = contexts.engine(1, (0,))
    raw = contexts.raw(child, 0)
    reader, writer = os.pipe()
    child.capture(reader, "stdout")
    yield child, raw, writer
    try:
        os.close(writer)
    except OSError:  # the test has done it
        pass


def test_captured_lines(captured):
    _, raw, writer = captured
    os.write(writer, b"one\ntw")
    assert raw.expect_value(LOG) == ["stdout", 20, "one"]
    os.write(writer, b"o\n\nnot \xff text\nlast")
    os.close(writer)
    assert lines_of(raw, 4) == ["two", "", "not \ufffd text", "last"]


def test_long_lines_are_cut(captured):
    _, raw, writer = captured
    os.write(writer, b"x" * 20000 + b"\n")
    lines = lines_of(raw, 3)
    assert [len(line) for line in lines] == [8192, 8192, 20000 - 2 * 8192]


def test_reading_stops_while_the_link_is_congested_and_goes_on(captured):
    child, raw, writer = captured
    line, count = b"x" * 99 + b"\n", 40000

    def write():
        data = memoryview(line * count)
        while data:
            data = data[os.write(writer, data):]

    writing = in_thread(write)
    until(lambda: sleeps(writing))
    assert writing.is_alive()  # far less fits into pipes, sockets and the engine
    assert lines_of(raw, count) == ["x" * 99] * count
    writing.result()
    assert child.stats()["lost_logs"] == 0


def test_drain_sends_what_is_in_captured_descriptors(captured):
    child, raw, writer = captured
    os.write(writer, b"line\nincomplete")
    assert child.drain(WITHIN) is True
    assert lines_of(raw, 2) == ["line", "incomplete"]


def test_drain_waits_until_the_kernel_has_everything(contexts):
    child = contexts.engine(1, (0,))
    raw = contexts.raw(child, 0)
    raw.value(EXEC, 2, None)
    channel = child.next(TASKS, WITHIN)[3]
    channel.send(b"x" * (20 << 20))
    assert child.drain(0.01) is False
    waiting = in_thread(child.drain, WITHIN)
    size = 0
    while size < 20 << 20:
        kind, _, _, _, body = raw.read()
        assert kind in (ITEM, PART)
        size += len(body)
    assert waiting.result() is True


# --- ending ---------------------------------------------------------------------------------------------------------


def test_shutdown_is_announced_and_watched(contexts):
    root, child = contexts.pair()
    root.post(1, SHUTDOWN, LEAVE_WITHIN)
    assert child.next(SERVICE, WITHIN) == (SHUTDOWN, 0, LEAVE_WITHIN, None)


def test_the_end_of_the_parent(contexts):
    child = contexts.engine(1, (0,), name="the child")
    raw = contexts.raw(child, 0, name="the master")
    raw.value(EXEC, 2, None)
    raw.value(EXEC, 4, None)
    channel = child.next(TASKS, WITHIN)[3]
    raw.close()
    kind, peer, (lost, why), none = child.next(SERVICE, WITHIN)
    assert (kind, peer, lost[0], none) == (GONE, 0, 0, None)
    assert "the child" in why and "parent" in why
    for queue in (TASKS, SERVICE, CALLBACKS):
        assert child.next(queue, WITHIN) is None
    for call in (channel.receive, lambda: channel.send(1), channel.waitclose, lambda: child.request(0, MODULE, [])):
        with pytest.raises(GatewayLost):
            call()
    child.stop()


def test_the_answer_that_came_before_the_end_is_received(contexts):
    root = contexts.engine(0)
    raw = contexts.raw(root, 1)
    call = root.request(1, CALL, CALLED)
    number = raw.read()[3]
    raw.send(value_frame(RETURN, 0, 1, number, "the last word"))
    raw.close()
    root.next(SERVICE, WITHIN)
    assert call.receive(WITHIN) == "the last word"
    with pytest.raises(EOFError):
        call.receive(WITHIN)


def test_values_of_stats(contexts):
    root, child = contexts.pair()
    near = root.request(1, EXEC, None)
    far = child.next(TASKS, WITHIN)[3]
    call = root.request(1, CALL, CALLED)
    near.send(dumps("x"))
    until(lambda: child.stats()["queued"] == 2)
    stats = root.stats()
    assert (stats["channels"], stats["calls"], stats["dropped"], stats["lost_logs"]) == (2, 1, 0, 0)
    assert stats["bytes_out"] == child.stats()["bytes_in"] > 60
    assert call and far
