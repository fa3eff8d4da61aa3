"""The first stage: its size, what it needs, and what it leaves as it was."""

import ast
import os
import re
import socket
import subprocess
import sys
import textwrap
import venv

import pytest
from hosts.processes import DEADLINE, command_line, descendants, ended, wait_until
from interpreters import INTERPRETERS
from remote_fixture import PACKAGE, start_staged

from brood.gateways.core import greeting, kinds, stage, values
from brood.gateways.core.errors import RemoteError

MASTER = "me@there:1"


def test_size(capsys):
    payload = stage.payload()
    with capsys.disabled():
        print(f"\nfirst stage: {len(stage.STAGE)} bytes, payload: {len(payload)} bytes")
    assert len(stage.STAGE) < 600
    assert int.from_bytes(payload[:4], "little") == len(payload) - 4


def test_the_first_stage_can_stand_in_single_quotes_of_any_shell():
    assert stage.STAGE.isascii() and not set("'!\\\n\t") & set(stage.STAGE)


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("*.py")), ids=lambda file: file.name)
def test_sources_lose_comments_and_docstrings_only(file):
    source = file.read_text("ascii")
    stripped = stage.strip(source)
    assert stripped.count("\n") == source.count("\n")
    assert [(type(node), getattr(node, "lineno", 0)) for node in _nodes(stripped)] == [
        (type(node), getattr(node, "lineno", 0)) for node in _nodes(source)]
    assert not re.search(r"^\s*#", stripped, re.M)


