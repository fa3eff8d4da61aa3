"""`brood serve --listen execnet:HOST:PORT`, used by execnet's `socket=HOST:PORT` as Debian has it."""

import contextlib
import os
import signal
import socket
import subprocess
import time

import execnet
import pytest
from brood_fixture import PYTHON, TIMEOUT
from serve_start import OUTSIDE, descendants, refused, starting
from stock import be_called_as
from waiting import DEADLINE, Watched, children, ended, parent_of, wait_until

BOUND = 5  # seconds: what a worker may take to end once its client has left
CONFIG = '[env.warm]\npreload = ["heavy"]\n'
HANGS = {
    "computes": "while True: pass",
    "sleeps": "import time\ntime.sleep(1000)",
    "holds the interpreter": "import ctypes\nctypes.PyDLL(None).sleep(1000)",
    "takes no interrupt": "import time\nwhile True:\n    try: time.sleep(1000)\n    except BaseException: pass",
    "waits for a child": "import subprocess\nsubprocess.run(['sleep', '1000'])",
}


@pytest.fixture
def start(brood, monkeypatch):
    (brood.work / "heavy.py").write_text("value = 1\n")
    (brood.work / "brood.toml").write_text(CONFIG)
    be_called_as(monkeypatch, brood)
    with starting(brood) as start_one:
        yield start_one


@pytest.fixture
def server(start):
    return start("--listen", "execnet:127.0.0.1:0")


@pytest.fixture
def group():
    made = execnet.Group()
    yield made
    made.terminate(timeout=1)


def place_of(server):
    (address,) = server.addresses
    kind, host, port = address.split(":")
    assert kind == "execnet"
    return host, int(port)


def gateway_of(group, server):
    host, port = place_of(server)
    return group.makegateway(f"socket={host}:{port}")


def ask(gateway, code):
    return gateway.remote_exec(code).receive(DEADLINE)


def pid_of(gateway):
    return ask(gateway, "import os; channel.send(os.getpid())")


def connect(server):
    return socket.create_connection(place_of(server), TIMEOUT)


def say(client, source):
    client.sendall((repr(source) + "\n").encode())


def workers(server):
    """The processes below its zygotes that have a client: they show their program's command line."""
    found = [pid for zygote in children(server.pid) for pid in children(zygote)]
    return [pid for pid in found if b"serve: a gateway" in command_line(pid)]


