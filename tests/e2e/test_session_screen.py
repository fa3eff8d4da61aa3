"""`brood session attach` and the terminal around it: its encoding, Ctrl-Z, its size, other terminals."""

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import termios

import pexpect
import pytest
from brood_fixture import TIMEOUT
from session_fixture import package
from session_server import SessionServer
from session_terminal import attach, cells, environment, leave, paste
from waiting import children, ended, wait_until


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


# --- the encoding --------------------------------------------------------------------------------


@pytest.mark.parametrize("variables", [{"LANG": "C"}, {"LC_ALL": "POSIX"}, {}], ids=["C", "POSIX", "unset"])
def test_what_is_typed_is_utf8_in_every_locale(server, session, variables):
    env = {name: value for name, value in environment(server).items() if name != "LANG" and not name.startswith("LC_")}
    terminal = attach(server, session, {**env, **variables})
    try:
        terminal.expect_exact("In [1]: ")
        terminal.send("y = 'é€😀'\r")
        terminal.expect_exact("In [2]: ")
        paste(terminal, "z = 'ü中'")
        terminal.expect_exact("ü中'")
        terminal.send("\r")
        terminal.expect_exact("In [3]: ")
        os.write(terminal.child_fd, b"'\xe9t\xe9'\r")  # ISO 8859-1
        terminal.expect_exact("In [4]: ")
        leave(terminal)
    finally:
        terminal.close(force=True)
    assert cells(server, session) == ["y = 'é€😀'", "z = 'ü中'", "'\ufffdt\ufffd'"]


# --- Ctrl-Z --------------------------------------------------------------------------------------


class Shell:
    """A shell with job control that has attached to a session."""

    def __init__(self, server, session):
        self.terminal = pexpect.spawn(
            "sh", ["-i"], env={**environment(server), "PS1": "shell> "}, dimensions=(40, 100), timeout=TIMEOUT, encoding="utf-8"
        )
        self.terminal.expect_exact("shell> ")
        self.terminal.send(f"{server.brood.brood} session attach {session}\r")
        self.terminal.expect_exact("In [1]: ")

    def attached(self):
        return children(self.terminal.pid)[0]

    def is_as_before(self):
        """Lines are edited by the terminal, which shows what is typed."""
        modes = termios.tcgetattr(self.terminal.child_fd)[3]
        return modes & termios.ICANON and modes & termios.ECHO

    def shows_what_is_typed(self):
        return termios.tcgetattr(self.terminal.child_fd)[3] & termios.ECHO

    def stop(self):
        self.terminal.send("\x1a")
        self.terminal.expect_exact("Stopped")
        self.terminal.expect_exact("shell> ")

    def go_on(self):
        self.terminal.send("fg\r")
        self.terminal.expect_exact("session attach")


@pytest.fixture
def shell(server, session):
    made = Shell(server, session)
    yield made
    mine = [made.terminal.pid, *children(made.terminal.pid)]
    made.terminal.close(force=True)
    wait_until(lambda: ended(*mine), "the end of the shell's programs")


def test_a_line_that_is_typed_survives_ctrl_z(server, session, shell):
    terminal = shell.terminal
    terminal.send("x = [4")
    terminal.expect_exact("x = [4")
    terminal.send("\x1a")
    terminal.expect_exact("\x1b[?2004l")
    terminal.expect_exact("Stopped")
    terminal.expect_exact("shell> ")
    assert shell.is_as_before()
    shell.go_on()
    terminal.expect_exact("\x1b[?2004h")
    terminal.expect_exact("In [1]: x = [4")
    terminal.send("2,\r")
    terminal.expect_exact("...: ")
    shell.stop()
    shell.go_on()
    terminal.expect_exact("...: ")
    terminal.send("]\r\r")
    terminal.expect_exact("In [2]: ")
    assert cells(server, session) == ["x = [42,\n]"]


def test_a_stop_that_was_not_announced(server, session, shell):
    terminal = shell.terminal
    terminal.send("x = 4")
    terminal.expect_exact("x = 4")
    os.kill(shell.attached(), signal.SIGSTOP)
    terminal.expect_exact("shell> ")
    terminal.send("stty sane\r")  # as most shells do
    terminal.expect_exact("shell> ")
    shell.go_on()
    terminal.expect_exact("\x1b[?2004h")
    terminal.expect_exact("In [1]: x = 4")
    assert not shell.is_as_before()
    terminal.send("2\r")
    terminal.expect_exact("In [2]: ")
    assert cells(server, session) == ["x = 42"]


def test_ctrl_z_while_a_cell_runs(server, session, shell):
    terminal = shell.terminal
    terminal.send("from brood import messages; print('be', 'gun'); messages.receive(); print('af', 'ter')\r")
    terminal.expect_exact("be gun")
    shell.stop()
    assert shell.is_as_before()
    with package.Client(server.address) as client:
        client.session(session).send(b"go")
    assert server.tool("exec", session, "-c", "'and'; 'more'").out == b"'more'\n"
    shell.go_on()
    terminal.expect_exact("af ter")
    terminal.expect_exact("Out[2]: 'more'")
    terminal.expect_exact("In [3]: ")
    terminal.send("'ed' + 'ited'\r")
    terminal.expect_exact("Out[3]: 'edited'")


def test_ctrl_z_while_a_password_is_asked_for(shell):
    terminal = shell.terminal
    terminal.send("import getpass; print('go' + 't', getpass.getpass('se' + 'cret? '))\r")
    terminal.expect_exact("secret? ")
    wait_until(lambda: not shell.shows_what_is_typed(), "a hidden line")
    shell.stop()
    assert shell.is_as_before()
    shell.go_on()
    terminal.expect_exact("secret? ")
    wait_until(lambda: not shell.shows_what_is_typed(), "a hidden line")
    terminal.send("word\r")
    terminal.expect_exact("got word")
    assert "word" not in terminal.before


