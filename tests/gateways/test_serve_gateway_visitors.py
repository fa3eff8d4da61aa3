"""Who is let in at a gateway: address of `brood serve`, and who is not."""

import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from brood_fixture import PYTHON  # noqa: E402
from serve_gateways_fixture import NO_GREETINGS, TOKEN, Raw, address_of, gateways_of, nobody  # noqa: E402
from serve_start import OUTSIDE, descendants, refused  # noqa: E402
from socketserver_fixture import SCRIPT  # noqa: E402
from waiting import DEADLINE, wait_until  # noqa: E402

import brood  # noqa: E402
from brood import wire  # noqa: E402

VISITORS = 64  # that may be on their way


@pytest.fixture
def token(tmp_path):
    """A file."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


def is_served(server, group, more=""):
    gateway = group.makegateway(f"socket={address_of(server)}{more}")
    assert gateway.call(os.getpid) in gateways_of(server)
    gateway.exit()
    gateway.join(DEADLINE)


# --- tokens --------------------------------------------------------------------------------------------------------------


def test_a_token(engine, group, serve, token):
    server = serve(env={"BROOD_TOKEN": TOKEN})
    spec = f"socket={address_of(server)}"
    with pytest.raises(brood.HostNotFound, match="the server asks for a token: add token_file=PATH to the spec"):
        group.makegateway(spec)
    with pytest.raises(brood.HostNotFound, match="the server refused: authentication failed"):
        group.makegateway(spec + "//token=" + TOKEN[1:])
    with pytest.raises(brood.HostNotFound, match="the token cannot be read"):
        group.makegateway(spec + "//token_file=/nowhere/token")
    gateways = [group.makegateway(f"{spec}//token_file={token}") for _ in range(2)]  # the second with keys derived before
    assert sorted(gateways_of(server)) == sorted(gateway.call(os.getpid) for gateway in gateways)
    for pid in [server.pid, *descendants(server.pid)]:
        assert TOKEN.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert pid == server.pid or TOKEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    found = gateways[0].remote_exec("import os; channel.send([name for name in os.environ if 'TOKEN' in name])").receive(DEADLINE)
    assert found == [] and TOKEN not in server.err.read_text()


def make_token(own_brood):
    """(the text that `brood token new` prints, its id)"""
    made = own_brood.tool("token", "new", "--name", "for gateways").out.decode().strip()
    (number,) = re.findall(r"\b[0-9a-f]{8}\b", own_brood.tool("token", "list").out.decode())
    return made, number


def test_tokens_that_come_and_go(group, serve, own_brood):
    """Without any, processes of the server's user need none; with one, everybody does."""
    server = serve()
    is_served(server, group)
    made, number = make_token(own_brood)
    with pytest.raises(brood.HostNotFound, match="asks for a token"):
        group.makegateway(f"socket={address_of(server)}")
    is_served(server, group, f"//token={made}")
    assert own_brood.tool("token", "revoke", number).status == 0
    is_served(server, group)


def test_a_token_that_was_revoked(group, serve, own_brood):
    server = serve(env={"BROOD_TOKEN": TOKEN})
    made, number = make_token(own_brood)
    is_served(server, group, f"//token={made}")
    assert own_brood.tool("token", "revoke", number).status == 0
    with pytest.raises(brood.HostNotFound, match="authentication failed"):
        group.makegateway(f"socket={address_of(server)}//token={made}")
    is_served(server, group, f"//token={TOKEN}")


@pytest.mark.parametrize("way", ["brood serve", "socketserver.py"])
@pytest.mark.parametrize("secret", [True, False])
def test_one_spec_for_both_servers(group, serve, token, way, secret):
    if way == "brood serve":
        address, process = address_of(serve(env={"BROOD_TOKEN": TOKEN} if secret else {})), None
    else:
        words = [PYTHON, str(SCRIPT), ":0", *(["--token-file", str(token)] if secret else [])]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        address = process.stdout.readline().split()[-1]
    try:
        gateway = group.makegateway(f"socket={address}" + (f"//token_file={token}" if secret else ""))
        assert gateway.greet["engine"] == ("python" if process else "native")
        assert gateway.remote_exec("channel.send(6 * 7)").receive(DEADLINE) == 42
        if process:
            with pytest.raises(brood.HostNotFound, match="has no warm environments"):
                group.makegateway(f"socket={address}//warm//token_file={token}")
        group.terminate(DEADLINE)
    finally:
        if process:
            process.terminate()
            process.communicate(timeout=DEADLINE)


