"""Three and more contexts: what is passed on, who hears of what is gone."""

import gc
import os

import pytest
from engine_fixture import WITHIN, frame, in_thread, sleeps, until, value_frame

from brood.gateways.core.errors import GatewayLost
from brood.gateways.core.kinds import (
    CALL, CLOSE, END, EXEC, GONE, ITEM, LOG, MODULE, OPEN, PING, RETURN, ROUTE, SERVICE, SHUTDOWN, STATUS, TASKS, End,
)  # fmt: skip
from brood.gateways.core.values import dumps


@pytest.fixture
def chain(contexts):
    return contexts.chain()


@pytest.fixture
def siblings(contexts):
    """The root and two children."""
    root = contexts.engine(0)
    children = [contexts.engine(number, (0,)) for number in (1, 2)]
    for child in children:
        contexts.link(root, child, "pipe")
    return [root, *children]


def test_two_hops(chain):
    root, router, leaf = chain
    near = root.request(2, EXEC, "task")
    kind, peer, value, far = leaf.next(TASKS, WITHIN)
    assert (kind, peer, value) == (EXEC, 0, "task")
    for size in (0, 1 << 16, 6 << 20):
        near.send(b"x" * size)
        assert len(far.receive(WITHIN)) == size
        far.send(b"y" * size)
        assert len(near.receive(WITHIN)) == size
    far.close()
    near.waitclose(WITHIN)
    assert router.stats()["channels"] == 0 and router.stats()["dropped"] == 0


def test_the_parent_of_the_leaf_may_ask_it_too(chain):
    _, router, leaf = chain
    call = router.request(2, CALL, "hello")
    kind, peer, value, answer = leaf.next(TASKS, WITHIN)
    assert (kind, peer, value) == (CALL, 1, "hello")
    answer.finish("world")
    assert call.receive(WITHIN) == "world"


def test_modules_logs_and_shutdown_over_two_hops(chain):
    root, router, leaf = chain
    asked = leaf.request(0, MODULE, ["a", []])
    kind, peer, value, answer = root.next(SERVICE, WITHIN)
    assert (kind, peer, value) == (MODULE, 2, ["a", []])
    answer.finish(["source"])
    assert asked.receive(WITHIN) == ["source"]
    leaf.post(0, LOG, ["a", 20, "b"])
    assert root.next(SERVICE, WITHIN) == (LOG, 2, ["a", 20, "b"], None)
    leaf.request(1, MODULE, ["b", []])
    assert router.next(SERVICE, WITHIN)[:3] == (MODULE, 2, ["b", []])
    root.post(2, SHUTDOWN, 4.0)
    assert leaf.next(SERVICE, WITHIN)[:3] == (SHUTDOWN, 0, 4.0)


def test_a_route_that_was_sent(contexts):
    root, first, second = contexts.engine(0), contexts.engine(1, (0,)), contexts.engine(2, (1, 0))
    contexts.link(root, first)
    contexts.link(first, second)
    third = contexts.engine(3, (2, 1, 0))
    contexts.link(second, third)
    root.add_route(2, 1)
    root.add_route(3, 1)
    root.post(1, ROUTE, (3, 2))
    near = root.request(3, EXEC, "far away")
    assert third.next(TASKS, WITHIN)[2] == "far away"
    assert near.number == 2


def test_the_window_is_that_of_the_two_ends(contexts):
    root, _, leaf = contexts.chain(window=10000)
    near = root.request(2, EXEC, None)
    far = leaf.next(TASKS, WITHIN)[3]
    sending = in_thread(lambda: [near.send("x" * 500) for _ in range(1000)])
    until(lambda: sleeps(sending))
    assert [len(far.receive(WITHIN)) for _ in range(1000)] == [500] * 1000
    sending.result()


# --- channels between two that are not the root ---------------------------------------------------------------------


def test_the_root_opens_a_channel_between_two_others(siblings):
    root, one, two = siblings
    talk = [root.request(number, EXEC, None) for number in (1, 2)]
    ends = [engine.next(TASKS, WITHIN)[3] for engine in (one, two)]
    root.post(1, OPEN, (2, 8))
    root.post(2, OPEN, (1, 8))
    talk[0].send(End(2, 8, 1))
    talk[1].send([End(1, 8, 2)])
    first, (second,) = ends[0].receive(WITHIN), ends[1].receive(WITHIN)
    assert (first.peer, first.number, second.peer, second.number) == (2, 8, 1, 8)
    first.send("to a sibling")
    assert second.receive(WITHIN) == "to a sibling"
    second.send(b"x" * (5 << 20))
    assert len(first.receive(WITHIN)) == 5 << 20
    second.close("enough")
    with pytest.raises(OSError):
        until(lambda: first.isclosed())
        first.send(1)
    with pytest.raises(Exception, match="context 1|for"):
        talk[1].send(End(2, 8, 1))


