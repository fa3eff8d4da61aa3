"""Engines and the process they are in: signals, forks, what kills it, old interpreters, what is shipped."""

import ast
import math
import os
import select
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from engine_fixture import WITHIN, in_thread, stream, until

from brood.gateways.core.errors import GatewayLost
from brood.gateways.core.kinds import CALL, EXEC, GONE, PING, SERVICE, SHUTDOWN, TASKS

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "python" / "brood" / "gateways" / "core"
ENGINE = "channel channels capture dispatch engine errors kinds link loop network requests values waiting watch".split()

START = """
import os, signal, sys, threading, time
sys.path[:0] = [%r, %r]
from engine_fixture import Contexts, WITHIN, in_thread, load_engine, until
from brood.gateways.core.errors import *
from brood.gateways.core.kinds import *
contexts = Contexts(load_engine(sys.argv[1]))

def connected():
    root, child = contexts.pair("pipe", window=10000)
    return root, child, root.request(1, EXEC, None), child.next(TASKS, WITHIN)[3]

def state():
    return open("/proc/self/task/%%d/stat" %% os.getpid()).read().rpartition(")")[2].split()[0]

def in_main(function, then):
    "Calls function(); a thread calls then() when that waits."
    entered = []
    threading.Thread(target=lambda: (until(lambda: entered and state() == "S"), then()), daemon=True).start()
    try:
        entered.append(True)
        return function()
    except KeyboardInterrupt:
        return "interrupted"

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
"""


def run(engine_module, program, **options):
    """In an interpreter of its own, where the main thread is free and a signal hits nobody else. Its exit status."""
    text = START % (str(HERE), str(HERE.parents[1] / "python")) + program
    return subprocess.run([sys.executable, "-c", text, engine_module.name], timeout=3 * WITHIN, **options).returncode


# --- two processes --------------------------------------------------------------------------------------------------

SERVE = """
engine = contexts.module.Engine(1, (0,))
engine.add_link(0, os.dup(0), os.dup(1))
while True:
    request = engine.next(TASKS)
    if request is None:
        os._exit(0)
    _, _, value, channel = request
    if value == "stop":
        channel.finish("bye")
        engine.drain(WITHIN)
        engine.stop()
        os._exit(3)
    for item in channel:
        channel.send(item)
    channel.close()
"""


@pytest.fixture
def elsewhere(contexts):
    """The root, and a process with its child."""
    program = START % (str(HERE), str(HERE.parents[1] / "python")) + SERVE
    command = [sys.executable, "-c", program, contexts.module.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        root = contexts.engine(0)
        root.add_link(1, os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno()), name="elsewhere")
        try:
            yield root, process
        finally:
            process.kill()


def test_an_engine_in_another_process(elsewhere):
    root, process = elsewhere
    channel = root.request(1, EXEC, "echo")
    for value in (1, "x" * 1000, b"x" * (5 << 20), {"a": [1.5]}):
        channel.send(value)
        assert channel.receive(WITHIN) == value
    for number in range(1000):
        channel.send(number)
    assert [channel.receive(WITHIN) for _ in range(1000)] == list(range(1000))
    channel.end()
    channel.waitclose(WITHIN)
    last = root.request(1, CALL, "stop")
    assert last.receive(WITHIN) == "bye"
    assert process.wait(WITHIN) == 3
    assert root.next(SERVICE, WITHIN)[2] == [[1], "elsewhere has left"]


def test_a_process_that_is_killed(elsewhere):
    root, process = elsewhere
    channel = root.request(1, EXEC, "echo")
    channel.send(1)
    assert channel.receive(WITHIN) == 1
    waiting = in_thread(channel.receive)
    process.kill()
    with pytest.raises(GatewayLost, match="elsewhere"):
        waiting.result()
    assert root.next(SERVICE, WITHIN)[0] == GONE


# --- signals --------------------------------------------------------------------------------------------------------


