"""os.fork() in cells: the process that got the cell is the session, its children are not."""

import pytest
from session_fixture import pid_of, run, serving, stream_of, until, value
from waiting import DEADLINE


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood) as made:
        yield made


@pytest.fixture
def session(server):
    with server.client.new() as made:
        yield made


def forked(session, child, *, wait=True):
    """The Result of a cell whose child does `child`, and how that ended: its exit status, -N for a signal."""
    lines = "\n".join(f"    {line}" for line in child.splitlines())
    code = f"import os, sys\np = os.fork()\nif p == 0:\n{lines}\nelse:\n    ended = os.waitstatus_to_exitcode(os.waitpid(p, 0)[1])\np and ended"
    done = run(session, code)
    return done, int(done.value)


@pytest.mark.core
def test_the_cell_is_the_parent(session):
    code = """
import os
reading, writing = os.pipe()
p = os.fork()
if p:
    os.close(writing)
    os.read(reading, 1)  # until the child has ended
    who = 'parent'
else:
    who = 'child'
who
"""
    before = pid_of(session)
    for _ in range(3):
        assert run(session, code).value == "'parent'"
        assert run(session, "who, os.waitpid(p, 0)[1]").value == "('parent', 0)"
        assert pid_of(session) == before


@pytest.mark.core
@pytest.mark.parametrize(
    ("child", "status", "out", "err"),
    [
        ("pass", 0, "", ""),
        ("print('hello')", 0, "hello\n", ""),
        ("sys.exit(3)", 3, "", ""),
        ("sys.exit('why')", 1, "", "why\n"),
        ("os._exit(4)", 4, "", ""),
        ("raise KeyboardInterrupt", -2, "", "KeyboardInterrupt\n"),
        ("display('shown'); display(2)", 0, "'shown'\n2\n", ""),
        ("import atexit; atexit.register(print, 'bye')", 0, "bye\n", ""),
    ],
)
def test_how_a_child_ends(session, child, status, out, err):
    done, ended = forked(session, child)
    assert (ended, done.stdout, done.displays) == (status, out, [])
    assert done.stderr.endswith(err) and (err or not done.stderr)
    assert value(session, "p > 0") == "True"


@pytest.mark.core
def test_an_exception_of_the_child_is_shown_on_stderr(session):
    done, ended = forked(session, "def f(): 1/0\nf()")
    assert ended == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):" and lines[-1] == "ZeroDivisionError: division by zero"
    assert any("<cell 1>" in line for line in lines) and "<brood" not in done.stderr
    assert session.run("1/0").error.name == "ZeroDivisionError"


def test_an_exit_handler_of_the_session_runs_in_a_child_as_under_python(session):
    run(session, "import atexit, os\natexit.register(lambda: print('exit handler'))")
    done, ended = forked(session, "pass")
    assert (ended, done.stdout) == (0, "exit handler\n")


@pytest.mark.core
@pytest.mark.parametrize(
    ("child", "error"),
    [
        ("input('name? ')", "EOFError"),
        ("import getpass; getpass.getpass()", "EOFError"),
        ("import brood; brood.messages.send(b'x')", "RuntimeError"),
        ("import brood; brood.messages.receive(1)", "RuntimeError"),
    ],
)
def test_a_child_does_not_talk_with_clients(session, child, error):
    with stream_of(session) as events:
        done, ended = forked(session, child)
        seen = until(events, "done")
    assert ended == 1 and f"\n{error}: " in done.stderr and "forked" in done.stderr
    assert not {"input", "message", "error"} & {event.type for event in seen}


def test_grandchildren(session):
    done, ended = forked(session, "q = os.fork()\nif q == 0:\n    display('grandchild')\nelse:\n    sys.exit(os.waitstatus_to_exitcode(os.waitpid(q, 0)[1]) + 5)")
    assert (ended, done.stdout, done.displays) == (5, "'grandchild'\n", [])


def test_a_child_of_a_copy(session):
    """What was resumed, and what was branched, is the session; their children are not."""
    run(session, "kept = 1")
    run(session, "kept = 2")
    session.undo()
    with session.fork() as branch:
        for one in (session, branch):
            done, ended = forked(one, "display(kept)")
            assert (ended, done.stdout) == (0, "1\n")
            assert run(one, "display(kept)").displays == [{"text/plain": "1"}]


def test_a_child_made_while_the_value_is_shown(session):
    code = "import os\nclass A:\n    def __repr__(self):\n        p = os.fork()\n        return str(p and os.waitpid(p, 0)[1])\nA()"
    assert run(session, code).value == "0"
    assert value(session, "6 * 7") == "42"


def test_a_child_of_a_signal_handler(session):
    code = "import os, signal\ndef handler(*_):\n    global p\n    p = os.fork()\nsignal.signal(signal.SIGUSR1, handler)"
    run(session, code)
    session.signal("USR1")
    assert value(session, "os.waitpid(p, 0)[1]") == "0"
    assert value(session, "p > 0") == "True"


def test_processes_of_multiprocessing(session):
    code = "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool:\n    squares = pool.map(int, ['1', '2', '3'])\nsquares"
    assert run(session, code).value == "[1, 2, 3]"
    with session.stream("import os\np = os.fork()\n'one value'", timeout=DEADLINE) as events:
        assert sum(event.type == "result" for event in until(events, "done")) == 1