def test_what_comes_before_the_end_is_adopted_is_kept(siblings):
    root, one, two = siblings
    root.post(1, OPEN, (2, 8))
    root.post(2, OPEN, (1, 8))
    talk = [root.request(number, EXEC, None) for number in (1, 2)]
    for engine in one, two:
        engine.next(TASKS, WITHIN)
    one.adopt(2, 8).send("early")
    assert two.adopt(1, 8).receive(WITHIN) == "early"
    assert talk


def test_siblings_may_ask_nothing_of_each_other(siblings):
    root, one, two = siblings
    kept = [one.request(2, kind, ["a", []]) for kind in (EXEC, CALL, STATUS, MODULE)]
    one.post(2, LOG, ["a", 20, "b"])
    one.post(2, SHUTDOWN, 4.0)
    one.post(2, ROUTE, (7, 1))
    one.post(2, OPEN, (7, 8))
    channel = one.open(2)
    channel.send(1)
    until(lambda: two.stats()["dropped"] == 10)
    assert two.next(TASKS, 0) is two.next(SERVICE, 0) is None
    assert two.stats()["channels"] == 0 and kept and root


# --- what is gone ---------------------------------------------------------------------------------------------------


def gone(engine):
    kind, _, (lost, why), channel = engine.next(SERVICE, WITHIN)
    assert (kind, channel) == (GONE, None)
    return sorted(lost), why


def test_the_end_of_a_context_names_the_hop_everywhere(contexts):
    root, router = contexts.engine(0, name="master"), contexts.engine(1, (0,), name="router")
    leaf, sibling = contexts.engine(2, (1, 0)), contexts.engine(3, (0,))
    contexts.link(root, router)
    contexts.link(root, sibling)
    ours, theirs = os.pipe(), os.pipe()
    router.add_link(2, ours[0], theirs[1], name="leaf")
    leaf.add_link(1, theirs[0], ours[1])
    root.add_route(2, 1)
    far = [root.request(2, EXEC, None), router.request(2, CALL, None)]
    near = root.request(1, EXEC, None)
    waiting = in_thread(far[0].receive)
    until(lambda: sleeps(waiting))
    leaf.stop()
    for engine in (router, root, sibling):
        lost, why = gone(engine)
        assert lost == [2] and "leaf" in why
    with pytest.raises(GatewayLost, match="leaf"):
        waiting.result()
    for call in (far[0].receive, far[1].receive, lambda: far[0].send(1), lambda: root.request(2, CALL, None)):
        with pytest.raises(GatewayLost, match="leaf"):
            call()
    near.send("still there")
    assert router.next(TASKS, WITHIN)[3].receive(WITHIN) == "still there"
    assert root.open(2).isclosed()


def test_everything_behind_a_context_goes_with_it(contexts):
    root, router, _ = contexts.chain()
    channels = [root.request(context, EXEC, None) for context in (1, 2)]
    until(lambda: router.stats()["queued"] == 1)
    router.stop()
    assert gone(root)[0] == [1, 2]
    for channel in channels:
        with pytest.raises(GatewayLost):
            channel.receive(WITHIN)


def test_lose_a_child(siblings):
    root, one, two = siblings
    channel = root.request(1, EXEC, None)
    root.lose(1, "it hangs")
    with pytest.raises(GatewayLost, match="it hangs"):
        channel.receive()
    assert gone(root) == ([1], "it hangs")
    assert gone(two) == ([1], "it hangs")
    assert 0 in gone(one)[0]  # its link has ended
    root.lose(1, "again")
    assert root.next(SERVICE, 0) is None


def test_lose_what_is_behind_a_child(chain):
    root, router, leaf = chain
    channel = root.request(2, EXEC, None)
    far = leaf.next(TASKS, WITHIN)[3]
    root.lose(2, "it hangs")
    with pytest.raises(GatewayLost, match="it hangs"):
        channel.receive()
    assert gone(router) == ([2], "it hangs")
    if router.stats():  # the link to it is closed by its parent
        with pytest.raises(GatewayLost):
            far.receive(WITHIN)
    assert root.request(1, EXEC, None).number


def test_orphans_know_that_their_ancestors_are_gone(contexts):
    root, router, leaf = contexts.chain()
    asked = leaf.request(0, MODULE, ["a", []])
    near = router.request(2, EXEC, None)
    far = leaf.next(TASKS, WITHIN)[3]
    request = root.next(SERVICE, WITHIN)
    root.stop()
    assert request
    assert 0 in gone(router)[0]
    with pytest.raises(GatewayLost):
        asked.receive(WITHIN)
    near.send("the two are connected")
    assert far.receive(WITHIN) == "the two are connected"


def test_a_flood_of_gone_is_heard_by_neighbours_only_once(contexts):
    root = contexts.engine(0)
    raws = [contexts.raw(root, number) for number in range(1, 20)]
    raws[0].socket.shutdown(1)
    for raw in raws[1:]:
        assert raw.expect_value(GONE)[0] == [1]
    for number in range(2, 10):
        raws[number - 1].value(GONE, 0, [[number, 0, 1, 99], "lies"])
    until(lambda: root.stats()["dropped"] >= 0)
    raws[18].value(LOG, 0, ["a", 20, "b"])
    while True:
        kind, peer, value, _ = root.next(SERVICE, WITHIN)
        if kind == LOG:
            break
        assert value[0] == [1]
    assert root.request(5, EXEC, None).number == 2