def test_a_wait_is_interrupted_at_once_and_all_goes_on(engine_module):
    program = """
root, child, near, far = connected()
for function in (near.receive, near.waitclose, lambda: root.next(SERVICE), lambda: near.receive(1000)):
    assert in_main(function, interrupt) == "interrupted"
far.send(1)
assert near.receive(WITHIN) == 1
assert in_main(near.receive, lambda: far.send(2)) == 2
for _ in range(10):
    near.send("x" * 1000)
assert in_main(lambda: near.send("never"), interrupt) == "interrupted"
assert [len(far.receive(WITHIN)) for _ in range(10)] == [1000] * 10
near.send("fine")
assert far.receive(WITHIN) == "fine"
far.close()
near.waitclose(WITHIN)
contexts.close()
"""
    assert run(engine_module, program) == 0


def test_a_handler_s_exception_at_any_point_leaves_no_half_of_anything(engine_module):
    if engine_module.name == "native":
        pytest.skip("nothing is interrupted there")
    program = """
class Now(Exception):
    pass

armed, interrupts = False, 0

def handler(*_):
    global armed, interrupts
    if armed:
        armed = False
        interrupts += 1
        raise Now

root, child, near, far = connected()
def echo():
    for item in far:
        far.send(item)
    far.close()
echoing = in_thread(echo)
signal.signal(signal.SIGALRM, handler)
received, count = [], 0

def talk():
    global armed, count
    while interrupts < 3000:
        armed = True
        try:
            while True:
                received.append(near.receive(0))
        except TimeoutError:
            pass
        count += 1
        try:
            near.send((count, "x" * (count % 50)), 1)
        except TimeoutError:
            pass

signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
while interrupts < 3000:
    try:
        talk()
    except Now:
        pass
armed = False
signal.setitimer(signal.ITIMER_REAL, 0)
near.end()
for item in near:
    received.append(item)
echoing.result()
numbers = [number for number, _ in received]
assert all(text == "x" * (number % 50) for number, text in received)
assert numbers == sorted(set(numbers)), "order, or twice"
assert len(numbers) > 100 and count - len(numbers) <= 2 * interrupts, (interrupts, count, len(numbers))
contexts.close()
"""
    assert run(engine_module, program) == 0


def test_a_handler_may_send(engine_module):
    program = """
root, child, near, far = connected()
other = root.request(1, EXEC, None)
far_other = child.next(TASKS, WITHIN)[3]
numbers, told = iter(range(10 ** 9)), []
def handler(*_):  # which may come within itself
    number = next(numbers)
    other.send(number)
    told.append(number)
signal.signal(signal.SIGALRM, handler)
taking = in_thread(lambda: list(far_other))
echoing = in_thread(lambda: [far.send(item) for item in far])
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for number in range(3000):
    near.send(number)
    assert near.receive(WITHIN) == number
signal.setitimer(signal.ITIMER_REAL, 0)
other.close()
near.close()
assert sorted(taking.result()) == list(range(len(told))) and told
contexts.close()
"""
    assert run(engine_module, program) == 0


# --- forks ----------------------------------------------------------------------------------------------------------

FORKED = """
def check():
    "In the child of a fork."
    for call in (lambda: near.send(1), near.receive, lambda: root.request(1, EXEC, None), lambda: root.open(1)):
        try:
            call()
        except GatewayLost:
            continue
        os._exit(3)
    near.close()
    root.stop()
    gone = [name for name in mine if os.path.exists("/proc/self/fd/" + name)]
    os._exit(4 if gone else 0)
before = set(os.listdir("/proc/self/fd"))
root, child, near, far = connected()
mine = set(os.listdir("/proc/self/fd")) - before
mine -= {str(child.watch_reader) if hasattr(child, "watch_reader") else ""}
far.send("waits")
until(lambda: root.stats()["queued"] == 1)
"""
PROCEED = """
assert near.receive(WITHIN) == "waits"
near.send("parent")
assert far.receive(WITHIN) == "parent"
far.close()
near.waitclose(WITHIN)
contexts.close()
"""


def test_a_fork_does_not_speak_for_its_parent(engine_module):
    program = """
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        check()
    assert os.waitpid(pid, 0)[1] == 0
"""
    assert run(engine_module, FORKED + program + PROCEED) == 0


def test_a_fork_while_other_threads_send(engine_module):
    program = """
stop = threading.Event()
def chatter():
    while not stop.is_set():
        far.send("x" * 100)
        far_answer = near.receive(WITHIN)
near.receive(WITHIN)
talking = in_thread(chatter)
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        check()
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
talking.result()
far.send("waits")
"""
    assert run(engine_module, FORKED + program + PROCEED) == 0


