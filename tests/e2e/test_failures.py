"""When a process dies or does not answer: the program runs exactly once, nothing hangs, nothing is left behind."""

import contextlib
import os
import random
import resource
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from brood_fixture import TIMEOUT, TRACE
from mounts import mounted_by_process
from waiting import DEADLINE, Watched, children, ended, finish, process_state, the_zygote, wait_until, zygotes

pytestmark = pytest.mark.core

LOST = 125  # the client's status when nobody can say how the program ended


def start(brood, code, **more):
    """A running `brood-python -c code` that is warm, its worker's pid (its first line of output)."""
    brood.warm_drop_in(["-c", "pass"])
    program = subprocess.Popen(
        [brood.drop_in, "-c", "import os; print(os.getpid(), flush=True)\n" + code],
        env=brood.environment,
        cwd=brood.work,
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
    )
    assert select.select([program.stdout], [], [], DEADLINE)[0]
    worker = int(program.stdout.readline())
    assert worker != program.pid, "it ran cold"
    return program, worker


# --- processes that are killed --------------------------------------------------------------------------------


def test_an_idle_zygote_is_killed(brood):
    brood.warm_drop_in(["-c", "pass"])
    zygote = the_zygote(brood)
    spares = children(zygote)
    os.kill(zygote, signal.SIGKILL)
    done = brood.run(["-c", "print('ran')"])
    assert (done.status, done.out, done.err) == (0, b"ran\n", b"")
    wait_until(lambda: ended(*spares), "its spares to go with it")
    assert brood.warm_drop_in(["-c", "print('again')"]).out == b"again\n"


def test_a_zygote_is_killed_while_a_program_runs(brood):
    program, worker = start(brood, "input(); print('to the end'); raise SystemExit(9)")
    os.kill(the_zygote(brood), signal.SIGKILL)
    program.stdin.write(b"\n")
    assert finish(program) == (9, b"to the end\n", b"")
    wait_until(lambda: ended(worker), "the worker to go")


def test_a_zygote_and_its_worker_are_killed(brood):
    program, worker = start(brood, "input()")
    os.kill(the_zygote(brood), signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    status, out, err = finish(program)
    assert (status, out) == (LOST, b"")
    assert b"lost the program" in err and b"not run a second time" in err


def test_a_zygote_and_its_worker_are_killed_and_the_worker_is_slow_to_go(brood, tmp_path):
    """It has no descriptors any more while one of its files waits to be closed; its stderr must not be taken for closed."""
    behind, mount = tmp_path / "behind", tmp_path / "mount"
    behind.mkdir()
    mount.mkdir()
    with mounted_by_process(behind, mount) as server:
        program, worker = start(brood, f"file = open({str(mount / 'file')!r}, 'w'); file.write('x'); file.flush(); print('written', flush=True); input()")
        assert program.stdout.readline() == b"written\n"
        with stopped(server.pid):
            os.kill(the_zygote(brood), signal.SIGKILL)
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda: no_descriptors(worker), "the worker to let its descriptors go")
            time.sleep(0.7)  # the client looks several times
            assert not ended(worker), "nothing waits for the file system: this test shows nothing"
        status, out, err = finish(program)
    assert (status, out) == (LOST, b"")
    assert b"lost the program" in err


def no_descriptors(pid):
    try:
        return not os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return True


