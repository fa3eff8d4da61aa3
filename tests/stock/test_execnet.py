"""execnet as Debian has it, with `popen//python=brood-python`: everything as with python3, and warm."""

import signal
import subprocess

import execnet
import pytest
from brood_fixture import PYTHON, Brood
from launcher import Terminal
from stock import ATTEMPTS, be_called_as, is_worker, needs_pandas, warmly
from waiting import DEADLINE, Watched, children, ended, parent_of, wait_until

BOOT = ["-u", "-c", "import sys;exec(eval(sys.stdin.readline()))"]
WHO = "import os; channel.send(os.getpid())"
BOTH = pytest.mark.parametrize("interpreter", [PYTHON, Brood.drop_in], ids=["python3", "brood"])


def spec(interpreter, *more):
    return "//".join([f"popen//python={interpreter}", *more])


def pid_of(gateway):
    return gateway.remote_exec(WHO).receive(DEADLINE)


@pytest.fixture
def group(warm_brood, monkeypatch):
    be_called_as(monkeypatch, warm_brood)
    made = execnet.Group()
    yield made
    made.terminate(timeout=DEADLINE)


def start(group, interpreter, *more):
    """A gateway, which is a worker's if it is brood's, and its process' number."""
    gateway = group.makegateway(spec(interpreter, *more))
    return gateway, pid_of(gateway)


def start_warm(brood, group, *more):
    return warmly(brood, lambda: start(group, brood.drop_in, *more))[-1]


# --- warm ----------------------------------------------------------------------------------------


def test_the_first_is_cold_and_then_they_are_warm(brood, monkeypatch):
    be_called_as(monkeypatch, brood)
    group = execnet.Group()
    try:
        first, pid = start(group, brood.drop_in)
        assert pid == first._io.popen.pid  # the interpreter itself
        wait_until(lambda: [env for env in brood.status()["environments"] if env["state"] == "ready"], "the environment")
        before = brood.status()["daemon"]["served"]
        second, pid = start_warm(brood, group)
        assert pid != second._io.popen.pid
        assert brood.status()["daemon"]["served"] > before
        programs = [one["pid"] for env in brood.status()["environments"] for zygote in env["zygotes"] for one in zygote["programs"]]
        assert pid in programs
        assert second.remote_exec("import sys; channel.send('asyncio' in sys.modules)").receive(DEADLINE)
    finally:
        group.terminate(timeout=DEADLINE)


def test_nothing_stands_in_its_way(warm_brood):
    done = warm_brood.tool("explain", *BOOT)
    assert done.out.startswith(b"warm: "), done
    done = warm_brood.warm_drop_in(BOOT, stdin=b"'print(6 * 7)'\n")
    assert (done.status, done.out, done.err) == (0, b"42\n", b"")


@needs_pandas
def test_a_preload_is_there(brood, monkeypatch):
    (brood.work / "brood.toml").write_text('[env.analysis]\npreload = ["pandas"]\n')
    be_called_as(monkeypatch, brood)
    brood.warm_drop_in(["-c", "pass"])
    group = execnet.Group()
    try:
        gateway, _ = start_warm(brood, group)
        source = "import sys; channel.send('pandas' in sys.modules); import pandas; channel.send(int(pandas.Series([40, 2]).sum()))"
        channel = gateway.remote_exec(source)
        assert (channel.receive(DEADLINE), channel.receive(DEADLINE)) == (True, 42)
    finally:
        group.terminate(timeout=DEADLINE)


def test_an_environment_by_name(brood, monkeypatch):
    """`python=` is a command line."""
    (brood.work / "brood.toml").write_text('[env.one]\n[env.other]\npreload = ["this"]\n')
    be_called_as(monkeypatch, brood)
    brood.warm("--env", "other", "-c", "pass")
    group = execnet.Group()
    try:
        python = f"{brood.brood} run --env other"
        gateway, _ = warmly(brood, lambda: start(group, python))[-1]
        assert gateway.remote_exec("import sys; channel.send('this' in sys.modules)").receive(DEADLINE)
    finally:
        group.terminate(timeout=DEADLINE)


# --- the same as with python3 ---------------------------------------------------------------------


def test_several_at_once(warm_brood, group):
    gateways = [start_warm(warm_brood, group) for _ in range(8)]
    assert len({pid for _, pid in gateways}) == 8
    channels = execnet.MultiChannel([one.remote_exec("for item in channel: channel.send(item ** 2)") for one, _ in gateways])
    for number in range(50):
        channels.send_each(number)
    for number in range(50):
        assert channels.receive_each() == [number**2] * 8
    large = b"\0\xff" * 4_000_000
    channels.send_each(len(large))  # they go on
    echo = gateways[0][0].remote_exec("channel.send(channel.receive())")
    echo.send(large)
    assert echo.receive(DEADLINE) == large


@BOTH
def test_exit(warm_brood, group, interpreter):
    gateway, pid = start(group, interpreter)
    with Watched(pid) as remote:
        gateway.exit()
        assert remote.ended()
        assert gateway._io.wait() == 0


@BOTH
def test_the_status_of_one_that_leaves_by_itself(warm_brood, group, interpreter):
    gateway, pid = start(group, interpreter)
    with Watched(pid) as remote:
        channel = gateway.remote_exec("import os; os._exit(7)")
        with pytest.raises(EOFError):
            channel.receive(DEADLINE)
        assert remote.ended() and gateway._io.wait() == 7