def test_processes_of_multiprocessing(engine_module):
    program = """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2, -3]) == [1, 2, 3]
"""
    assert run(engine_module, FORKED + program + PROCEED) == 0


def test_started_programs_have_no_descriptor_of_a_link(engine_module):
    program = """
import subprocess
listed = subprocess.run(["ls", "/proc/self/fd"], close_fds=False, stdout=subprocess.PIPE).stdout.decode().split()
links = {str(number) for number in map(int, mine)}
watching = {str(getattr(child, "watch_writer", None))}
assert not links & set(listed) - watching, (links, listed)
"""
    assert run(engine_module, FORKED + program + PROCEED) == 0


# --- what kills the process -----------------------------------------------------------------------------------------


def tells(engine, is_right):
    """Whether that moment is told; others may be before it, and it may come more than once."""
    while select.select([engine.watch_reader], [], [], WITHIN)[0]:
        if is_right(struct.unpack("<d", os.read(engine.watch_reader, 8))[0]):
            return True
    return False


@pytest.fixture
def watched(contexts):
    if contexts.module.name == "native":
        pytest.skip("its own thread kills")
    root, child = contexts.pair()
    return root, child


def test_the_earliest_moment_is_told(watched):
    _, child = watched
    now = time.monotonic()
    late = child.watch(100)
    assert tells(child, lambda moment: now + 100 <= moment <= time.monotonic() + 100)
    soon = child.watch(50)
    assert tells(child, lambda moment: moment < now + 90)
    later = child.watch(200)
    child.unwatch(soon)
    assert tells(child, lambda moment: now + 90 < moment < now + 150)
    child.unwatch(late)
    assert tells(child, lambda moment: now + 190 < moment < math.inf)
    child.unwatch(later)
    child.unwatch(later)
    assert tells(child, math.isinf)


def test_shutdown_and_the_end_of_the_parent_set_the_moment(watched):
    root, child = watched
    root.post(1, SHUTDOWN, 2.0)
    assert tells(child, lambda moment: moment <= time.monotonic() + 2)
    child.unwatch(1)
    assert tells(child, math.isinf)
    root.post(1, SHUTDOWN, 1000)
    assert tells(child, lambda moment: moment <= time.monotonic() + 4)
    child.unwatch(2)
    assert tells(child, math.isinf)
    root.stop()
    assert tells(child, lambda moment: moment <= time.monotonic() + 4)
    child.stop()
    while select.select([child.watch_reader], [], [], 0)[0]:
        assert struct.unpack("<d", os.read(child.watch_reader, 8))[0] < math.inf  # it is still to be killed


@pytest.mark.parametrize("how", ["thread", "busy"])
def test_a_process_whose_time_is_over_is_killed_with_its_group(engine_module, how):
    program = """
import subprocess
engine = contexts.module.Engine(1, (0,))
sleeper = subprocess.Popen(["sleep", "1000"])
os.write(1, b"%d\\n" % sleeper.pid)
engine.unwatch(engine.watch(0.05))
time.sleep(0.2)
os.write(1, b"alive\\n")
engine.watch(0.1)
while True:
    """ + ("time.sleep(1000)" if how == "thread" else "pass")
    reader, writer = os.pipe()
    assert run(engine_module, program, stdout=writer, start_new_session=True) == -9
    os.close(writer)
    with os.fdopen(reader) as output:
        sleeper, alive = output.read().split()
    assert alive == "alive"
    until(lambda: not os.path.exists(f"/proc/{sleeper}") or open(f"/proc/{sleeper}/stat").read().split()[2] == "Z")


# --- links that are silent ------------------------------------------------------------------------------------------


def test_pings_go_to_children(contexts):
    root = contexts.engine(0)
    raw = contexts.raw(root, 1, heartbeat=0.02)
    for _ in range(3):
        assert raw.expect(PING) == b""


def test_a_silent_parent_is_lost(contexts):
    child = contexts.engine(1, (0,), heartbeat=0.05)
    contexts.raw(child, 0)
    kind, _, (lost, why), _ = child.next(SERVICE, WITHIN)
    assert (kind, lost[0]) == (GONE, 0) and "heard" in why
    child.stop()