CLIENT = """
import sys
import brood
try:
    brood.Group().makegateway(sys.argv[1])
except brood.HostNotFound as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_needs_a_token(serve):
    server = serve()
    done = nobody(CLIENT, f"socket={address_of(server)}")
    assert b"the server asks for a token" in done.stdout, done
    assert not gateways_of(server)


# --- where it listens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", OUTSIDE])
def test_other_machines_need_a_token(own_brood, host):
    status, text = refused(own_brood, "--listen", f"gateway:{host}:8788")
    assert status == 2 and text.startswith(f"brood serve: gateway:{host}:8788 can be reached from other machines, without encryption: ")
    status, text = refused(own_brood, "--listen", f"gateway:{host}:8788", env={"BROOD_TOKEN": TOKEN})
    assert status == 2 and "say --insecure" in text
    if host == "0.0.0.0":
        status, text = refused(own_brood, "--listen", f"gateway:{host}:0", "--insecure")
        assert status == 2 and text.count("\n") == 1
        assert "can be reached from other machines, and nobody has a token to show there: make one (brood token new)" in text


def test_all_addresses_with_a_token(group, own_brood, serve, token):
    server = serve("--listen", "gateway:0.0.0.0:0", "--insecure", env={"BROOD_TOKEN": TOKEN})
    port = server.addresses[1].rpartition(":")[2]
    with pytest.raises(brood.HostNotFound, match="asks for a token"):
        group.makegateway(f"socket=127.0.0.1:{port}")
    assert group.makegateway(f"socket=127.0.0.1:{port}//token_file={token}").call(os.getpid) in gateways_of(server)


def test_at_such_an_address_a_token_is_never_left_out(group, own_brood, serve):
    made, number = make_token(own_brood)
    server = serve("--listen", "gateway:0.0.0.0:0", "--insecure")
    spec = f"socket=127.0.0.1:{server.addresses[1].rpartition(':')[2]}"
    assert group.makegateway(f"{spec}//token={made}").call(os.getpid) in gateways_of(server)
    assert own_brood.tool("token", "revoke", number).status == 0
    is_served(server, group)  # the loopback address asks for none any more
    with pytest.raises(brood.HostNotFound, match="asks for a token"):
        group.makegateway(spec)


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
def test_ipv6(group, serve):
    server = serve("--listen", "gateway:[::1]:0")
    assert group.makegateway(f"socket={server.addresses[1].partition(':')[2]}").call(os.getpid) in gateways_of(server)


# --- who says something else, or nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("data", NO_GREETINGS.values(), ids=NO_GREETINGS)
def test_what_is_no_greeting(group, serve, data):
    server = serve()
    with Raw(server) as client:
        client.socket.sendall(data)
        kind, head = client.hear()
        assert kind == wire.ANSWER and head["request"] == 0 and head["error"]["code"] in ("bad_request", "unauthorized"), head
        assert client.rest() == b""
    is_served(server, group)


WISHES = {
    "no number": {"method": "gateway"},
    "0": {"request": 0, "method": "gateway"},
    "another method": {"request": 1, "method": "new"},
    "no text": {"request": 1, "method": "gateway", "env": 7},
    "no engine": {"request": 1, "method": "gateway", "engine": "steam"},
}


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
def test_what_cannot_be_wished(serve, wish):
    server = serve()
    with Raw(server) as client:
        client.say(wire.HELLO, versions=[1])
        hello = client.hear()[1]
        assert hello["gateway"] == "warm" and hello["user"] == "owner"
        client.say(wire.REQUEST, **wish)
        kind, head = client.hear()
        assert kind == wire.ANSWER and head["error"]["code"] == "bad_request", head
        assert head["request"] == (wish.get("request") or 0)
        assert client.rest() == b""
    assert not gateways_of(server)


def test_nothing_is_started_without_authentication(serve):
    server = serve(env={"BROOD_TOKEN": TOKEN})
    with Raw(server) as client:
        client.say(wire.HELLO, versions=[1])
        client.say(wire.REQUEST, request=1, method="gateway")
        assert "user" not in client.hear()[1]
        assert client.hear()[1]["error"]["code"] == "unauthorized"
        assert client.rest() == b""
    assert not gateways_of(server)


def test_those_who_say_nothing_are_few(group, serve):
    """Who comes after so many visitors waits until one has left; what has an interpreter does not count."""
    server = serve()
    group.makegateway(f"socket={address_of(server)}")
    silent = [Raw(server) for _ in range(VISITORS)]
    try:
        silent[0].socket.sendall(wire.encode(wire.HELLO, {"versions": [1]})[:-1])  # drop by drop
        with Raw(server) as late:
            late.say(wire.HELLO, versions=[1])
            late.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.hear()
            late.socket.settimeout(DEADLINE)
            silent.pop().socket.close()
            assert late.hear()[0] == wire.HELLO
    finally:
        for client in silent:
            client.socket.close()
    is_served(server, group)


def test_those_who_say_nothing_are_dropped(serve):
    """After ten seconds, whatever they say drop by drop meanwhile."""
    server = serve()
    with Raw(server) as silent, Raw(server) as slow:
        slow.say(wire.HELLO, versions=[1])
        assert slow.hear()[0] == wire.HELLO
        slow.socket.sendall(struct.pack("<IHH", 100, wire.REQUEST, 1))
        for client in (silent, slow):
            kind, head = client.hear()
            assert kind == wire.ANSWER and head["error"]["code"] == "timeout"
            assert client.rest() == b""


def test_those_who_leave_are_forgotten(group, serve):
    server = serve()
    for number in range(3):
        with Raw(server) as client:
            if number:
                client.say(wire.HELLO, versions=[1])
            if number == 2:
                client.hear()
                client.say(wire.REQUEST, request=1, method="gateway")
    is_served(server, group)
    wait_until(lambda: not gateways_of(server), "the end of the interpreters")
    with socket.create_connection(("127.0.0.1", int(address_of(server).rpartition(":")[2])), DEADLINE):
        pass
    assert server.err.read_text() == ""
