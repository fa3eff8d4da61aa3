"""`brood serve` itself: its options, what it refuses, and how it begins and ends."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from brood_fixture import TIMEOUT, kill_if_there
from serve_fixture import TOKEN, WebSocket
from serve_start import OUTSIDE, Network, ask, ask_on, refused, starting
from session_fixture import package, run, session_processes, until, value
from waiting import DEADLINE, finish, wait_until

OWN = {"BROOD_TOKEN": TOKEN}


@pytest.fixture
def start(brood):
    with starting(brood) as start_one:
        yield start_one


@pytest.fixture
def network():
    with contextlib.closing(Network()) as made:
        yield made


@contextlib.contextmanager
def client_of(address):
    made = package.Client(address, timeout=TIMEOUT)
    try:
        yield made
    finally:
        made.close()


def new_session(address):
    status, made = ask(address, TOKEN, "POST", "/v1/sessions", {})
    assert status == 201, made
    return made["id"]


def result(address, session, code):
    status, done = ask(address, TOKEN, "POST", f"/v1/sessions/{session}/execute", {"code": code, "timeout": DEADLINE})
    assert status == 200, done
    return done["result"]["text/plain"]


def folders(brood):
    return sorted((brood.home / ".cache/brood/sessions").glob("serve*/*"))


def answers(address):
    """Whether somebody listens there."""
    _, host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except ConnectionError:
        return False
    return True


def sockets(brood):
    return sorted(path for path in brood.base.rglob("*") if path.is_socket())


# --- addresses -----------------------------------------------------------------------------------


def test_several_addresses(brood, start):
    path = brood.base / "here.sock"
    given = ["http:127.0.0.1:0", f"unix:{path}", "tcp:127.0.0.1:0", "http:[::1]:0", "unix:relative.sock", "tcp:localhost:0"]
    if not Path("/proc/net/if_inet6").exists():
        given.remove("http:[::1]:0")
    server = start(*[word for address in given for word in ("--listen", address)], env=OWN)
    assert server.ready.endswith("\n") and server.ready.count("\n") == 1 and server.after_ready == b""
    expected = [address.replace("relative.sock", f"{brood.work}/relative.sock") for address in given]
    assert [re.sub(r":[1-9]\d*$", ":0", address) for address in server.addresses] == expected
    assert not [address for address in server.addresses if address.endswith(":0")]
    for address in server.addresses:
        if address.startswith("unix:"):
            with client_of(address) as client:
                assert client.sessions() == []
        elif address.startswith("http:127"):
            assert ask(address, TOKEN, "GET", "/v1/me")[0] == 200
        else:
            _, host, port = address.replace("[", "").replace("]", "").replace("::1", "ip6").split(":")
            socket.create_connection((host.replace("ip6", "::1"), int(port)), TIMEOUT).close()
    printed = [re.sub(r"^http:(.*)$", r"http://\1/", address) for address in server.addresses]
    assert server.out.read_text().splitlines() == [*printed, "The token is that of BROOD_TOKEN."]
    server.end()
    assert sockets(brood) == []


BAD = "is none of unix:PATH, tcp:HOST:PORT, tls:HOST:PORT, http:HOST:PORT, https:HOST:PORT, gateway:HOST:PORT, execnet:HOST:PORT"
WRONG = {
    "foo": f"the address foo {BAD}",
    "": f"the address  {BAD}",
    "unix:": f"the address unix: {BAD}",
    "ftp:127.0.0.1:0": f"the address ftp:127.0.0.1:0 {BAD}",
    "http://127.0.0.1": f"the address http://127.0.0.1 {BAD}",
    "http://127.0.0.1:80/path": "the port of http://127.0.0.1:80/path is '80/path', expected a number from 0 to 65535",
    "tcp:127.0.0.1": f"the address tcp:127.0.0.1 {BAD}",
    "tcp::80": f"the address tcp::80 {BAD}",
    "tcp::1:80": "the address tcp::1:80 has several colons; an IPv6 address is written in brackets: tcp:[::1]:8787",
    "tcp:127.0.0.1:": "the port of tcp:127.0.0.1: is '', expected a number from 0 to 65535",
    "tcp:127.0.0.1:-1": "the port of tcp:127.0.0.1:-1 is '-1', expected a number from 0 to 65535",
    "tcp:127.0.0.1:65536": "the port of tcp:127.0.0.1:65536 is '65536', expected a number from 0 to 65535",
    "tcp:127.0.0.1:http": "the port of tcp:127.0.0.1:http is 'http', expected a number from 0 to 65535",
    "tcp:127.0.0.1.1.1:0": "the host of tcp:127.0.0.1.1.1:0 cannot be found",
    "unix:/" + "x" * 107: "is too long for a socket (107 bytes)",
    "https:127.0.0.1:0": "https:127.0.0.1:0 needs a certificate: --certificate FILE --key FILE, or --self-signed",
}


@pytest.mark.parametrize("address", WRONG)
def test_an_address_that_is_wrong(brood, address):
    status, text = refused(brood, "--listen", "unix:good.sock", "--listen", address)
    assert status == 2 and text.startswith("brood serve: ") and WRONG[address] in text and text.count("\n") == 1
    assert not sockets(brood)


@pytest.mark.parametrize("address", ["http://127.0.0.1:0", "http://127.0.0.1:0/", "tcp://127.0.0.1:0"])
def test_an_address_as_that_of_a_page(start, address):
    (bound,) = start("--listen", address, env=OWN).addresses
    assert bound.startswith(address.replace("://", ":").removesuffix("0/").removesuffix("0"))


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_port_in_use(brood, kind):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"{kind}:127.0.0.1:{other.getsockname()[1]}"
        said = refused(brood, "--listen", "unix:good.sock", "--listen", address)
    assert said == (1, f"brood serve: cannot listen on {address}: Address already in use\n")
    assert not sockets(brood)


def test_a_socket_in_use(brood, start):
    path = brood.base / "here.sock"
    start("--listen", f"unix:{path}")
    assert refused(brood, "--listen", f"unix:{path}") == (1, f"brood serve: somebody listens on {path} already\n")
    with client_of(f"unix:{path}") as client:  # it is still the first one's
        assert client.sessions() == []
    file = brood.work / "file"
    file.write_text("kept")
    assert refused(brood, "--listen", f"unix:{file}") == (1, f"brood serve: {file} exists and is no socket\n")
    assert file.read_text() == "kept"


@pytest.mark.parametrize("kind", ["tcp", "http"])
@pytest.mark.parametrize("host", [OUTSIDE, "0.0.0.0"])
def test_addresses_that_others_can_reach(brood, start, network, kind, host):
    address = f"{kind}:{host}:8080"
    text = f"{address} can be reached from other machines, without encryption: use tls: or https:, or say --insecure"
    assert refused(brood, "--listen", address, under=network.under) == (2, f"brood serve: {text}\n")
    server = start("--listen", address, "--insecure", under=network.under, env=OWN)
    assert server.addresses == [address]
    if kind == "http":
        assert network.get(f"http://{OUTSIDE}:8080/v1/me", Authorization=f"Bearer {TOKEN}")[0] == 200


# A machine with the name `box`, whose address only it knows. $0: a folder.
NAMED = """hostname box && cp /etc/hosts "$0/hosts" && echo "$1" >> "$0/hosts" && mount --bind "$0/hosts" /etc/hosts
shift && exec "$@\""""


