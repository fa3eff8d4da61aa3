"""brood.Client against the test server: requests of many threads, streams, broken connections, wrong servers."""

import contextlib
import gc
import io
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import brood
import pytest
from fake_server import EVENT, HELLO, PATIENCE, FakeServer, frame

PACKAGE = Path(brood.__file__).parent.parent
MIB = 1 << 20


@pytest.fixture
def client(server):
    with brood.Client(server.address, timeout=PATIENCE) as made:
        yield made


@pytest.fixture
def session(client):
    with client.new("math", name="mine") as made:
        yield made


def open_sockets():
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {name for name in found if name.startswith("socket:")}


def count(cell):
    for i in range(3):
        cell.emit("stdout", f"{i}\n".encode())
    cell.done()


def everything(cell):
    cell.emit("stdout", b"gr\xc3")
    cell.emit("stderr", b"warn")
    cell.emit("stdout", b"\xbcn\xff\n")
    cell.emit("display", data={"text/plain": "one"}, metadata={}, display_id="a", update=False)
    cell.emit("display", data={"text/plain": "two"}, metadata={}, display_id="a", update=True)
    cell.emit("result", data={"text/plain": "42"}, metadata={}, execution_count=cell.number)
    cell.emit("error", name="E", value="v", traceback=["line one", "E: v"])
    cell.done("error")


def flood(cell):
    """64 MiB, as fast as it is taken. Tells how much the client let through before it stopped to read."""
    cell.session.sent = 0
    for _ in range(64 * 16):
        cell.emit("stdout", bytes(65536))
        cell.session.sent += 65536
    cell.done()


# --- import ------------------------------------------------------------------------------------------------------------


def test_importing_brood_imports_no_client():
    code = "import sys, brood; print([n for n in ('brood.client', 'brood.wire', 'socket', 'ssl', 'asyncio') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_name_is_there():
    for name in brood.__all__:
        assert getattr(brood, name).__doc__, name
    assert set(brood.__all__) <= set(dir(brood))
    with pytest.raises(AttributeError):
        brood.nonsense


# --- requests and answers ----------------------------------------------------------------------------------------------


def test_every_method_goes_where_it_should(server, client):
    assert client.environments()[0]["name"] == "math"
    assert client.server()["user"] == "ada"
    with client.new("math", name="n", checkpoints=8, limits={"memory": 1 << 30}) as session:
        assert server.calls[-1][1]["limits"] == {"memory": 1 << 30} and "idle_timeout" not in server.calls[-1][1]
        assert [s["id"] for s in client.sessions()] == [session.id] and session.name == "n"
        assert session.rename("m")["name"] == session.name == session.info()["name"] == "m"
        assert session.complete("pri")["end"] == 3 and session.inspect("x", 0)["found"] is False
        assert session.share("bob", "view") == {"bob": "view"}
        kept = session.checkpoints(memory=True)
        assert kept[0]["checkpoint"] == 1 and kept.live["pss"] == 4096 and session.checkpoints().live == {}
        with session.fork(name="b") as branch:
            assert branch.id != session.id
        assert branch.id not in server.sessions
        with client.session(session.id) as attached:
            assert attached.run("1+1").value == "2"
        assert session.id in server.sessions
    assert server.sessions == {}
    assert server.accepted == 1


def test_results(session):
    done = session.run("6*7", timeout=5)
    assert (done.ok, done.status, done.value, done.stdout, done.error, done.execution_count) == (True, "ok", "42", "", None, 1)
    assert done.check() is done
    failed = session.run("1/0")
    assert not failed.ok and failed.value is None and failed.error.name == "ZeroDivisionError"
    with pytest.raises(brood.CellError, match="Traceback \\(most recent call last\\):\nZeroDivisionError: division by zero") as caught:
        failed.check()
    assert caught.value.result is failed and "1/0" not in repr(failed) and "ZeroDivisionError" in repr(failed)


