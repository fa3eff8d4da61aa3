"""Cells of sessions against the real server: streams, values, errors, input, questions, messages, the end."""

import json
import os
import threading

import pytest
from session_fixture import package, pid_of, run, serving, stream_of, types, until, value
from waiting import DEADLINE, ended, wait_until


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood) as made:
        yield made


@pytest.fixture
def session(server):
    with server.client.new(name="test") as made:
        yield made


def cell(session, code):
    """The events of one cell, without those that frame it."""
    return [event for event in session.stream(code, timeout=DEADLINE) if event.type not in ("cell", "checkpoint", "done")]


def put_together(events):
    """[(type, what)], with pieces of output that follow one another joined."""
    out = []
    for event in events:
        what = event.text if event.type in ("stdout", "stderr") else event.head.get("data", {}).get("text/plain")
        if out and out[-1][0] == event.type and event.type in ("stdout", "stderr"):
            what = out.pop()[1] + what
        out.append((event.type, what))
    return out


# --- output --------------------------------------------------------------------------------------


@pytest.mark.core
def test_output_and_displays_keep_their_order(session):
    code = "print('a')\ndisplay(1)\nprint('b', end='')\ndisplay(2)\nimport sys\nprint('c', file=sys.stderr)\ndisplay(3)\n'last'"
    assert put_together(cell(session, code)) == [
        ("stdout", "a\n"),
        ("display", "1"),
        ("stdout", "b"),
        ("display", "2"),
        ("stderr", "c\n"),
        ("display", "3"),
        ("result", "'last'"),
    ]


@pytest.mark.core
def test_output_of_c_code_and_of_programs(session):
    code = """
import ctypes, os, subprocess, sys
c = ctypes.CDLL(None)
print('python')
os.write(1, b'write\\n')
display(1)
c.puts(b'puts')
display(2)
subprocess.run(['sh', '-c', 'echo child; echo bad >&2'])
display(3)
"""
    assert [item for item in put_together(cell(session, code)) if item[0] != "stderr"] == [
        ("stdout", "python\nwrite\n"),
        ("display", "1"),
        ("stdout", "puts\n"),
        ("display", "2"),
        ("stdout", "child\n"),
        ("display", "3"),
    ]
    assert run(session, "subprocess.run(['sh', '-c', 'echo bad >&2']); None").stderr == "bad\n"


def test_output_comes_while_the_cell_runs(session):
    with session.stream("print('first')\ninput()\nprint('second')", timeout=DEADLINE) as events:
        assert "first\n" in [event.text for event in until(events, "input")]
        session.stdin("\n")
        assert "second\n" in [event.text for event in until(events, "done") if event.type == "stdout"]


def test_output_that_is_no_utf8(session):
    events = cell(session, r"import os; os.write(1, b'\xff\xc3'); os.write(1, b'\xa9\x00'); None")
    assert b"".join(event.body for event in events) == b"\xff\xc3\xa9\x00"
    assert run(session, "print('\\ud800')").stdout == "\\ud800\n"


def test_threads_write(session):
    code = "import threading\nfor i in range(4):\n    t = threading.Thread(target=print, args=(i,)); t.start(); t.join()"
    assert run(session, code).stdout == "0\n1\n2\n3\n"


# --- values --------------------------------------------------------------------------------------


@pytest.mark.core
def test_the_value_of_the_last_expression(session):
    assert value(session, "6 * 7") == "42"
    assert value(session, "x = 1") is None
    assert value(session, "None") is None
    assert value(session, "x;") is None
    assert value(session, "def f():\n    return [1, 2]\nf()") == "[1, 2]"
    assert value(session, "_[0] + 1") == "2"
    assert value(session, "") is None
    assert session.info()["execution_count"] == 7


