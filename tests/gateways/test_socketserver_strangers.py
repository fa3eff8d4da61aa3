"""examples/gateways/socketserver.py and those who are not let in: wrong proofs, nonsense, silence, too many."""

import base64
import hashlib
import hmac
import os
import socket
import struct
import time

import pytest
from brood import wire
from brood.errors import AuthenticationError
from brood.gateways.core.scram import Scram
from socketserver_fixture import TOKEN, Client, in_this_process, load, started

UNAUTHORIZED = (wire.ANSWER, {"request": 0, "error": {"code": "unauthorized", "text": "authentication failed"}})


@pytest.fixture
def module():
    """The script as a module: a test may change its limits."""
    module = load()
    module.FIRST_DELAY = 0.001
    return module


@pytest.fixture
def locked(module):
    with in_this_process(module, TOKEN) as address:
        yield address


def hello(client):
    return client.frame(wire.HELLO, {"versions": [1], "client": "a test"})


def assert_dropped(client, answer=None):
    """Nothing but that answer comes, and no source is executed."""
    if answer:
        assert client.receive_frame() == answer
    client.socket.settimeout(10)
    try:
        client.run("print('executed')")
    except OSError:
        pass  # it is closed already
    assert client.rest() == b""


# --- wrong proofs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("user", "password"), [(None, TOKEN + "x"), ("tokem", TOKEN), ("token", "pencil"), ("a,b=", TOKEN)])
def test_wrong_credentials(locked, user, password):
    with Client(locked) as client:
        with pytest.raises(AuthenticationError, match="authentication failed"):
            client.greet(password, user)
        assert_dropped(client)


def with_field(letter, value):
    """A change of one field of the client's last message."""
    def change(text):
        return ",".join(f"{letter}={value}" if part.startswith(f"{letter}=") else part for part in text.split(","))
    return change


@pytest.mark.parametrize(
    "change",
    [
        with_field("p", base64.b64encode(bytes(32)).decode()),
        with_field("p", ""),
        with_field("p", "%%%"),
        with_field("p", "ä"),
        with_field("p", base64.b64encode(b"short").decode()),
        with_field("r", "x"),
        with_field("c", "eSws"),
        lambda text: text.rpartition(",p=")[0],
        lambda text: text + ",p=",
        lambda text: "",
        lambda text: "p",
        lambda text: ",,,",
        lambda text: text + ",x=1",
    ],
)
def test_wrong_last_messages(locked, change):
    with Client(locked) as client:
        hello(client)
        scram = Scram("token", TOKEN)
        kind, head = client.frame(wire.AUTH, {"mechanism": "SCRAM-SHA-256", "data": scram.first()})
        assert kind == wire.AUTH
        client.send(wire.encode(wire.AUTH, {"data": change(scram.final(head["data"]))}))
        assert_dropped(client, UNAUTHORIZED)


