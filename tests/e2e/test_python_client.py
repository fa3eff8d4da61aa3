"""The Python client (python/brood) against the real `brood serve`."""

import asyncio
import contextlib
import os
import re
import select
import socket
import subprocess
import sys
import threading

import pytest
from brood_fixture import ROOT, TIMEOUT
from waiting import DEADLINE

sys.path.insert(0, str(ROOT / "python"))

import brood as package  # noqa: E402  (`brood` is the fixture)

MIB = 1 << 20


def ready_line(fd, process):
    """What `brood serve` writes to its --ready-fd."""
    line = b""
    while not line.endswith(b"\n"):
        assert select.select([fd], [], [], TIMEOUT)[0], "brood serve did not become ready"
        piece = os.read(fd, 4096)
        assert piece, f"brood serve ended with status {process.wait(TIMEOUT)}"
        line += piece
    return line


@contextlib.contextmanager
def serving(brood, *options, **variables):
    """A `brood serve` of this brood's; yields its address."""
    address = f"unix:{brood.base}/sessions.sock"
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [brood.brood, "serve", "--listen", address, "--ready-fd", str(writing), *options],
        env={**brood.environment, **variables},
        cwd=brood.work,
        stdin=subprocess.DEVNULL,
        pass_fds=[writing],
    )
    os.close(writing)
    try:
        ready_line(reading, process)
        yield address
    finally:
        os.close(reading)
        process.terminate()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@pytest.fixture(scope="module")
def address(shared_brood):
    with serving(shared_brood) as made:
        yield made


@pytest.fixture
def client(address):
    with package.Client(address, timeout=TIMEOUT) as made:
        yield made


@pytest.fixture
def session(client):
    with client.new(name="test", checkpoints=8) as made:
        yield made


def test_state_is_kept_between_cells(session):
    assert session.run("x = 20", timeout=DEADLINE).check().value is None
    done = session.run("import sys\nprint('out')\nprint('err', file=sys.stderr)\nx + 1", timeout=DEADLINE)
    assert (done.status, done.ok, done.value, done.stdout, done.stderr) == ("ok", True, "21", "out\n", "err\n")
    assert done.execution_count == 2 and done.ms >= 0 and not done.undone


def test_an_exception(session):
    done = session.run("def f():\n    return 1 / 0\nf()", timeout=DEADLINE)
    assert done.status == "error" and done.error.name == "ZeroDivisionError"
    with pytest.raises(package.CellError, match="return 1 / 0"):
        done.check()
    assert session.run("1", timeout=DEADLINE).value == "1"


def test_a_time_out(session):
    session.run("kept = 7", timeout=DEADLINE)
    done = session.run("kept = 8\nwhile True: pass", timeout=0.5)
    assert done.status == "timeout" and done.undone
    assert session.run("kept", timeout=DEADLINE).value == "7"
    done = session.run("kept = 9\nwhile True: pass", timeout=0.5, checkpoint=False)
    assert done.status == "timeout" and not done.undone, "there is no state to go back to"
    assert session.run("kept", timeout=DEADLINE).value == "9"


def test_streaming(session):
    code = "import os\nfor i in range(3): print(i)\nos.system('echo from a child')\n'value'"
    events = list(session.stream(code, timeout=DEADLINE))
    assert events[-1].type == "done" and events[-1].status == "ok"
    assert "".join(event.text for event in events if event.type == "stdout") == "0\n1\n2\nfrom a child\n"
    assert [event.data["text/plain"] for event in events if event.type == "result"] == ["'value'"]
    assert len({event.cell for event in events}) == 1
    assert [event.seq for event in events] == sorted({event.seq for event in events})


def test_leaving_a_stream_early_and_interrupting(session):
    code = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.01)"
    with session.stream(code, timeout=TIMEOUT) as events:
        for event in events:
            if event.type == "stdout":
                break
        session.interrupt()
        assert list(events)[-1].status == "interrupted"
    assert session.run("1", timeout=DEADLINE).value == "1"
    for event in session.stream("print('x' * 100_000)", timeout=DEADLINE):
        if event.type == "stdout":
            break
    assert session.run("2", timeout=DEADLINE).value == "2"


def test_much_output(session):
    code = "import os\nfor _ in range(64): os.write(1, b'y' * 2**20)"
    got = sum(len(event.body) for event in session.stream(code, timeout=TIMEOUT) if event.type == "stdout")
    assert got == 64 * MIB


def test_input(session):
    prompts = []
    code = "name = input('name? ')\nage = int(input('age? '))\n(name, age)"
    done = session.run(code, timeout=DEADLINE, input=lambda prompt: prompts.append(prompt) or ("Ada" if "name" in prompt else "36"))
    assert done.check().value == "('Ada', 36)" and prompts == ["name? ", "age? "]
    assert session.run(code, timeout=DEADLINE, input="Bob\n7\n").check().value == "('Bob', 7)"


def test_callbacks(session):
    out, err = [], []
    done = session.run("import sys\nprint('o')\nprint('e', file=sys.stderr)", timeout=DEADLINE, on_stdout=out.append, on_stderr=err.append)
    assert ("".join(out), "".join(err)) == ("o\n", "e\n") == (done.stdout, done.stderr)


