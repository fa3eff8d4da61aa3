"""`brood session`: sessions from the command line, against a real server."""

import json
import os
import select
import signal
import subprocess

import pexpect
import pytest
import session_terminal
from brood_fixture import TIMEOUT
from session_server import SessionServer
from waiting import finish, wait_until


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


def start(server, *words, **more):
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen([server.brood.brood, "session", *words], env=server.environment, **more)


@pytest.fixture
def attach(server):
    opened = []

    def open_terminal(which):
        opened.append(session_terminal.attach(server, which))
        return opened[-1]

    yield open_terminal
    for terminal in opened:
        terminal.close(force=True)


# --- without a terminal --------------------------------------------------------------------------


def test_new_list_and_rm(server):
    made = server.new("--name", "cli-list")
    listed = json.loads(server.tool("list", "--json").out)
    assert [one["name"] for one in listed if one["id"] == made] == ["cli-list"]
    assert made.encode() in server.tool("list").out
    assert server.tool("rm", "cli-list").status == 0
    assert made not in [one["id"] for one in json.loads(server.tool("list", "--json").out) if one["state"] != "ended"]


def test_what_a_terminal_would_obey_is_written_out(server, session):
    assert server.tool("exec", session, "-c", "x = 'a\x1b[31mb\x7fc\u009bd\te'").status == 0
    done = server.tool("checkpoints", session)
    assert done.status == 0 and b"x = 'a\\x1b[31mb\\x7fc\\x9bd\\te'\n" in done.out, done
    refused = server.tool("new", "--name", "a\nb")
    assert refused.status == 2 and b"a name has no control characters" in refused.err


def test_exec_prints_what_the_cell_prints(server, session):
    done = server.tool("exec", session, "-c", "import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
    assert (done.status, done.out, done.err) == (0, b"out\n42\n", b"err\n")


def test_exec_keeps_the_state(server, session):
    assert server.tool("exec", session, "-c", "x = 5").status == 0
    assert server.tool("exec", session, stdin=b"x + 1").out == b"6\n"
    (server.brood.work / "code.py").write_text("x + 2\n")
    assert server.tool("exec", session, "code.py").out == b"7\n"


def test_an_exception_is_status_1(server, session):
    done = server.tool("exec", session, "-c", "1 / 0")
    assert (done.status, done.out) == (1, b"")
    assert b"ZeroDivisionError" in done.err


def test_a_timeout_is_status_124(server, session):
    done = server.tool("exec", session, "--timeout", "0.3", "-c", "while True: pass")
    assert done.status == 124, done


def test_input_is_read_from_stdin(server, session):
    done = server.tool("exec", session, "-c", "a = input('name? '); print('hello', a)", stdin=b"ada\n")
    assert (done.status, done.out) == (0, b"hello ada\n")


def test_ctrl_c_interrupts_the_cell(server, session):
    running = start(server, "exec", session, "-c", "import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)")
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=TIMEOUT)
    assert running.returncode == 130
    assert b"KeyboardInterrupt" in err
    assert server.tool("exec", session, "-c", "'alive'").status == 0


def test_interrupt_from_elsewhere(server, session):
    running = start(server, "exec", session, "-c", "import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)")
    assert running.stdout.readline() == b"ready\n"
    assert server.tool("interrupt", session).status == 0
    running.communicate(timeout=TIMEOUT)
    assert running.returncode == 130


def test_undo_and_checkpoints(server, session):
    server.tool("exec", session, "-c", "x = 1")
    server.tool("exec", session, "-c", "x = 2")
    kept = json.loads(server.tool("checkpoints", session, "--json").out)["checkpoints"]
    assert [one["code"] for one in kept][-1] == "x = 2"
    assert server.tool("undo", session).status == 0
    assert server.tool("exec", session, "-c", "x").out == b"1\n"


def test_fork_is_a_session_of_its_own(server, session):
    server.tool("exec", session, "-c", "x = 1")
    branch = server.tool("fork", session).out.decode().strip()
    server.tool("exec", branch, "-c", "x += 10")
    assert server.tool("exec", branch, "-c", "x").out == b"11\n"
    assert server.tool("exec", session, "-c", "x").out == b"1\n"
    assert server.tool("rm", branch).status == 0


def test_rm_takes_whole_names_and_all_or_none(server, session):
    """What a script puts together wrongly ends nobody's session."""
    for words in ([""], [session[:-2]], [session, "nobody"], ["nobody", session]):
        done = server.tool("rm", *words)
        assert done.status in (1, 2) and done.out == b"", (words, done)
    for command in (["exec", "", "-c", "1"], ["undo", ""], ["fork", ""], ["interrupt", ""]):
        done = server.tool(*command)
        assert done.status == 2 and b"the id of a session is empty" in done.err, done
    assert server.tool("exec", session, "-c", "'alive'").out == b"'alive'\n"
    assert server.tool("rm", session, session).status == 0
    assert session not in [one["id"] for one in json.loads(server.tool("list", "--json").out) if one["state"] != "ended"]