@pytest.mark.parametrize(("nonce", "binding"), [(None, "biws"), ("other", "biws"), ("", "biws"), (None, "eSws"), (None, "")])
def test_a_proof_for_another_exchange(locked, nonce, binding):
    """Right for the nonce and the binding that it names, which are not those of this connection (but in the first case)."""
    with Client(locked) as client:
        hello(client)
        _, head = client.frame(wire.AUTH, {"mechanism": "SCRAM-SHA-256", "data": "n,,n=token,r=mine"})
        first = head["data"]
        fields = dict(part.split("=", 1) for part in first.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", TOKEN.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c={binding},r={fields['r'] if nonce is None else nonce}"
        signature = hmac.digest(hashlib.sha256(key).digest(), f"n=token,r=mine,{first},{without_proof}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        client.send(wire.encode(wire.AUTH, {"data": f"{without_proof},p={proof}"}))
        if (nonce, binding) == (None, "biws"):
            kind, head = client.receive_frame()
            assert kind == wire.AUTH and head["user"] == "token"
        else:
            assert_dropped(client, UNAUTHORIZED)


def test_salts_and_nonces_differ(module):
    keys = [module.Keys(TOKEN), module.Keys(TOKEN)]
    assert keys[0].salt != keys[1].salt and keys[0].stored != keys[1].stored
    firsts = {module.Scram(keys[0]).first("n,,n=token,r=mine") for _ in range(3)}
    assert len(firsts) == 3


NO_FIRST = ["", "x", "n,,", "n,,n=token", "n,,r=x", "p=tls-unique,,n=token,r=x", "n,a=me,n=token,r=x", "n,,n=token,r=x,r=y"]


@pytest.mark.parametrize("data", NO_FIRST)
def test_wrong_first_messages(locked, data):
    with Client(locked) as client:
        hello(client)
        client.send(wire.encode(wire.AUTH, {"mechanism": "SCRAM-SHA-256", "data": data}))
        assert_dropped(client, UNAUTHORIZED)


# --- nonsense --------------------------------------------------------------------------------------


def raw(kind, payload, version=1):
    return struct.pack("<IHH", len(payload), kind, version) + payload


def message(text):
    return struct.pack("<I", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n" + raw(wire.HELLO, message(b'{"versions":[1]}')),
        b"\0" * 100,
        raw(wire.HELLO, message(b"{}"), version=2),
        struct.pack("<IHH", 8193, wire.HELLO, 1) + b"x" * 8193,
        struct.pack("<IHH", 0xFFFFFFFF, wire.HELLO, 1),
    ],
)
def test_what_is_no_frame_is_not_answered(locked, data):
    with Client(locked) as client:
        client.send(data)
        assert_dropped(client)


@pytest.mark.parametrize(
    ("payload", "kind", "says"),
    [
        (b"", wire.HELLO, "no JSON head"),
        (message(b"[1]"), wire.HELLO, "no JSON object"),
        (message(b"{"), wire.HELLO, "no JSON head"),
        (message(b"\xff"), wire.HELLO, "no JSON head"),
        (message(b"[" * 8000), wire.HELLO, "no JSON head"),
        (message(b"{}"), wire.HELLO, "version 1"),
        (message(b'{"versions":[2]}'), wire.HELLO, "version 1"),
        (message(b'{"versions":1}'), wire.HELLO, "version 1"),
        (message(b'{"request":1,"method":"new"}'), wire.REQUEST, "expected a frame of type 64, not 66"),
        (message(b"{}"), wire.AUTH, "expected a frame of type 64, not 65"),
    ],
)
def test_wrong_hellos(locked, payload, kind, says):
    with Client(locked) as client:
        client.send(raw(kind, payload))
        got, head = client.receive_frame()
        assert got == wire.ANSWER and head["error"]["code"] == "bad_request" and says in head["error"]["text"]
        assert_dropped(client)


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        (wire.REQUEST, {"request": 1, "method": "new"}),
        (wire.HELLO, {"versions": [1]}),
        (wire.AUTH, {"mechanism": "PLAIN", "data": "\0token\0" + TOKEN}),
        (wire.AUTH, {"mechanism": "SCRAM-SHA-256"}),
        (wire.AUTH, {"mechanism": "SCRAM-SHA-256", "data": 1}),
        (wire.AUTH, {"data": "n,,n=token,r=x"}),
    ],
)
def test_what_is_no_authentication(locked, kind, head):
    with Client(locked) as client:
        hello(client)
        client.send(wire.encode(kind, head))
        got, answer = client.receive_frame()
        assert got == wire.ANSWER and answer["error"]["code"] == "unauthorized"
        assert_dropped(client)


def test_no_source_without_authentication(locked):
    with Client(locked) as client:
        assert hello(client)[0] == wire.HELLO
        assert_dropped(client)


# --- silence, too many, too often ------------------------------------------------------------------


@pytest.mark.parametrize("said", [0, 1, 2, 3])
def test_a_client_that_goes_on_not_is_dropped(module, said):
    """With nothing said, with half a frame, after HELLO, after the first AUTH."""
    module.PATIENCE = 0.3
    with in_this_process(module, TOKEN) as address, Client(address) as client:
        if said == 1:
            client.send(b"\1")
        if said >= 2:
            hello(client)
        if said == 3:
            client.frame(wire.AUTH, {"mechanism": "SCRAM-SHA-256", "data": "n,,n=token,r=x"})
        assert client.rest() == b""


