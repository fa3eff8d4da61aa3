"""What ends a cell, and what the session is afterwards, against the real server."""

import contextlib
import os
import signal
import subprocess

import pytest
from session_fixture import SessionDaemon, package, pid_of, run, serving, session_processes, stream_of, until, value, worker_of
from waiting import DEADLINE, ended, wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood) as made:
        yield made


@pytest.fixture
def session(server):
    with server.client.new() as made:
        run(made, "kept = 1")
        yield made


def ends(session, code, status, *, timeout=DEADLINE):
    """A cell that changes `kept` and is ended so; the session is what it was before. Returns the Result."""
    with stream_of(session) as events:
        done = session.run("kept = 2\n" + code, timeout=timeout)
        assert (done.status, done.undone) == (status, True), done
        assert done.why
        seen = until(events, "undone")
    assert seen[-1].head["checkpoint"] == done.cell and seen[-1].head["why"] == done.why
    assert [event.head["why"] for event in seen if event.type == "done"] == [done.why]
    wait_until(lambda: session.info()["state"] == "idle", "an idle session")
    assert value(session, "kept") == "1"
    return done


# --- interrupts ----------------------------------------------------------------------------------


@pytest.mark.core
@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)", "import asyncio; await asyncio.sleep(60)", "input()"])
def test_an_interrupt(session, code):
    with session.stream("kept = 2\nprint('go')\n" + code, timeout=DEADLINE) as events:
        until(events, "stdout")
        session.interrupt()
        done = until(events, "done")[-1].head
    assert (done["status"], done["undone"]) == ("interrupted", False)
    assert value(session, "kept") == "2"


@pytest.mark.parametrize("later", ["signal.SIG_DFL", "signal.SIG_IGN", "again"])
def test_a_handler_that_is_for_the_first_interrupt_only(session, later):
    """One interrupt is one: what helps a system call to end is none."""
    run(session, "import signal, time\ncalls = []\ndef again(*arguments): calls.append(2)\n"
                 f"def first(*arguments):\n    calls.append(1)\n    signal.signal(signal.SIGINT, {later})\n"
                 "signal.signal(signal.SIGINT, first)")
    with session.stream("print('go')\ntime.sleep(0.9)\ncalls", timeout=DEADLINE) as events:
        until(events, "stdout")
        session.interrupt()
        done = until(events, "done")[-1].head
    assert done["status"] == "ok", done
    assert value(session, "calls") == "[1]"


@pytest.mark.core
def test_an_interrupt_at_once(session):
    """It may come before the cell's first line, while the checkpoint is made or the code is compiled."""
    statuses = set()
    for _ in range(30):
        with stream_of(session) as events:
            session.client.call("execute", session=session.id, code="while True: pass")
            session.interrupt()
            statuses.add(until(events, "done")[-1].status)
    assert statuses == {"interrupted"}
    assert value(session, "kept") == "1"


def test_an_interrupt_between_cells(session):
    for _ in range(20):
        session.interrupt()
        assert value(session, "kept") == "1"


SLOW_TO_SLEEP = """
#include <time.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
int wait_a_minute(void) {
  double end = now() + 0.25;
  while (now() < end) {}
  struct timespec minute = {60, 0};
  return nanosleep(&minute, 0);
}
"""


@pytest.mark.core
@pytest.mark.parametrize("handler", ["None", "signal.signal(signal.SIGINT, stop)"], ids=["brood's", "the user's"])
def test_an_interrupt_just_before_a_system_call_that_waits(session, tmp_path, handler):
    """Between CPython's last look at its signals and the call: the interpreter hears of it only when the call is over."""
    (tmp_path / "slow.c").write_text(SLOW_TO_SLEEP)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "slow.so", tmp_path / "slow.c"], check=True)
    run(session, f"import ctypes, signal\nslow = ctypes.CDLL({str(tmp_path / 'slow.so')!r})\n"
                 f"def stop(*arguments): raise KeyboardInterrupt\n{handler}")
    with session.stream("kept = 2\nprint('go')\nslow.wait_a_minute()", timeout=DEADLINE) as events:
        until(events, "stdout")
        session.interrupt()
        done = until(events, "done")[-1].head
    assert (done["status"], done["undone"]) == ("interrupted", False)
    assert value(session, "kept") == "2"


