"""Limits from the configuration, and the files of a session, against the real server."""

import os

from pathlib import Path

import pytest
from session_fixture import PASSWORD, USER, package, run, serving, value
from waiting import DEADLINE, wait_until

MIB = 1 << 20
CONFIG = """
default = "small"
[serve]
file_limit = "3MiB"
[env.small]
[env.small.limits]
cell_time = "5s"
output = 2000
processes = 10
"""


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood, CONFIG, tcp=True) as made:
        yield made


@pytest.fixture
def session(server):
    with server.client.new() as made:
        run(made, "import os")
        yield made


def folder_of(session):
    return Path(value(session, "print(os.getcwd())") or run(session, "print(os.getcwd())").stdout.strip())


@pytest.mark.core
def test_limits_of_an_environment(server):
    with package.Client(server.tcp, user=USER, password=PASSWORD, timeout=DEADLINE) as user:
        with user.new() as session:
            limits = session.info()["limits"]
            assert (limits["cell_time"], limits["output"], limits["processes"], limits["memory"]) == (5, 2000, 10, 0)
            assert session.run("print('x' * 5000)", timeout=DEADLINE).status == "output"
        with user.new(limits={"output": 100, "memory": 100 * MIB}) as session:
            assert session.info()["limits"]["output"] == 100
            assert len(session.run("print('x' * 5000)", timeout=DEADLINE).stdout) == 100
        for wrong in ({"output": 3000}, {"output": 0}, {"cell_time": 6}, {"nothing": 1}, {"output": -1}, {"output": "much"}):
            with pytest.raises(package.BadRequest):
                user.new(limits=wrong)
    with server.client.new(limits={"output": 3000}) as session:  # who runs the server may
        assert session.info()["limits"]["output"] == 3000


@pytest.mark.core
def test_files(server, session):
    session.put("a.txt", b"one")
    session.put("deep/er/b.bin", bytes(range(256)))
    assert value(session, "open('a.txt').read(), sum(open('deep/er/b.bin', 'rb').read())") == "('one', 32640)"
    run(session, "open('made', 'w').write('by the session'); os.mkfifo('pipe'); os.symlink('/etc', 'link')")
    assert session.get("made") == b"by the session"
    listed = {entry["name"]: (entry["type"], entry["size"]) for entry in session.files()}
    assert listed["a.txt"] == ("file", 3) and listed["deep"][0] == "folder" and listed["pipe"][0] == listed["link"][0] == "other"
    assert [entry["name"] for entry in session.files("deep/er")] == ["b.bin"]
    session.put("a.txt", b"2")
    assert session.get("a.txt") == b"2"
    session.delete("a.txt")
    with pytest.raises(package.NotFound):
        session.get("a.txt")
    with pytest.raises(package.BadRequest):
        session.delete("deep")  # not empty
    session.delete("deep/er/b.bin")
    session.delete("deep/er")
    assert [entry["name"] for entry in session.files("deep")] == []


@pytest.mark.core
@pytest.mark.parametrize("path", ["../x", "..", "/etc/passwd", "deep/../../x", "", "out", "out/x", "inner/x", "loop", "absolute"])
def test_paths_that_lead_out(session, path):
    outside = folder_of(session).parent
    run(session, "os.symlink('..', 'out'); os.mkdir('d'); os.symlink('d', 'inner'); os.symlink('loop', 'loop'); os.symlink('/etc/passwd', 'absolute')")
    before = set(outside.iterdir())
    for work in (lambda: session.get(path), lambda: session.put(path, b"x")):
        with pytest.raises((package.Forbidden, package.BadRequest, package.NotFound)):
            work()
    if path not in ("out", "loop", "absolute"):  # a link itself may be deleted
        with pytest.raises((package.Forbidden, package.BadRequest, package.NotFound)):
            session.delete(path)
    # The folder of a session that ended before may go meanwhile.
    assert set(outside.iterdir()) <= before and Path("/etc/passwd").exists()


def test_what_is_no_file(session):
    run(session, "import socket\nos.mkfifo('pipe'); os.mkdir('folder')\ns = socket.socket(socket.AF_UNIX); s.bind('socket')")
    for path in ("pipe", "folder", "socket"):
        for work in (lambda path=path: session.get(path), lambda path=path: session.put(path, b"x")):
            with pytest.raises((package.BadRequest, package.Forbidden)):
                work()
    with pytest.raises(package.BadRequest):
        session.files("pipe")
    session.delete("pipe")
    session.delete("folder")


@pytest.mark.core
def test_a_big_file_in_pieces(session, tmp_path):
    content = os.urandom(3 * MIB)
    (tmp_path / "big").write_bytes(content)
    assert session.upload("big", tmp_path / "big") == len(content)
    assert session.download("big", tmp_path / "back") == len(content)
    assert (tmp_path / "back").read_bytes() == content
    with pytest.raises(package.LimitExceeded):
        session.put("bigger", content + b"x")
    with pytest.raises(package.BadRequest):
        session.client.request("put", {"session": session.id, "path": "big", "offset": 7}, b"x")


def test_files_while_a_cell_runs(session):
    with session.stream("input()", timeout=DEADLINE) as events:
        for event in events:
            if event.type == "input":
                session.put("x", b"1")
                assert session.get("x") == b"1"
                session.stdin("\n")


@pytest.mark.core
def test_the_folder_goes_with_the_session(server):
    session = server.client.new()
    run(session, "import os")
    folder = folder_of(session)
    run(session, "os.makedirs('a/b'); open('a/b/c', 'w'); os.chmod('a/b', 0); os.symlink('/etc', 'etc')")
    branch = session.fork()
    copy = folder.parent / branch.id
    assert folder.is_dir() and copy.is_dir() and (copy / "etc").is_symlink()
    session.remove()
    wait_until(lambda: not folder.exists(), "the end of the folder")
    assert value(branch, "os.listdir('a')") == "['b']"
    branch.remove()
    wait_until(lambda: not copy.exists(), "the end of the copy")
    assert Path("/etc/passwd").exists()