def test_a_session_of_its_own_ends_with_exec(server, session):
    def alive():
        return [one for one in json.loads(server.tool("list", "--json").out) if one["state"] != "ended"]

    before = alive()
    for number in (signal.SIGTERM, signal.SIGKILL):
        running = start(server, "exec", "--env", before[0]["env"], "-c", "import time\nprint('ready', flush=True)\ntime.sleep(600)")
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(number)
        running.communicate(timeout=TIMEOUT)
    wait_until(lambda: len(alive()) <= len(before), "the end of the sessions")


@pytest.mark.parametrize(
    ("text", "line"),
    [(b"x = 1\nprint('\xe9')\n", b"line 2"), (b"# -*- coding: cp1252 -*-\nascii('caf\xe9')\n", b"line 2"), (b"\xff", b"line 1")],
)
def test_code_in_another_encoding_is_not_guessed_at(server, session, text, line):
    (server.brood.work / "latin.py").write_bytes(text)
    done = server.tool("exec", session, "latin.py")
    assert (done.status, done.out) == (2, b"") and b"latin.py, " + line in done.err and b"UTF-8" in done.err, done
    assert server.tool("exec", session, stdin=text).status == 2
    assert server.tool("exec", session, "-c", os.fsdecode(text)).status == 2


def test_a_byte_order_mark_is_no_code(server, session):
    (server.brood.work / "mark.py").write_bytes(b"\xef\xbb\xbf'caf\xc3\xa9'\n")
    assert server.tool("exec", session, "mark.py").out == "'café'\n".encode()


def test_output_that_cannot_be_written_is_told(server, session):
    full = b"cannot write standard output: No space left on device\n"
    with open("/dev/full", "w") as nowhere:
        running = start(server, "exec", session, "-c", "import sys\nfor i in range(3): print(i, flush=True)\nprint('err', file=sys.stderr)\nx = 5", stdout=nowhere)
        assert finish(running) == (125, None, b"brood: " + full + b"err\n")  # told once, and the cell goes on
        assert server.tool("exec", session, "-c", "x").out == b"5\n"
        running = start(server, "exec", session, "-c", "1 / 0", stderr=nowhere)
        assert finish(running) == (125, b"", None)
        running = start(server, "list", stdout=nowhere)
        assert finish(running) == (1, None, b"brood: " + full)


def test_a_reader_that_has_gone_is_nobody_to_tell(server, session):
    for words in (["exec", session, "-c", "print(1)"], ["list"]):
        reading, writing = os.pipe()
        os.close(reading)
        running = start(server, *words, stdout=writing, restore_signals=False)
        os.close(writing)
        assert finish(running) == (0, None, b"")


def test_all_is_written_to_a_pipe_that_does_not_wait(server, session):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    running = start(server, "exec", session, "-c", "for i in range(20): print('x' * 9999)", stdout=writing)
    wait_until(lambda: not select.select([], [writing], [], 0)[1], "a full pipe")
    os.close(writing)
    with open(reading, "rb") as output:
        assert output.read() == (b"x" * 9999 + b"\n") * 20
    assert finish(running) == (0, None, b"")


def test_wrong_command_lines(server):
    for words in (["exec"], ["attach", "nobody"], ["undo", "nobody"], ["rm", "nobody"], ["exec", "a", "b", "-c", "1"], ["nonsense"]):
        done = server.tool(*words)
        assert done.status in (1, 2) and done.err.startswith(b"brood: "), (words, done)
    for words in (["new", "--checkpoints", "-1"], ["exec", "a", "--timeout", "-1", "-c", "1"], ["undo", "a", "--steps", "0"], ["undo", "a", "--to", "0"], ["undo", "a", "--to", "-1"]):
        done = server.tool(*words)
        assert done.status == 2 and words[-1 if words[0] != "exec" else 2].encode() in done.err, (words, done)
    for words in (["fork", "a", "--at", "0"], ["exec", "a", "-c", "1", "--timeout", "nan"], ["undo", "a", "--steps", "1", "--to", "1"]):
        done = server.tool(*words)
        assert done.status == 2 and words[-2].encode() in done.err and len(done.err) < 200, done
    for nobody in ("unix:/nonexistent/socket", "tcp:127.0.0.1:1", "tls:127.0.0.1:1"):
        done = server.tool("list", "--server", nobody)
        assert done.status == 1 and nobody.encode() in done.err and b"brood serve" in done.err, done


