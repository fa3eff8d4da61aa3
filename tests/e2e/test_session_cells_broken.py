"""Cells that break the interpreter they run in: each of them ends, and the next one can be run."""

import pytest
from session_fixture import run, serving, value
from waiting import DEADLINE, wait_until


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood) as made:
        yield made


@pytest.fixture
def session(server):
    with server.client.new() as made:
        run(made, "kept = 1")
        yield made


HARMLESS = [
    "import json; json.dumps = json.loads = None",
    "import json; json.JSONEncoder.encode = json.JSONEncoder.iterencode = json.JSONDecoder.decode = None",
    "import json.encoder, json.decoder; json.encoder.c_make_encoder = json.encoder.encode_basestring = json.decoder.scanstring = None",
    "import sys; sys.modules.clear()",
    "import sys; sys.modules['json'] = sys.modules['traceback'] = sys.modules['linecache'] = sys.modules['ast'] = None",
    "import sys; del sys.modules",
    "import sys; sys.modules['__main__'] = None",
    "import builtins; builtins.len = None",
    "import builtins; builtins.isinstance = builtins.str = builtins.getattr = builtins.BaseException = None",
    "import builtins; del builtins.__import__",
    "import builtins; builtins.__dict__.clear()",
    "import os, io, linecache; os.getpid = os.fstat = io.StringIO = io.open = linecache.cache = None",
    "import ast; ast.Expr = ast.Expression = None",
    "import traceback; traceback.TracebackException = None",
    "import threading, _thread, signal; _thread.get_ident = signal.signal = None",
]


@pytest.mark.core
@pytest.mark.parametrize("code", HARMLESS)
def test_what_the_session_does_not_need(session, code):
    done = session.run(code, timeout=DEADLINE)
    assert (done.status, done.undone) == ("ok", False), done
    done = session.run("kept", timeout=DEADLINE)
    assert (done.status, done.value) == ("ok", "1"), done
    done = session.run("1/0", timeout=DEADLINE)
    assert (done.status, done.error.name) == ("error", "ZeroDivisionError"), done
    session.undo(steps=3)
    assert value(session, "len([kept]), __import__('json').dumps(1)") == "(1, '1')"


@pytest.mark.core
@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import sys\ndef hook(event, arguments):\n    raise RuntimeError('no ' + event)\nsys.addaudithook(hook)", "RuntimeError"),
        ("import sys\nsys.setrecursionlimit(5)", None),
        ("import sys\nsys.setprofile(lambda *a: 1/0)", None),
        ("import sys\nsys.settrace(lambda *a: 1/0)", None),
    ],
)
def test_what_fails_all_python_code(session, code, name):
    done = session.run(code, timeout=DEADLINE)
    assert done.status in ("ok", "error") and not done.undone, done
    done = session.run("x = 5\nx", timeout=DEADLINE)
    assert done.status in ("ok", "error") and not done.undone, done
    if name:
        assert done.error.name == name
    session.undo(steps=2)
    assert value(session, "kept") == "1"


BREAK = "space = display.__globals__['cells'].__dict__\n"  # of cells.py


@pytest.mark.core
@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("space['cells_own'].encoded = None", "'NoneType' object is not callable"),
        ("space['finish'] = lambda *a: 1/0", "ZeroDivisionError"),
        ("space['finish'] = lambda *a: 5", "expected text, not <class 'int'>"),
        ("space.clear()", "NameError"),
    ],
)
def test_an_end_that_cannot_be_reported_is_reported_by_hand(session, what, text):
    done = session.run(BREAK + what, timeout=DEADLINE)
    assert (done.status, done.undone) == ("error", False), done
    assert done.error.value.startswith("brood: how the cell ended could not be reported: ") and text in done.error.value
    assert done.error.traceback
    session.undo()
    assert value(session, "kept") == "1"


@pytest.mark.core
def test_a_cell_that_cannot_be_read_does_not_run(session):
    run(session, BREAK + "space['wants_checkpoint'] = None")
    done = session.run("kept = 2", timeout=DEADLINE)
    assert done.status == "error" and "the cell could not begin" in done.error.value
    session.undo()
    assert value(session, "kept") == "1"


def test_a_question_that_cannot_be_answered(session):
    run(session, BREAK + "space['ask'] = None")
    assert session.complete("ke")["matches"] == []
    assert not session.inspect("kept")["found"]
    wait_until(lambda: session.info()["state"] == "idle", "an idle session")


@pytest.mark.core
def test_an_exit_with_a_text_tells_it_once(server):
    session = server.client.new()
    done = session.run("import sys; sys.exit('my message')", timeout=DEADLINE)
    assert (done.status, done.stderr) == ("exit", "my message\n")
    wait_until(lambda: session.info()["state"] == "ended", "the end")
    told = [event for event in session.events() if event.type in ("stderr", "ended")]
    assert [event.text for event in told[:-1]] == ["my message\n"] and told[-1].head["exit_status"] == 1
    session.remove()