# --- its size, and wide characters ---------------------------------------------------------------


class Screen:
    """What tmux shows of an attached session."""

    def __init__(self, server, session):
        self.socket = str(server.brood.base / "tmux")
        self.env = environment(server)
        command = [server.brood.brood, "session", "attach", session]
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "20", *command)
        self.pid, self.tty = self.tmux("display", "-p", "#{pid} #{pane_tty}").split()

    def tmux(self, *words):
        done = subprocess.run(["tmux", "-u", "-S", self.socket, *words], env=self.env, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done
        return done.stdout

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def lines(self):
        """What is below the line `below`."""
        return self.tmux("capture-pane", "-p").rstrip("\n").partition("\nbelow\n")[2].split("\n")

    def expect(self, *lines):
        try:
            wait_until(lambda: self.lines() == [*lines])
        except AssertionError:
            raise AssertionError(f"{self.lines()} is not {lines}") from None

    def resize(self, columns):
        self.tmux("resize-window", "-x", str(columns), "-y", "20")
        wait_until(lambda: self.columns() == columns, "the terminal's new size")

    def columns(self):
        terminal = os.open(self.tty, os.O_RDONLY | os.O_NOCTTY)
        try:
            return struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))[1]
        finally:
            os.close(terminal)

    def close(self):
        self.tmux("kill-server")
        wait_until(lambda: ended(int(self.pid)), "the end of tmux")


@pytest.fixture
def screen(server, session):
    if not shutil.which("tmux"):
        pytest.skip("there is no tmux")
    server.tool("exec", session, "-c", "print('\\n' * 20 + 'below')")
    made = Screen(server, session)
    made.expect("In [2]:")
    yield made
    made.close()


def test_a_line_is_edited_in_a_window_of_another_size(server, session, screen):
    text = "x = '" + "0123456789" * 5 + "'"
    screen.type(text)
    screen.expect("In [2]: " + text)
    screen.resize(40)
    screen.type("\x01y = ")
    screen.expect("In [2]: y = " + text[:28], text[28:])
    screen.resize(100)
    screen.type("z = ")
    screen.expect("In [2]: y = z = " + text)
    screen.resize(30)
    screen.type("\r")
    screen.expect("In [2]: y = z = " + text[:14], text[14:44], text[44:], "In [3]:")
    assert cells(server, session) [1:] == ["y = z = " + text]


def test_wide_characters_around_other_output(server, session, screen):
    screen.type("s = '" + "中" * 50 + "'")
    before = "s = '" + "中" * 33  # and one column is left
    screen.expect("In [2]: " + before, "中" * 17 + "'")
    server.tool("exec", session, "-c", "print('else' + 'where')")
    screen.expect("In [2]: print('else' + 'where')", "elsewhere", "In [3]: " + before, "中" * 17 + "'")
    screen.type("\x01" + "\x06" * 38 + "文")  # behind the last one of the first row
    screen.expect("In [2]: print('else' + 'where')", "elsewhere", "In [3]: " + before, "文" + "中" * 17 + "'")
    server.tool("exec", session, "-c", "print('o' + 'ther')")
    screen.expect(
        "In [2]: print('else' + 'where')",
        "elsewhere",
        "In [3]: print('o' + 'ther')",
        "other",
        "In [4]: " + before,
        "文" + "中" * 17 + "'",
    )


# --- the history ---------------------------------------------------------------------------------


@pytest.fixture
def history(server):
    folder = server.brood.base / "state/brood"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder / "history"


@pytest.fixture
def terminals(server, session):
    """Opens terminals in one session."""
    opened = []

    def open_terminal():
        opened.append(attach(server, session))
        opened[-1].expect(r"In \[\d+\]: $")
        return opened[-1]

    yield open_terminal
    for terminal in opened:
        terminal.close(force=True)


def run(terminal, number, code):
    terminal.send(code + "\r")
    terminal.expect_exact(f"In [{number + 1}]: ")


def test_terminals_share_the_history(session, terminals, history):
    first, second = terminals(), terminals()
    for number, (terminal, other) in enumerate([(first, second), (second, first), (first, second)], 1):
        run(terminal, number, f"a{number} = 'é x'")
        other.expect_exact(f"In [{number + 1}]: ")
    assert history.stat().st_mode & 0o777 == 0o600
    third = terminals()
    third.send("\x1b[A\x1b[A\x1b[A")
    third.expect_exact("a3 = 'é x'")
    third.send("\r")
    third.expect_exact("In [5]: ")
    assert cells_of_history(history) == ["a1", "a2", "a3", "a1"]


def cells_of_history(file):
    """The names that its lines begin with."""
    lines = file.read_text().splitlines()
    assert lines[0] == "_HiStOrY_V2_"
    return [line.split("\\040")[0] for line in lines[1:]]


def test_a_history_that_is_long_is_shortened(terminals, history):
    history.write_text("_HiStOrY_V2_\n" + "".join(f"a{i}\\040=\\0401\n" for i in range(7000)))
    terminal = terminals()
    run(terminal, 1, "b = 1")
    assert cells_of_history(history) == [*(f"a{i}" for i in range(2000, 7000)), "b"]
    terminal.send("\x1b[A\x1b[A")
    terminal.expect_exact("a6999 = 1")


def test_a_file_that_is_no_history_becomes_one(terminals, history):
    history.write_text("something else\n")
    run(terminals(), 1, "b = 1")
    assert cells_of_history(history) == ["b"]
