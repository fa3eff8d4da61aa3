"""mitogen as Debian has it, with `router.local(python_path=brood-python)`.

Its first stage is a `-c` that forks; the child feeds the parent, which executes sys.executable over itself. The first stage is
warm. So is the interpreter after it, where the environment's init file says that sys.executable is brood-python.
"""

import json
import re
import subprocess
from types import SimpleNamespace

import pytest
from brood_fixture import PYTHON, Brood
from launcher import read_line
from stock import ATTEMPTS, has, is_worker
from waiting import DEADLINE, Watched, children, ended, process_state, wait_until

pytestmark = pytest.mark.skipif(not has("mitogen.master"), reason="needs mitogen")

INIT = f"__import__('sys').executable = {Brood.drop_in!r}\n"
# argv: the interpreter, then what to do. Says a line of JSON after each step; goes on when it gets a line.
MASTER = r"""
import json, logging, os, sys, time
import mitogen.core, mitogen.master, mitogen.utils

def who():
    line = open("/proc/self/cmdline", "rb").read()
    return {"pid": os.getpid(), "executable": sys.executable, "preloaded": "heavy" in sys.modules, "argv0": line.decode().split("\0")[0]}

def see():
    return {"argv": sys.argv, "stdin": os.read(0, 10), "cwd": os.getcwd(), "main": sys.modules.get("__main__") is not None,
            "variables": sorted(set(os.environ) - {"_"}), "version": sys.version}

def echo(*items, **named):
    return items, named

def fail(n):
    return 1 / n

def talk():
    print("printed")
    os.write(1, b"written\n")
    os.system("echo by a child; echo to stderr >&2")

def hang():
    while True:
        pass

def say(**what):
    print(json.dumps(what, default=repr), flush=True)

def calls(router, contexts):
    said = []
    for context in contexts:
        said.append(context.call(see))
        said.append(context.call(echo, 1, "text", b"\0\xff" * 3_000_000, None, [True, {"a": (2.5,)}], named=10**30) == (
            (1, "text", b"\0\xff" * 3_000_000, None, [True, {"a": (2.5,)}]), {"named": 10**30}))
        try:
            context.call(fail, 0)
        except mitogen.core.CallError as error:
            said.append(str(error))
        said.append([receiver.get().unpickle() for receiver in [context.call_async(echo, n) for n in range(20)]])
    return said

def lines(context, records):
    context.call(talk)
    wanted = {"printed", "written", "by a child", "to stderr"}
    end = time.monotonic() + 20
    while time.monotonic() < end and not wanted <= {text for _, text in records}:
        time.sleep(0.01)
    return sorted(pair for pair in records if pair[1] in wanted)

class Keep(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append((record.name.partition(".")[0], record.getMessage().rpartition(": ")[2]))

if __name__ == "__main__":
    keep = Keep()
    logging.root.addHandler(keep)
    logging.root.setLevel(logging.INFO)
    broker = mitogen.master.Broker()
    router = mitogen.master.Router(broker)
    try:
        first = router.local(python_path=sys.argv[1])
        second = router.local(python_path=sys.argv[1], via=first)
        third = router.local(python_path=sys.argv[1], via=second)
        contexts = [first, second, third]
        say(contexts=[context.call(who) for context in contexts])
        if "calls" in sys.argv:
            say(calls=calls(router, contexts), lines=lines(third, keep.records))
        if "hang" in sys.argv:
            fourth = router.local(python_path=sys.argv[1])
            say(contexts=[fourth.call(who)])
            fourth.call_async(hang)
        sys.stdin.readline()
        for context in reversed(contexts):
            context.shutdown(wait=True)
            say(shutdown=True)
            sys.stdin.readline()
    finally:
        broker.shutdown()
        broker.join()
"""