def test_errors_have_their_classes_and_say_what_to_do(client, session, tmp_path):
    for call, kind in (
        (lambda: client.session("nowhere"), brood.SessionNotFound),
        (lambda: client.new("broken"), brood.EnvironmentUnavailable),
        (lambda: session.undo(), brood.Busy),
        (lambda: session.signal("NONSENSE"), brood.BadRequest),
        (lambda: session.stream("unknown"), brood.LimitExceeded),
        (lambda: session.get("missing"), brood.NotFound),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert isinstance(caught.value, (brood.Error, brood.BroodError)) and str(caught.value)
    assert not isinstance(caught.value, brood.SessionNotFound)
    assert issubclass(brood.Timeout, TimeoutError) and issubclass(brood.ConnectionLost, ConnectionError)
    with pytest.raises(brood.ConnectionLost, match="brood serve"):
        brood.Client(f"unix:{tmp_path}/none.sock").sessions()
    assert session.run("1").value == "1"


def test_answers_out_of_order(server, client):
    got, threads = {}, []
    for name in "abc":
        threads.append(threading.Thread(target=lambda name=name: got.update({name: client.call("hold", name=name)["name"]})))
        threads[-1].start()
    for _ in threads:
        assert server.held_now.acquire(timeout=PATIENCE)
    assert client.environments()  # answered while the others wait
    for name in "cab":
        server.release(name)
    for thread in threads:
        thread.join(PATIENCE)
    assert got == {"a": "a", "b": "b", "c": "c"} and server.accepted == 1


def test_many_threads_many_sessions(client, server):
    server.cells["count"] = count
    wrong = []

    def work(number):
        with client.new() as session:
            for i in range(50):
                if session.run(f"{number}*1000+{i}").value != str(number * 1000 + i):
                    wrong.append((number, i))
            if [e.text for e in session.stream("count") if e.type == "stdout"] != ["0\n", "1\n", "2\n"]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not wrong and server.sessions == {}


def test_a_time_out_leaves_the_connection_usable(server, session):
    with pytest.raises(brood.Timeout):
        session.client.request("hold", {"name": "late"}, timeout=0.01)
    assert server.held_now.acquire(timeout=PATIENCE)
    server.release("late")  # an answer that nobody waits for any more
    assert session.run("2").value == "2" and server.accepted == 1


def test_closing_ends_what_waits(server, client):
    caught = []

    def wait():
        try:
            client.call("hold", name="x")
        except brood.ConnectionLost as error:
            caught.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert server.held_now.acquire(timeout=PATIENCE)
    client.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(caught) == 3
    with pytest.raises(brood.ConnectionLost, match="closed"):
        client.sessions()


def test_closing_ends_streams_in_other_threads(server, client):
    server.cells["waits"] = lambda cell: cell.session.interrupted.wait(PATIENCE)
    session = client.new()
    caught = []

    def read(events):
        try:
            list(events)
        except brood.ConnectionLost as error:
            caught.append(str(error))

    thread = threading.Thread(target=read, args=(session.stream("waits"),))
    thread.start()
    client.close()
    thread.join(PATIENCE)
    assert caught == ["the client was closed"]


def test_closing_leaves_no_descriptor_and_no_thread(server):
    server.cells["count"] = count
    before_threads, before = set(threading.enumerate()), open_sockets()
    for _ in range(3):
        with brood.Client(server.address) as client, client.new() as session:
            list(session.stream("count"))
            next(session.stream("count"))
            assert set(threading.enumerate()) - before_threads <= set(server.threads), "the client has a thread"
    gc.collect()
    for thread in server.threads[1:]:
        thread.join(PATIENCE)
    assert open_sockets() <= before


def test_a_forked_child_has_a_connection_of_its_own(server, session):
    assert session.run("1").value == "1"
    child = os.fork()
    if child == 0:
        fine = False
        try:
            fine = session.run("2").value == "2"
        finally:
            os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert session.run("3").value == "3" and server.accepted == 2


# --- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream(server, session):
    server.cells["count"] = count
    for turn in (1, 2, 3):
        events = list(session.stream("count"))
        assert [event.type for event in events] == ["cell", "stdout", "stdout", "stdout", "done"]
        assert [event.text for event in events[1:4]] == ["0\n", "1\n", "2\n"]
        assert events[-1].status == "ok" and {event.cell for event in events} == {turn} and events[0].session == session.id
    assert server.accepted == 2, "one connection for requests, one for streams, used again"


def test_leaving_a_stream_early(server, session):
    server.cells["count"] = count
    for _ in range(5):
        for event in session.stream("count"):
            if event.type == "stdout":
                break
        assert session.run("1").value == "1"
    assert [event.text for event in session.stream("count") if event.type == "stdout"] == ["0\n", "1\n", "2\n"]


def test_other_cells_and_sessions_between_the_events(server, client, session):
    def mixed(cell):
        other = server.make()
        session_of = cell.session
        for i in range(20):
            cell.emit("stdout", b"mine")
            session_of.emit("stdout", 999, b"another cell's")
            cell.peer.send(frame(EVENT, {"session": other.id, "seq": i, "type": "stdout", "cell": cell.number}, b"another session's"))
        cell.done()

    server.cells["mixed"] = mixed
    # The connection is the one that the execute came by, so it is the stream's.
    assert [event.text for event in session.stream("mixed") if event.type == "stdout"] == ["mine"] * 20


def test_events_before_the_answer(server, session):
    def early(peer, head, body):
        it = server.find(head)
        it.emit("cell", 7)
        it.emit("stdout", 7, b"before")
        peer.answer(head["request"], {"cell": 7})
        it.emit("done", 7, status="ok")

    server.method_execute = early
    assert [event.type for event in session.stream("x")] == ["cell", "stdout", "done"]


def test_events_of_everything(server, client, session):
    server.cells["count"] = count
    list(session.stream("count"))
    with session.events() as events:
        assert [events.read(PATIENCE).type for _ in range(5)] == ["cell", "stdout", "stdout", "stdout", "done"]
        with pytest.raises(brood.Timeout):
            events.read(0.01)
        list(client.session(session.id).stream("count"))
        assert events.read(PATIENCE).seq == 6
    with session.events(after=8) as events:
        assert [events.read(PATIENCE).seq for _ in range(2)] == [9, 10]
        session.remove()
        assert events.read(PATIENCE).type == "ended" and events.read(PATIENCE) is None and list(events) == []


def test_run_with_callbacks(server, session):
    server.cells["everything"] = everything
    out, err, shown = [], [], []
    done = session.run("everything", on_stdout=out.append, on_stderr=err.append, on_display=shown.append)
    assert "".join(out) == done.stdout == "grün\ufffd\n" and err == ["warn"] and done.stderr == "warn"
    assert [event.data["text/plain"] for event in shown] == ["one", "two"] and done.displays == [{"text/plain": "two"}]
    assert (done.status, done.value, done.error.name, str(done.error)) == ("error", "42", "E", "line one\nE: v")
    assert session.run("everything", on_stdout=out.append, max_output=2).truncated


def test_a_callback_that_fails(server, session):
    server.cells["everything"] = everything
    with pytest.raises(ZeroDivisionError):
        session.run("everything", on_stdout=lambda text: 1 / 0)
    assert session.run("1").value == "1"


def asks(cell):
    for prompt in ("name? ", "age? "):
        cell.emit("input", prompt=prompt, password=False)
        assert cell.session.input.acquire(timeout=PATIENCE)
    cell.done()


def test_input(server, session):
    server.cells["asks"] = asks
    own = server.sessions[session.id].stdin
    prompts = []
    session.run("asks", input=lambda prompt: prompts.append(prompt) or "x")
    assert prompts == ["name? ", "age? "] and own == [(b"x\n", False), (b"x\n", False)]
    own.clear()
    session.run("asks", input="Ada\n")
    assert own == [(b"Ada\n", False), (b"", True)], "after the last line comes the end of input"
    with pytest.raises(TypeError):
        session.run("asks", input=7)
    own.clear()
    session.stdin("text\n", eof=True)
    session.stdin(b"\xff")
    assert own == [(b"text\n", True), (b"\xff", False)]


def test_messages(server, session):
    for i in range(5):
        session.send(b"\x00%d" % i)
    assert [session.receive(PATIENCE) for _ in range(5)] == [b"echo \x00%d" % i for i in range(5)]
    with pytest.raises(brood.Timeout):
        session.receive(0.01)
    session.send(b"more")
    assert session.receive(PATIENCE) == b"echo more" and server.accepted == 2


def test_the_session_ends_while_a_cell_runs(server, session):
    server.cells["dies"] = lambda cell: cell.session.emit("ended", why="its memory is used up", signal=9)
    with pytest.raises(brood.SessionEnded, match="memory is used up"):
        session.run("dies", on_stdout=print)
    assert [event.type for event in session.stream("dies")] == ["cell", "ended"]


def test_the_end_of_a_cell_that_was_dropped(server, session):
    def lossy(cell):
        cell.session.emit("dropped", 0, events=9, bytes=9)
        cell.session.emit("cell", cell.number + 1, code="another")

    server.cells["lossy"] = lossy
    assert [event.type for event in session.stream("lossy")] == ["cell", "dropped"]
    with pytest.raises(brood.Error, match="dropped"):
        session.run("lossy", on_stdout=print)


def test_a_slow_consumer_holds_up_only_its_own_stream(server, client, session):
    server.cells.update(flood=flood, count=count)
    events = session.stream("flood")
    assert next(events).type == "cell"
    # While it is not read, everything else works, also for the same session.
    session.interrupt()
    with client.new() as other:
        assert len(list(other.stream("count"))) == 5 and other.run("1").value == "1"
    assert server.sessions[session.id].sent < 16 * MIB, "the client reads what nobody asks for"
    assert sum(len(event.body) for event in events if event.type == "stdout") == 64 * MIB


def test_closing_a_stream_in_another_thread(server, session):
    server.cells["waits"] = lambda cell: cell.session.interrupted.wait(PATIENCE)
    events = session.stream("waits")
    assert next(events).type == "cell"
    got = []
    thread = threading.Thread(target=lambda: got.append(events.read()))
    thread.start()
    events.close()
    thread.join(PATIENCE)
    assert got == [None]
    session.interrupt()


# --- files -------------------------------------------------------------------------------------------------------------


def test_files(server, session, tmp_path):
    big = os.urandom(2 * MIB + 5)
    local = tmp_path / "local"
    local.write_bytes(big)
    kept = server.sessions[session.id].files
    for data in (local, str(local), io.BytesIO(big), big, bytearray(big)):
        assert session.put("big", data) == len(big) and kept.pop("big") == big
    assert session.put("empty", b"") == 0 and session.get("empty") == b""
    session.upload("exact", io.BytesIO(bytes(MIB)))
    assert session.get("exact") == bytes(MIB)
    session.put("big", big)
    assert session.download("big", tmp_path / "copy") == len(big) and (tmp_path / "copy").read_bytes() == big
    target = io.BytesIO()
    session.download("big", target)
    assert target.getvalue() == big == session.get("big")
    assert {entry["name"]: entry["size"] for entry in session.files()} == {"empty": 0, "exact": MIB, "big": len(big)}
    session.delete("big")
    assert "big" not in kept
    with pytest.raises(TypeError):
        session.put("x", 7)


# --- broken connections, wrong servers ---------------------------------------------------------------------------------


def test_a_connection_cut_between_requests_is_made_again(server, session):
    assert session.run("1").value == "1"
    with pytest.raises(brood.ConnectionLost):
        session.client.request("raw", {"cut": True})
    assert session.run("1").value == "1" and server.accepted == 2


def test_a_connection_cut_in_the_middle_of_a_frame(server, session):
    whole = frame(67, {"request": 1})
    for part in (1, 7, 8, 11, len(whole) - 1):
        with pytest.raises(brood.ConnectionLost, match="ended"):
            session.client.request("raw", {"cut": True}, whole[:part])
    assert session.run("1").value == "1"


def test_a_connection_cut_in_the_middle_of_a_stream(server, session):
    server.cells["cut"] = lambda cell: cell.peer.server.cut()
    with pytest.raises(brood.ConnectionLost):
        list(session.stream("cut"))
    with pytest.raises(brood.ConnectionLost):
        session.run("cut", on_stdout=print)
    assert session.run("1").value == "1"


@pytest.mark.parametrize(
    "data",
    [struct.pack("<IHH", 4, 67, 2) + bytes(4), struct.pack("<IHH", 0xFFFFFFFF, 67, 1), frame(67, [1]), struct.pack("<IHHI", 4, 67, 1, 99)],
    ids=["version", "length", "head", "head length"],
)
def test_malformed_frames(session, data):
    with pytest.raises(brood.ProtocolError):
        session.client.request("raw", {}, data)
    assert session.run("1").value == "1"


def test_answers_without_their_members(session):
    number = 100
    for head in ({}, {"session": 7}, {"session": {}}):
        session.client._calls._next = number
        with pytest.raises(brood.Error, match="has no"):
            raw_answer(session, {"request": number, **head})
    assert session.run("1").value == "1"


def raw_answer(session, head):
    from brood.client import Session
    from brood.handshake import member

    answer = session.client.request("raw", {}, frame(67, head))[0]
    Session(session.client, member(answer, "session", dict), owned=False)


@pytest.mark.parametrize(
    "greeting,kind",
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", brood.ProtocolError),
        (frame(HELLO, {"version": 2}), brood.ProtocolError),
        (frame(HELLO, {"version": 1, "auth": ["PLAIN"]}), brood.AuthenticationError),
        (frame(67, {"request": 0, "error": {"code": "bad_request", "text": "no common version"}}), brood.BadRequest),
        (frame(67, {"request": 0, "error": {"code": "unauthorized", "text": "too many failures"}}), brood.AuthenticationError),
        (frame(EVENT, {}), brood.ProtocolError),
        (b"", brood.Timeout),
    ],
    ids=["another", "version", "mechanism", "refused", "locked", "event", "silent"],
)
def test_wrong_greetings(tmp_path, greeting, kind):
    server = FakeServer(f"unix:{tmp_path}/s", greeting=greeting)
    try:
        with brood.Client(server.address, token="x", timeout=0.2) as client, pytest.raises(kind):
            client.sessions()
    finally:
        server.cut()
        server.close()