@pytest.mark.parametrize("name, host", [(OUTSIDE, "box"), ("192.0.2.77", "127.0.0.1")])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can name a machine")
def test_the_address_of_all_interfaces(brood, start, network, name, host):
    """What is printed works: under the name of the machine if that leads to it, else on the machine."""
    under = [*network.under, "unshare", "-u", "-m", "sh", "-c", NAMED, brood.base, f"{name} box"]
    server = start("--listen", "https:0.0.0.0:8443", "--listen", "http:0.0.0.0:8080", "--self-signed", "--insecure", under=under)
    assert server.addresses == ["https:0.0.0.0:8443", "http:0.0.0.0:8080"]
    secure, plain = server.out.read_text().splitlines()
    assert secure.startswith(f"https://{host}:8443/?token=") and plain.startswith(f"http://{host}:8080/?token=")
    token = plain.partition("=")[2]
    bearer = {"Authorization": f"Bearer {token}"}
    assert network.get(plain.replace("//box:", f"//{OUTSIDE}:"), Host=f"{host}:8080")[:2] == (303, "/")
    assert network.get(f"http://{OUTSIDE}:8080/v1/me", Host="box:8080", **bearer)[0] == 200  # others may know it
    assert network.get(f"http://{OUTSIDE}:8080/v1/me", Host="other:8080", **bearer)[0] == 421
    names = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", brood.home / ".config/brood/tls-cert.pem"],
        capture_output=True,
        check=True,
    ).stdout
    assert b"DNS:box" in names


