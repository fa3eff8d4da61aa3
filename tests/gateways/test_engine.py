"""Channels between two engines: every method, in the order of the contract at the head of core/engine.py."""

import gc
import weakref

import pytest
from engine_fixture import WITHIN, connected, in_thread, receive, sleeps, until

from brood.gateways.core.errors import DumpError, GatewayLost, RemoteError, TimeoutError
from brood.gateways.core.kinds import CALL, CALLBACKS, ITEM_COST, TASKS


@pytest.fixture(params=["socket", "pipe"])
def pair(contexts, request):
    return contexts.pair(request.param)


@pytest.fixture
def ends(contexts):
    """The two channels of one stream."""
    return connected(*contexts.pair())


VALUES = [0, -1, 1 << 80, 1.5, "text", b"bytes", None, True, [1, [2]], {"a": (1, {2})}, "\ud800", 1j]


def test_values_go_both_ways(pair):
    near, far = connected(*pair)
    for one, other in (near, far), (far, near):
        for value in VALUES:
            one.send(value)
        assert [receive(other) for _ in VALUES] == VALUES


@pytest.mark.parametrize("size", [1 << 10, 1 << 16, (1 << 20) - 100, 3 << 20, 20 << 20])
def test_long_values(pair, size):
    near, far = connected(*pair)
    data = bytes(range(256)) * (size // 256)
    for value in (data, {"data": data, "text": data.decode("latin-1")}):
        sending = in_thread(near.send, value)
        assert receive(far) == value
        sending.result()


def test_short_items_pass_a_long_one(contexts):
    root, child = contexts.pair(window=64 << 20)
    slow, far_slow = connected(root, child)
    fast, far_fast = connected(root, child)
    slow.send(b"x" * (32 << 20))
    for number in range(100):
        fast.send(number)
    assert [receive(far_fast) for _ in range(100)] == list(range(100))
    assert len(receive(far_slow)) == 32 << 20


def test_items_behind_a_long_one_stay_behind_it(contexts):
    near, far = connected(*contexts.pair(window=64 << 20))
    for size in (6 << 20, 10, 3 << 20, 0):
        near.send(b"x" * size)
    near.close()
    assert [len(item) for item in far] == [6 << 20, 10, 3 << 20, 0]


def test_many_threads_and_channels(contexts):
    root, child = contexts.pair("pipe")
    pairs = [connected(root, child) for _ in range(8)]

    def echo(channel):
        for item in channel:
            channel.send(item)

    def talk(channel):
        for number in range(300):
            channel.send((number, "x" * number))
        items = [receive(channel) for _ in range(300)]
        channel.end()
        return items == [(number, "x" * number) for number in range(300)]

    work = [in_thread(echo, far) for _, far in pairs] + [in_thread(talk, near) for near, _ in pairs]
    assert [each.result() for each in work] == [None] * 8 + [True] * 8


def test_the_receiver_waits_until_something_comes(ends):
    near, far = ends
    waiting = in_thread(receive, far)
    until(lambda: sleeps(waiting))
    near.send("now")
    assert waiting.result() == "now"


def test_each_of_several_receivers_gets_an_item(ends):
    near, far = ends
    waiting = [in_thread(receive, far) for _ in range(5)]
    for number in range(5):
        near.send(number)
    assert sorted(each.result() for each in waiting) == list(range(5))


def test_time_outs(ends):
    near, far = ends
    for wait in (near.receive, near.waitclose):
        for seconds in (0, 0.01):
            with pytest.raises(TimeoutError):
                wait(seconds)
        with pytest.raises(OSError):
            wait(timeout=0)
    far.send(1)
    assert receive(near) == 1


def test_what_cannot_be_sent(ends):
    near, far = ends
    with pytest.raises(DumpError, match=r"object at \[1\]\['a'\]"):
        near.send([0, {"a": object()}])
    with pytest.raises(DumpError):
        near.finish(object)
    near.send("fine")
    assert receive(far) == "fine"


def test_what_is_longer_than_allowed(contexts):
    root, child = contexts.pair(item=1000)
    near, far = connected(root, child)
    with pytest.raises(DumpError, match="1000"):
        near.send(b"x" * 1000)
    near.send(b"x" * 997)
    assert len(receive(far)) == 997


# --- the end --------------------------------------------------------------------------------------------------------


def test_close_is_seen_after_what_was_sent(ends):
    near, far = ends
    near.send(1)
    near.close()
    near.close()
    assert near.isclosed()
    far.waitclose(WITHIN)
    assert far.isclosed()
    assert receive(far) == 1
    for _ in range(2):
        with pytest.raises(EOFError):
            receive(far)
    for channel in ends:
        with pytest.raises(OSError):
            channel.send(2)


def test_what_was_received_can_be_taken_after_close(ends):
    near, far = ends
    far.send(1)
    far.end()
    near.waitclose(WITHIN)
    near.close()
    assert receive(near) == 1
    with pytest.raises(EOFError):
        receive(near)


@pytest.mark.parametrize(
    "error, expected",
    [
        ("plain text", ("plain text", "", "plain text")),
        ({"type": "KeyError", "text": "'a'", "traceback": "Traceback: KeyError"}, ("Traceback: KeyError", "KeyError", "'a'")),
        ({"type": "GatewayLost", "text": "x", "traceback": "Traceback: there"}, ("Traceback: there", "GatewayLost", "x")),
        (ValueError("odd"), (None, "ValueError", "odd")),
    ],
)
def test_an_error_is_raised_once(ends, error, expected):
    near, far = ends
    near.send(1)
    near.close(error)
    assert receive(far) == 1
    with pytest.raises(RemoteError) as caught:
        receive(far)
    raised = caught.value
    assert (raised.type, raised.text) == expected[1:]
    assert raised.formatted == expected[0] or expected[0] is None and "ValueError: odd" in raised.formatted
    with pytest.raises(EOFError):
        receive(far)
    far.waitclose(WITHIN)


def test_waitclose_raises_the_error(ends):
    near, far = ends
    waiting = in_thread(far.waitclose, WITHIN)
    near.close("why")
    with pytest.raises(RemoteError, match="why"):
        waiting.result()
    far.waitclose(WITHIN)


def test_a_receiver_that_waits_is_woken_by_close_from_there_and_from_here(contexts):
    root, child = contexts.pair()
    for who in (0, 1):
        both = connected(root, child)
        waiting = [in_thread(both[0].receive), in_thread(both[0].receive)]
        until(lambda: all(map(sleeps, waiting)))
        both[who].close()
        for each in waiting:
            with pytest.raises(EOFError):
                each.result()


def test_end_is_for_one_direction(ends):
    near, far = ends
    near.send(1)
    near.end()
    near.end()
    with pytest.raises(OSError):
        near.send(2)
    far.waitclose(WITHIN)
    assert list(far) == [1]
    assert not far.isclosed() and not near.isclosed()
    far.send("back")
    assert receive(near) == "back"
    far.end()
    assert list(near) == []


def test_when_both_have_ended_nothing_is_left(contexts):
    root, child = contexts.pair()
    near, far = connected(root, child)
    near.end()
    far.end()
    near.waitclose(WITHIN)
    far.waitclose(WITHIN)
    del near, far
    until(lambda: root.stats()["channels"] == child.stats()["channels"] == 0)


def test_finish_is_an_item_and_the_end(ends):
    near, far = ends
    near.send(1)
    near.finish(2)
    assert near.isclosed()
    assert list(far) == [1, 2]
    assert far.isclosed()
    with pytest.raises(OSError):
        near.finish(3)
    with pytest.raises(OSError):
        far.send(3)


def test_finish_with_a_long_value(ends):
    near, far = ends
    near.send(1)
    near.finish(b"x" * (5 << 20))
    assert [receive(far), len(receive(far))] == [1, 5 << 20]


def test_iteration_ends_with_the_items_and_raises_errors(ends):
    near, far = ends
    for number in range(3):
        near.send(number)
    near.close("why")
    seen = []
    with pytest.raises(RemoteError):
        for item in far:
            seen.append(item)
    assert seen == [0, 1, 2]
    assert list(far) == []


# --- references -----------------------------------------------------------------------------------------------------


def test_a_channel_that_nobody_has_is_closed(contexts):
    root, child = contexts.pair()
    near, far = connected(root, child)
    near.send("last")
    del near
    gc.collect()
    assert receive(far) == "last"
    far.waitclose(WITHIN)
    assert far.isclosed()
    del far
    until(lambda: root.stats()["channels"] == child.stats()["channels"] == 0)


def test_a_channel_with_a_callback_lives_on_but_has_ended(contexts):
    root, child = contexts.pair()
    near, far = connected(root, child)
    seen = []
    near.setcallback(seen.append)
    del near
    gc.collect()
    assert list(far) == []
    far.send(1)
    kind, peer, (function, item), channel = root.next(CALLBACKS, WITHIN)
    assert (kind, peer, item, channel) == (0, 1, 1, None)
    function(item)
    far.close()
    until(lambda: root.stats()["channels"] == 0)


def test_an_error_that_nobody_can_receive_is_told(contexts, capsys):
    root, child = contexts.pair()
    near, far = connected(root, child)
    far.close("it broke")
    near_end = weakref.ref(near)
    until(near.isclosed)
    del near
    gc.collect()
    assert near_end() is None
    if contexts.module.name == "python":
        _, _, (function, error), _ = root.next(CALLBACKS, WITHIN)
        function(error)
        assert "it broke" in capsys.readouterr().err


def test_one_object_for_each_end(contexts):
    root, child = contexts.pair()
    near, far = connected(root, child)
    assert child.adopt(0, far.number) is far
    near.send([near, near])
    first, second = receive(far)
    assert first is far and second is far
    assert (near.peer, near.engine, far.peer, far.engine) == (1, root, 0, child)
    assert near.number == far.number and near.number % 2 == 0
    assert "Channel" in repr(near)


def test_the_class_of_channels(contexts):
    class Mine(contexts.module.Channel):
        def __init__(self):
            raise AssertionError("is not called")

    root = contexts.engine(0, channel_type=Mine)
    child = contexts.engine(1, (0,))
    contexts.link(root, child)
    near, _ = connected(root, child)
    assert type(near) is Mine
    with pytest.raises(TypeError):
        contexts.module.Channel(root)


# --- channels in values ---------------------------------------------------------------------------------------------


def test_a_channel_in_an_item_is_there_before_what_is_sent_on_it(ends):
    near, far = ends
    new = near.engine.open(1)
    near.send({"channel": new})
    new.send(1)
    new.close()
    arrived = receive(far)["channel"]
    assert (arrived.peer, arrived.number) == (0, new.number)
    assert list(arrived) == [1]


def test_items_sent_before_the_channel_are_kept(ends):
    near, far = ends
    new = near.engine.open(1)
    new.send("early")
    near.send(new)
    assert receive(receive(far)) == "early"


def test_a_child_may_open_one_too(ends):
    near, far = ends
    new = far.engine.open(0)
    assert new.number % 2 == 1
    far.send((new,))
    (arrived,) = receive(near)
    arrived.send("down")
    assert receive(new) == "down"


def test_a_channel_in_a_call_and_in_its_answer(contexts):
    root, child = contexts.pair()
    argument = root.open(1)
    call = root.request(1, CALL, ("module", None, "function", (argument,), {}, None, False))
    argument.send("with it")
    _, _, value, answer = child.next(TASKS, WITHIN)
    assert receive(value[3][0]) == "with it"
    result = child.open(0)
    answer.finish([result])
    result.send("back")
    assert receive(receive(call)[0]) == "back"


def test_a_channel_goes_only_to_its_other_end(contexts):
    root = contexts.engine(0)
    children = [contexts.engine(number, (0,)) for number in (1, 2)]
    for child in children:
        contexts.link(root, child)
    (one, far_one), (two, far_two) = (connected(root, child) for child in children)
    with pytest.raises(DumpError, match="channel"):
        one.send([two])
    one.send(one)
    assert receive(far_one) is far_one


def test_what_was_never_used_costs_the_other_side_nothing(contexts):
    root, child = contexts.pair()
    for _ in range(10):
        root.open(1).close()
        root.open(1)
    gc.collect()
    until(lambda: root.stats()["channels"] == 0)
    both = connected(root, child)
    assert child.stats()["dropped"] == 0 and both


# --- the window -----------------------------------------------------------------------------------------------------


def test_a_sender_waits_while_the_window_is_full(contexts):
    root, child = contexts.pair(window=4 * (ITEM_COST + 101))
    near, far = connected(root, child)
    for _ in range(4):
        near.send("x" * 99)
    with pytest.raises(TimeoutError):
        near.send("late", 0)
    waiting = in_thread(near.send, "x" * 99)
    until(lambda: sleeps(waiting))
    receive(far)
    waiting.result()
    with pytest.raises(TimeoutError):
        near.send("late", timeout=0.01)
    assert [len(receive(far)) for _ in range(4)] == [99] * 4


def test_one_item_may_be_longer_than_the_window(contexts):
    root, child = contexts.pair(window=1000)
    near, far = connected(root, child)
    for size in (5000, 3 << 20):
        near.send("x" * size)
        with pytest.raises(TimeoutError):
            near.send(1, 0)
        assert len(receive(far)) == size
        near.send("next", WITHIN)
        assert receive(far) == "next"


def test_a_flood_is_held_back_and_nothing_is_lost(contexts):
    root, child = contexts.pair(window=10000)
    near, far = connected(root, child)

    def flood():
        for number in range(20000):
            near.send(number)
        near.close()

    sending = in_thread(flood)
    until(lambda: child.stats()["queued"] >= 100 and sleeps(sending))
    assert list(far) == list(range(20000))
    sending.result()


def test_finish_and_close_do_not_wait_for_the_window(contexts):
    root, child = contexts.pair(window=100)
    near, far = connected(root, child)
    near.send("x" * 200)
    near.finish("last")
    assert [len(receive(far)), receive(far)] == [200, "last"]


@pytest.mark.parametrize("how", ["close", "far close", "stop"])
def test_a_sender_that_waits_is_woken_by_the_end(contexts, how):
    root, child = contexts.pair(window=100)
    near, far = connected(root, child)
    near.send("x" * 200)
    waiting = in_thread(near.send, 1)
    until(lambda: sleeps(waiting))
    {"close": near.close, "far close": far.close, "stop": child.stop}[how]()
    with pytest.raises(OSError):
        waiting.result()


def test_two_that_only_send_do_not_block_each_other_s_engines(contexts):
    root, child = contexts.pair("pipe", window=1 << 20)
    near, far = connected(root, child)
    chatter, far_chatter = connected(root, child)
    sending = [in_thread(lambda channel: [channel.send("x" * 1000) for _ in range(5000)], channel) for channel in (near, far)]
    until(lambda: all(map(sleeps, sending)))
    chatter.send("is anybody there?")
    assert receive(far_chatter) == "is anybody there?"
    for channel in (near, far):
        for _ in range(5000):
            receive(channel)
    for each in sending:
        each.result()


def test_stop_ends_channels_with_their_items_left(ends):
    near, far = ends
    far.send(1)
    until(lambda: near.engine.stats()["queued"] == 1)
    waiting = in_thread(near.waitclose)
    near.engine.stop()
    near.engine.stop()
    with pytest.raises(GatewayLost):
        waiting.result()
    assert receive(near) == 1
    for call in (near.receive, near.receive, lambda: near.send(1)):
        with pytest.raises(GatewayLost):
            call()
    with pytest.raises(EOFError):
        receive(near)