def test_messages(session):
    session.run("from brood import messages\nmessages.send(b'one')\nmessages.send(b'two')", timeout=DEADLINE).check()
    assert [session.receive(DEADLINE) for _ in range(2)] == [b"one", b"two"]
    with pytest.raises(package.Timeout):
        session.receive(0.05)


@pytest.mark.parametrize("code", ["for i in range(5): messages.send(b'x' * 400_000)", "messages.send(b'x' * 1_500_000)\nprint('y')"])
def test_lost_messages_are_told(session, code):
    session.run("from brood import messages\n" + code, timeout=DEADLINE).check()
    with pytest.raises(package.LimitExceeded, match="messages are lost"):
        session.receive(DEADLINE)
    session.run("messages.send(b'next')", timeout=DEADLINE).check()
    while (got := session.receive(DEADLINE)) != b"next":
        assert got == b"x" * 400_000


def test_undo_and_fork(session):
    for code in ("x = 1", "x = 2", "x = 3"):
        session.run(code, timeout=DEADLINE).check()
    assert len(session.checkpoints()) == 3
    assert session.undo() == {"checkpoint": 3, "execution_count": 2}
    assert session.run("x", timeout=DEADLINE).value == "2"
    with session.fork(name="branch") as branch:
        branch.run("x = 99", timeout=DEADLINE).check()
        assert branch.run("x", timeout=DEADLINE).value == "99"
        assert session.run("x", timeout=DEADLINE).value == "2"
        assert branch.name == "branch"
    with pytest.raises(package.SessionNotFound):
        branch.info()
    target = session.checkpoints()[1]["checkpoint"]
    session.undo(to=target)
    assert session.run("x", timeout=DEADLINE).value == "1"


def test_a_cell_that_waited_is_cancelled(session):
    with session.stream("input()", timeout=DEADLINE) as first:
        assert "input" in iter(lambda: first.read(DEADLINE).type, "done")
        waiting = session.client.call("execute", session=session.id, code="x = 1")
        assert list(waiting) == ["cell"]
        session.interrupt()
        assert list(first)[-1].status == "interrupted"
    done = next(event for event in session.events() if event.type == "done" and event.cell == waiting["cell"])
    assert (done.status, done.execution_count, done.undone) == ("cancelled", None, False) and "interrupted" in done.why
    assert session.run("x", timeout=DEADLINE).error.name == "NameError"


def test_memory_of_checkpoints(session):
    session.run("data = bytearray(8 * 2**20)", timeout=DEADLINE).check()
    kept = session.checkpoints(memory=True)
    assert kept.live["pss"] > 8 * MIB and [entry["pss"] for entry in kept] == [0]


def test_files(session, tmp_path):
    data = os.urandom(2 * MIB + 5)
    assert session.put("a.bin", data) == len(data)
    assert session.run("len(open('a.bin', 'rb').read())", timeout=DEADLINE).value == str(len(data))
    assert session.get("a.bin") == data and session.download("a.bin", tmp_path / "copy") == len(data)
    assert (tmp_path / "copy").read_bytes() == data
    session.upload("b.bin", tmp_path / "copy")
    assert {entry["name"] for entry in session.files()} >= {"a.bin", "b.bin"}
    session.delete("a.bin")
    with pytest.raises(package.NotFound):
        session.get("a.bin")


def test_complete_and_inspect(session):
    session.run("import os", timeout=DEADLINE)
    assert "getpid" in str(session.complete("os.getp")["matches"])
    assert session.inspect("os.getpid")["found"] is True


def test_two_clients_see_each_other(address, client, session):
    with session.events() as events, package.Client(address) as other:
        other.session(session.id).run("print('hello')", timeout=DEADLINE).check()
        texts = []
        while "hello\n" not in "".join(texts):
            event = events.read(DEADLINE)
            texts.append(event.text if event.type == "stdout" else "")
    assert session.id in [entry["id"] for entry in client.sessions()]


def test_lists_names_and_errors(client, session):
    assert client.environments() and client.server()["version"] == 1
    assert session.rename("other")["name"] == session.info()["name"] == "other"
    with pytest.raises(package.SessionNotFound):
        client.session("nonsense")
    with pytest.raises((package.BadRequest, package.EnvironmentUnavailable, package.NotFound)):
        client.new("no such environment")
    with pytest.raises(package.BadRequest):
        session.signal("NONSENSE")


def test_a_session_that_exits(client):
    session = client.new()
    events = list(session.events()) if session.run("raise SystemExit(3)", timeout=DEADLINE).status == "exit" else []
    assert events and events[-1].type == "ended"
    with pytest.raises((package.SessionEnded, package.SessionNotFound)):
        session.run("1")


def test_many_threads(client):
    right = []

    def work(number):
        with client.new() as session:
            for i in range(10):
                right.append(session.run(f"{number} * 1000 + {i}", timeout=DEADLINE).value == str(number * 1000 + i))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(right) == 40 and all(right)


