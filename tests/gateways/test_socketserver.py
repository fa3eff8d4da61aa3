"""examples/gateways/socketserver.py: interpreters for clients, from the client's side of the socket."""

import ast
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
from interpreters import OLD_INTERPRETERS
from socketserver_fixture import DEADLINE, SCRIPT, TOKEN, Client, Process, load, started, watched

ECHO = "import os\nwhile True:\n  data = os.read(0, 100)\n  if not data: break\n  os.write(1, data.upper())"


@pytest.fixture(scope="module")
def server():
    with Process(":0") as process:
        yield process


@pytest.fixture(scope="module")
def token_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def locked_server(token_file):
    with Process("localhost:0", "--token-file", str(token_file)) as process:
        yield process


def wait_until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


# --- a client and its interpreter ------------------------------------------------------------------


def test_a_client_gets_an_interpreter(server):
    assert server.address[0] == "127.0.0.1"
    with started(server.address, ECHO) as client:
        client.send(b"hello")
        assert client.receive(5) == b"HELLO"
        client.socket.shutdown(socket.SHUT_WR)
        assert client.rest() == b""


def test_hello_says_what_there_is(server):
    with Client(server.address) as client:
        hello = client.greet()
    assert hello["version"] == 1 and hello["auth"] == [] and hello["user"] and hello["limits"]["source"] == 4096


def test_what_follows_the_source_is_the_interpreters(server):
    with Client(server.address) as client:
        client.greet()
        client.run("import os; os.write(1, os.read(0, 5))", b"abcde")
        assert client.rest() == b"abcde"


def test_the_longest_source(server):
    source = "print('x')".ljust(4096, "#")
    with started(server.address, source) as client:
        assert client.rest() == b"x\n"


def test_the_interpreter_has_the_connection_and_nothing_else_of_the_server(server):
    source = """
import fcntl, json, os, sys
files = {fd: os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd)}
print(json.dumps([files, [fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in (0, 1)], sys.executable, os.getpid(),
                  os.getpgid(0), os.getsid(0)]))
"""
    with started(server.address, source) as client:
        files, nonblocking, executable, pid, group, session = json.loads(client.rest())
    assert set(files) == {"0", "1", "2"} and files["0"] == files["1"] and files["0"].startswith("socket:")
    assert nonblocking == [0, 0] and pid == group == session and executable == sys.executable


def test_the_end_of_an_interpreter_is_the_end_of_the_connection_and_no_zombie_stays(server):
    with started(server.address, "import os; print(os.getpid())") as client:
        pid = client.rest().decode().strip()
    wait_until(lambda: pid not in server.children())


def test_the_server_does_not_keep_the_connection_open(server):
    source = "import os, signal; os.write(1, b'%d' % os.getpid()); os.closerange(0, 2); signal.pause()"
    with started(server.address, source) as client:
        pid = int(client.rest())
    os.kill(pid, signal.SIGKILL)


def test_an_interpreter_sees_that_its_client_has_left(server):
    with started(server.address, "import os; os.write(1, b'%d' % os.getpid()); os.read(0, 1)") as client:
        pid = client.receive(1)
        while not client.is_silent(0.1):
            pid += client.receive(1)
        with watched(pid) as ends:
            client.socket.close()
            assert ends()


def test_clients_do_not_disturb_each_other(server):
    clients = [started(server.address, ECHO) for _ in range(8)]
    silent = Client(server.address)
    for number, client in enumerate(clients):
        client.send(b"x%d" % number)
    assert [client.receive(2) for client in clients] == [b"X%d" % number for number in range(8)]
    for client in (*clients, silent):
        client.socket.close()


@pytest.mark.parametrize("data", [struct.pack("<I", 0), struct.pack("<I", 4097) + b"print(1)".ljust(4097, b"#"), b"\xff" * 100])
def test_a_source_of_a_wrong_size(server, data):
    with Client(server.address) as client:
        client.greet()
        start = time.monotonic()
        client.send(data)
        assert client.rest() == b"" and time.monotonic() - start < 5  # it was not waited for