def command_line(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()
    return b""


# --- what a gateway can do ------------------------------------------------------------------------


def test_a_gateway_is_a_worker_of_the_default_environment(brood, server, group):
    gateway = gateway_of(group, server)
    source = "import os, sys; channel.send(('heavy' in sys.modules, os.getpid(), os.getcwd(), os.environ['HOME'], sys.executable))"
    warm, pid, folder, home, executable = ask(gateway, source)
    assert (warm, folder, home, executable) == (True, str(brood.work), str(brood.home), PYTHON)
    assert parent_of(parent_of(pid)) == server.pid and workers(server) == [pid]
    for number in range(3):
        assert ask(gateway, f"channel.send({number})") == number
    with pytest.raises(execnet.RemoteError, match="ZeroDivisionError"):
        ask(gateway, "1 / 0")
    echo = gateway.remote_exec("for item in channel: channel.send(item)")
    for item in (b"\0\xff" * 3_000_000, "text", None, [1, (2.5, True)], {"a": 10**9}):
        echo.send(item)
        assert echo.receive(DEADLINE) == item
    with Watched(pid) as worker:
        gateway.exit()
        assert worker.ended(1)


def test_several_at_once(server, group):
    gateways = [gateway_of(group, server) for _ in range(12)]
    assert len({pid_of(gateway) for gateway in gateways}) == 12
    channels = execnet.MultiChannel([one.remote_exec("for item in channel: channel.send(item ** 2)") for one in gateways])
    for number in range(20):
        channels.send_each(number)
    for number in range(20):
        assert channels.receive_each() == [number**2] * 12


def test_standard_streams(server, group):
    """Input is empty, output is the server's log."""
    gateway = gateway_of(group, server)
    code = "import os, sys; print('printed'); os.system('echo by a child; cat'); channel.send((sys.stdin.read(), os.read(0, 1)))"
    assert ask(gateway, code) == ("", b"")
    assert "printed\nby a child\n" in server.err.read_text()


def test_what_is_edited_is_loaded_anew(brood, server, group):
    code = "import heavy; channel.send(heavy.value)"
    assert ask(gateway_of(group, server), code) == 1
    (brood.work / "heavy.py").write_text("value = 12345\n")
    assert ask(gateway_of(group, server), code) == 12345


def test_the_client_sees_when_the_program_closes_its_socket(brood, server):
    fifo = brood.base / "fifo"
    os.mkfifo(fifo)
    with connect(server) as client:
        say(client, f"clientsock.sendall(b'here')\nclientsock.close()\nopen({str(fifo)!r}).read()")
        assert client.recv(10) == b"here" and client.recv(10) == b""
        (worker,) = workers(server)
        with Watched(worker) as process:
            fifo.write_text("go on")
            assert process.ended(BOUND)


# --- the end --------------------------------------------------------------------------------------


def leave(client, how):
    """execnet's exit() ends what it sends and waits; a process that is killed closes its socket."""
    if how == "exit":
        client.shutdown(socket.SHUT_WR)
        return
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


@pytest.mark.parametrize("how", ["exit", "close", "reset"])
def test_the_client_leaves(server, how):
    with contextlib.ExitStack() as stack:
        clients, watched = [], {}
        for name, code in HANGS.items():
            client = stack.enter_context(connect(server))
            say(client, "import os\nclientsock.sendall(b'%d\\n' % os.getpid())\n" + code)
            with client.makefile("rb") as lines:
                pid = int(lines.readline())
            watched[name] = stack.enter_context(Watched(pid))
            clients.append(client)
        others = wait_until(lambda: children(watched["waits for a child"].pid), "the child")
        end = time.monotonic() + BOUND
        for client in clients:
            leave(client, how)
        assert [name for name, worker in watched.items() if not worker.ended(max(0, end - time.monotonic()))] == []
        wait_until(lambda: ended(*others), "the end of the child")
    wait_until(lambda: not workers(server), "the end of the workers")


def test_code_that_goes_on_for_a_while_may_end(brood, server, group):
    """Two seconds after the client has left, it writes down what it knows."""
    file = brood.base / "written"
    gateway = gateway_of(group, server)
    pid = pid_of(gateway)
    channel = gateway.remote_exec(f"channel.send(1)\nimport time\ntime.sleep(2)\nopen({str(file)!r}, 'w').write('done')")
    assert channel.receive(DEADLINE) == 1
    with Watched(pid) as worker:
        gateway.exit()
        assert worker.ended(BOUND)
    assert file.read_text() == "done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends(brood, server, number):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(3)]
        for client, code in zip(clients, ["import time\ntime.sleep(1000)", HANGS["takes no interrupt"], HANGS["waits for a child"]]):
            say(client, "clientsock.sendall(b'here')\n" + code)
            assert client.recv(10) == b"here"
        watched = [stack.enter_context(Watched(pid)) for pid in workers(server)]
        assert len(watched) == 3
        sleeper = wait_until(lambda: [pid for one in watched for pid in children(one.pid)], "the child")
        if number == signal.SIGTERM:
            server.end()
        else:
            server.kill(but=sleeper)
        assert all(one.ended(BOUND) for one in watched)
        assert [client.recv(10) for client in clients] == [b""] * 3
        for pid in sleeper if number == signal.SIGKILL else []:
            os.kill(pid, signal.SIGKILL)  # nobody is there any more who would


def test_the_environment_fails(brood, start):
    (brood.work / "brood.toml").write_text('[env.broken]\npreload = ["no_such_module"]\n')
    server = start("--listen", "execnet:127.0.0.1:0")
    with connect(server) as client:
        say(client, "clientsock.sendall(b'here')")
        with contextlib.suppress(ConnectionError):  # nobody has read what it has said
            assert client.recv(10) == b""
    assert "no gateway of execnet: the environment cannot be had" in server.err.read_text()


# --- who comes in ---------------------------------------------------------------------------------


def test_so_many_at_the_same_time(brood, start):
    (brood.work / "brood.toml").write_text(CONFIG + '[serve]\nlisten = ["execnet:127.0.0.1:0"]\nmax_gateways = 2\n')
    server = start()
    hello = "clientsock.sendall(b'here')\nclientsock.recv(1)"
    with connect(server) as first, connect(server) as second, connect(server) as third:
        for client in (first, second, third):
            say(client, hello)
        assert first.recv(10) == second.recv(10) == b"here"
        third.settimeout(0.3)
        with pytest.raises(TimeoutError):
            third.recv(10)
        assert len(workers(server)) == 2
        first.close()
        third.settimeout(TIMEOUT)
        assert third.recv(10) == b"here"


NO_CLIENTS = {
    "a browser": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "no text": b"\xff\0\n",
    "no literal": b"__import__('os').abort()\n",
    "no text, but a number": b"12\n",
    "no Python": b"'x = = 1'\n",
    "too long": b"'" + b"x" * (17 << 20),
}


@pytest.mark.parametrize("bytes", NO_CLIENTS.values(), ids=NO_CLIENTS)
def test_no_client_of_execnet(server, bytes):
    with connect(server) as client:
        with contextlib.suppress(ConnectionError):  # it reads no more than it must
            client.sendall(bytes)
            assert client.recv(10) == b""
    wait_until(lambda: "no client of execnet" in server.err.read_text(), "the log")
    with connect(server) as client:
        say(client, "clientsock.sendall(b'here')")
        assert client.recv(10) == b"here"


def test_a_client_that_says_nothing(server):
    for _ in range(3):
        connect(server).close()
    with connect(server) as client:
        say(client, "")
        assert client.recv(10) == b""
    wait_until(lambda: not workers(server), "the end of the workers")
    assert server.err.read_text() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_is_sent_away(server):
    host, port = place_of(server)
    code = f"""
import socket
client = socket.create_connection(({host!r}, {port}))
try:
    client.sendall(b"'clientsock.sendall(b\\\\'here\\\\')'\\n")
    print(client.recv(10))
except ConnectionError:
    print(b"")
"""
    done = subprocess.run([PYTHON, "-c", code], user=65534, group=65534, extra_groups=[], capture_output=True, timeout=TIMEOUT)
    assert (done.stdout, done.stderr) == (b"b''\n", b"")
    assert "a client of execnet is sent away: it is user 65534" in server.err.read_text()
    assert not workers(server)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", OUTSIDE])
@pytest.mark.parametrize("more", [[], ["--insecure"]])
def test_only_loopback_addresses(brood, host, more):
    status, text = refused(brood, "--listen", f"execnet:{host}:8888", *more)
    assert status == 2 and text.count("\n") == 1
    said = f"brood serve: execnet:{host}:8888 can be reached from other machines, and execnet's protocol has no passwords: "
    assert text.startswith(said + "use execnet:127.0.0.1:8888") and "ssh -L 8888:127.0.0.1:8888" in text


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
def test_ipv6(start):
    """execnet's own client has no such addresses; others may."""
    server = start("--listen", "execnet:[::1]:0")
    with socket.create_connection(("::1", int(server.addresses[0].rpartition(":")[2])), TIMEOUT) as client:
        say(client, "clientsock.sendall(address[0].encode())")
        assert client.recv(10) == b"::1"


def test_beside_other_addresses(start, group):
    server = start("--listen", "unix:here.sock", "--listen", "execnet:localhost:0", env={"BROOD_TOKEN": "t" * 32})
    assert server.addresses[1].startswith("execnet:localhost:")
    assert server.out.read_text().splitlines()[1] == server.addresses[1]
    host, port = server.addresses[1].split(":")[1:]
    gateway = group.makegateway(f"socket={host}:{port}")
    assert ask(gateway, "import os; channel.send('BROOD_TOKEN' in os.environ)") is False
    assert descendants(server.pid)