def test_a_silent_child_is_lost_if_it_has_pinged(contexts):
    """One that has not may have another engine."""
    root = contexts.engine(0)
    quiet, raw = contexts.raw(root, 1, heartbeat=0.05), contexts.raw(root, 2, heartbeat=0.05)
    begun = time.monotonic()
    while time.monotonic() < begun + 0.4:  # 0.2 s of silence would be enough
        raw.frame(PING, 0)
        assert raw.expect(PING) == b"" and quiet.expect(PING) == b""
        assert root.next(SERVICE, 0) is None
    kind, _, (lost, why), _ = root.next(SERVICE, 3)
    assert (kind, lost) == (GONE, [2]) and "heard" in why
    assert quiet.expect(PING) == b"" and root.request(1, EXEC, None)


def test_children_ping(contexts):
    child = contexts.engine(1, (0,), heartbeat=0.05)
    raw = contexts.raw(child, 0)
    raw.socket.settimeout(3)
    for _ in range(3):
        assert raw.expect(PING) == b""
        raw.frame(PING, 1)
    assert child.next(SERVICE, 0) is None


def test_a_parent_that_pings_is_not(contexts):
    root, child = contexts.engine(0), contexts.engine(1, (0,), heartbeat=0.5)
    ours, theirs = stream("socket")
    root.add_link(1, *ours, heartbeat=0.25)
    child.add_link(0, *theirs)
    start = time.monotonic()
    while time.monotonic() < start + 3:  # 2 s of silence would be enough
        if child.next(SERVICE, 0.5) is not None:
            raise AssertionError("it was lost")
    near = root.request(1, EXEC, None)
    assert child.next(TASKS, WITHIN)[0] == EXEC and near


# --- what is shipped ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CORE.glob("*.py")), ids=lambda path: path.stem)
def test_modules_of_the_core_are_for_python_3_6_and_need_nothing(path):
    source = path.read_text(encoding="ascii")
    tree = ast.parse(source, feature_version=(3, 6))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in names:
            assert name.partition(".")[0] in sys.stdlib_module_names, f"{path.name}: import {name}"


def test_what_the_engine_costs_to_send(capsys):
    sources = [(CORE / f"{name}.py").read_bytes() for name in ENGINE]
    size = len(zlib.compress(b"\n".join(sources), 9))
    with capsys.disabled():
        print(f"\nthe engine: {sum(map(len, sources))} bytes in {len(sources)} modules, {size} compressed")
    assert size < 40000


ECHO = """
import sys
sys.path[:0] = [%r]
import os
from brood.gateways.core.engine import Engine
from brood.gateways.core.kinds import CALL, EXEC, SERVICE, TASKS
(a, b), (c, d) = os.pipe(), os.pipe()
root, child = Engine(0), Engine(1, (0,))
root.add_link(1, a, d)
child.add_link(0, c, b)
near = root.request(1, EXEC, {"a": (1, 1 << 80)})
far = child.next(TASKS, 20)[3]
for size in (1, 1000, 3 << 20):
    near.send(b"x" * size)
    assert len(far.receive(20)) == size
assert child.request(0, CALL, None) and root.next(TASKS, 0) is None
pid = os.fork()
if pid == 0:
    try:
        near.send(1)
    except OSError:
        os._exit(0)
    os._exit(1)
assert os.waitpid(pid, 0)[1] == 0
near.finish(1)
assert list(far) == [1]
root.stop()
child.next(SERVICE, 20)
child.stop()
print("fine")
"""


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9", "3.13"])
def test_other_interpreters(version):
    python = shutil.which(f"python{version}")
    done = python and subprocess.run([python, "-c", ECHO % str(CORE.parents[2])], capture_output=True, timeout=3 * WITHIN)
    if not done or done.returncode == 127:  # not there, or only a name that says so
        pytest.skip(f"there is no python{version}")
    assert (done.returncode, done.stdout) == (0, b"fine\n"), done.stderr.decode()


def test_threads_and_descriptors_are_given_back(contexts):
    """The fixture looks at what is left."""
    root, child = contexts.pair("pipe")
    near = root.request(1, EXEC, None)
    far = child.next(TASKS, WITHIN)[3]
    waiting = in_thread(far.receive)
    root.stop()
    with pytest.raises(OSError):
        waiting.result()
    assert near.isclosed()