def test_one_address_does_not_answer_to_the_name_of_the_machine(start):
    (address,) = start("--listen", "http:127.0.0.1:0", env=OWN).addresses
    _, host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request("GET", "/healthz", headers={"Host": "its-name"})
        assert connection.getresponse().status == 421


def test_an_encrypted_address_that_others_can_reach(start, network):
    server = start("--listen", f"https:{OUTSIDE}:8443", "--self-signed", under=network.under, env=OWN)
    assert server.out.read_text().splitlines()[0] == f"https://{OUTSIDE}:8443/"


def test_a_start_that_fails_leaves_no_socket(brood, start):
    path = brood.work / "here.sock"
    twice = refused(brood, "--listen", f"unix:{path}", "--listen", f"unix:{path}")
    assert twice == (1, f"brood serve: somebody listens on {path} already\n") and not sockets(brood)
    users = brood.base / "door/users.json"
    users.parent.mkdir(mode=0o700)
    users.write_text("{")
    users.chmod(0o600)
    status, text = refused(brood, "--listen", f"unix:{path}", "--config-dir", users.parent)
    assert status == 1 and str(users) in text and not sockets(brood)
    users.unlink()
    start("--listen", f"unix:{path}", "--config-dir", users.parent)


# --- the token -----------------------------------------------------------------------------------


def test_the_address_without_any_option(brood, network):
    words = [*map(str, network.under), brood.brood, "serve"]
    more = {"env": brood.environment, "cwd": brood.work, "stdin": subprocess.DEVNULL, "text": True}
    server = subprocess.Popen(words, stdout=subprocess.PIPE, **more)
    try:
        url = server.stdout.readline().strip()
        token = re.fullmatch(r"http://127\.0\.0\.1:8787/\?token=([\w-]{20,})", url)[1]
        me = "http://127.0.0.1:8787/v1/me"
        assert network.get(me)[0] == 401
        assert network.get(me, Authorization=f"Bearer {token}x")[0] == 401
        assert network.get(me, Authorization=f"Bearer {token}")[0] == 200
        status, where, cookie = network.get(url)
        assert (status, where) == (303, "/")
        assert network.get(me, Cookie=cookie)[0] == 200
        second = subprocess.run(words, capture_output=True, timeout=TIMEOUT, **more)
        assert (second.returncode, second.stdout) == (1, ""), second
        assert second.stderr == "brood serve: cannot listen on http:127.0.0.1:8787: Address already in use\n"
    finally:
        server.terminate()
        status, out, _ = finish(server)
    assert (status, out) == (0, "")


def test_the_token_is_kept_from_sessions(start):
    server = start("--listen", "http:127.0.0.1:0", env={**OWN, "KEPT": "this"})
    (address,) = server.addresses
    session = new_session(address)
    assert ask(address, "x" + TOKEN, "GET", "/v1/me")[0] == 401
    look = "import ctypes, os, subprocess\n"
    assert result(address, session, look + "'BROOD_TOKEN' in os.environ, os.environ['KEPT']") == "(False, 'this')"
    assert result(address, session, "ctypes.CDLL(None).getenv(b'BROOD_TOKEN')") == "0"
    assert result(address, session, "b'BROOD_TOKEN' in subprocess.run(['env'], capture_output=True).stdout") == "False"
    assert result(address, session, "b'BROOD_TOKEN' in open('/proc/self/environ', 'rb').read()") == "False"
    assert TOKEN not in server.out.read_text() + server.err.read_text()


@pytest.mark.parametrize("token", ["two\nlines", "x" * 2000])
def test_a_token_that_cannot_be_one(brood, token):
    status, text = refused(brood, "--listen", "unix:here.sock", env={"BROOD_TOKEN": token})
    assert status == 1 and text.startswith("brood serve: the server's token ") and token not in text
    assert not sockets(brood)