# --- who is there ------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded():
    made = FakeServer("tcp:", user=None, passwords={"token": "t0ken", "a,b=c": "gehe\u00efm"})
    yield made
    made.close()


def test_credentials(guarded, monkeypatch):
    for more in ({"token": "t0ken"}, {"user": "a,b=c", "password": "gehe\u00efm"}):
        with brood.Client(guarded.address, **more) as client:
            assert client.sessions() == [] and client.server()["user"] == more.get("user", "token")
    for more in ({"token": "wrong"}, {"user": "a,b=c", "password": "wrong"}, {"user": "nobody", "password": "x"}, {}):
        with brood.Client(guarded.address, **more) as client, pytest.raises(brood.AuthenticationError, match="token="):
            client.sessions()
    monkeypatch.setenv("BROOD_TOKEN", "t0ken")
    monkeypatch.setenv("BROOD_SERVER", guarded.address)
    with brood.Client() as client:
        assert client.new().run("1").value == "1"
    for wrong in ({"user": "x"}, {"password": "x"}, {"token": "x", "user": "y", "password": "z"}):
        with pytest.raises(ValueError):
            brood.Client(**wrong)
    assert "t0ken" not in repr(client) + repr(client._credentials)


def test_streams_authenticate_too(guarded):
    guarded.cells["count"] = count
    with brood.Client(guarded.address, token="t0ken") as client, client.new() as session:
        assert len(list(session.stream("count"))) == 5
    assert guarded.accepted == 2


def test_addresses(monkeypatch):
    for text in ("tcp:host", "tcp:host:x", "tcp::1", "unix:", "http:host:1", "nonsense", "tcp:host:70000"):
        with pytest.raises(ValueError, match="expected"):
            brood.Client(text)
    assert (brood.Client("tcp:[::1]:7").address.host, brood.Client("tls:h:7").address.port) == ("::1", 7)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert str(brood.Client().address) == "unix:/run/user/7/brood/serve/sessions.sock"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert str(brood.Client().address) == f"unix:/tmp/brood-{os.getuid()}/serve/sessions.sock"


def test_control_c_interrupts_the_cell(server, session):
    """The signal comes while run() waits, in the thread that runs the test."""
    server.method_run = lambda peer, head, body: os.kill(os.getpid(), signal.SIGINT)
    own = server.sessions[session.id]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            session.run("while True: pass")
    finally:
        signal.signal(signal.SIGINT, before)
    assert own.interrupted.is_set()
    del server.method_run
    assert session.run("1").value == "1"
