"""Channels whose items go to a function, and functions that are told when something can be received or sent."""

import gc
import threading

import pytest
from engine_fixture import WITHIN, connected, in_thread, receive, sleeps, until

from brood.gateways.core.errors import RemoteError, TimeoutError
from brood.gateways.core.kinds import CALLBACKS


@pytest.fixture
def ends(contexts):
    """The two channels of one stream."""
    return connected(*contexts.pair())


def serve(engine, stop):
    while not stop.is_set():
        request = engine.next(CALLBACKS, WITHIN)
        if request is not None:
            function, argument = request[2]
            function(argument)


@pytest.fixture
def served(ends):
    stop = threading.Event()
    serving = in_thread(serve, ends[0].engine, stop)
    yield ends
    ends[0].when(lambda _: stop.set(), writable=True)
    ends[0].engine.stop()
    stop.set()
    serving.result()


def test_a_callback_gets_what_waits_and_what_comes_in_order(served):
    near, far = served
    for number in range(100):
        far.send(number)
    until(lambda: near.engine.stats()["queued"] == 100)
    seen, done = [], threading.Event()
    near.setcallback(lambda item: done.set() if item == "end" else seen.append(item), endmarker="end")
    with pytest.raises(OSError):
        near.setcallback(print)
    with pytest.raises(OSError):
        near.receive()
    for number in range(100, 200):
        far.send(number)
    far.close()
    assert done.wait(WITHIN)
    assert seen == list(range(200))


def test_the_endmarker_comes_once_and_without_one_nothing_does(served):
    near, far = served
    seen = []
    near.setcallback(seen.append, endmarker=None)
    far.send(1)
    far.end()
    near.waitclose(WITHIN)
    assert seen == [1, None]
    far.close()
    other = far.engine.open(0)
    far_other = near.engine.adopt(1, other.number)
    del far_other
    assert seen == [1, None]


def test_a_callback_set_after_the_end(served):
    near, far = served
    far.send(1)
    far.close()
    until(near.isclosed)
    seen = []
    near.setcallback(seen.append, endmarker=2)
    near.waitclose(WITHIN)
    assert seen == [1, 2]


def test_waitclose_waits_for_the_last_call_to_return(served):
    near, far = served
    entered, go, seen = threading.Event(), threading.Event(), []

    def slow(item):
        entered.set()
        go.wait(WITHIN)
        seen.append(item)

    near.setcallback(slow)
    far.send(1)
    far.close()
    assert entered.wait(WITHIN)
    with pytest.raises(TimeoutError):
        near.waitclose(0.01)
    go.set()
    near.waitclose(WITHIN)
    assert seen == [1]


def test_a_receiver_that_waits_is_told_of_a_callback(ends):
    near, _ = ends
    waiting = in_thread(near.receive)
    until(lambda: sleeps(waiting))
    near.setcallback(print)
    with pytest.raises(OSError, match="callback"):
        waiting.result()


def test_a_callback_may_use_its_channel(served):
    near, far = served
    near.setcallback(lambda item: near.finish(item + 1) if item else near.waitclose())
    far.send(1)
    assert list(far) == [2]


def test_callbacks_count_for_the_window_when_they_are_called(contexts):
    root, child = contexts.pair(window=1000)
    near, far = connected(root, child)
    near.setcallback(lambda item: None)
    sending = in_thread(lambda: [far.send("x" * 100) for _ in range(20)])
    until(lambda: sleeps(sending))
    assert sending.is_alive()
    for _ in range(20):
        assert len(root.next(CALLBACKS, WITHIN)[2][1]) == 100
    sending.result()


def test_when_tells_once_that_something_can_be_received_or_sent(contexts):
    root, child = contexts.pair(window=1000)
    near, far = connected(root, child)
    near.when("readable")
    near.when("writable", writable=True)
    assert root.next(CALLBACKS, WITHIN)[2] == ("writable", None)
    assert root.next(CALLBACKS, 0) is None
    far.send(1)
    far.send(2)
    assert root.next(CALLBACKS, WITHIN)[2] == ("readable", None)
    near.when("at once")
    assert root.next(CALLBACKS, WITHIN)[2] == ("at once", None)
    near.send("x" * 2000)
    near.when("writable", writable=True)
    assert root.next(CALLBACKS, 0) is None
    receive(far)
    assert root.next(CALLBACKS, WITHIN)[2] == ("writable", None)
    assert [receive(near), receive(near)] == [1, 2]
    near.when("closed")
    far.close()
    assert root.next(CALLBACKS, WITHIN)[2] == ("closed", None)


# --- errors that nobody can receive ---------------------------------------------------------------------------------------


def test_an_error_that_nobody_can_receive_is_said(contexts, capfd):
    near, far = connected(*contexts.pair())
    engine = near.engine
    far.close({"type": "ValueError", "text": "lost", "traceback": "Traceback: lost"})
    until(near.isclosed)
    del near
    gc.collect()
    function, error = engine.next(CALLBACKS, WITHIN)[2]
    assert function == RemoteError.warn and (error.type, error.text) == ("ValueError", "lost")
    function(error)
    assert "lost" in capfd.readouterr().err


def test_an_error_that_was_received_is_not_said_again(contexts):
    near, far = connected(*contexts.pair())
    engine = near.engine
    far.close({"type": "ValueError", "text": "known", "traceback": "Traceback: known"})
    with pytest.raises(RemoteError):
        near.receive(WITHIN)
    del near
    gc.collect()
    assert engine.next(CALLBACKS, 0.05) is None