def test_an_empty_token_is_none(start):
    server = start("--listen", "http:127.0.0.1:0", env={"BROOD_TOKEN": ""})
    token = re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=([\w-]{20,})\n", server.out.read_text())[1]
    assert ask(server.addresses[0], "", "GET", "/v1/me")[0] == 401
    assert ask(server.addresses[0], token, "GET", "/v1/me")[0] == 200


# --- options and the configuration ---------------------------------------------------------------


@pytest.mark.parametrize(
    "words, said",
    [
        (["--bogus"], "--bogus"),
        (["word"], "word"),
        (["--listen"], "--listen"),
        (["--ready-fd", "x"], "--ready-fd"),
        (["--log-level", "loud"], "loud not in {trace,debug,info,warning,error,critical,off}"),
    ],
)
def test_options_that_are_wrong(brood, words, said):
    status, text = refused(brood, *words)
    assert status == 2 and said in text and "--help" in text


def test_half_a_certificate(brood):
    both = "brood serve: a certificate and its key belong together: --certificate FILE --key FILE\n"
    assert refused(brood, "--certificate", "some.pem") == (2, both)
    assert refused(brood, "--key", "some.pem") == (2, both)


def test_a_configuration_that_does_not_exist(brood):
    said = "brood serve: cannot read the configuration none.toml: No such file or directory\n"
    assert refused(brood, "--config", "none.toml") == (2, said)


@pytest.mark.parametrize(
    "text, where, said",
    [
        ("[serve]\nmax_sessions = 0\n", 2, "max_sessions is 0, expected an integer from 1 to 100000"),
        ("[serve]\n\nlissten = []\n", 3, 'unknown key "lissten" in [serve]'),
        ("[serve\n", 1, "expected"),
        ("[serve]\n[serve.limits]\nmemory = 'much'\n", 3, "memory"),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["named", "found"])
def test_a_configuration_with_an_error(brood, text, where, said, named):
    file = brood.work / "brood.toml"
    file.write_text(text)
    status, err = refused(brood, *(["--config", file] if named else []))
    assert status == 2 and err.startswith(f"brood serve: {file}:{where}:") and said in err and err.count("\n") == 1


@pytest.mark.parametrize("how", ["named", "found", "user"])
@pytest.mark.parametrize("wrong", ["mode", "owner"])
def test_a_configuration_of_others_is_not_obeyed(brood, start, how, wrong):
    file = brood.home / ".config/brood/config.toml" if how == "user" else brood.work / "brood.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('[serve]\nlisten = ["unix:of-the-file.sock"]\n')
    if wrong == "mode":
        file.chmod(0o666)
        said = f"{file} may be written by everyone, so it is not obeyed (chmod go-w {file})"
    elif os.geteuid() == 0:
        os.chown(file, 65534, 65534)
        said = f"{file} belongs to another user, so it is not obeyed (copy {file}, so that it belongs to you)"
    else:
        pytest.skip("only root can give a file away")
    words = ["--config", file] if how == "named" else []
    assert refused(brood, *words) == (2, f"brood serve: {said}\n")
    assert not sockets(brood)
    os.chown(file, os.geteuid(), os.getegid())
    file.chmod(0o664)
    assert start(*words).addresses == [f"unix:{brood.work}/of-the-file.sock"]


def test_the_command_line_goes_before_the_configuration(brood, start):
    (brood.work / "brood.toml").write_text('[serve]\nlisten = ["unix:of-the-file.sock"]\n')
    assert start().addresses == [f"unix:{brood.work}/of-the-file.sock"]
    assert start("--listen", "unix:mine.sock").addresses == [f"unix:{brood.work}/mine.sock"]


# --- descriptors ---------------------------------------------------------------------------------


def standard_streams(pid):
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]


def test_a_ready_descriptor_that_is_not_open(brood):
    text = "brood serve: --ready-fd 7 is no open descriptor; the one who starts the server opens it\n"
    assert refused(brood, "--listen", "unix:here.sock", "--ready-fd", 7) == (1, text)
    assert not sockets(brood)