def test_a_zygote_and_its_worker_are_killed_and_a_child_holds_everything(brood):
    """A child of the program that inherited all descriptors must not make the client wait."""
    program, worker = start(brood, "child = os.fork()\nif not child:\n  import time; time.sleep(1000)\nprint(child, flush=True); input()")
    child = int(program.stdout.readline())
    try:
        os.kill(the_zygote(brood), signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        assert program.wait(TIMEOUT) == LOST
    finally:
        os.kill(child, signal.SIGKILL)
    finish(program)


def test_a_zygote_and_then_the_client_are_killed(brood):
    program, worker = start(brood, "import time; time.sleep(1000)")
    with Watched(worker) as watched:
        os.kill(the_zygote(brood), signal.SIGKILL)
        program.kill()
        finish(program)
        assert watched.ended(), "the program goes on without anybody"


def test_a_worker_is_killed(brood):
    """As by the kernel when memory is short."""
    program, worker = start(brood, "input()")
    os.kill(worker, signal.SIGKILL)
    assert finish(program) == (-signal.SIGKILL, b"", b"")


def test_a_worker_crashes(brood):
    program, worker = start(brood, "import ctypes, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); input(); ctypes.string_at(0)")
    program.stdin.write(b"\n")
    assert finish(program)[0] == -signal.SIGSEGV


def test_the_daemon_is_killed_idle(brood):
    brood.warm_drop_in(["-c", "pass"])
    old = brood.daemon_pid()
    mine = [old, *zygotes(brood)]
    os.kill(old, signal.SIGKILL)
    assert brood.run(["-c", "print('ran')"]).out == b"ran\n"
    wait_until(lambda: ended(*mine), "its zygotes to go with it")
    assert brood.warm_drop_in(["-c", "print('again')"]).out == b"again\n"
    assert brood.daemon_pid() != old
    assert len([*(brood.folder / "env").iterdir()]) == 1, "stale sockets"


def test_the_daemon_is_killed_while_a_program_runs(brood):
    program, worker = start(brood, "input(); print('to the end'); raise SystemExit(9)")
    zygote = the_zygote(brood)
    os.kill(brood.daemon_pid(), signal.SIGKILL)
    assert brood.run(["-c", "print('other')"]).out == b"other\n"
    program.stdin.write(b"\n")
    assert finish(program) == (9, b"to the end\n", b"")
    wait_until(lambda: ended(zygote), "the zygote to leave after its last program")


def test_the_daemon_is_killed_and_then_the_worker(brood):
    program, worker = start(brood, "input()")
    os.kill(brood.daemon_pid(), signal.SIGKILL)
    os.kill(worker, signal.SIGTERM)
    assert finish(program) == (-signal.SIGTERM, b"", b"")


def test_stale_sockets_are_in_nobodys_way(brood):
    """All at once, as when the machine loses power: sockets remain, and nobody listens."""
    brood.warm_drop_in(["-c", "pass"])
    everyone = [brood.daemon_pid(), *zygotes(brood)]
    with stopped(*everyone):  # so that none of them can clean up after another
        for pid in everyone:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: ended(*everyone), "them to be gone")
    assert (brood.folder / "daemon.sock").exists() and [*(brood.folder / "env").iterdir()]
    assert brood.run(["-c", "print('ran')"]).out == b"ran\n"
    assert brood.warm_drop_in(["-c", "print('again')"]).out == b"again\n"


# --- processes that do not answer ----------------------------------------------------------------------------


