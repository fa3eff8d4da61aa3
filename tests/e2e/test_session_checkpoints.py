"""Checkpoints, undo and branches of sessions against the real server."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from session_fixture import measured, package, pid_of, run, serving, stream_of, types, until, value
from waiting import DEADLINE, ended, wait_until


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood) as made:
        yield made


@pytest.fixture
def session(server):
    with server.client.new(checkpoints=4) as made:
        yield made


def kept(session):
    return [one["checkpoint"] for one in session.checkpoints()]


@pytest.mark.core
def test_the_newest_checkpoints_are_kept(session):
    with stream_of(session) as events:
        for number in range(6):
            run(session, f"x = {number}")
        seen = [event for _ in range(6) for event in until(events, "done")]
    assert [event.head["checkpoints"] for event in seen if event.type == "forgotten"] == [[1], [2]]
    made = [event for event in seen if event.type == "checkpoint"]
    assert [event.head["checkpoint"] for event in made] == [1, 2, 3, 4, 5, 6] and [event.head["us"] > 0 for event in made] == [False] + 5 * [True]
    assert kept(session) == [3, 4, 5, 6]
    one = session.checkpoints()[-1]
    assert (one["execution_count"], one["code"], one["threads"], one["children"]) == (6, "x = 5", 0, 0)


@pytest.mark.core
def test_undo(session):
    for number in range(5):
        run(session, f"x = {number}")
    with stream_of(session) as events:
        told = session.undo()
        assert (told["checkpoint"], told["execution_count"]) == (5, 4)
        seen = until(events, "undone")
    assert [event.head["checkpoints"] for event in seen if event.type == "forgotten"] == [[5]]
    assert (seen[-1].head["why"], seen[-1].head["checkpoint"]) == ("undo", 5) and seen[-1].head["by"]
    assert kept(session) == [2, 3, 4]
    session.undo(steps=2)
    assert kept(session) == [2]
    assert value(session, "x") == "1"
    assert session.info()["execution_count"] == 3
    session.undo(to=2)
    assert value(session, "x") == "0"
    for wrong in ({"steps": 9}, {"to": 1}):
        with pytest.raises(package.NotFound):
            session.undo(**wrong)
    assert value(session, "x") == "0"


def test_undo_while_a_cell_runs(session):
    with session.stream("input()", timeout=DEADLINE) as events:
        until(events, "input")
        with pytest.raises(package.Busy):
            session.undo()
        session.stdin("\n")
        until(events, "done")


def test_undo_of_many_cells_in_turn(session):
    run(session, "x = 0")
    pids = set()
    for number in range(10):
        pids.add(value(session, "import os; x += 1; os.getpid()"))
        session.undo()
    assert value(session, "x") == "0" and len(pids) == 10
    wait_until(lambda: ended(*map(int, pids)), "the end of what was undone")


def test_undo_in_many_sessions_at_once(server):
    """A frozen copy may be slow to tell its number; nobody takes it for a process that the cell left behind."""

    def cells_and_undo():
        with server.client.new(checkpoints=4) as session:
            run(session, "x = 0")
            for _ in range(150):
                assert value(session, "x += 1; x") == "1"
                assert session.undo()["execution_count"] == 1

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(cells_and_undo) for _ in range(4)]:
            done.result()


def test_branches_while_their_origin_goes_back(server):
    """The process of a branch is in its origin's folder at first; it is not ended with what an undo ends."""
    with server.client.new(checkpoints=4) as origin, ThreadPoolExecutor(2) as pool:
        run(origin, "x = 1")
        done = threading.Event()

        def branches():
            made = 0
            while not done.is_set():
                with contextlib.suppress(package.Busy), origin.fork(at=1) as branch:
                    assert value(branch, "'x' in globals()") == "False"
                    made += 1
            return made

        branching = pool.submit(branches)
        try:
            for _ in range(100):
                assert value(origin, "x += 1; x") == "2"
                origin.undo()
        finally:
            done.set()
        assert branching.result() > 3


@pytest.mark.core
def test_random_numbers_are_the_same_after_undo(session):
    code = "import random; [random.random() for _ in range(3)], random.gauss(0, 1)"
    run(session, code)
    first = value(session, code)
    session.undo()
    assert value(session, code) == first
    session.undo()
    with session.fork() as branch:
        assert value(branch, code) == first
    assert value(session, code) == first
    assert value(session, code) != first


def test_state_of_other_kinds(session):
    """Open files, iterators, locks and pipes of the program go back, too."""
    run(session, "import os, threading\nlock = threading.Lock(); lock.acquire()\ni = iter(range(10)); next(i)\nf = open('f', 'w+')")
    run(session, "lock.release(); next(i)")
    session.undo()
    assert value(session, "lock.locked(), next(i), f.closed") == "(True, 1, False)"


@pytest.mark.core
def test_a_branch_of_the_present(session):
    run(session, "x = [1]\nopen('data', 'w').write('old')")
    with stream_of(session) as events, session.fork(name="what if") as branch:
        told = until(events, "branched")[-1].head
        assert (told["into"], told["checkpoint"]) == (branch.id, None) and branch.name == "what if"
        run(branch, "x.append(2)\nopen('data', 'w').write('new')")
        run(session, "x.append(3)")
        assert (value(branch, "x"), value(session, "x")) == ("[1, 2]", "[1, 3]")
        assert (session.get("data"), branch.get("data")) == (b"old", b"new")
        here = value(branch, "import os; os.getcwd()")
        assert branch.id in here and session.id in value(session, "import os; os.getcwd()")
        assert pid_of(branch) != pid_of(session)
        branch.undo(2)
        assert branch.info()["state"] == "idle"
    assert value(session, "x") == "[1, 3]"