def test_a_source_that_is_no_argument(server):
    with started(server.address, "print(1)\0") as client:
        assert client.rest() == b""


def test_nothing_is_written(tmp_path):
    with Process(":0", cwd=tmp_path) as process, started(process.address, "print(1)") as client:
        assert client.rest() == b"1\n"
    assert list(tmp_path.iterdir()) == []
    assert sorted(path.name for path in SCRIPT.parent.iterdir() if path.name.startswith("socketserver")) == [SCRIPT.name]


# --- with a token ----------------------------------------------------------------------------------


def test_the_token_lets_in_and_does_not_cross_the_wire(locked_server):
    with Client(locked_server.address) as client:
        hello = client.greet(TOKEN)  # verifies that the server knows it, too
        assert hello["auth"] == ["SCRAM-SHA-256"] and hello["user"] == "token"
        assert client.run("print(6 * 7)").rest() == b"42\n"
        assert TOKEN.encode() not in client.traffic


# --- the command -----------------------------------------------------------------------------------


def test_once():
    with Process(":0", "--once") as process:
        with Client(process.address) as stranger:
            stranger.send(b"GET / HTTP/1.1\r\n\r\n")
            assert stranger.rest() == b""
        with started(process.address, ECHO) as client:
            client.send(b"a")
            assert client.receive(1) == b"A"
            wait_until(lambda: not is_listening(process.address))
            client.socket.shutdown(socket.SHUT_WR)
            assert client.rest() == b""
        assert process.wait()[0] == 0


def test_once_is_once():
    with Process(":0", "--once") as process, Client(process.address) as first, Client(process.address) as second:
        first.greet()
        second.greet()
        first.run("import os; os.write(1, b'1'); os.read(0, 1)")
        assert first.receive(1) == b"1"
        assert second.run("print(2)").rest() == b""


STUBBORN = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
inner = os.fork()
if inner: os.write(1, b"%d %d\\n" % (os.getpid(), inner))
while True: signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_what_it_started(number):
    with Process(":0") as process:
        with started(process.address, STUBBORN) as stubborn, started(process.address, ECHO) as other, Client(process.address):
            other.send(b"a")
            assert other.receive(1) == b"A"
            outer, inner = stubborn.socket.makefile("rb").readline().split()
            with watched(outer) as outer_ends, watched(inner) as inner_ends:
                start = time.monotonic()
                process.popen.send_signal(number)
                wait_until(lambda: not is_listening(process.address))
                assert other.rest() == b""
                assert not outer_ends(0)  # nothing of this has waited for the stubborn one
                status, errors = process.wait()
                assert status == 0 and "Traceback" not in errors
                assert time.monotonic() - start < 10  # 3 and a little
                assert outer_ends() and inner_ends()


def is_listening(address):
    try:
        Client(address).socket.close()
        return True
    except OSError:
        return False


def test_what_an_interpreter_left_in_its_group_is_ended_too():
    """Its leader ends at SIGTERM, and another process of the group does not."""
    source = """
import os, signal
inner = os.fork()
if not inner:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, b"%d\\n" % os.getpid())
while True: signal.pause()
"""
    with Process(":0") as process, started(process.address, source) as client:
        pid = client.socket.makefile("rb").readline()
        with watched(pid) as ends:
            process.end()
            assert ends()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["0.0.0.0:0"], 2, "others can reach 0.0.0.0: that needs a token"),
        (["[::]:0"], 2, "others can reach ::"),
        (["8888"], 2, "expected :PORT or HOST:PORT"),
        (["localhost:http"], 2, "expected :PORT or HOST:PORT"),
        ([":65536"], 2, "expected :PORT or HOST:PORT"),
        (["::1:80"], 2, "stands in brackets"),
        (["no such host:80"], 1, "cannot listen on no such host:80"),
        (["--token-file", "/no/such/file"], 1, "cannot read the token"),
    ],
)
def test_wrong_arguments(arguments, status, says):
    assert_refused(arguments, status, says)