def test_more_requests_at_once_than_the_server_takes(address):
    async def main():
        async with package.AsyncClient(address, timeout=TIMEOUT) as client, await client.new() as session:
            cell = asyncio.ensure_future(session.run("input()", timeout=TIMEOUT))
            told = await asyncio.gather(*(session.info() for _ in range(300)))
            await session.stdin("done\n")
            return len(told), (await cell).value

    assert asyncio.run(asyncio.wait_for(main(), TIMEOUT)) == (300, "'done'")


@pytest.mark.parametrize("how", [{}, {"on_stdout": print}], ids=["plain", "followed"])
def test_a_task_that_is_cancelled_interrupts_its_own_cell_only(address, how):
    """Whether that runs, waits in the session's queue, or has not been sent yet."""
    async def main():
        async with package.AsyncClient(address, timeout=TIMEOUT) as client, await client.new() as session:
            first = asyncio.ensure_future(session.run("print(input())", timeout=TIMEOUT))
            others = [asyncio.ensure_future(session.run("ran = True", timeout=TIMEOUT, **how)) for _ in range(20)]
            while (await session.info())["queued"] < 20:
                await asyncio.sleep(0.01)
            others += [asyncio.ensure_future(session.run("ran = True", timeout=TIMEOUT, **how)) for _ in range(40)]
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            await session.stdin("done\n")
            told = (await first).stdout, (await session.run("'ran' in globals()", timeout=TIMEOUT)).value
            last = asyncio.ensure_future(session.run("while True: pass", timeout=TIMEOUT, **how))
            while (await session.info())["state"] != "busy":
                await asyncio.sleep(0.01)
            last.cancel()
            await asyncio.wait([last])
            return told, (await session.run("'still here'", timeout=TIMEOUT)).value

    assert asyncio.run(asyncio.wait_for(main(), TIMEOUT)) == (("done\n", "False"), "'still here'")


def test_a_callback_that_fails_interrupts_the_cell(session):
    with pytest.raises(ZeroDivisionError):
        session.run("input()", timeout=TIMEOUT, input=lambda prompt: 1 / 0)
    done = next(event for event in session.events() if event.type == "done")
    assert done.status == "interrupted"


def test_a_file_in_text_mode_is_refused(session, tmp_path):
    (tmp_path / "text").write_text("x")
    with open(tmp_path / "text") as file, pytest.raises(TypeError, match="binary mode"):
        session.put("text", file)


def test_half_a_character_leaves_the_connection(session):
    with pytest.raises(ValueError, match="surrogate"):
        session.run("x = '\ud800'")
    assert session.run("'\U0001f600'", timeout=DEADLINE).value == "'\U0001f600'"


def test_asyncio(address):
    async def one(client, number):
        async with await client.new() as session:
            text = [event.text async for event in session.stream(f"print({number})", timeout=DEADLINE) if event.type == "stdout"]
            done = await session.run(f"input() + str({number})", timeout=DEADLINE, input="n")
            return "".join(text), done.value

    async def main():
        async with package.AsyncClient(address, timeout=TIMEOUT) as client:
            return await asyncio.wait_for(asyncio.gather(*(one(client, number) for number in range(3))), TIMEOUT)

    assert asyncio.run(main()) == [(f"{number}\n", f"'n{number}'") for number in range(3)]


def test_a_token_over_tcp(brood):
    """SCRAM against the real server."""
    port = free_port()
    with serving(brood, "--listen", f"tcp:127.0.0.1:{port}", BROOD_TOKEN="a-token-for-this-test-only"):
        with package.Client(f"tcp:127.0.0.1:{port}", token="a-token-for-this-test-only") as client, client.new() as session:
            assert session.run("6 * 7", timeout=DEADLINE).value == "42"
            assert list(session.stream("1", timeout=DEADLINE))[-1].status == "ok"
        for wrong in ({"token": "another"}, {"user": "nobody", "password": "x"}):
            with package.Client(f"tcp:127.0.0.1:{port}", **wrong) as client, pytest.raises(package.AuthenticationError):
                client.sessions()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_no_server(brood):
    with pytest.raises(package.ConnectionLost, match="brood serve"):
        package.Client(f"unix:{brood.base}/none.sock").sessions()


GUIDE = (ROOT / "docs/python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.M | re.S)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_guide(shared_brood, address, number):
    environment = {**shared_brood.environment, "BROOD_SERVER": address, "PYTHONPATH": str(ROOT / "python")}
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES[number]], env=environment, cwd=shared_brood.work, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout
    for line in re.findall(r"print\(.*\)\s+# (.*?)(?:[:;].*)?$", EXAMPLES[number], re.M):
        assert line.startswith("with the traceback") or line in done.stdout.splitlines(), (line, done.stdout)


def test_the_guide_names_everything():
    assert len(EXAMPLES) == 5
    for kind in (package.Client, package.Session, package.Result, package.Event):
        for name in (name for name in vars(kind) if not name.startswith("_")):
            assert f"`{name}" in GUIDE, name