def test_no_signal_to_a_session_that_goes_back(session):
    """Its process is made of the checkpoint: another signal is for the session as it will be."""
    run(session, "kept = 2")
    run(session, "kept")
    worker = worker_of(session)
    copies = [pid for pid in session_processes(session) if pid != worker]
    assert copies
    for copy in copies:
        os.kill(copy, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    try:
        wait_until(lambda: session.info()["state"] == "starting", "the end of its process to be known")
        with pytest.raises(package.Busy):
            session.signal("KILL")
    finally:
        for copy in copies:
            os.kill(copy, signal.SIGCONT)
    wait_until(lambda: session.info()["state"] == "idle", "the state of before")
    assert value(session, "kept") == "2"


JUST_ENDED = """
import asyncio, os
await asyncio.sleep(0)
asyncio.get_running_loop().call_soon(os.kill, os.getpid(), 2)  # these lines are one task, the last one is the next
await asyncio.sleep(60)
"""
NOT_BEGUN = """
import asyncio, os
real = asyncio.new_event_loop
class Deleted:
    def __del__(self): os.kill(os.getpid(), 2)  # what is raised here is not heard
def make():
    Deleted()
    return real()
asyncio.new_event_loop = make
"""


@pytest.mark.core
@pytest.mark.parametrize("before,code", [("", JUST_ENDED), (NOT_BEGUN, "await asyncio.sleep(60)")], ids=["just ended", "not begun"])
def test_an_interrupt_while_no_task_waits(session, before, code):
    run(session, before)
    done = session.run(code, timeout=DEADLINE)
    assert (done.status, done.undone) == ("interrupted", False), done
    assert value(session, "6 * 7") == "42"


@pytest.mark.core
def test_a_cell_that_ignores_interrupts(session):
    code = "kept = 2\nimport signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('go')\nwhile True: time.sleep(1)"
    with stream_of(session) as everything:
        with session.stream(code) as events:
            until(events, "stdout")
            waiting = session.client.call("execute", session=session.id, code="kept = 3")["cell"]
            session.interrupt()
            done = until(events, "done")[-1].head
        assert (done["status"], done["undone"]) == ("killed", True) and "3 s after an interrupt" in done["why"]
        seen = until(everything, "undone")
    cancelled = [event.head for event in seen if event.type == "done" and event.cell == waiting]
    assert [one["status"] for one in cancelled] == ["cancelled"] and cancelled[0]["why"]
    assert value(session, "kept") == "1"
    assert value(session, "import signal; signal.getsignal(signal.SIGINT) is signal.SIG_IGN") == "False"


def test_a_time_out(session):
    assert "0.3" in ends(session, "import signal, time\nsignal.signal(signal.SIGINT, lambda *a: None)\nwhile True: time.sleep(1)", "timeout", timeout=0.3).why
    done = session.run("kept = 2\nwhile True: pass", timeout=0.3)
    assert done.status == "timeout"
    assert value(session, "kept") == ("1" if done.undone else "2")


# --- crashes -------------------------------------------------------------------------------------


@pytest.mark.core
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os._exit(7)", "status 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import os; os.abort()", "SIGABRT"),
    ],
)
def test_a_crash(session, code, text):
    old = worker_of(session)
    assert text in ends(session, f"print('before', flush=True)\n{code}", "crashed").why
    assert ended(old)


def test_the_output_before_a_crash_is_there(session):
    done = session.run("import os\nprint('x' * 100_000)\nos._exit(1)", timeout=DEADLINE)
    assert done.status == "crashed" and done.stdout in ("", "x" * 100_000 + "\n")
    done = session.run("import os\nprint('x' * 100_000, flush=True)\nos._exit(1)", timeout=DEADLINE)
    assert done.stdout == "x" * 100_000 + "\n"


def test_the_queue_behind_a_crash_is_cancelled(session):
    with stream_of(session) as events:
        first = session.client.call("execute", session=session.id, code="input()\nimport os\nos._exit(1)")["cell"]
        until(events, "input")
        later = [session.client.call("execute", session=session.id, code="kept = 3")["cell"] for _ in range(3)]
        session.stdin("\n")
        seen = until(events, "undone")
    told = {event.cell: event.head["status"] for event in seen if event.type == "done"}
    assert told == {first: "crashed", **dict.fromkeys(later, "cancelled")}
    assert value(session, "kept") == "1"