@contextlib.contextmanager
def stopped(*pids):
    """Some may have ended since somebody listed them; a stopped parent keeps them as zombies."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: all(process_state(pid) in ("T", "Z", "") for pid in pids), "them to stop")
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_a_zygote_that_is_stopped(brood):
    brood.warm_drop_in(["-c", "pass"])
    zygote = the_zygote(brood)
    with stopped(zygote):
        for i in range(8):  # more than there are spares
            begin = time.monotonic()
            done = brood.run(["-c", f"print({i})"])
            assert (done.status, done.out, done.err) == (0, b"%d\n" % i, b"")
            assert time.monotonic() - begin < 5
        assert process_state(zygote) != "T", "what was sent to it would be held for ever"
    assert brood.warm_drop_in(["-c", "print('again')"]).out == b"again\n"


def test_spares_that_are_stopped(brood):
    brood.warm_drop_in(["-c", "pass"])
    zygote = the_zygote(brood)
    with stopped(zygote, *children(zygote)):
        begin = time.monotonic()
        note = brood.work / "note"  # a pipe would stay open: they hold the descriptors that were sent to them
        assert run_to_file(brood, note, ["-c", "print('ran')"], TRACE) == 0
        assert time.monotonic() - begin < 5
        assert note.read_text() == "brood: cold: no spare answered within 500 ms\nran\n"
    assert brood.warm_drop_in(["-c", "print('again')"]).out == b"again\n"


def run_to_file(brood, path, arguments, env=None):
    """Both streams to the file, without a pipe."""
    with open(path, "w") as file:
        return subprocess.run([brood.drop_in, *arguments], env={**brood.environment, **(env or {})}, cwd=brood.work,
                              stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=TIMEOUT).returncode


def test_a_full_queue_of_connections(brood):
    """connect() would wait for ever."""
    brood.warm_drop_in(["-c", "pass"])
    zygote = the_zygote(brood)
    (path,) = (brood.folder / "env").iterdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        stack.enter_context(stopped(zygote, *children(zygote)))
        for _ in range(6000):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.setblocking(False)
            try:
                connection.connect(str(path))
            except BlockingIOError:
                break
        else:
            pytest.fail("the queue does not fill")
        begin = time.monotonic()
        done = brood.run(["-c", "print('ran')"])
        assert (done.status, done.out, done.err) == (0, b"ran\n", b"")
        assert time.monotonic() - begin < 5


def test_a_daemon_that_is_stopped(brood):
    """What is warm stays warm; what is not runs cold."""
    brood.warm_drop_in(["-c", "pass"])
    with stopped(brood.daemon_pid()):
        assert brood.trace(["-c", "pass"]).startswith("warm")
        for i in range(4):
            begin = time.monotonic()
            assert brood.trace(["-O", "-c", "pass"]).startswith("cold")
            assert time.monotonic() - begin < 5
    assert brood.warm_drop_in(["-O", "-c", "print('again')"]).out == b"again\n"


def test_a_client_that_connects_and_says_nothing(brood):
    brood.warm_drop_in(["-c", "pass"])
    (path,) = (brood.folder / "env").iterdir()
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(path))
        assert brood.run(["-c", "print('ran')"]).out == b"ran\n"
    assert brood.warm_drop_in(["-c", "print('again')"]).out == b"again\n"


@pytest.mark.parametrize("junk", [b"", b"x", b"\xff" * 64, b"\x00" * 8, b"\x04\x00\x00\x00\x01\x00\x01\x00junk"])
def test_a_client_that_says_nonsense(brood, junk):
    brood.warm_drop_in(["-c", "pass"])
    (path,) = (brood.folder / "env").iterdir()
    for _ in range(12):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(junk)
    assert brood.warm_drop_in(["-c", "print('again')"]).out == b"again\n"


# --- exactly once ------------------------------------------------------------------------------------------------

APPEND = "import os, sys; fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND); os.write(fd, sys.argv[2].encode() + b'\\n')"
ROUNDS = int(os.environ.get("BROOD_TEST_ROUNDS", "200"))


@pytest.mark.parametrize("victims", ["zygote", "worker", "daemon", "zygote and worker"])
def test_exactly_once(brood, tmp_path, victims):
    """Whatever is killed at whatever moment: a run that reports success ran once, and none ever runs twice."""
    note = tmp_path / "note"
    note.touch()
    rng = random.Random(3)
    stop = threading.Event()
    outcomes = {}

    def runner(name):
        count = 0
        while not stop.is_set():
            count += 1
            run = f"{name}-{count}"
            done = brood.run(["-c", APPEND, note, run], env=TRACE)
            outcomes[run] = (done.status, b"brood: warm" in done.err, done.err)

    def warm_runs():
        return sum(warm for _, warm, _ in list(outcomes.values()))

    def kill_one():
        daemon = brood.daemon_pid()
        found = zygotes(brood) if daemon else []
        pids = []
        if "zygote" in victims:
            pids += found
        if "worker" in victims:
            pids += [pid for zygote in found for pid in rng.sample(children(zygote), min(2, len(children(zygote))))]
        if victims == "daemon" and daemon:
            pids.append(daemon)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    brood.warm_drop_in(["-c", "pass"])
    threads = [threading.Thread(target=runner, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 7
    try:
        while len(outcomes) < 20 or (len(outcomes) < ROUNDS and time.monotonic() < end):
            # Every other time in the midst of warm runs; they come when the machine has found the time to make a zygote.
            seen = warm_runs()
            wait_until(lambda seen=seen: warm_runs() > seen, "a warm run", TIMEOUT)
            for _ in range(2):
                time.sleep(rng.uniform(0, 0.004))
                kill_one()
    finally:
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT)
    lines = note.read_text().split()
    assert len(lines) == len(set(lines)), "one ran twice"
    for run, (status, _, err) in outcomes.items():
        if status == 0:
            assert lines.count(run) == 1, f"{run} reported success and did not run"
        else:
            assert status in (LOST, -signal.SIGKILL), (status, err)
            assert "worker" in victims, (status, err)
            # One that has run to its end has closed its stderr, where the client would have said so.
            assert status != LOST or b"lost the program" in err or run in lines, (run, err)


def test_a_spare_that_dies_between_accept_and_acknowledge(brood, tmp_path):
    """The spare is stopped after the client connected, and killed: the client runs the program itself, once."""
    note = tmp_path / "note"
    note.touch()
    brood.warm_drop_in(["-c", "pass"])
    zygote = the_zygote(brood)
    spares = children(zygote)
    with stopped(zygote, *spares):
        program = subprocess.Popen([brood.drop_in, "-c", APPEND, note, "once"], env={**brood.environment, **TRACE}, cwd=brood.work, stderr=subprocess.PIPE)
        wait_until(lambda: connected(program.pid), "the client to be connected")
        for pid in spares:
            os.kill(pid, signal.SIGKILL)
        os.kill(zygote, signal.SIGKILL)
        _, err = program.communicate(timeout=TIMEOUT)
    assert program.returncode == 0
    assert b"brood: cold" in err
    assert note.read_text() == "once\n"


def connected(pid):
    """Whether it has a socket, or is past that."""
    try:
        return any(os.readlink(link).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir()) or b"brood" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def test_an_acknowledgement_after_the_client_gave_up_runs_nothing(brood, tmp_path):
    """Spares that go on after the client's time-out find it gone."""
    note = tmp_path / "note"
    note.touch()
    brood.warm_drop_in(["-c", "pass"])
    zygote = the_zygote(brood)
    with stopped(zygote, *children(zygote)):
        for i in range(3):
            assert run_to_file(brood, brood.work / "output", ["-c", APPEND, note, str(i)]) == 0
    assert brood.warm_drop_in(["-c", "pass"]).status == 0
    assert note.read_text() == "0\n1\n2\n"