@pytest.mark.core
def test_a_branch_of_a_checkpoint(session):
    for number in range(3):
        run(session, f"x = {number}")
    with session.fork(at=2) as branch, session.fork(at=2) as second:
        assert value(branch, "x") == value(second, "x") == "0"
        assert branch.info()["execution_count"] == 2
        assert value(session, "x") == "2"
        run(branch, "x = 'branch'")
        assert value(second, "x") == "0"
    assert kept(session) == [1, 2, 3, 4][-4:]
    session.undo(to=2)
    assert value(session, "x") == "0"
    with pytest.raises(package.NotFound):
        session.fork(at=77)


def test_a_branch_while_a_cell_runs(session):
    run(session, "x = 1")
    with session.stream("x = 2\ninput()", timeout=DEADLINE) as events:
        until(events, "input")
        with pytest.raises(package.Busy):
            session.fork()
        with session.fork(at=2) as branch:
            assert value(branch, "x") == "1"
        session.stdin("\n")
        until(events, "done")
    assert value(session, "x") == "2"


def test_a_branch_outlives_its_origin(server):
    session = server.client.new()
    run(session, "x = 1")
    branch = session.fork()
    session.remove()
    run(branch, "x += 1")
    branch.undo()
    assert value(branch, "x") == "1"
    branch.remove()


def test_a_branch_has_the_past(session):
    run(session, "print('past')")
    with session.fork() as branch, branch.events() as events:
        seen = until(events, "stdout")
    assert seen[-1].text == "past\n" and "cell" in types(seen)


def test_threads_and_children_are_not_carried(session):
    code = "import subprocess, threading\nwait = threading.Event()\nthreading.Thread(target=wait.wait, daemon=True).start()"
    run(session, code + "\nchild = subprocess.Popen(['sleep', '62'])")
    run(session, "x = 1")
    assert [(one["threads"], one["children"]) for one in session.checkpoints()] == [(0, 0), (1, 1)]
    child = int(value(session, "child.pid"))
    with stream_of(session) as events:
        session.undo(to=2)
        text = until(events, "notice")[-1].head["text"]
    assert "1 thread" in text and "1 child" in text
    wait_until(lambda: ended(child), "the end of the child")
    assert value(session, "threading.active_count() <= 2") == "True"


def test_memory_of_checkpoints(session):
    run(session, "x = bytearray(b'x') * (20 << 20)")
    run(session, "y = 1")
    run(session, "for i in range(0, len(x), 4096): x[i] = 1")
    told = measured(session)
    assert [one["pss"] > 0 for one in told] == [False, True, True] and told.live["pss"] > 20 << 20
    assert told.live["unique"] > 20 << 20 > told[1]["unique"]
    assert "pss" not in session.checkpoints()[0]


def test_a_session_without_checkpoints(server):
    with server.client.new(checkpoints=0) as session:
        run(session, "x = 1")
        assert kept(session) == []
        with pytest.raises(package.NotFound):
            session.undo()
        with session.fork() as branch:
            assert value(branch, "x") == "1"
    with pytest.raises(package.BadRequest):
        server.client.new(checkpoints=257)


def test_an_event_loop_goes_on_after_undo(session):
    run(session, "import asyncio\nqueue = asyncio.Queue()\nasync def work():\n    while True: await queue.put(1); await asyncio.sleep(0.001)")
    run(session, "task = asyncio.create_task(work())\nawait queue.get()")
    run(session, "x = 1")
    session.undo()
    assert value(session, "await asyncio.wait_for(queue.get(), 5)") == "1"
    assert value(session, "task.cancel()") == "True"


def test_a_branch_that_has_to_copy_files_holds_nobody_up(brood, tmp_path):
    started, go = tmp_path / "started", tmp_path / "go"
    slow = tmp_path / "cp"
    slow.write_text(f"#!/bin/sh\ntouch {started}\nwhile [ ! -e {go} ]; do sleep 0.01; done\nexec /bin/cp \"$@\"\n")
    slow.chmod(0o755)
    brood.environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    with serving(brood) as server, server.client.new() as session, server.client.new() as other:
        run(session, "_ = open('x', 'w').write('old')")
        made = []
        thread = threading.Thread(target=lambda: made.append(session.fork()))
        thread.start()
        wait_until(started.exists, "the copy of the files")
        assert value(other, "1 + 1") == "2"
        cell = server.client.call("execute", session=session.id, code="_ = open('x', 'w').write('new')")["cell"]
        assert value(other, "2 + 2") == "4" and not made and session.info()["queued"] == 1
        go.touch()
        thread.join(DEADLINE)
        with made[0] as branch, session.events(after=0) as events:
            until(events, "done", cell=cell)
            assert (value(branch, "open('x').read()"), value(session, "open('x').read()")) == ("'old'", "'new'")
