"""What a cell reads: input(), getpass(), sys.stdin, and the end of it."""

import pytest
from session_fixture import package, run, serving, until, value
from waiting import DEADLINE

EMPTY = "__import__('select').select([0], [], [], 0)[0] == []"  # nothing is there, nor an end


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood) as made:
        yield made


@pytest.fixture
def session(server):
    with server.client.new(name="test") as made:
        yield made


@pytest.mark.core
def test_input_and_passwords(session):
    asked = []
    code = "import getpass\nname = input('name? ')\nword = getpass.getpass('word? ')\nname, word"
    with session.stream(code, timeout=DEADLINE) as events:
        for answer in ("Ada", "secret"):
            asked.append(until(events, "input")[-1].head)
            session.stdin(answer + "\n")
        assert until(events, "result")[-1].head["data"]["text/plain"] == "('Ada', 'secret')"
    assert [(one["prompt"], one["password"]) for one in asked] == [("name? ", False), ("word? ", True)]


@pytest.mark.core
def test_the_end_of_input_is_that_of_one_cell(session):
    pid = value(session, "import os; os.getpid()")
    with session.stream("from brood import messages; input(); messages.receive()", timeout=DEADLINE) as events:
        until(events, "input")
        session.stdin("line\nnot read", eof=True)
        with pytest.raises(package.Busy, match="the next cell has another"):
            session.stdin("more")
        session.send(b"go on")
        assert until(events, "done")[-1].head["status"] == "ok"
    assert value(session, EMPTY) == "True"
    assert session.run("input()", input="x\n", timeout=DEADLINE).value == "'x'"
    assert session.run("input()", input=lambda prompt: None, timeout=DEADLINE).error.name == "EOFError"
    assert session.run("input()", input="y\n", timeout=DEADLINE).value == "'y'"
    assert value(session, "os.getpid()") == pid


def test_an_end_that_comes_before_the_cell(session):
    session.stdin("early\n", eof=True)
    assert value(session, "import sys; [input(), sys.stdin.read()]") == "['early', '']"


@pytest.mark.parametrize("how", ["os.dup2(other, 0)", "os.close(0)"])
def test_a_descriptor_that_the_program_has_changed_stays(session, how):
    run(session, "import os; other = os.open('data', os.O_RDWR | os.O_CREAT); os.write(other, b'mine'); os.lseek(other, 0, 0)")
    with session.stream("input()", timeout=DEADLINE) as events:
        until(events, "input")
        session.stdin(eof=True)
        until(events, "done")
    run(session, how)
    session.stdin(eof=True)
    run(session, "1")
    there = "b'mine'" if "dup2" in how else "-1"
    assert value(session, "try: x = os.read(0, 9)\nexcept OSError: x = -1\nx") == there


@pytest.mark.parametrize(
    ("code", "text", "read"),
    [
        ("sys.stdin.readline()", "one\n", "'one\\n'"),
        ("sys.stdin.read()", "one\ntwo\n", "'one\\ntwo\\n'"),
        ("list(sys.stdin)", "one\ntwo\n", "['one\\n', 'two\\n']"),
        ("sys.stdin.buffer.read(5)", "one\ntwo\n", "b'one\\nt'"),
        ("[input(), sys.stdin.readline(), input()]", "1\n2\n3\n", "['1', '2\\n', '3']"),
        ("__import__('csv').reader(sys.stdin).__next__()", "a,b\n", "['a', 'b']"),
    ],
)
def test_who_reads_standard_input_asks_for_it(session, code, text, read):
    run(session, "import sys")
    assert session.run(code, input=text, timeout=DEADLINE).value == read


def test_nobody_is_asked_for_what_is_there(session):
    with session.stream("input('? ')\nimport sys\nsys.stdin.readline()", timeout=DEADLINE) as events:
        until(events, "input")
        session.stdin("one\ntwo\n")
        assert not [event for event in until(events, "result") if event.type == "input"]


def test_standard_input_looks_like_that_of_python(session):
    assert value(session, "import io, sys; [type(sys.stdin), type(sys.stdin.buffer), isinstance(sys.stdin.buffer.raw, io.FileIO)]") == (
        "[<class '_io.TextIOWrapper'>, <class '_io.BufferedReader'>, True]"
    )
    assert value(session, "sys.stdin") == "<_io.TextIOWrapper name='<stdin>' mode='r' encoding='utf-8'>"
    assert value(session, "sys.stdin is sys.__stdin__, sys.stdin.fileno(), sys.stdin.isatty()") == "(True, 0, False)"
    run(session, "sys.stdin.close()")
    assert session.run("sys.stdin.readline()", input="there\n", timeout=DEADLINE).value == "'there\\n'"


def test_a_child_process_asks_nobody(session):
    code = "import os, sys\nchild = os.fork()\nif child == 0:\n    print(repr(sys.stdin.readline()), flush=True)\n    os._exit(0)\nos.wait()[1]"
    with session.stream(code, timeout=DEADLINE) as events:
        session.stdin("for it\n")
        seen = until(events, "result")
    assert "".join(event.text for event in seen if event.type == "stdout") == "'for it\\n'\n"
    assert not [event for event in seen if event.type == "input"]