@pytest.mark.core
def test_without_checkpoints_the_session_ends(server):
    with server.client.new(checkpoints=0) as session:
        with stream_of(session) as events:
            done = session.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", timeout=DEADLINE)
            assert (done.status, done.undone) == ("crashed", False)
            end = until(events, "ended")[-1].head
        assert "SIGSEGV" in end["why"] and end["signal"] == signal.SIGSEGV
        told = session.info()
        assert (told["state"], told["why"]) == ("ended", end["why"])
        with pytest.raises(package.SessionEnded):
            session.run("1")
        with pytest.raises(package.SessionEnded):
            session.undo()


def test_a_cell_without_a_checkpoint_goes_back_to_an_older_one(session):
    run(session, "kept = 5", checkpoint=False)
    done = session.run("import os; os._exit(1)", timeout=DEADLINE, checkpoint=False)
    assert (done.status, done.undone) == ("crashed", True)
    assert "no checkpoint of its own: the session goes back to its state before cell" in done.why
    wait_until(lambda: session.info()["state"] == "idle", "an idle session")
    assert session.run("kept", timeout=DEADLINE).error.name == "NameError"


@pytest.mark.core
def test_a_worker_that_is_killed_while_idle(session):
    run(session, "kept = 2")
    with stream_of(session) as events:
        os.kill(pid_of(session), signal.SIGKILL)
        told = until(events, "undone")[-1].head
    assert "SIGKILL" in told["why"]
    assert value(session, "kept") == "2"  # the last cell only asked for the number of the process


def kill_idle(session):
    """Once its state is frozen: the worker answers after that."""
    session.complete("ke")
    with stream_of(session) as events:
        session.signal("KILL")
        until(events, "undone")
    wait_until(lambda: session.info()["state"] == "idle", "an idle session")


def test_many_deaths_after_an_undo_lose_nothing(session):
    for number in range(3):
        run(session, f"kept = {number + 10}")
    session.undo()
    for _ in range(15):  # more than there are checkpoints
        kill_idle(session)
    assert value(session, "kept") == "11"
    session.undo(steps=2)
    assert value(session, "kept") == "10"


def test_a_message_outlives_no_death_but_is_not_lost_by_undo(session):
    """What is frozen ahead of the next cell has no message that came after it."""
    run(session, "kept = 2")
    session.undo()
    session.send(b"hello")
    run(session, "kept = 3")
    session.undo()
    assert value(session, "__import__('brood').messages.receive(), kept") == "(b'hello', 1)"


def test_a_branch_that_is_killed_before_its_first_cell(session):
    with session.fork() as branch:
        kill_idle(branch)
        assert value(branch, "kept") == "1"


@pytest.mark.core
def test_a_fresh_session_that_is_killed_is_made_anew(server):
    with server.client.new() as session:
        wait_until(lambda: session.info()["state"] == "idle", "an idle session")
        os.kill(worker_of(session), signal.SIGKILL)
        done = session.run("6 * 7", timeout=DEADLINE)
        if done.status == "crashed":  # the server had not heard of the end yet
            assert done.undone
            done = session.run("6 * 7", timeout=DEADLINE)
        assert (done.value, done.execution_count) == ("42", 1)


# --- limits --------------------------------------------------------------------------------------


@pytest.fixture
def limited(server):
    made = []

    def make(**limits):
        session = server.client.new(limits=limits)
        made.append(session)
        run(session, "kept = 1")
        return session

    yield make
    for session in made:
        session.remove()


@pytest.mark.core
def test_one_allocation_over_the_memory_limit(limited):
    session = limited(memory=64 * MIB)
    done = session.run("kept = 2\nx = bytearray(200_000_000)", timeout=DEADLINE)
    assert (done.status, done.error.name) == ("error", "MemoryError")
    assert value(session, "kept") == "2"


def test_all_processes_together_over_the_memory_limit(limited):
    session = limited(memory=64 * MIB)
    code = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        x = bytearray(b'x') * (40 << 20)
        time.sleep(60)