def test_a_context_that_is_gone_does_not_come_back(contexts):
    root = contexts.engine(0)
    contexts.raw(root, 1).close()
    gone(root)
    reader, writer = os.pipe()
    with pytest.raises((ValueError, OSError)):
        root.add_link(1, reader, writer)
    for descriptor in (reader, writer):
        os.close(descriptor)
    root.add_route(1, 1)
    with pytest.raises(GatewayLost):
        root.request(1, EXEC, None)


def test_what_opens_a_channel_to_nobody_is_refused_by_the_router(contexts):
    root, router = contexts.engine(0), contexts.engine(1, (0,))
    contexts.link(root, router)
    root.add_route(7, 1)
    call = root.request(7, CALL, None)
    with pytest.raises(GatewayLost, match="7"):
        call.receive(WITHIN)


# --- a router does not trust its children ---------------------------------------------------------------------------


@pytest.fixture
def between(contexts):
    """A router between two that speak frames by hand."""
    router = contexts.engine(5, (0,))
    above, below = contexts.raw(router, 0), contexts.raw(router, 6)
    return router, above, below


def test_frames_are_passed_on_as_they_are(between):
    router, above, below = between
    above.send(value_frame(EXEC, 6, 0, 2, "down"))
    assert below.read() == (EXEC, 6, 0, 2, dumps("down"))
    below.send(value_frame(RETURN, 0, 6, 2, "up"))
    assert above.read() == (RETURN, 0, 6, 2, dumps("up"))
    above.send(*(frame(ITEM, 6, 0, 2, bytes([number])) for number in range(200)))
    assert [below.read()[4][0] for _ in range(200)] == list(range(200))


def test_in_another_s_name_nothing_is_passed_on(between):
    router, above, below = between
    for source in (0, 5, 9):
        below.send(frame(ITEM, 0, source, 2, b"\0"))
    assert below.wait_for_end() == []
    assert above.expect_value(GONE)[0] == [6]


def test_two_slips_are_forgiven(between):
    router, above, below = between
    below.send(frame(ITEM, 0, 9, 2, b"\0"), frame(200, 0, 6), value_frame(LOG, 0, 6, 0, "fine"))
    assert above.read()[:3] == (LOG, 0, 6)
    assert router.stats()["dropped"] == 2
    below.send(frame(200, 0, 6))
    assert below.wait_for_end() == []


def test_what_was_lost_may_still_speak_for_a_while(contexts):
    root = contexts.engine(0)
    raw = contexts.raw(root, 1)
    root.add_route(2, 1)
    root.lose(2, "it hangs")
    assert raw.expect_value(GONE) == [[2], "it hangs"]
    raw.send(*(value_frame(ITEM, 0, 2, 2, number) for number in range(10)), value_frame(LOG, 0, 1, 0, ["a", 20, "fine"]))
    assert root.next(SERVICE, WITHIN)[0] == GONE
    assert root.next(SERVICE, WITHIN)[:2] == (LOG, 1)
    assert root.stats()["dropped"] == 10


def test_frames_for_the_neighbour_only_are_not_passed_on(between):
    router, above, below = between
    above.send(*(frame(kind, 6, 0) for kind in (PING, GONE)), value_frame(EXEC, 6, 0, 2, None))
    assert below.read()[0] == EXEC
    assert router.stats()["dropped"] == 2


def test_what_comes_from_above_for_nobody_does_not_go_back(between):
    router, above, _ = between
    above.send(frame(ITEM, 9, 0, 2, b"\0"), value_frame(EXEC, 9, 0, 4, None), frame(END, 9, 0, 2))
    got = above.read()
    assert (got[0], got[1], got[3]) == (CLOSE, 0, 4)


def test_a_child_that_floods_is_read_no_more_while_the_way_is_full(between, contexts):
    router, above, below = between
    data = frame(ITEM, 0, 6, 2, bytes(1 << 20))

    def flood():
        for _ in range(80):
            below.send(data)

    flooding = in_thread(flood)
    below.socket.settimeout(None)
    until(lambda: sleeps(flooding) and router.stats()["unwritten"] > 32 << 20)
    assert router.stats()["unwritten"] < 40 << 20
    above.send(value_frame(EXEC, 5, 0, 2, "is heard"))
    request = router.next(TASKS, WITHIN)
    assert request[2] == "is heard"
    for _ in range(80):
        assert len(above.read()[4]) == 1 << 20
    flooding.result()


def test_nothing_is_left_of_channels_of_others(between):
    router, above, below = between
    above.send(value_frame(EXEC, 6, 0, 2, None), frame(CLOSE, 6, 0, 2))
    below.read(), below.read()
    gc.collect()
    assert router.stats()["channels"] == 0