def test_without_standard_streams(brood, start):
    """What would take their numbers got what is printed, and the log."""
    server = start("--listen", "http:127.0.0.1:0", under=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"], env=OWN)
    assert standard_streams(server.pid) == ["/dev/null"] * 3
    session = new_session(server.addresses[0])
    assert result(server.addresses[0], session, "6 * 7") == "42"


@pytest.mark.parametrize("number", [1, 2])
def test_the_ready_line_on_a_standard_stream(brood, start, number):
    reading, writing = os.pipe()
    with open(brood.base / "other", "wb") as other, open(reading) as lines:
        streams = {"stdout": writing, "stderr": other} if number == 1 else {"stdout": other, "stderr": writing}
        words = [brood.brood, "serve", "--listen", "unix:here.sock", "--ready-fd", str(number)]
        server = subprocess.Popen(words, env={**brood.environment, **OWN}, cwd=brood.work, **streams)
        os.close(writing)
        try:
            address = f"unix:{brood.work}/here.sock\n"
            while lines.readline() != address:
                pass
            with client_of(address.strip()) as client:
                assert value(client.new(), "6 * 7") == "42"
                streams = standard_streams(server.pid)
            assert not [stream for stream in streams if stream.startswith(("socket:", "anon_inode:"))], streams
        finally:
            server.terminate()
            assert server.wait(DEADLINE) == 0


# --- two of one user -----------------------------------------------------------------------------


def test_two_servers_of_one_user(brood, start):
    addresses = [f"unix:{brood.base}/{name}.sock" for name in "ab"]
    servers = [start("--listen", address) for address in addresses]
    with client_of(addresses[0]) as one, client_of(addresses[1]) as other:
        first, second = one.new(), other.new()
        assert [s["id"] for s in one.sessions()] == [first.id] and [s["id"] for s in other.sessions()] == [second.id]
        places = [value(session, "import os; os.getcwd()").strip("'") for session in (first, second)]
        assert {Path(place).parent.name for place in places} == {"serve", "serve-2"}
        servers[0].end()
        assert not Path(places[0]).exists() and Path(places[1]).exists()
        assert value(second, "6 * 7") == "42"
        third = start("--listen", addresses[0])  # gets the first one's place
        assert value(second, "6 * 8") == "48"
        with client_of(f"unix:{brood.folder}/serve/sessions.sock") as own:
            assert own.sessions() == []
        third.end()
    servers[1].end()
    assert sockets(brood) == [] and folders(brood) == []


# --- the end -------------------------------------------------------------------------------------

# A process of a cell that has left its group, and one that ignores what a shell would send.
BUSY = """import os, signal, subprocess
child = subprocess.Popen(["sh", "-c", "trap '' TERM HUP INT; echo; exec sleep 1000"], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
child.pid"""


def fill(client, server, opened):
    """Four sessions: one with checkpoints, a file and a child process, its branch, one that waits for input, one that computes.
    Streams are left to `opened`. Returns the child's pid."""
    idle, busy, asking = client.new(), client.new(), client.new()
    run(idle, "x = 1")
    idle.fork()
    child = int(value(idle, BUSY))
    run(idle, "open('file', 'w').write('x')")
    until(opened.enter_context(contextlib.closing(asking.stream("input()"))), "input")
    until(opened.enter_context(contextlib.closing(busy.stream("print(1, flush=True)\nwhile True: pass"))), "stdout")
    found = {pid for session in (idle, busy, asking) for pid in session_processes(session)}
    assert len(found) >= 6 and child in found
    server.watched |= found
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("door", ["unix", "http"])
def test_a_signal_ends_the_server_and_its_sessions(brood, start, number, door):
    address = f"unix:{brood.base}/here.sock"
    server = start("--listen", address, *(["--listen", "http:127.0.0.1:0"] if door == "http" else []), env=OWN)
    with client_of(address) as client, contextlib.ExitStack() as opened:
        fill(client, server, opened)
        wait_until(lambda: len(folders(brood)) == 5, "those of the sessions, and of one that was started ahead")
        server.end(number)
    assert folders(brood) == [] and sockets(brood) == []
    assert [path.name for path in brood.folder.rglob("*") if path.is_file() and "resolved" not in path.parts] == ["serve.lock"]


def test_those_who_are_connected_are_told(brood, start):
    server = start("--listen", "http:127.0.0.1:0", env=OWN)
    _, host, port = server.addresses[0].split(":")
    session = new_session(server.addresses[0])
    with WebSocket(host, int(port), f"/v1/sessions/{session}/stream", {"Authorization": f"Bearer {TOKEN}"}) as joined:
        assert joined.status == 101
        server.process.send_signal(signal.SIGTERM)
        while joined.next() is not None:
            pass
        assert joined.close_code == 1001
    assert server.process.wait(DEADLINE) == 0


@pytest.mark.parametrize("signals", [1, 2])
def test_a_cell_that_is_waited_for_does_not_keep_the_server(brood, start, signals):
    server = start("--listen", "http:127.0.0.1:0", env=OWN)
    (address,) = server.addresses
    session = new_session(address)
    fifo = brood.work / "fifo"
    os.mkfifo(fifo)
    connection = http.client.HTTPConnection(*address.split(":")[1:], timeout=TIMEOUT)
    with contextlib.closing(connection):
        code = f"open({str(fifo)!r}).read()"
        body = json.dumps({"code": code, "timeout": TIMEOUT})
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request("POST", f"/v1/sessions/{session}/execute", body, headers)
        with open(fifo, "w"):  # the cell runs once this is open
            server.watch()
            server.process.send_signal(signal.SIGTERM)
            if signals == 2:
                wait_until(lambda: not answers(address), "the end of new connections")
                server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(DEADLINE) == 0
        server.wait_for_all()
    assert folders(brood) == []


def test_a_killed_server_leaves_no_process(brood, start):
    address = f"unix:{brood.base}/here.sock"
    server = start("--listen", address)
    with client_of(address) as client, contextlib.ExitStack() as opened:
        child = fill(client, server, opened)
        opened.callback(kill_if_there, child, signal.SIGKILL)
        server.kill(but=[child])
    assert len(folders(brood)) >= 4 and len(sockets(brood)) >= 2  # what a next one has to cope with
    server = start("--listen", address)
    assert folders(brood) == []
    with client_of(address) as client:
        assert client.sessions() == []
        assert value(client.new(), "6 * 7") == "42"
    server.end()
    assert folders(brood) == [] and sockets(brood) == []


# --- the certificate -----------------------------------------------------------------------------


def make_certificate(folder, name):
    """A new self-signed one takes the place of folder/cert.pem and key.pem."""
    made = [folder / f"{name}-{part}.pem" for part in ("key", "cert")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made[0], "-out", made[1]],
        check=True,
        capture_output=True,
    )
    made[0].chmod(0o600)
    pem = made[1].read_text()
    made[0].rename(folder / "key.pem")
    made[1].rename(folder / "cert.pem")
    return pem


