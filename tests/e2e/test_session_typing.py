"""`brood session attach` on a real terminal: what is pasted, and what is typed while a cell runs."""

import pexpect
import pytest
from session_fixture import package
from session_server import SessionServer
from session_terminal import attach, cells, leave, paste

PASTED = """def f(n):
    if n:

        return 'yes'

    return 'no\ttab'

print(f(1), f(0))"""


@pytest.fixture(scope="module")
def server(shared_brood):
    made = SessionServer(shared_brood)
    yield made
    made.close()


@pytest.fixture
def session(server):
    made = server.new()
    yield made
    server.tool("rm", made)


@pytest.fixture
def terminal(server, session):
    made = attach(server, session)
    made.expect_exact("In [1]: ")
    yield made
    made.close(force=True)


def test_a_paste_is_one_cell_and_waits_for_enter(server, session, terminal):
    paste(terminal, PASTED)
    terminal.expect_exact("print(f(1), f(0))")
    assert cells(server, session) == []
    terminal.send("\r")
    terminal.expect("yes no +tab|yes no\ttab")
    terminal.expect_exact("In [2]: ")
    assert cells(server, session) == [PASTED]
    terminal.send("\x1b[A\r")  # from the history
    terminal.expect_exact("In [3]: ")
    assert cells(server, session) == [PASTED, PASTED]
    leave(terminal)


def test_the_terminal_is_asked_only_while_a_line_is_typed(session, terminal):
    terminal.send("print('ru' + 'ns')\r")
    terminal.expect_exact("\x1b[?2004l")
    terminal.expect_exact("runs")
    terminal.expect_exact("\x1b[?2004h")
    terminal.expect_exact("In [2]: ")
    terminal.sendeof()
    terminal.expect_exact("\x1b[?2004l")
    terminal.expect(pexpect.EOF)


def test_lines_that_come_at_once_are_a_paste(server, session, terminal):
    terminal.send(PASTED.replace("\n", "\r") + "\r")
    terminal.expect("yes no +tab|yes no\ttab")
    terminal.expect_exact("In [2]: ")
    assert cells(server, session) == [PASTED]


def counting(steps):
    return "total = 0\n" + "".join(f"if total == {i}:\n    total += 1\n\n" for i in range(steps)) + "total"


def test_a_long_paste(server, session, terminal):
    code = counting(1000)
    paste(terminal, code)
    terminal.send("\r")
    terminal.expect_exact("Out[1]: 1000")
    terminal.expect_exact("In [2]: ")  # what comes before is typed while the cell runs
    at_once = counting(100)  # less than the terminal holds: in pieces, a busy machine would bring them one after the other
    terminal.send(at_once.replace("\n", "\r") + "\r")
    terminal.expect_exact("Out[2]: 100")
    assert cells(server, session) == [code, at_once]


def test_a_paste_into_a_block_has_its_own_indentation(server, session, terminal):
    terminal.send("def f():\r")
    terminal.expect_exact("...: ")
    paste(terminal, "  x = 1\n  return x + 1\n")
    terminal.expect_exact("return x + 1")
    terminal.send("\r")
    terminal.expect_exact("In [2]: ")
    terminal.send("if f():\r")
    terminal.expect_exact("...: ")
    paste(terminal, "f() * 21\n")  # a line without indentation gets it
    terminal.expect_exact("f() * 21")
    terminal.send("\r\r")
    terminal.expect_exact("In [3]: ")
    first, second = cells(server, session)
    assert (first, second.rstrip()) == ("def f():\n  x = 1\n  return x + 1", "if f():\n    f() * 21")


def test_a_paste_that_wants_more(server, session, terminal):
    paste(terminal, "x = [\n    1,\n\n    2,\n")
    terminal.expect_exact("2,")
    terminal.send("\r")
    terminal.expect_exact("...: ")
    terminal.send("3]; len(x)\r")
    terminal.expect_exact("...: ")
    terminal.send("\r")
    terminal.expect_exact("Out[1]: 3")
    assert cells(server, session) == ["x = [\n    1,\n\n    2,\n3]; len(x)"]


def test_other_output_around_a_paste(server, session, terminal):
    paste(terminal, "a = 1\nb = 2\na + b")
    terminal.expect_exact("a + b")
    server.tool("exec", session, "-c", "print('else' + 'where')")
    terminal.expect_exact("elsewhere")
    terminal.expect_exact("In [2]: ")
    terminal.expect_exact("a + b")
    terminal.send("\r")
    terminal.expect_exact("Out[2]: 3")


def test_a_control_character_ends_the_lines_that_come_at_once(server, session, terminal):
    terminal.send("x = 6\rprint(x * 7)\r\x04")
    terminal.expect_exact("42")
    terminal.expect(pexpect.EOF)
    assert cells(server, session) == ["x = 6\nprint(x * 7)"]


# --- while a cell runs ---------------------------------------------------------------------------


def test_ctrl_d_is_the_end_of_what_a_cell_reads(terminal):
    terminal.send("import sys; print('be', 'gun'); [sys.stdin.read()]\r")
    terminal.expect_exact("be gun")
    terminal.send("one\rtwo\r")
    terminal.sendeof()
    terminal.expect_exact("standard input has ended")
    terminal.expect_exact(r"Out[1]: ['one\ntwo\n']")
    terminal.expect_exact("In [2]: ")
    leave(terminal)


def test_ctrl_d_without_lines(terminal):
    terminal.send("import sys; print('be', 'gun'); [sys.stdin.read()]\r")
    terminal.expect_exact("be gun")
    terminal.sendeof()
    terminal.expect_exact("Out[1]: ['']")
    terminal.expect_exact("In [2]: ")


def test_lines_that_are_typed_while_a_cell_runs_are_the_next_cells(server, session, terminal):
    terminal.send("from brood import messages; print('be', 'gun'); messages.receive()\r")
    terminal.expect_exact("be gun")
    terminal.send("x = 1\r")
    terminal.send("x + 1\r")
    terminal.expect_exact("x + 1")
    server.tool("interrupt", session)
    terminal.expect_exact("Out[3]: 2")
    assert cells(server, session)[1:] == ["x = 1", "x + 1"]


def test_a_line_that_is_typed_before_it_is_asked_for(server, session, terminal):
    terminal.send("from brood import messages; print('be', 'gun'); messages.receive(); input()\r")
    terminal.expect_exact("be gun")
    terminal.send("early\r")
    terminal.expect_exact("early")
    with package.Client(server.address) as client:
        client.session(session).send(b"go")
    terminal.expect_exact("Out[1]: 'early'")
