"""The programs of examples/gateways, as they are started by hand, and as they are installed: beside each other."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from group_fixture import children, is_gone, wait_until
from interpreters import INTERPRETERS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "gateways"
NEAR = "popen//id=near"


def run(program, *words, status=0):
    """(stdout as bytes, stderr as text) of a program of the examples; all that it has started is gone."""
    before = children()
    done = subprocess.run([sys.executable, EXAMPLES / program, *map(str, words)], timeout=60, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python")}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    error = done.stderr.decode()
    assert done.returncode == status, error
    assert children() <= before
    return done.stdout, error


@pytest.fixture
def files(tmp_path):
    """Paths: every byte, a name with a space, nothing at all, more than a channel's window."""
    contents = {"bytes": bytes(range(256)) * 3, "a name": b"\n\r\n\0", "empty": b"", "large": os.urandom(1 << 20) * 9}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


@pytest.fixture(params=["popen", "ssh", "popen behind ssh", "ssh behind popen"])
def way(request):
    """The words that lead there: to this machine as it is, or through a real sshd."""
    specs = ["popen" if word == "popen" else request.getfixturevalue("sshd").spec() for word in request.param.split(" behind ")]
    return [*(word for spec in reversed(specs[1:]) for word in ("--via", spec)), specs[0]]


def test_files_come_one_after_the_other(way, files):
    out, error = run("fileserver.py", *way, "--", *files)
    assert out == b"".join(file.read_bytes() for file in files) and error == ""


def test_what_cannot_be_read_is_named_and_the_others_come(way, files, tmp_path):
    out, error = run("fileserver.py", *way, files[0], tmp_path / "missing", files[1], tmp_path, files[0], status=1)
    first, second = files[0].read_bytes(), files[1].read_bytes()
    assert out == first + second + first
    assert error.splitlines() == [f"fileserver.py: {tmp_path}/missing: No such file or directory", f"fileserver.py: {tmp_path}: Is a directory"]


def test_many_small_files(tmp_path):
    """No answer is waited for before the next name goes."""
    for number in range(2000):
        (tmp_path / str(number)).write_text(f"{number}\n")
    out, _ = run("fileserver.py", "popen", *(tmp_path / str(number) for number in range(2000)))
    assert out.split() == [b"%d" % number for number in range(2000)]


@pytest.mark.parametrize("words, says", [
    (["popen//python=/no_such_python", "file"], "fileserver.py: popen: cannot execute /no_such_python: No such file or directory"),
    (["--via", "popen", "popen//python=/no_such_python", "file"], "fileserver.py: .* from gw0: .*/no_such_python"),
    (["telepathy", "file"], "fileserver.py: 'telepathy' does not say how to reach an interpreter")])
def test_where_nobody_is(words, says):
    out, error = run("fileserver.py", *words, status=1)
    assert out == b"" and re.match(says, error) and "Traceback" not in error


@pytest.mark.parametrize("python", INTERPRETERS)
def test_files_of_a_machine_with_another_python(python, files):
    out, _ = run("fileserver.py", f"popen//python={python}", *files)
    assert out == b"".join(file.read_bytes() for file in files)


def test_the_triangle():
    out, error = run("triangle.py")
    program, corner, other = out.decode().splitlines()
    me = int(re.fullmatch(r"this program is process (\d+)", program)[1])
    pid = int(re.fullmatch(rf"corner is process (\d+), a child of {me}", corner)[1])
    last = int(re.fullmatch(rf"other is process (\d+), a child of {pid}, reached at 127\.0\.0\.1:\d+", other)[1])
    assert len({me, pid, last}) == 3 and error == ""
    wait_until(lambda: is_gone(pid) and is_gone(last))


@pytest.mark.parametrize("python", INTERPRETERS)
def test_who_imports_socketserver_beside_it_gets_the_standard_librarys(python, tmp_path):
    """Of that name is one of the examples, which is meant to be copied to wherever one works."""
    (tmp_path / "socketserver.py").write_bytes((EXAMPLES / "socketserver.py").read_bytes())
    source = "import http.server, socketserver\nprint(socketserver.TCPServer.__module__, socketserver.__file__)"
    (tmp_path / "program.py").write_text(source)
    for words in ["program.py"], ["-c", source]:
        out = subprocess.check_output([python, *words], cwd=tmp_path, timeout=20, text=True)
        assert re.fullmatch(r"socketserver .*/python3\.\d+/socketserver\.py\n", out)