def test_a_client_is_killed_at_any_moment(brood, tmp_path):
    """Nothing is left of its program, if it began at all, and the others are not disturbed."""
    brood.warm_drop_in(["-c", "pass"])
    rng = random.Random(5)
    for _ in range(100):
        program = subprocess.Popen([brood.drop_in, "-c", "import time; time.sleep(1000)"], env=brood.environment, cwd=brood.work)
        time.sleep(rng.uniform(0, 0.006))  # a random moment, not a wait
        program.kill()
        program.wait(TIMEOUT)
    wait_until(lambda: not programs(brood), "their programs to be gone")
    assert brood.warm_drop_in(["-c", "print('again')"]).out == b"again\n"


def programs(brood):
    """Workers that run something: their command line is their program's."""
    found = []
    for pid, line in brood.processes().items():
        if b"broodd" not in line and b"_frozen_importlib" not in line and pid not in zygotes(brood) and not ended(pid):
            found.append((pid, line))
    return found


# --- nothing is left -----------------------------------------------------------------------------------------------


def test_nothing_is_left_after_the_daemon_stopped(brood):
    brood.warm_drop_in(["-c", "pass"])
    brood.warm_drop_in(["-O", "-c", "pass"])
    assert brood.stop() == {}
    assert not (brood.folder / "daemon.sock").exists()
    assert [*(brood.folder / "env").iterdir()] == []


def test_the_daemon_keeps_its_descriptors(brood):
    brood.warm_drop_in(["-c", "pass"])
    daemon = brood.daemon_pid()

    def count():
        return len(os.listdir(f"/proc/{daemon}/fd"))

    before = wait_until(count)
    for i in range(50):
        brood.run(["-c", "pass"])
    for _ in range(2):
        gone = [the_zygote(brood), *children(the_zygote(brood))]
        os.kill(gone[0], signal.SIGKILL)
        wait_until(lambda: ended(*gone), "them to be gone")
        brood.warm_drop_in(["-c", "pass"])
    wait_until(lambda: count() == before, "the daemon's descriptors to be as before")