def test_what_objects_say_about_themselves(session):
    code = """
class Rich:
    def __repr__(self): return 'plain'
    def _repr_html_(self): return '<b>bold</b>'
    def _repr_png_(self): return b'\\x89PNG'
    def _repr_svg_(self): return '<svg/>'
class Bundle:
    def _repr_mimebundle_(self, include=None, exclude=None): return {'text/plain': 'p', 'application/json': {'a': [1]}}
class Broken:
    def _repr_html_(self): raise ValueError('no html')
"""
    run(session, code)
    assert run(session, "Rich()").data == {
        "text/plain": "plain",
        "text/html": "<b>bold</b>",
        "image/png": "iVBORw==",
        "image/svg+xml": "<svg/>",
    }
    assert run(session, "display(Bundle())").displays == [{"text/plain": "p", "application/json": {"a": [1]}}]
    events = cell(session, "Broken()")
    assert types(events) == ["notice", "result"] and "no html" in events[0].head["text"]
    shown = cell(session, "h = display(1, display_id='here')\nh.update(2)")
    assert [(event.head["display_id"], event.head["update"]) for event in shown] == [("here", False), ("here", True)]


def test_a_value_without_a_text(session):
    done = session.run("class Bad:\n    def __repr__(self): raise ValueError('no repr')\nBad()", timeout=DEADLINE)
    assert (done.status, done.error.name, done.error.value) == ("error", "ValueError", "no repr")
    assert value(session, "1") == "1"


def test_a_display_that_is_too_long(session):
    events = cell(session, "display({'text/plain': 'short', 'text/html': 'x' * 9_000_000}, raw=True)")
    assert [event.head["data"] for event in events if event.type == "display"] == [{"text/plain": "short"}]
    assert any(event.type == "notice" and "text/html" in event.head["text"] for event in events)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.core
def test_an_error_shows_the_lines_of_the_cells(session):
    run(session, "def divide(a):\n    # a comment\n    return a / 0")
    done = session.run("y = 1\ndivide(y)", timeout=DEADLINE)
    text = str(done.error)
    assert (done.status, done.error.name, done.error.value) == ("error", "ZeroDivisionError", "division by zero")
    assert 'File "<cell 2>", line 2' in text and "divide(y)" in text
    assert 'File "<cell 1>", line 3, in divide' in text and "return a / 0" in text
    assert "brood" not in text
    assert value(session, "y") == "1"


def test_text_that_is_no_unicode_is_shown_as_python_does(session):
    done = session.run("raise ValueError('\\udc80 é')", timeout=DEADLINE)
    assert done.error.value == "\\udc80 é" and "ValueError: \\udc80 é" in str(done.error)


def test_a_syntax_error(session):
    done = session.run("x = 1\nif x\n    pass", timeout=DEADLINE)
    assert (done.status, done.error.name) == ("error", "SyntaxError")
    assert 'File "<cell 1>", line 2' in str(done.error)
    assert session.run("x", timeout=DEADLINE).error.name == "NameError"


# --- await, messages -----------------------------------------------------------------------------


def test_a_cell_that_awaits_warns_once(session):
    done = session.run("import asyncio\nassert (1, 'a')\nawait asyncio.sleep(0)", timeout=DEADLINE)
    assert (done.status, done.stderr.count("assertion is always true")) == ("ok", 1)


def test_top_level_await(session):
    code = "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return 5\ntask = asyncio.create_task(f())"
    assert value(session, code + "\nawait f()") == "5"
    assert value(session, "await task") == "5"
    assert value(session, "await asyncio.sleep(0)\nasyncio.create_task(f()).done()") == "False"
    assert value(session, "await asyncio.gather(f(), f())") == "[5, 5]"
    assert session.run("1 / 0\nawait f()", timeout=DEADLINE).error.name == "ZeroDivisionError"


@pytest.mark.core
def test_messages_both_ways(session):
    session.send(b"early")
    with session.stream(
        "from brood import messages\nfor _ in range(3): messages.send(messages.receive(20)[::-1])\nmessages.send('text')", timeout=DEADLINE
    ) as events:
        assert until(events, "message")[-1].body == b"ylrae"
        session.send(b"\x00\xff")
        session.send(b"x" * (1 << 20))  # more than the worker's socket holds
        assert until(events, "message")[-1].body == b"\xff\x00"
        assert until(events, "message")[-1].body == b"x" * (1 << 20)
        assert until(events, "message")[-1].body == b"text"
    with pytest.raises(package.LimitExceeded):
        session.send(b"x" * ((1 << 20) + 1))