def test_a_web_address_is_told(brood):
    server = SessionServer(brood, "--listen", "http:127.0.0.1:0")
    try:
        web = next(address for address in server.addresses if address.startswith("http:"))
        done = server.tool("list", "--server", web.replace("http:", "tcp:"))
        assert done.status == 1 and b"a web server answers there" in done.err, done
    finally:
        server.close()


# --- on a terminal -------------------------------------------------------------------------------


def test_attach_runs_cells(server, session, attach):
    terminal = attach(session)
    terminal.expect_exact("In [1]: ")
    terminal.send("x = 20 + 1\r")
    terminal.expect_exact("In [2]: ")
    terminal.send("for i in range(2):\r")
    terminal.expect_exact("...: ")
    terminal.send("print('line', i)\r\r")
    terminal.expect("line 0\r\nline 1")
    terminal.expect_exact("In [3]: ")
    terminal.send("x * 2\r")
    terminal.expect_exact("Out[3]: 42")
    terminal.expect_exact("In [4]: ")
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert server.tool("exec", session, "-c", "x").out == b"21\n"  # it goes on


def test_attach_shows_what_was_and_what_others_do(server, session, attach):
    server.tool("exec", session, "-c", "print('before')")
    terminal = attach(session)
    terminal.expect_exact("In [1]: print('before')")
    terminal.expect_exact("In [2]: ")
    server.tool("exec", session, "-c", "print('else' + 'where')")
    terminal.expect_exact("elsewhere")
    terminal.expect_exact("In [3]: ")


def test_attach_interrupts_and_answers_input(server, session, attach):
    terminal = attach(session)
    terminal.expect_exact("In [1]: ")
    terminal.send("import time; print('rea' + 'dy'); time.sleep(600)\r")
    terminal.expect_exact("ready")
    terminal.sendintr()
    terminal.expect_exact("KeyboardInterrupt")
    terminal.expect_exact("In [2]: ")
    terminal.send("half")
    terminal.sendintr()
    terminal.expect_exact("In [2]: ")
    terminal.send("print('hi', input('na' + 'me? '))\r")
    terminal.expect_exact("name? ")
    terminal.send("ada\r")
    terminal.expect_exact("hi ada")


def test_attach_completes(server, session, attach):
    server.tool("exec", session, "-c", "a_long_variable = 1234")
    terminal = attach(session)
    terminal.expect_exact("In [2]: ")
    terminal.send("a_lon\t\r")
    terminal.expect_exact("Out[2]: 1234")


def test_attach_says_when_the_session_ends(server, attach):
    made = server.new()
    server.tool("exec", made, "-c", "1")  # one that is still starting has no process
    terminal = attach(made)
    terminal.expect_exact("In [2]: ")
    server.tool("rm", made)
    terminal.expect_exact("the session has ended")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0  # as its process did


def test_attach_ends_as_the_code_exits(server, attach):
    terminal = attach(server.new())
    terminal.expect_exact("In [1]: ")
    terminal.send("import sys; sys.exit(3)\r")
    terminal.expect_exact("the session has ended")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 3


def test_attach_shows_what_others_do_while_a_line_is_typed(server, session, attach):
    terminal = attach(session)
    terminal.expect_exact("In [1]: ")
    terminal.send("1 + ")
    terminal.expect_exact("1 + ")
    server.tool("exec", session, "-c", "print('else' + 'where')")
    terminal.expect_exact("elsewhere")
    terminal.expect_exact("In [2]: 1 + ")
    terminal.send("41\r")
    terminal.expect_exact("Out[2]: 42")
    server.tool("undo", session)
    terminal.expect_exact("back at the state before In [2]")


def test_attach_answers_a_cell_that_waits_already(server, session, attach):
    first = attach(session)
    first.expect_exact("In [1]: ")
    first.send("print('got', input('na' + 'me? '))\r")
    first.expect_exact("name? ")
    second = attach(session)
    second.expect_exact("name? ")
    second.send("ada\r")
    for terminal in (first, second):
        terminal.expect_exact("got ada")
        terminal.expect_exact("In [2]: ")


def test_attach_says_that_the_server_is_gone(brood):
    own = SessionServer(brood)
    terminal = pexpect.spawn(
        brood.brood, ["session", "attach", own.new()], env={**own.environment, "TERM": "xterm", "NO_COLOR": "1"}, timeout=TIMEOUT, encoding="utf-8"
    )
    try:
        terminal.expect_exact("In [1]: ")
        terminal.send("half a line")
        terminal.expect_exact("half a line")
        own.close()
        terminal.expect("brood: .*closed the connection|the session has ended")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)
        own.close()
    assert terminal.exitstatus == 125
