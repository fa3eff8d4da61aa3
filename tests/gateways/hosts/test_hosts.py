"""What the fixture `hosts` promises, for every kind of link that is possible here."""

import os
import signal
import subprocess
import time

import execnet
import pytest

from .links import PROGRAMS
from .network import KINDS, Hosts, is_possible
from .processes import DEADLINE, MARK, ended, orphans, wait_until

ECHO = ["python3", "-uc", "import os, sys; print(os.getpid())\nfor line in sys.stdin: print(line, end='')"]
KEEPALIVE = ["ServerAliveInterval 1", "ServerAliveCountMax 1"]
IN_BACKGROUND = ["sh", "-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!"]


@pytest.fixture(params=KINDS)
def line(request):
    """Hosts whose links are of each kind in turn; nothing is left of them, their links and their clients."""
    with orphans(), Hosts(request.param) as hosts:
        yield hosts


class Echo:
    """A command that executes ECHO; `pid` is that of the Python on the other side."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = int(self.process.stdout.readline())

    def round_trip(self, size=1):
        """Seconds for so many bytes."""
        start = time.monotonic()
        self.process.stdin.write(b"x" * (size - 1) + b"\n")
        self.process.stdin.flush()
        assert len(self.process.stdout.readline()) == size
        return time.monotonic() - start

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.stdout.close()


def test_machines_in_a_line(line):
    a, b = line.make("a", "b")
    with Echo(a.ssh(*ECHO)) as near, Echo(b.ssh(*ECHO)) as far:
        assert near.round_trip() < 1 and far.round_trip() < 1
        assert {near.pid, far.process.pid} <= a.processes() and far.pid in b.processes()
        assert not a.processes() & b.processes()
    wait_until(lambda: not a.processes() and not b.processes(), "the end of all")


def test_a_network_is_its_own(line):
    if line.kind == "relay":
        pytest.skip("relays lead to processes of this machine")
    a, b = line.make("a", "b")
    devices = os.listdir("/sys/class/net")
    processes = (os.getpid(), line.master.holder.pid, a.sshd.process.pid, b.sshd.process.pid)
    assert len({os.readlink(f"/proc/{pid}/ns/net") for pid in processes}) == 4
    connect = ["python3", f"{PROGRAMS}/connect.py", "192.0.2.6", "22"]
    from_test = subprocess.run([*line.master.enter(), *connect], capture_output=True, text=True, timeout=DEADLINE)
    assert "Network is unreachable" in from_test.stderr  # b, otherwise than over a
    assert "Socket operation on non-socket" in a.run(*connect).stderr  # connected, and nobody to pass it to
    assert sorted(a.run("sh", "-c", "ip -br link | cut -d' ' -f1 | cut -d@ -f1").stdout.split()) == ["east", "lo", "west"]
    assert os.listdir("/sys/class/net") == devices


def test_execnet_over_two_hops(line):
    a, b = line.make("a", "b", links=[{"delay": 10}])
    group = execnet.Group()
    group.makegateway(a.spec("id=a//python=python3"))
    far = group.makegateway(b.spec("id=b//python=python3//via=a"))
    pid, mark = far.remote_exec(f"import os; channel.send((os.getpid(), os.environ['{MARK}']))").receive(DEADLINE)
    assert pid in b.processes() and pid not in a.processes() and mark == os.environ[MARK]
    group.terminate(timeout=DEADLINE)
    wait_until(lambda: ended(pid))


def test_a_delay(line):
    a, b = line.make("a", "b", links=[{"delay": 30}, {"delay": 50}])
    with Echo(a.ssh(*ECHO)) as near, Echo(b.ssh(*ECHO)) as far:
        assert all(0.06 <= near.round_trip() < 1 for _ in range(3))
        assert all(0.1 <= far.round_trip() < 1 for _ in range(3))  # started in a, by the test
        a.link.delay(0)
        b.link.delay(0)
        assert min(near.round_trip() for _ in range(10)) < 0.06
        assert min(far.round_trip() for _ in range(10)) < 0.1


def test_a_delay_does_not_limit_how_much_passes(line):
    """With one packet of 64 KiB at a time it would take 8 s each."""
    (a,) = line.make("a")
    with Echo(a.ssh(*ECHO)) as echo:
        a.link.delay(50)
        took = [echo.round_trip(2_500_000) for _ in range(3)]  # the windows have to open first
        assert 0.1 <= min(took) < 2, took


def test_a_rate(line):
    (a,) = line.make("a")
    with Echo(a.ssh(*ECHO)) as echo:
        a.link.rate("2mbit")
        data = 100_000
        assert 0.95 * 2 * data * 8 / 2e6 <= echo.round_trip(data) < 5
        a.link.rate(None)
        assert echo.round_trip(data) < 0.5


def test_a_cut_is_silent_and_ends(line):
    (a,) = line.make("a")
    with Echo(a.ssh(*ECHO)) as echo:
        a.link.cut()
        echo.process.stdin.write(b"kept\n")
        echo.process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            echo.process.wait(0.3)
        a.link.restore()
        assert echo.process.stdout.readline() == b"kept\n"


def test_a_cut_is_noticed_by_who_asks(line):
    a, b = line.make("a", "b", options=KEEPALIVE)
    with Echo(a.ssh(*ECHO)) as near, Echo(b.ssh(*ECHO)) as far:
        b.link.cut()
        assert far.process.wait(DEADLINE) == 255
        assert near.round_trip() < 1
        os.kill(far.pid, signal.SIGTERM)  # its sshd cannot know; of that nothing is left either


def test_who_is_left_on_a_host_fails_the_test(line):
    with pytest.raises(AssertionError, match="left behind.* [0-9]+ .S.: sleep 1000$"), Hosts(line.kind) as hosts:
        a, b = hosts.make("a", "b")
        b.sshd.grace = 0.1
        assert not b.processes()
        pid = int(b.run(*IN_BACKGROUND).stdout)
        assert b.processes() == {pid}
        with subprocess.Popen(a.command("cat"), env={"PATH": os.environ["PATH"]}, stdin=subprocess.PIPE) as server:
            wait_until(lambda: a.processes() == {server.pid})
    assert ended(pid)


def test_the_fixture(hosts):
    (a,) = hosts.make("only")
    assert a.run("echo", "hello").stdout == "hello\n"
    assert hosts.kind == next(filter(is_possible, KINDS))