def _nodes(source):
    """All nodes but docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        node_body = getattr(node, "body", None)
        if isinstance(node_body, list):
            node.body = [each for each in node_body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]
    return ast.walk(tree)


def test_strip():
    source = textwrap.dedent('''\
        """Doc
        string."""
        x = "# kept"  # gone
        def f():
            """Only this."""
        class C:
            'doc'
            # gone
            y = ("""kept
        # kept""")
        ''')
    expected = '0\n\nx = "# kept"\ndef f():\n    0\nclass C:\n    0\n\n    y = ("""kept\n# kept""")\n'
    assert stage.strip(source) == expected


# --- ways in --------------------------------------------------------------------------------------------------------------


def talk(command, way, **more):
    """Starts a first stage, says GREET, and returns (the Popen, the child's GREET, what came before the mark)."""
    if way == "socket":
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, **more)
        theirs.close()
        ours.settimeout(DEADLINE)
        send, receive = ours.sendall, ours.recv
    else:
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, **more)
        ours, send, receive = None, process.stdin.write, lambda size: os.read(process.stdout.fileno(), size)
    send(stage.payload() + greeting.frame(1, 0, {"context": 1, "ancestors": [0], "id": "x"}, values.dumps))
    incoming, greet = greeting.Incoming(values.loads), None
    while greet is None:
        data = receive(65536)
        assert data, process.stderr.read().decode()
        greet = incoming.feed(data)
    return process, greet, incoming.banner, ours


def finish(process, ours):
    """Ends the link; the remote goes by itself."""
    for stream in process.stdin, process.stdout, ours:
        if stream is not None:
            stream.close()
    assert process.wait(DEADLINE) == 1
    process.stderr.close()


COMMAND = [sys.executable, "-c", stage.STAGE, MASTER]


@pytest.mark.parametrize("way", ["pipe", "socket"])
def test_the_pid_that_others_know_is_the_interpreters(way):
    process, greet, _, ours = talk(COMMAND, way)
    assert greet["pid"] == process.pid and greet["executable"] == sys.executable
    assert command_line(process.pid).startswith(f"{sys.executable}(brood:{MASTER}) -c ")
    watch = descendants(process.pid)
    assert len(watch) == 1
    finish(process, ours)
    wait_until(lambda: ended(*watch), "the end of the watch")


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "csh", "tcsh", "zsh", "fish"])
def test_a_login_shell_with_a_banner(shell):
    if not any(os.access(os.path.join(folder, shell), os.X_OK) for folder in os.get_exec_path()):
        pytest.skip(f"no {shell}")
    line = f"echo Welcome; {sys.executable} -c '{stage.STAGE}' {MASTER}"
    process, greet, banner, ours = talk([shell, "-c", line], "pipe")
    assert banner.strip() == b"Welcome" and greet["version"] == 1
    finish(process, ours)


@pytest.mark.parametrize("python", INTERPRETERS)
def test_every_version(remotes, python):
    remote = start_staged(remotes, f"popen//python={python}")
    assert remote.evaluate("__import__('sys').executable") == python
    assert remote.call("os", "getpid") == remote.pid
    with pytest.raises(RemoteError) as info:
        remote.call("time", "sleep", 60, deadline=0.1)
    assert info.value.type == "DeadlineExceeded"
    remote.execute("import logging; logging.warning('hello'); print('printed')").waitclose(DEADLINE)
    remotes.wait_for_line("hello", "root")
    remotes.wait_for_line("printed")


def test_options_of_the_interpreter_are_kept(remotes):
    remote = start_staged(remotes, f"popen//python={sys.executable} -O -X utf8")
    assert remote.evaluate("(lambda f: (f.optimize, f.utf8_mode))(__import__('sys').flags)") == (1, 1)


def test_a_virtual_environment(remotes, tmp_path):
    venv.create(tmp_path / "env", symlinks=True)
    python = str(tmp_path / "env" / "bin" / "python")
    for remote in start_staged(remotes, f"popen//python={python}"), remotes.start(f"popen//engine=python//python={python}"):
        assert remote.evaluate("(lambda s: (s.executable, s.prefix))(__import__('sys'))") == (python, str(tmp_path / "env"))
        assert "brood:" not in remote.evaluate("__import__('sys')._base_executable")
        assert command_line(remote.pid).startswith(f"{python}(brood:")


def test_an_interpreter_behind_a_link(remotes, tmp_path):
    """Its library is found relative to where it really is."""
    python = tmp_path / "python3"
    python.symlink_to(INTERPRETERS[-1])
    for remote in start_staged(remotes, f"popen//python={python}"), remotes.start(f"popen//engine=python//python={python}"):
        assert remote.evaluate("__import__('sys').executable") == str(python)
        assert remote.evaluate("__import__('json').__name__") == "json"


def test_an_interpreter_inside_of_a_remote_is_started_as_usual(remotes):
    remote = start_staged(remotes)
    source = """
import subprocess, sys
channel.send(subprocess.check_output([sys.executable, '-c', 'import sys; print(sys.executable)']))
"""
    assert remote.evaluate(source) == sys.executable.encode() + b"\n"


def test_nothing_is_written(remotes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    (tmp_path / "mine.py").write_text("x = 1\n")
    remote = start_staged(remotes)
    assert remote.evaluate("__import__('mine').x") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.py"]


def test_read_only_file_systems(remotes):
    command = ["unshare", "--mount", "sh", "-c",
               "awk '{ print $5 }' /proc/self/mountinfo | while read -r p; do mount -o remount,bind,ro \"$p\" || exit 1; done && "
               "! touch /tmp/x 2>/dev/null && ! touch /x 2>/dev/null && cd / && exec \"$@\"", "sh"]
    if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no mount namespaces for this user")
    process, greet, _, ours = talk([*command, *COMMAND], "pipe")
    assert greet["version"] == 1
    finish(process, ours)


def test_the_watch_holds_nothing_open(remotes):
    remote = start_staged(remotes)
    (watch,) = descendants(remote.pid)
    held = [os.readlink(f"/proc/{watch}/fd/{name}") for name in os.listdir(f"/proc/{watch}/fd")]
    assert len(held) <= 3 and not {os.readlink(f"/proc/{remote.pid}/fd/{number}") for number in (1, 2)} & set(held)


@pytest.mark.parametrize("python", INTERPRETERS)
def test_the_watch_ends_with_the_interpreter(remotes, python):
    """And with all of its process group, even if what the program has started holds the pipe to the watch."""
    remote = start_staged(remotes, f"popen//python={python}")
    (watch,) = descendants(remote.pid)
    pid = remote.evaluate("import os, time\npid = os.fork()\nif not pid:\n time.sleep(60)\n os._exit(0)\nchannel.send(pid)")
    remote.process.kill()
    wait_until(lambda: ended(watch, pid), "the end of the watch and of what was started")


def test_what_ends_in_the_middle_of_the_payload_leaves_nothing():
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: descendants(process.pid), "the fork")
    watch = descendants(process.pid)
    out, err = process.communicate(stage.payload()[:1000], timeout=DEADLINE)
    assert out == b""
    wait_until(lambda: ended(*watch), "the end of the watch")


def test_no_module_of_a_remote_shadows_those_of_programs(remotes):
    remote = start_staged(remotes)
    source = "sorted(name for name in __import__('sys').modules if 'brood' in name and not name.startswith('brood_core'))"
    assert remote.evaluate(source) == []
    assert remote.evaluate("sorted(set(vars(__import__('__main__'))) - {'__annotations__', '__warningregistry__'})") == [
        "__builtins__", "__doc__", "__loader__", "__name__", "__package__", "__spec__"]


def test_a_remote_serves_the_stage_that_it_came_with(remotes):
    remote = start_staged(remotes)
    program = remote.evaluate("__import__('brood_core.stage').stage.payload()")
    assert program == stage.payload()
    assert kinds.MARK not in program
