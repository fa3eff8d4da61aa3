"""What a program can do wrong with either client: it is told so, no cell waits for ever, and the connection stays."""

import asyncio
import inspect
import struct

import brood
import pytest
from fake_server import PATIENCE, FakeServer

HALF = "\ud800"


class Blocking:
    """An AsyncClient, session or method of it, as a blocking one: both clients go through the same tests."""

    def __init__(self, loop, thing):
        self._loop, self._thing = loop, thing

    def __getattr__(self, name):
        return Blocking(self._loop, getattr(self._thing, name))

    def __call__(self, *arguments, **named):
        made = self._thing(*arguments, **named)
        if inspect.isawaitable(made):
            made = self._loop.run_until_complete(asyncio.wait_for(made, PATIENCE))
        return Blocking(self._loop, made) if isinstance(made, (brood.AsyncSession, brood.AsyncEventStream)) else made


@pytest.fixture(params=["threads", "asyncio"])
def client(server, request):
    if request.param == "threads":
        with brood.Client(server.address, timeout=PATIENCE) as made:
            yield made
        return
    loop = asyncio.new_event_loop()
    made = Blocking(loop, brood.AsyncClient(server.address, timeout=PATIENCE))
    yield made
    made.close()
    loop.close()


@pytest.fixture
def session(client):
    return client.new()


@pytest.fixture
def kept(server, session):
    """The test server's session."""
    return server.sessions[session.id if isinstance(session, brood.Session) else session.id._thing]


def waits(cell):
    """Prints, asks, and waits for an interrupt."""
    cell.emit("stdout", b"out\n")
    cell.emit("stderr", b"err\n")
    cell.emit("display", data={"text/plain": "one"}, metadata={}, display_id="a", update=False)
    cell.emit("input", prompt="? ", password=False)
    cell.done("interrupted" if cell.session.interrupted.wait(PATIENCE) else "ok")


def fail(_):
    raise ZeroDivisionError


@pytest.mark.parametrize("name", ["on_stdout", "on_stderr", "on_display", "input"])
def test_a_callback_that_fails_interrupts_the_cell(server, session, kept, name):
    server.cells["waits"] = waits
    with pytest.raises(ZeroDivisionError):
        session.run("waits", **{name: fail})
    assert kept.interrupted.is_set()
    assert session.run("1").value == "1"


def test_input_that_returns_no_text(server, session, kept):
    server.cells["waits"] = waits
    with pytest.raises(TypeError, match="input= returns must be a str, not int"):
        session.run("waits", input=lambda prompt: 7)
    assert kept.interrupted.is_set() and kept.stdin == []


def test_input_that_is_no_text(server, session):
    with pytest.raises(TypeError, match="input must be a str"):
        session.run("waits", input=7)
    assert "execute" not in [method for method, _ in server.calls]


def test_half_a_character_is_not_sent(server, client, session):
    for call, name in (
        (lambda: session.run(f"x = '{HALF}'"), "code has .*ud800' at 5"),
        (lambda: session.run(f"'{HALF}'", on_stdout=print), "code"),
        (lambda: session.get(f"a{HALF}"), "path"),
        (lambda: session.put(HALF, b""), "path"),
        (lambda: session.rename(HALF), "name"),
        (lambda: session.complete(HALF), "code"),
        (lambda: client.new(limits={HALF: 1}), "a name in limits"),
        (lambda: client.session(HALF), "session"),
        (lambda: session.stdin(HALF), "surrogates"),
    ):
        with pytest.raises(ValueError, match=name):
            call()
    assert session.run("'\U0001f600'").value == "'\U0001f600'"
    assert session.run(r"'\ud83d'").value == r"'\ud83d'"
    assert server.calls[-1][0] == "run" and server.accepted <= 2  # one is that of a stream


def test_arguments_of_another_type(session):
    for call, says in (
        (lambda: session.run(b"1"), "code must be a str, not bytes"),
        (lambda: session.run(b"1", input="x"), "code must be a str, not bytes"),
        (lambda: session.stream(b"1"), "code must be a str, not bytes"),
        (lambda: session.complete(None), "code must be a str, not NoneType"),
        (lambda: session.send("text"), "data must be bytes, not str: encode"),
        (lambda: session.stdin(7), "must be bytes, not int"),
    ):
        with pytest.raises(TypeError, match=says):
            call()
    session.send(memoryview(struct.pack("<2I", 1, 2)).cast("I"))
    assert session.receive(PATIENCE) == b"echo " + struct.pack("<2I", 1, 2)


def test_numbers_that_cannot_be(server, client, session):
    for call, says in (
        (lambda: session.undo(steps=0), "steps must be a whole number from 1"),
        (lambda: session.undo(steps=1.5), "steps must be a whole number from 1"),
        (lambda: session.run("1", timeout=10**400), "timeout is a number of more than 64 bits"),
        (lambda: client.new(limits={"memory": -(10**20)}), "memory is a number of more than 64 bits"),
    ):
        with pytest.raises(ValueError, match=says):
            call()
    assert [method for method, _ in server.calls] == ["new"]


def test_a_web_server_is_no_brood(tmp_path):
    made = FakeServer(f"unix:{tmp_path}/web.sock", greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n")
    try:
        with brood.Client(made.address, timeout=PATIENCE) as client, pytest.raises(brood.ProtocolError, match="web server"):
            client.sessions()
    finally:
        made.close()


def test_another_event_loop(server):
    client = brood.AsyncClient(server.address, timeout=PATIENCE)

    async def first():
        session = await client.new()
        return session, session.events()

    async def second(session, events):
        for call in (client.sessions(), session.run("1"), session.stream("1").read(), events.read(), client.close(), client.__aenter__()):
            with pytest.raises(RuntimeError, match="another event loop"):
                await asyncio.wait_for(call, PATIENCE)

    loop = asyncio.new_event_loop()
    session, events = loop.run_until_complete(first())
    asyncio.run(second(session, events))
    assert loop.run_until_complete(session.run("1")).value == "1"
    loop.run_until_complete(client.close())
    loop.close()