time.sleep(60)
"""
    ends(session, code, "memory")
    wait_until(lambda: len(session_processes(session)) <= 4, "the end of the children")  # the worker and copies


def test_the_processor_limit(limited):
    session = limited(cpu=1)
    done = session.run("kept = 2\nwhile True: pass", timeout=DEADLINE)
    assert done.status == "cpu" and "1 s of processor time" in done.why


def test_the_time_limit_of_a_cell(limited):
    session = limited(cell_time=1)
    done = session.run("import time; time.sleep(60)")
    assert done.status == "timeout" and "1" in done.why
    assert session.run("import time; time.sleep(60)", timeout=0.2).ms < 900


def test_the_output_limit(limited):
    session = limited(output=1000)
    done = session.run("kept = 2\nwhile True: print('y' * 99)", timeout=DEADLINE)
    assert done.status == "output" and len(done.stdout) == 1000
    assert value(session, "kept") in ("1", "2")


@pytest.mark.parametrize("code", ["kept = 2\n'y' * 1001", "kept = 2\nfor _ in range(3): display('y' * 500)\nimport time; time.sleep(600)"])
def test_displays_and_values_count_as_output(limited, code):
    session = limited(output=1000)
    done = session.run(code, timeout=DEADLINE)
    assert (done.status, done.value, len(done.displays)) == ("output", None, code.count("display")), done
    assert value(session, "kept") == "1"


def test_a_bomb_of_processes(limited):
    session = limited(processes=20)
    ends(session, "import os\nwhile True: os.fork()", "processes")
    checkpoints = sum(one["us"] > 0 for one in session.checkpoints())
    wait_until(lambda: len(session_processes(session)) == checkpoints + 1, "the end of the bomb")


def test_limits_of_files(limited):
    session = limited(file_size=1000, open_files=256)
    done = session.run("open('a', 'wb', 0).write(b'x' * 1000)\nopen('a', 'ab', 0).write(b'x')", timeout=DEADLINE)
    assert done.error.name == "OSError"
    assert session.run("files = [open('/dev/null') for _ in range(256)]", timeout=DEADLINE).error.name == "OSError"
    assert value(session, "1") == "1"


def test_what_a_cell_has_started_ends_with_it(session):
    with session.stream("import subprocess, time\np = subprocess.Popen(['sleep', '61'], start_new_session=True)\nprint(p.pid, flush=True)\ntime.sleep(60)") as events:
        child = int(until(events, "stdout")[-1].text)
        os.kill(worker_of(session), signal.SIGKILL)
        assert until(events, "done")[-1].head["status"] == "crashed"
    wait_until(lambda: ended(child), "the end of the child")


def test_an_environment_that_cannot_be_had(brood):
    with contextlib.closing(SessionDaemon(brood, '[env.broken]\npreload = ["no_such_module"]\n[env.good]\n', environments=["good"])) as server:
        session = server.client.new("broken")
        with pytest.raises(package.EnvironmentUnavailable, match="no_such_module"):
            session.run("1", timeout=DEADLINE)
        assert "no_such_module" in session.info()["why"]
        with pytest.raises(package.EnvironmentUnavailable, match="no_such_module"):
            session.run("1")
        session.remove()


def test_another_server_leaves_the_files_alone(brood):
    """One with another runtime directory and the same cache."""
    with serving(brood) as server, server.client.new() as session:
        run(session, "open('precious', 'w').write('x')")
        runtime = brood.base / "other"
        runtime.mkdir(mode=0o700)
        environment = {**brood.environment, "XDG_RUNTIME_DIR": str(runtime)}
        reading, writing = os.pipe()
        words = [brood.brood, "serve", "--listen", f"unix:{brood.base}/other.sock", "--ready-fd", str(writing)]
        with subprocess.Popen(words, env=environment, cwd=brood.work, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
            try:
                os.close(writing)
                assert os.read(reading, 1000)
                with package.Client(f"unix:{brood.base}/other.sock", timeout=DEADLINE) as client, client.new() as theirs:
                    assert value(theirs, "import os; os.listdir()") == "[]"
            finally:
                os.close(reading)
                other.terminate()
        assert value(session, "import os; os.listdir()") == "['precious']"
        with server.client.new() as another:
            run(another, "open('x', 'w').write('x')")
