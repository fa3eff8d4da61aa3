"""`brood session attach` and the terminal around it: its encoding, other terminals."""

import os
import shutil

import pytest
from session_server import SessionServer
from session_terminal import attach, cells, environment, leave, paste


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
