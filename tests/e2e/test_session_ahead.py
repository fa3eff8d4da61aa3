"""Sessions that the server starts before they are wanted, against the real server."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from session_fixture import package, pid_of, processes_in, run, serving, value
from waiting import children, ended, process_state, wait_until

MODULE = """
[env.own]
python = "{python}"
preload = ["thing"]
"""


def began(pid):
    """When a process began, in seconds since the epoch."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    boot = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def wait_for_one(server):
    """Until a session waits."""
    wait_until(server.is_calm, "a session that was started ahead")


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood) as made:
        yield made


@pytest.mark.core
def test_it_was_there_before_it_was_wanted(server):
    wait_for_one(server)
    time.sleep(1.1)  # a second, which `btime` is rounded to
    folders = server.folders()
    with server.client.new(name="mine") as session:
        told = session.info()
        assert [folder.name for folder in folders] == [session.id] and told["name"] == "mine"
        assert value(session, "6 * 7") == "42"
        assert began(pid_of(session)) < told["created"] and abs(told["created"] - time.time()) < 60
        assert value(session, "import os; os.path.basename(os.getcwd())") == repr(session.id)


def test_nobody_sees_it_before(server):
    wait_for_one(server)
    (hidden,) = [folder.name for folder in server.folders()]
    assert server.client.sessions() == []
    with pytest.raises(package.NotFound):
        server.client.session(hidden).info()


@pytest.mark.core
def test_its_first_cell_can_be_undone(server):
    wait_for_one(server)
    with server.client.new() as session:
        run(session, "x = 1")
        (one,) = session.checkpoints()
        assert (one["checkpoint"], one["execution_count"], one["code"]) == (1, 1, "x = 1")
        session.undo()
        assert value(session, "'x' in globals()") == "False" and session.info()["execution_count"] == 1


def test_two_are_two(server):
    wait_for_one(server)
    with server.client.new() as one, server.client.new() as other:
        run(one, "x = 1")
        assert value(other, "'x' in globals()") == "False"
        assert value(one, "import random; random.random()") != value(other, "import random; random.random()")


def test_other_limits_are_kept(server):
    wait_for_one(server)
    with server.client.new(limits={"open_files": 300}) as session:
        assert value(session, "import resource; resource.getrlimit(resource.RLIMIT_NOFILE)[0]") == "300"
    with server.client.new(checkpoints=0) as session:
        run(session, "x = 1")
        assert session.checkpoints() == []


def test_one_that_died_is_not_given_away(server):
    wait_for_one(server)
    (hidden,) = server.folders()
    for pid in (pid for zygote in server.processes() for pid in [zygote, *children(zygote)]):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd") == str(hidden):
                os.kill(pid, signal.SIGKILL)
    wait_until(lambda: hidden not in server.folders(), "the end of the one that died")
    with server.client.new() as session:
        assert value(session, "6 * 7") == "42"
    wait_for_one(server)


def test_one_that_died_is_replaced(server):
    wait_for_one(server)
    (hidden,) = server.folders()
    for pid in processes_in(hidden.name):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.folders() not in ([], [hidden]), "another one")
    wait_for_one(server)


def test_a_dead_zygote(server):
    wait_for_one(server)
    zygote = next(pid for pid in server.processes() if children(pid))
    os.kill(zygote, signal.SIGKILL)
    with server.client.new() as session:
        assert value(session, "6 * 7") == "42"
    wait_until(lambda: process_state(zygote) == "", "the zygote's end")
    wait_for_one(server)


def test_it_is_not_stale(brood):
    """What its environment has loaded changes while it waits."""
    thing = brood.work / "thing.py"
    thing.write_text("answer = 1\n")
    with serving(brood, MODULE.format(python=brood.environment.get("BROOD_PYTHON", "python3")), environments=["own"]) as server:
        for number in range(2, 5):
            with server.client.new("own") as session:
                assert value(session, "import sys, thing; thing.answer") == str(number - 1)
            wait_for_one(server)
            thing.write_text(f"answer = {number}\n# {'-' * number}\n")
        with server.client.new("own") as session:
            assert value(session, "import sys, thing; thing.answer") == "4"
        wait_for_one(server)


@pytest.mark.parametrize("ahead", [0, 3])
def test_how_many(brood, ahead):
    with serving(brood, f"[serve]\nsessions_ahead = {ahead}\n", ahead=ahead) as server:
        assert len(server.folders()) == ahead
        sessions = [server.client.new() for _ in range(ahead + 2)]
        assert [value(session, "6 * 7") for session in sessions] == ["42"] * (ahead + 2)
        assert len({pid_of(session) for session in sessions}) == ahead + 2
        pids = [pid_of(session) for session in sessions]
        for session in sessions:
            session.remove()
        wait_until(lambda: ended(*pids), "the end of the sessions")
        wait_for_one(server)


def test_it_waits_longer_than_a_session_without_clients(brood):
    with serving(brood, '[serve]\nno_clients_timeout = "1s"\nidle_timeout = "1s"\n') as server:
        (hidden,) = server.folders()
        with server.client.new(no_clients_timeout=0, idle_timeout=0, checkpoints=0, limits={"open_files": 300}):
            time.sleep(1.5)  # the time-outs are over for who has them
            assert hidden in server.folders()