def assert_refused(arguments, status, says):
    done = subprocess.run([sys.executable, SCRIPT, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=DEADLINE, check=False)
    assert done.returncode == status and done.stdout == ""
    assert says in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"fifteen-letters\n", 0o600, "at least 16 characters"),
        (b"", 0o600, "at least 16 characters"),
        (b"two words of a token\n", 0o600, "without spaces"),
        (b"\xff" * 20, 0o600, "utf-8"),
        (b"long enough".ljust(20, b"x"), 0o640, "others can read or write"),
    ],
)
def test_wrong_token_files(tmp_path, content, mode, says):
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(mode)
    assert_refused([":0", "--token-file", str(path)], 2, says)


def test_a_port_that_is_taken(server):
    assert_refused([f":{server.address[1]}"], 1, "Address already in use")


def test_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Process("[::1]:0") as process, started(process.address, "print(1)") as client:
        assert process.address[0] == "::1" and client.rest() == b"1\n"


# --- through a gateway -----------------------------------------------------------------------------


def serving(gateway, **request):
    channel = gateway.remote_exec(load())
    channel.send(request)
    host, port = channel.receive()
    return channel, (host, port)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_gateway_can_run_it(gateways, token):
    channel, address = serving(gateways(), host=None, token=token, once=False)
    assert address[0] == "127.0.0.1"
    with started(address, ECHO, token) as client, started(address, "print(1)", token) as other:
        client.send(b"a")
        assert client.receive(1) == b"A" and other.rest() == b"1\n"
        channel.close()
        wait_until(lambda: not is_listening(address))
        client.send(b"b")
        assert client.receive(1) == b"B"


def test_once_through_a_gateway(gateways):
    channel, address = serving(gateways(), host="localhost", token=None, once=True)
    with started(address, ECHO) as client:
        client.send(b"a")
        assert client.receive(1) == b"A"
        wait_until(lambda: not is_listening(address))
    channel.waitclose()


@pytest.mark.parametrize("request_", [{"host": "0.0.0.0"}, {"token": "short"}])
def test_a_gateway_is_told_what_is_wrong(gateways, request_):
    channel = gateways().remote_exec(load())
    channel.send({"host": None, "token": None, "once": None, **request_})
    with pytest.raises(channel.RemoteError, match="token"):
        channel.receive()


# --- other interpreters, other users ---------------------------------------------------------------


def test_it_is_python_3_6():
    ast.parse(SCRIPT.read_bytes(), feature_version=(3, 6))


@pytest.mark.parametrize("python", OLD_INTERPRETERS)
def test_older_interpreters(python, token_file):
    with Process(":0", "--token-file", str(token_file), python=python) as process:
        with started(process.address, "import sys; print(sys.executable)", TOKEN) as client:
            assert client.rest().decode().strip() == python
        with started(process.address, STUBBORN, TOKEN) as client:
            pid = client.socket.makefile("rb").readline().split()[1]
            with watched(pid) as ends:
                assert process.end()[0] == 0 and ends()


@pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root")
def test_another_user_is_not_let_in_without_a_token():
    source = f"""
import os, socket, sys
sys.path[:0] = {[str(SCRIPT.parents[2] / "python"), os.path.dirname(os.path.abspath(__file__))]!r}
from socketserver_fixture import Client
os.setuid(65534)
with Client(({{!r}})) as client:
    client.greet()
"""
    with Process(":0") as process:
        done = subprocess.run([sys.executable, "-c", source.format(process.address)], capture_output=True, text=True,
                              timeout=DEADLINE, check=False)
        assert "Forbidden: the server is another user's" in done.stderr
        status, errors = process.end()
    assert status == 0 and "the server is another user's" in errors