@BOTH
@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(1000)", "import os; os.read(os.pipe()[0], 1)"])
def test_terminate_ends_code_that_hangs(warm_brood, group, interpreter, code):
    gateway, pid = start(group, interpreter)
    with Watched(pid) as remote:
        channel = gateway.remote_exec(f"channel.send(1)\n{code}")
        assert channel.receive(DEADLINE) == 1
        group.terminate(timeout=0.2)
        assert remote.ended(5)
        assert gateway._io.wait() == -signal.SIGKILL


def test_a_remote_exception(warm_brood, group):
    source = "def f(n):\n    return 1 / n\nf(0)"
    said = []
    for gateway in (start(group, PYTHON)[0], start_warm(warm_brood, group)[0]):
        with pytest.raises(execnet.RemoteError) as caught:
            gateway.remote_exec(source).receive(DEADLINE)
        said.append(caught.value.formatted)
        assert gateway.remote_exec("channel.send(1)").receive(DEADLINE) == 1  # it goes on
    assert "ZeroDivisionError" in said[0] and said[0] == said[1]


SHOW = """
import os, sys
channel.send((sys.argv, sys.path, sys.flags.dont_write_bytecode, os.getcwd(), os.environ.get("HERE"), os.nice(0),
              sys.version, sys.executable, sys.stdin.fileno(), sys.stdout.fileno(), sys.stdout.isatty(), __name__))
"""


def test_options_of_a_gateway(warm_brood, group, tmp_path):
    more = [f"chdir={tmp_path}", "nice=3", "env:HERE=yes", "dont_write_bytecode"]
    warm_brood.warm_drop_in(["-B", "-c", "pass"])
    gateways = [start(group, PYTHON, *more)[0], start_warm(warm_brood, group, *more)[0]]
    plain, warm = [gateway.remote_exec(SHOW).receive(DEADLINE) for gateway in gateways]
    assert plain == warm and warm[2:6] == (1, str(tmp_path), "yes", 3)


def test_a_gateway_through_another(warm_brood, group):
    first, _ = start_warm(warm_brood, group, "id=first")
    _, pid = start_warm(warm_brood, group, "via=first")
    assert parent_of(pid) == parent_of(pid_of(first))  # both of one zygote


# --- the end of the master ------------------------------------------------------------------------

MASTER = """
import sys
import execnet
group = execnet.Group()
codes = ["import os; channel.send(os.getpid())\\n" + code for code in sys.argv[2:]]
channels = [group.makegateway("popen//python=" + sys.argv[1]).remote_exec(code) for code in codes]
for channel in channels:
    print(channel.receive(), flush=True)
print("ready", flush=True)
"""


def all_as_wanted(brood, pids, interpreter):
    """Whether all are workers, if they are to be; else none is."""
    warm = [is_worker(brood, pid) for pid in pids]
    assert interpreter != PYTHON or not any(warm)
    return interpreter == PYTHON or all(warm)


def start_master(brood, programs, interpreter):
    source = MASTER + "channels[0].waitclose()\nsys.stdin.read()"
    codes = ["pass", "channel.receive()", "import time; time.sleep(1000)"]
    for _ in range(ATTEMPTS):
        master = subprocess.Popen(
            [PYTHON, "-c", source, interpreter, *codes], env=brood.environment, cwd=brood.work,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        programs.append(master)
        pids = [int(line) for line in iter(master.stdout.readline, b"ready\n")]
        if all_as_wanted(brood, pids, interpreter):
            return master, pids
        master.kill()
    raise AssertionError("never warm")


@BOTH
def test_the_master_is_killed(warm_brood, programs, interpreter):
    """Idle, waiting for the master, asleep: execnet itself gives code that runs on five seconds and interrupts it then."""
    master, pids = start_master(warm_brood, programs, interpreter)
    clients = children(master.pid)
    assert len(clients) == 3
    idle, waiting, asleep = map(Watched, pids)
    master.kill()
    with idle, waiting, asleep:
        assert idle.ended(5) and waiting.ended(5)
        assert asleep.ended()
    wait_until(lambda: ended(*clients), "the end of the clients")


AT_A_TERMINAL = """
try:
    channels[0].waitclose()
except KeyboardInterrupt:
    print("the master was interrupted")
for channel in channels:
    try:
        channel.waitclose(10)
        print("closed")
    except channel.RemoteError as error:
        print(error)
group.terminate(timeout=5)
print("the end")
"""


def at_a_terminal(brood, interpreter):
    """What the master prints after Ctrl-C. Nothing: it was to be warm, and was not."""
    codes = ["import time; time.sleep(1000)", "channel.receive()", "while True: pass"]
    command = [PYTHON, "-c", MASTER + AT_A_TERMINAL, interpreter, *codes]
    master = Terminal(command, brood.environment, brood.work, (30, 100))
    try:
        master.expect("ready")
        pids = [int(line) for line in master.before.split()]
        good = all_as_wanted(brood, pids, interpreter)
        master.send("\x03")
        master.expect("the end")
        assert master.wait() == 0
        wait_until(lambda: ended(*pids), "the end of the remotes")
        return master.before if good else None
    finally:
        master.kill()


def test_ctrl_c(warm_brood):
    expected = at_a_terminal(warm_brood, PYTHON)
    assert b"the master was interrupted" in expected and b"keyboard-interrupted" in expected
    said = [at_a_terminal(warm_brood, warm_brood.drop_in)]
    while said[-1] is None and len(said) < ATTEMPTS:
        said.append(at_a_terminal(warm_brood, warm_brood.drop_in))
    assert said[-1] == expected
