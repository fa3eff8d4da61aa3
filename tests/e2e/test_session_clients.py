"""Several clients of one session, its time-outs and the number of sessions, against the real server."""

import threading
import time
from pathlib import Path

import pytest
from session_fixture import PASSWORD, USER, package, run, serving, stream_of, types, until, value
from waiting import DEADLINE, wait_until

CONFIG = """
[serve]
interrupt_grace = "1s"
max_sessions = 5
max_sessions_per_user = 2
"""


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood, CONFIG, tcp=True) as made:
        yield made


@pytest.fixture
def user(server):
    with package.Client(server.tcp, user=USER, password=PASSWORD, timeout=DEADLINE) as made:
        yield made


@pytest.fixture
def session(server):
    with server.client.new() as made:
        yield made


@pytest.mark.core
def test_all_clients_see_the_same_events_in_one_order(server, session):
    with package.Client(server.address) as other, stream_of(session) as first, stream_of(other.session(session.id)) as second:

        def work(client):
            for number in range(10):
                client.session(session.id).run(f"print({number}); display({number})", timeout=DEADLINE)

        threads = [threading.Thread(target=work, args=(client,)) for client in (server.client, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        last = run(session, "'end'").cell
        seen = [[(one.seq, one.type, one.cell, one.text) for one in until(events, "done", cell=last)] for events in (first, second)]
    newest = max(one[0][0] for one in seen)  # the second one joined later
    seen = [[event for event in one if event[0] >= newest] for one in seen]
    assert seen[0] == seen[1]
    assert [event[0] for event in seen[0]] == list(range(newest, newest + len(seen[0])))
    assert len([event for event in seen[0] if event[1] == "display"]) == 20


@pytest.mark.core
def test_who_joins_late_gets_the_past(session):
    run(session, "print('early')")
    with session.events() as events:
        seen = until(events, "done")
    assert [event.type for event in seen if event.type != "state"] == ["cell", "checkpoint", "stdout", "done"] or "stdout" in types(seen)
    assert seen[0].seq == 1
    with session.events(after=seen[-1].seq - 1) as events:
        assert events.read(DEADLINE).seq == seen[-1].seq


@pytest.mark.core
def test_output_that_nobody_reads_is_kept_up_to_a_limit(session):
    run(session, "for i in range(3000): print('x' * 999)", max_output=10)
    with session.events(after=0) as events:
        first = events.read(DEADLINE)
        assert first.type == "dropped" and first.head["events"] > 0
        seen = until(events, "done")
    kept = sum(len(event.body) for event in seen if event.type == "stdout")
    assert 500_000 < kept < 2_000_000
    assert seen[0].seq == first.seq + 1


def test_a_client_that_does_not_read_loses_only_its_own_events(server, session):
    """Another one gets everything."""
    with package.Client(server.address) as slow, stream_of(slow.session(session.id)) as idle:
        got = sum(len(event.body) for event in session.stream("for i in range(6000): print('x' * 999)") if event.type == "stdout")
        assert got == 6_000_000
        seen = until(idle, "done")
    assert any(event.type == "dropped" and event.head["events"] > 0 and event.head["bytes"] > 0 for event in seen)


def test_small_pieces_of_output_cost_little(server, session):
    def kib():
        return next(int(line.split()[1]) for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))

    before = kib()
    done = run(session, "for k in range(60000): print(k, flush=True)")
    assert done.stdout.endswith("59999\n")
    assert kib() - before < 40_000, "KiB"


@pytest.mark.core
@pytest.mark.parametrize("code", ["print('x' * 5_000_000)", "print('\\x01' * 3_000_000)", "'x' * 900_000 * 7", "raise ValueError('\\x01' * 3_000_000)"])
def test_a_result_that_is_too_large_is_cut(session, code):
    done = session.run(code, timeout=DEADLINE)
    assert done.truncated or (done.value and len(done.value) > 900_000), done
    assert value(session, "6 * 7") == "42"


def test_leaving(server, session):
    with stream_of(session) as events:
        assert session.info()["clients"] == 1
        until(events, "state")
    wait_until(lambda: session.info()["clients"] == 0, "the client to be gone")
    assert value(session, "1") == "1"


@pytest.mark.core
def test_a_session_that_nobody_uses_ends(server):
    session = server.client.new(idle_timeout=1)
    with session.events() as events:
        until(events, "state", state="idle")
    begin = time.monotonic()
    wait_until(lambda: [one for one in server.client.sessions() if one["id"] == session.id][0]["state"] == "ended", "its end")
    assert time.monotonic() - begin > 0.5
    with session.events() as events:
        assert "not used for 1 s" in until(events, "ended")[-1].head["why"]
    session.remove()


def test_a_session_without_clients_ends(server):
    session = server.client.new(no_clients_timeout=1)
    with session.events() as events:
        until(events, "state", state="idle")
        with pytest.raises(package.Timeout):
            while True:
                events.read(1.5)  # with a client it goes on
    with session.events(after=0) as events:
        pass
    wait_until(lambda: [one for one in server.client.sessions() if one["id"] == session.id][0]["state"] == "ended", "its end")
    with session.events() as events:
        assert "no client for 1 s" in until(events, "ended")[-1].head["why"]
    session.remove()


def test_the_number_of_sessions(server, user):
    with user.new() as first, user.new() as second:
        with pytest.raises(package.LimitExceeded, match="2 sessions"):
            user.new()
        with pytest.raises(package.LimitExceeded):
            first.fork()
        with server.client.new(), server.client.new(), server.client.new():  # who runs the server may have all
            with pytest.raises(package.LimitExceeded, match="5 sessions"):
                server.client.new()
        second.remove()
        with user.new() as third:
            assert value(third, "6 * 7") == "42"


def test_other_users_see_nothing_of_it(server, user, session):
    assert user.sessions() == []
    for work in (lambda: user.session(session.id), lambda: user.call("run", session=session.id, code="1")):
        with pytest.raises(package.SessionNotFound):
            work()
    session.share(USER, "view")
    seen = user.session(session.id)
    with pytest.raises(package.Forbidden):
        seen.run("1")
    session.share(USER, "edit")
    assert value(seen, "6 * 7") == "42"
    session.share(USER, "none")
    with pytest.raises(package.SessionNotFound):
        seen.run("1")