def test_messages_that_nobody_receives(session):
    """They are kept up to a limit while a cell runs; the server waits for nobody."""
    with session.stream("input()", timeout=DEADLINE) as events:
        until(events, "input")
        with pytest.raises(package.LimitExceeded):
            for _ in range(10):
                session.send(b"y" * (1 << 20))
        session.stdin("\n")
        until(events, "done")
    assert value(session, "import brood\nlen(brood.messages.receive(20))") == str(1 << 20)


def test_a_long_cell(session):
    text = "z" * 900_000
    assert value(session, f"len('{text}')") == "900000"


# --- questions -----------------------------------------------------------------------------------


@pytest.mark.core
def test_completion_and_inspection(session):
    run(session, "class Thing:\n    'What it is.'\n    colour = 1\n    def call(self, a, b=2): 'Calls it.'\nthing = Thing()")
    found = session.complete("thing.co")
    assert [match["text"] for match in found["matches"]] == ["colour"] and (found["start"], found["end"]) == (6, 8)
    looked = session.inspect("thing.call")
    assert looked["found"] and "Calls it." in looked["data"]["text/plain"] and "(a, b=2)" in looked["signature"]
    assert not session.inspect("nothing_such")["found"]


def test_questions_while_a_cell_runs(session):
    with session.stream("input()", timeout=DEADLINE) as events:
        until(events, "input")
        with pytest.raises(package.Busy):
            session.complete("pri")
        session.stdin("\n")
        until(events, "done")
    assert session.complete("prin")["matches"]


# --- the queue and the end -----------------------------------------------------------------------


def test_the_queue(session):
    with stream_of(session) as events:
        with session.stream("input()", timeout=DEADLINE) as first:
            until(first, "input")
            cells = [session.client.call("execute", session=session.id, code=f"print({number})")["cell"] for number in range(64)]
            with pytest.raises(package.LimitExceeded):
                session.client.call("execute", session=session.id, code="1")
            assert session.info()["queued"] == 64
            session.stdin("\n")
        seen = until(events, "done", cell=cells[-1])
    assert [event.cell for event in seen if event.type == "done"][1:] == cells
    assert "".join(event.text for event in seen if event.type == "stdout") == "".join(f"{number}\n" for number in range(64))


@pytest.mark.core
@pytest.mark.parametrize(("code", "status"), [("exit(3)", 3), ("raise SystemExit", 0), ("import sys; sys.exit('why')", 1)])
def test_the_exit_of_a_session(server, code, status):
    session = server.client.new()
    pid = pid_of(session)
    run(session, "import atexit; atexit.register(print, 'goodbye')")
    with stream_of(session) as events:
        done = session.run(code, timeout=DEADLINE)
        assert (done.status, done.undone) == ("exit", False)
        seen = until(events, "ended")
        assert seen[-1].head["exit_status"] == status
        assert "goodbye\n" in "".join(event.text for event in seen if event.type == "stdout")
        assert events.read(DEADLINE) is None
    assert session.info()["state"] == "ended"
    with pytest.raises(package.SessionEnded):
        session.run("1", timeout=DEADLINE)
    wait_until(lambda: ended(pid), "the end of the worker")
    session.remove()


def test_exit_handlers_run_when_a_session_is_removed(server, tmp_path):
    with server.client.new() as session:
        run(session, f"import atexit, pathlib; atexit.register(pathlib.Path({str(tmp_path / 'ran')!r}).write_text, 'yes')")
    wait_until((tmp_path / "ran").exists, "the exit handler")


def test_many_threads_use_one_client(server):
    answers = {}

    def work(number):
        with server.client.new() as session:
            answers[number] = [session.run(f"{number} + {step}", timeout=DEADLINE).value for step in range(5)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert answers == {number: [str(number + step) for step in range(5)] for number in range(6)}


def test_what_a_session_sees_of_its_surroundings(server, session):
    seen = json.loads(run(session, "import json, os, sys\nprint(json.dumps([os.getcwd(), sys.argv, __name__, sorted(os.environ)]))").stdout)
    assert seen[0].endswith(session.id) and seen[2] == "__main__"
    assert not {"BROOD_TOKEN", "BROOD_SERVER"} & set(seen[3])
    assert os.stat(seen[0]).st_mode & 0o777 == 0o700