def shown(address):
    return ssl.get_server_certificate(tuple(address.split(":")[1:]))


def test_sighup_reads_the_certificate_again(brood, start):
    old = make_certificate(brood.work, "old")
    words = ["--listen", "https:127.0.0.1:0", "--listen", "tls:127.0.0.1:0", "--certificate", "cert.pem", "--key", "key.pem"]
    server = start(*words, env=OWN)
    https, tls = server.addresses
    assert shown(https) == shown(tls) == old
    session = new_session(https)
    fifo = brood.work / "fifo"
    os.mkfifo(fifo)
    port = int(https.rpartition(":")[2])
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT, context=ssl._create_unverified_context())
    with contextlib.closing(connection):
        assert ask_on(connection, TOKEN, "GET", "/v1/me")[0] == 200
        mine = connection.sock
        answers = []
        code = f"open({str(fifo)!r}).read()"

        def wait_for_cell():
            answers.append(ask_on(connection, TOKEN, "POST", f"/v1/sessions/{session}/execute", {"code": code, "timeout": 60}))

        waiting = threading.Thread(target=wait_for_cell)
        waiting.start()
        with open(fifo, "w") as other_end:  # the cell runs once this is open
            new = make_certificate(brood.work, "new")
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: shown(https) == new, "the new certificate")
            assert shown(tls) == new
            other_end.write("went on")
        waiting.join(TIMEOUT)
        assert answers[0][1]["result"]["text/plain"] == "'went on'", answers
        assert ask_on(connection, TOKEN, "GET", "/v1/me")[0] == 200 and connection.sock is mine
        assert mine.getpeercert(True) == ssl.PEM_cert_to_DER_cert(old)
    (brood.work / "cert.pem").write_text("broken")
    server.process.send_signal(signal.SIGHUP)
    said = f"{brood.work}/cert.pem holds no certificate in PEM"
    wait_until(lambda: "cert.pem holds no certificate in PEM" in server.err.read_text(), said)
    assert shown(https) == new