class Master:
    """The program above, and what it says."""

    def __init__(self, brood, programs, interpreter, *words):
        self.process = subprocess.Popen(
            [PYTHON, brood.work / "master.py", interpreter, *words], env=brood.environment, cwd=brood.work,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        programs.append(self.process)
        self.contexts = self.next().contexts
        self.pids = [context["pid"] for context in self.contexts]

    def next(self):
        line = read_line(self.process.stdout)
        assert line, f"the master ended with status {self.process.wait()}"
        return SimpleNamespace(**json.loads(line))

    def go_on(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()


@pytest.fixture(scope="module")
def prepared(warm_brood):
    (warm_brood.work / "master.py").write_text(MASTER)
    return warm_brood


@pytest.fixture(scope="module")
def warm_through(prepared):
    """The same, but the interpreter after the first stage is brood-python again. For who has it, python_path is a list."""
    folder = prepared.base / "project"
    folder.mkdir()
    (folder / "heavy.py").write_text("")
    (folder / "init.py").write_text(INIT)
    (folder / "brood.toml").write_text('[env.through]\npreload = ["heavy"]\ninit = "init.py"\n')
    (folder / "master.py").write_text(MASTER)
    made = SimpleNamespace(work=folder, environment=prepared.environment, brood=prepared)
    prepared.warm_drop_in(["-c", "pass"], cwd=folder)
    return made


def start_warm(where, brood, programs, *words):
    """A master whose contexts are all workers: the first stages were, and execution over itself keeps a process."""
    for _ in range(ATTEMPTS):
        master = Master(where, programs, Brood.drop_in, *words)
        if all(is_worker(brood, pid) for pid in master.pids):
            return master
        master.process.stdin.close()
        master.process.wait(DEADLINE)
    raise AssertionError("never warm")


# --- what is warm ---------------------------------------------------------------------------------


def test_the_first_stage_is_warm_and_the_interpreter_after_it_is_not(prepared, programs):
    master = start_warm(prepared, prepared, programs)
    for context, above in zip(master.contexts, [master.process.pid, *master.pids]):
        assert context["executable"] == PYTHON and not context["preloaded"]
        assert re.fullmatch(re.escape(PYTHON) + rf"\(mitogen:\w+@.+:{above}\)", context["argv0"])


def test_the_interpreter_after_it_is_warm_if_the_init_file_says_so(warm_through, programs):
    master = start_warm(warm_through, warm_through.brood, programs)
    for context in master.contexts:
        assert context["executable"] == Brood.drop_in and context["preloaded"]
    clients = [pid for pid, line in warm_through.brood.processes().items() if b"(mitogen:" in line and pid not in master.pids]
    assert len(clients) == 3
    # What fed it is the client's child, and waited for.
    zombies = [pid for client in clients for pid in children(client)]
    wait_until(lambda: all(process_state(pid) == "" for pid in zombies), "no zombies")


# --- the same as with python3 ---------------------------------------------------------------------


def said_of(where, programs, start):
    master = start(where, programs)
    said = master.next()
    numbers = re.compile(r"\b(" + "|".join(map(str, [master.process.pid, *master.pids])) + r")\b")
    return numbers.sub("PID", json.dumps([said.calls, said.lines]))


def test_calls(prepared, programs):
    plain = said_of(prepared, programs, lambda where, programs: Master(where, programs, PYTHON, "calls"))
    warm = said_of(prepared, programs, lambda where, programs: start_warm(where, prepared, programs, "calls"))
    assert "ZeroDivisionError" in plain and '"by a child"' in plain and "false" not in plain
    assert warm == plain


def test_calls_warm_through(warm_through, programs):
    plain = said_of(warm_through, programs, lambda where, programs: Master(where, programs, PYTHON, "calls"))
    warm = said_of(warm_through, programs, lambda where, programs: start_warm(where, warm_through.brood, programs, "calls"))
    assert warm == plain


# --- the end --------------------------------------------------------------------------------------

WARM = pytest.mark.parametrize("way", ["prepared", "warm_through"])


@WARM
def test_shutdown(request, prepared, programs, way):
    master = start_warm(request.getfixturevalue(way), prepared, programs)
    for pid in reversed(master.pids):
        with Watched(pid) as process:
            master.go_on()
            assert master.next().shutdown
            assert process.ended(5)
    master.go_on()
    assert master.process.wait(DEADLINE) == 0


@WARM
def test_the_master_is_killed(request, prepared, programs, way):
    """Contexts that wait, one below the other, and one with code that never ends."""
    before = set(prepared.processes())
    master = start_warm(request.getfixturevalue(way), prepared, programs, "hang")
    pids = [*master.pids, *(context["pid"] for context in master.next().contexts)]
    clients = [pid for pid, line in prepared.processes().items() if pid not in before and b"brood-python" in line.split(b"\0")[0]]
    assert len(clients) >= 2
    watched = [Watched(pid) for pid in pids]
    master.process.kill()
    try:
        assert all(process.ended(5) for process in watched)
    finally:
        for process in watched:
            process.__exit__()
    wait_until(lambda: ended(*clients), "the end of the clients")
