"""The state before a session's first cell, of which no copy is kept, against the real server."""

import contextlib
import os
import signal
import time

import pytest
from session_fixture import measured, package, pid_of, run, serving, session_processes, stream_of, until, value, worker_of
from waiting import DEADLINE, children, ended, wait_until

OWN = '[serve]\nsessions_ahead = 0\n[env.own]\npython = "{python}"\ninit = "init.py"\n'


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood) as made:
        yield made


@pytest.fixture(params=[1, 0], ids=["ahead", "not ahead"])
def session(server, request):
    """One that was started before it was wanted, and one with limits of its own."""
    with server.client.new(limits={} if request.param else {"open_files": 300}) as made:
        yield made


@pytest.mark.core
def test_it_costs_nothing(session):
    run(session, "x = 1")
    assert len(session_processes(session)) == 1
    (one,) = session.checkpoints(memory=True)
    assert {name: one[name] for name in ("checkpoint", "us", "pss", "unique")} == {"checkpoint": 1, "us": 0, "pss": 0, "unique": 0}
    run(session, "x = 2")
    assert len(session_processes(session)) == 2
    told = measured(session)
    assert [one["pss"] > 0 for one in told] == [False, True]


@pytest.mark.core
def test_undo_of_all(session):
    for number in range(3):
        run(session, f"x = {number}; open('kept', 'w').close()")
    first = pid_of(session)
    with stream_of(session) as events:
        assert session.undo(to=1)["execution_count"] == 0
        undone = until(events, "undone")[-1]
    assert (undone.head["checkpoint"], undone.head["why"]) == (1, "undo")
    wait_until(lambda: ended(first), "the end of the former process")
    assert session.checkpoints() == [] and session.info()["execution_count"] == 0
    assert value(session, "import os; 'x' in globals(), os.listdir()") == "(False, ['kept'])"
    session.undo()
    assert value(session, "'os' in globals()") == "False"


def has_another(session, worker):
    with contextlib.suppress(AssertionError):  # none yet
        return worker_of(session) != worker and session.info()["state"] == "idle"


@pytest.mark.parametrize("who,idle", [("signal", 0), ("another", 1.1)], ids=["told to", "idle for a while"])
def test_its_process_may_end_any_number_of_times(session, who, idle):
    """It is started anew, and given up only if it ends again and again on its own, at once."""
    wait_until(lambda: has_another(session, 0), "a process")
    for _ in range(6):
        worker = worker_of(session)
        time.sleep(idle)  # the time is the matter of this test
        if who == "signal":
            session.signal("KILL")
        else:
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: has_another(session, worker), "another one")
    assert value(session, "6 * 7") == "42"


@pytest.mark.core
@pytest.mark.parametrize(
    "code,status", [("import os; os._exit(3)", "crashed"), ("import os; os.kill(os.getpid(), 9)", "crashed"), ("while True: pass", "timeout")]
)
def test_a_first_cell_that_has_to_be_undone(session, code, status):
    done = session.run("x = 1\n" + code, timeout=0.3 if status == "timeout" else DEADLINE)
    assert (done.status, done.undone) == (status, True), done
    assert value(session, "'x' in globals()") == "False"
    assert [one["checkpoint"] for one in session.checkpoints()] == [2]


def test_a_worker_that_is_killed_before_the_first_cell(session):
    wait_until(lambda: session.info()["state"] == "idle", "a session that is ready")
    for _ in range(2):
        (worker,) = session_processes(session)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda gone=worker: session_processes(session) not in ([], [gone]), "another worker")
        wait_until(lambda: session.info()["state"] == "idle", "a session that is ready again")
    run(session, "x = 1")


@pytest.mark.core
def test_a_branch_of_it(session):
    run(session, "x = 1; open('kept', 'w').close()")
    run(session, "x = 2")
    with session.fork(at=1) as branch:
        assert value(branch, "import os; 'x' in globals(), os.listdir()") == "(False, ['kept'])"
        assert value(session, "x") == "2"
        branch.undo()
        assert value(branch, "'os' in globals()") == "False"


def test_what_was_sent_before_the_first_cell_is_no_part_of_the_environment(session):
    """Then a copy is made after all."""
    session.send(b"hello")
    assert value(session, "import brood.messages; brood.messages.receive(5)") == "b'hello'"
    assert len(session_processes(session)) == 2
    session.undo()
    assert value(session, "import brood.messages; brood.messages.receive(5)") == "b'hello'"


def test_the_environment_is_that_of_now(brood):
    """It is read again, and if it cannot be had the session stays as it is."""
    init = brood.work / "init.py"
    init.write_text("given = 1\n")
    python = brood.environment.get("BROOD_PYTHON", "python3")
    with serving(brood, OWN.format(python=python), environments=["own"], ahead=0) as server, server.client.new("own") as session:
        assert value(session, "given") == "1"
        init.write_text("given = 2  # another one\n")
        session.undo()
        assert value(session, "given") == "2"
        zygote = next(pid for pid in server.processes() if children(pid))
        os.kill(zygote, signal.SIGKILL)
        session.undo()
        assert value(session, "given") == "2"
        init.write_text("given = 3 / 0  # a mistake\n")
        with pytest.raises(package.Error, match="(?s)before the first cell.*cannot be had.*ZeroDivisionError"):
            session.undo()
        assert value(session, "given") == "2" and session.info()["state"] == "idle"
        init.write_text("given = 4\n")
        session.undo(to=session.checkpoints()[0]["checkpoint"])
        assert value(session, "given") == "4"


def test_a_zygote_that_is_killed_meanwhile(brood):
    """The environment could be had once, so it is tried again."""
    zygotes = brood.work / "zygotes"
    (brood.work / "init.py").write_text(f"import os, time\nwith open({str(zygotes)!r}, 'a') as file: print(os.getpid(), file=file)\n"
                                        "time.sleep(0.5)\ngiven = 1\n")
    python = brood.environment.get("BROOD_PYTHON", "python3")

    def kill_the_next(known):
        """That of which the init file has told after the first `known`; how many there were."""
        pids = wait_until(lambda: (told := zygotes.read_text().split())[known:] and told, "a zygote")
        os.kill(int(pids[-1]), signal.SIGKILL)
        return len(pids)

    with serving(brood, OWN.format(python=python), environments=["own"], ahead=0) as server, server.client.new("own") as session:
        wait_until(lambda: session.info()["state"] == "idle", "the session")
        known = kill_the_next(0)
        with session.stream("import os; os._exit(1)", timeout=DEADLINE) as events:
            kill_the_next(known)
            assert until(events, "done")[-1].status == "crashed"
        assert value(session, "given") == "1"
