"""MultiChannel over gateways, and the ending of many things at once."""

import queue
import threading
import time

import pytest
from brood.gateways.multi import MultiChannel, terminate_all

DEADLINE = 20  # seconds: a hang, not a measure of speed


@pytest.fixture
def many(gateways):
    return lambda *sources: MultiChannel([gateways().remote_exec(source) for source in sources])


def test_it_is_a_sequence(gateways):
    channels = [gateways().remote_exec("channel.receive()") for _ in range(2)]
    multi = MultiChannel(iter(channels))
    assert len(multi) == 2 and list(multi) == channels and multi[1] is channels[1]
    other = gateways().remote_exec("pass")
    assert channels[0] in multi and other not in multi
    other.waitclose()
    multi.send_each(None)
    multi.waitclose()


def test_send_each_and_receive_each(many):
    multi = many("channel.send((1, channel.receive()))", "channel.send((2, channel.receive()))")
    multi.send_each("x")
    assert multi.receive_each() == [(1, "x"), (2, "x")]
    multi.waitclose()
    with pytest.raises(EOFError):
        multi.receive_each()


def test_receive_each_with_the_channels(many):
    multi = many("channel.send('a')", "channel.send('b')")
    assert multi.receive_each(withchannel=True) == [(multi[0], "a"), (multi[1], "b")]


def test_send_each_reaches_those_behind_a_closed_one(many):
    multi = many("pass", "channel.send(channel.receive())")
    multi[0].waitclose()
    with pytest.raises(OSError):
        multi.send_each("x")
    assert multi[1].receive() == "x"


def test_receive_queue(many):
    multi = many("for i in range(3): channel.send(i)", "channel.send('b')")
    received = multi.make_receive_queue()
    got = [received.get(timeout=DEADLINE) for _ in range(4)]
    assert [item for channel, item in got if channel is multi[0]] == [0, 1, 2]
    assert [item for channel, item in got if channel is multi[1]] == ["b"]
    multi.waitclose()
    with pytest.raises(queue.Empty):
        received.get(block=False)


@pytest.mark.parametrize("endmarker", [None, "end", -1])
def test_receive_queue_with_an_endmarker(many, endmarker):
    multi = many("channel.send(1)", "1 / 0")
    received = multi.make_receive_queue(endmarker=endmarker)
    assert multi.make_receive_queue() is received and multi.make_receive_queue(endmarker=3) is received
    got = [received.get(timeout=DEADLINE) for _ in range(3)]
    assert [item for channel, item in got if channel is multi[0]] == [1, endmarker]
    assert [item for channel, item in got if channel is multi[1]] == [endmarker]


def test_waitclose_waits_for_all_and_raises_the_first_error(many):
    multi = many("1 / 0", "channel.receive(); []['x']", "channel.receive()")
    gate = threading.Timer(0.1, lambda: [multi[1].send(0), multi[2].send(0)])
    gate.start()
    with pytest.raises(multi[0].RemoteError, match="ZeroDivisionError"):
        multi.waitclose()
    gate.join()
    assert all(channel.isclosed() for channel in multi)


def test_nothing_at_all():
    empty = MultiChannel([])
    empty.send_each(1)
    empty.waitclose()
    assert len(empty) == 0 and empty.receive_each() == [] and empty.make_receive_queue().empty()


# --- terminate_all ---------------------------------------------------------------------------------


def test_all_are_ended_at_the_same_time():
    meeting = threading.Barrier(5, timeout=DEADLINE)  # each waits for all others
    assert terminate_all([(meeting.wait, None)] * 5, timeout=DEADLINE) == [None] * 5


def test_what_does_not_end_is_killed():
    killed, others = threading.Event(), []
    pairs = [(lambda: killed.wait(DEADLINE), killed.set), (lambda: None, lambda: others.append(1))]
    assert terminate_all(pairs, timeout=0.05, after_kill=DEADLINE) == [None, None]
    assert killed.is_set() and not others


def test_without_a_timeout_nothing_is_killed():
    ended, killed = threading.Event(), []
    threading.Timer(0.1, ended.set).start()
    assert terminate_all([(ended.wait, lambda: killed.append(1))]) == [None] and not killed


def test_it_is_bounded_when_kill_does_not_help_or_hangs():
    release = threading.Event()
    start = time.monotonic()
    pairs = [(release.wait, lambda: None), (release.wait, release.wait), (release.wait, None)]
    outcomes = terminate_all(pairs, timeout=0.05, after_kill=0.1)
    assert time.monotonic() - start < DEADLINE / 2
    assert [type(outcome) for outcome in outcomes] == [TimeoutError] * 3
    assert "though it was killed" in str(outcomes[0]) and str(outcomes[2]) == "it has not ended"
    release.set()


def test_errors_are_told_and_do_not_stop_the_others():
    release, ended = threading.Event(), []
    pairs = [(lambda: 1 / 0, None), (lambda: ended.append(1), None), (release.wait, lambda: [].pop())]
    outcomes = terminate_all(pairs, timeout=0.1, after_kill=0.05)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError, type(None), IndexError] and ended
    release.set()


def test_where_no_thread_can_be_started_there_is_the_kill(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    called = []
    pairs = [(lambda: called.append("end"), lambda: called.append("kill")), (lambda: called.append("end"), None)]
    outcomes = terminate_all(pairs, timeout=1, after_kill=1)
    assert called == ["kill"] and outcomes[0] is None and isinstance(outcomes[1], TimeoutError)