def test_drop_by_drop_is_not_enough(module):
    """The time-out is for all of it together."""
    module.PATIENCE = 0.5
    with in_this_process(module) as address, Client(address) as client:
        data = wire.encode(wire.HELLO, {"versions": [1], "client": "x" * 200})
        for position in range(len(data)):
            try:
                client.send(data[position : position + 1])
            except OSError:
                break
            if not client.is_silent(0.02):
                break
        else:
            pytest.fail("it was waited for")


def test_the_source_has_its_own_time_out(module):
    module.PATIENCE = 0.3
    with in_this_process(module) as address, Client(address) as client:
        client.greet()
        client.send(struct.pack("<I", 10) + b"print(")
        assert client.rest() == b""


def test_an_interpreter_has_no_time_out(module):
    module.PATIENCE = 0.3
    with in_this_process(module) as address, started(address, "import os; os.write(1, os.read(0, 1))") as client:
        assert client.is_silent(0.6)
        client.send(b"x")
        assert client.rest() == b"x"


def test_strangers_over_the_limit_wait(module):
    module.MAX_STRANGERS = 3
    with in_this_process(module) as address:
        strangers = [Client(address) for _ in range(3)]
        for stranger in strangers:
            assert hello(stranger)[0] == wire.HELLO
        with Client(address) as waiting:
            waiting.send(wire.encode(wire.HELLO, {"versions": [1], "client": "a test"}))
            assert waiting.is_silent(0.2)
            strangers[0].socket.close()
            assert waiting.receive_frame()[0] == wire.HELLO
        for stranger in strangers[1:]:
            assert stranger.run("print(1)").rest() == b"1\n"
            stranger.socket.close()


def test_those_who_have_an_interpreter_are_no_strangers(module):
    module.MAX_STRANGERS = 1
    with in_this_process(module) as address:
        clients = [started(address, "import os; os.write(1, os.read(0, 1))") for _ in range(3)]
        for client in clients:
            client.send(b"x")
            assert client.rest() == b"x"
            client.socket.close()


def test_a_failure_is_answered_late(module):
    module.FIRST_DELAY = 0.3
    with in_this_process(module, TOKEN) as address, Client(address) as client:
        hello(client)
        start = time.monotonic()
        client.send(wire.encode(wire.AUTH, {"mechanism": "SCRAM-SHA-256", "data": ""}))
        assert client.receive_frame() == UNAUTHORIZED
        assert time.monotonic() - start >= 0.3


def test_a_success_is_the_end_of_the_delays(module):
    made = []

    class Kept(module.Failures):
        def __init__(self):
            super().__init__()
            made.append(self.of)

    module.Failures = Kept
    with in_this_process(module, TOKEN) as address:
        with Client(address) as client, pytest.raises(AuthenticationError):
            client.greet(TOKEN[1:])
        assert list(made[0]) == ["127.0.0.1"]
        started(address, "print(1)", TOKEN).rest()
        assert made == [{}]


def test_each_failure_doubles_the_delay(module, monkeypatch):
    module.FIRST_DELAY, module.MAX_ADDRESSES, now = 0.2, 3, 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    failures = module.Failures()
    assert [failures.add("a") for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    assert failures.add("b") == 0.2
    failures.forget("a")
    assert failures.add("a") == 0.2 and failures.add("b") == 0.4
    now += module.FORGOTTEN
    assert failures.add("b") == 0.2
    for address in "cdef":
        failures.add(address)
    assert len(failures.of) == 3 and failures.add("b") == 0.2


# --- whose connection it is ------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_owner_of_a_connection(module, family, host):
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"no {host} here")
    with listener, socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as accepted:
        assert module.owner_of_peer(accepted) == os.geteuid()
        client.close()  # what nobody holds any more belongs to root, as the table shows it
        assert module.owner_of_peer(accepted) is None


def test_a_connection_that_has_lost_its_owner_is_refused(module):
    listener = module.listen("127.0.0.1", 0, None)
    with Client(listener.getsockname()) as client:
        client.send(wire.encode(wire.HELLO, {"versions": [1]}) + message(b"print(1)"))
        client.socket.shutdown(socket.SHUT_WR)
        with in_this_process(module, listener=listener):
            kind, head = client.receive_frame()
            assert kind == wire.ANSWER and head["error"]["code"] == "forbidden"
            assert client.rest() == b""
