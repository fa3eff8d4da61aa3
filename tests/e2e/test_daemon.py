"""The daemon's own life, and what its tools say besides what test_commands.py has."""

import json
import os
import shutil
import signal
import subprocess

import pytest
from brood_fixture import BUILD, TIMEOUT, TRACE, Brood
from waiting import wait_until

pytestmark = pytest.mark.core

CONFIG = """
default = "first"
[env.first]
preload = ["json", "decimal"]
variables = { GREETING = "hi" }
[env.second]
"""


@pytest.fixture
def project(brood):
    (brood.work / "brood.toml").write_text(CONFIG)
    return brood


def test_looking_does_not_start_the_daemon(brood):
    assert brood.tool("status").out.startswith(b"No daemon runs")
    assert brood.status()["daemon"] is None
    assert brood.tool("env", "list").status == 0
    assert brood.tool("stop").out == b"No daemon runs.\n"
    assert brood.tool("explain", "-c", "pass").out.startswith(b"cold: no daemon runs\n")
    assert brood.tool("logs").status == 1
    assert brood.daemon_pid() is None


def test_paths_are_told(brood):
    paths = brood.status()["paths"]
    assert paths["runtime_dir"] == str(brood.folder)
    assert paths["daemon_log"] == str(brood.folder / "daemon.log")


def test_the_python_package_says_the_same(brood):
    code = "import brood, json; print(json.dumps([brood.__version__, brood.paths(), brood.status()['daemon']]))"
    done = brood.python(["-c", code], env={"PYTHONPATH": str(BUILD / "python")})
    version, paths, daemon = json.loads(done.out)
    assert brood.tool("--version").out == f"brood {version}\n".encode()
    assert paths == brood.status()["paths"] and daemon is None


def test_the_default_is_warmed_for_programs_that_name_none(project):
    assert project.tool("env", "warm", "first").status == 0
    trace = project.trace(["-c", "import os; print(os.environ['GREETING'])"])
    assert trace.startswith("warm")


def test_a_key_names_an_environment(project):
    key = project.tool("env", "warm").out.split()[-1].decode()
    assert len(key) == 32
    assert key in project.tool("env", "show", key[:8]).out.decode()
    assert project.tool("env", "retire", key[:6]).status == 0


def test_what_a_preload_prints_is_kept(brood):
    init = brood.work / "init.py"
    init.write_text("import sys; print('to stdout'); print('to stderr', file=sys.stderr)\n")
    brood.warm("--init", str(init), "-c", "pass")
    shown = brood.tool("env", "show", "init.py").out
    assert b"to stdout\n" in shown and b"to stderr\n" in shown


def explained(brood, *arguments, **more):
    done = brood.tool("explain", *arguments, **more)
    assert (done.status, done.err) == (0, b"")
    return done.out.decode()


def test_explain_names_a_variable_that_was_read(brood):
    init = brood.work / "init.py"
    init.write_text("import os; os.environ.get('COLOUR')\n")
    brood.warm("--init", str(init), "-c", "pass")
    assert explained(brood, "--init", str(init), "-c", "pass").startswith("warm")
    text = explained(brood, "--init", str(init), "-c", "pass", env={"COLOUR": "red"})
    assert text.startswith("cold: COLOUR was read")
    trace = brood.trace(["run", "--init", str(init), "-c", "pass"], program=brood.brood, env={"COLOUR": "red"})
    assert trace.startswith("cold: COLOUR was read")


def test_logs_show_and_follow(brood):
    brood.warm("-c", "pass")
    assert len(brood.tool("logs", "-n", "1").out.splitlines()) == 1
    assert b" ready after " in brood.tool("logs").out
    with subprocess.Popen([brood.brood, "logs", "-f", "-n", "1"], env=brood.environment, stdout=subprocess.PIPE) as follow:
        assert follow.stdout.readline()  # now it follows
        brood.warm("-O", "-c", "pass")
        assert b"preparing" in follow.stdout.readline()
        follow.terminate()


def test_many_daemons_start_and_one_serves(brood):
    command = [str(BUILD / "bin/broodd"), "--background"]
    started = [subprocess.Popen(command, env=brood.environment, stderr=subprocess.PIPE) for _ in range(8)]
    for one in started:
        _, err = one.communicate(timeout=TIMEOUT)
        assert (one.returncode, err) == (0, b"")
    daemons = [pid for pid, line in brood.processes().items() if b"broodd" in line.split(b"\0")[0]]
    assert len(daemons) == 1


def test_a_daemon_after_a_killed_one_cleans_up(brood):
    brood.warm("-c", "pass")
    (sock,) = (brood.folder / "env").iterdir()
    os.kill(brood.daemon_pid(), signal.SIGKILL)
    wait_until(lambda: not sock.exists(), "the orphaned zygote to leave")
    (brood.folder / "env" / "dead").write_text("")
    (brood.folder / "failed" / "dead").write_text("")
    assert brood.tool("env", "warm").status == 0
    assert [path.name for path in (brood.folder / "env").iterdir()] == [sock.name]
    assert list((brood.folder / "failed").iterdir()) == []


def test_sockets_of_systemd_are_taken(brood):
    brood.folder.mkdir(mode=0o700)
    script = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
        "fd = os.dup(s.fileno()); os.dup2(fd, 3) if fd != 3 else os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
        "os.execv(sys.argv[2], ['broodd'])\n"
    )
    sock = brood.folder / "daemon.sock"
    daemon = subprocess.Popen(["/usr/bin/python3", "-c", script, str(sock), str(BUILD / "bin/broodd")],
                              env=brood.environment, stderr=subprocess.DEVNULL)
    wait_until(sock.exists, "the socket")
    assert wait_until(lambda: brood.tool("env", "warm").status == 0, "an answer")
    assert brood.status()["daemon"]["pid"] == daemon.pid
    assert brood.tool("stop").status == 0
    assert daemon.wait(TIMEOUT) == 0
    assert sock.exists()  # it is systemd's


@pytest.fixture
def copied(brood):
    """A brood of an installation of its own."""
    prefix = brood.base / "prefix"
    for part in ("bin", "lib/brood", "libexec"):
        shutil.copytree(BUILD / part, prefix / part)
    brood.brood, brood.drop_in = str(prefix / "bin/brood"), str(prefix / "bin/brood-python")
    brood.prefix = prefix
    return brood


def replace(path):
    """As a package manager does: a new file of that name."""
    shutil.copy2(path, f"{path}.new")
    os.rename(f"{path}.new", path)


@pytest.mark.parametrize("part", ["bin/broodd", "lib/brood/_brood.abi3.so"])
def test_the_daemon_of_an_installation_that_was_replaced_leaves(copied, part):
    copied.warm("-c", "pass")
    old = copied.daemon_pid()
    replace(copied.prefix / part)
    with subprocess.Popen([copied.brood, "run", "-c", "input(); print('done')"], env={**copied.environment, **TRACE},
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stderr.readline().startswith(b"brood: warm")
        copied.warm("-O", "-c", "pass")  # by another daemon, at once
        assert copied.daemon_pid() not in (old, None)
        assert program.communicate(b"\n", timeout=TIMEOUT) == (b"done\n", b"")  # a program of the old one goes on
        assert program.returncode == 0
    assert "were replaced" in copied.tool("logs", "-n", "100").out.decode()


def test_looking_at_a_daemon_whose_installation_was_replaced(copied):
    copied.warm("-c", "pass")
    replace(copied.prefix / "bin/broodd")
    assert copied.status()["daemon"] is None
    assert copied.tool("stop").out == b"No daemon runs.\n"


def test_the_daemon_of_an_installation_that_is_gone_leaves(copied, brood):
    copied.warm("-c", "pass")
    old = copied.daemon_pid()
    shutil.rmtree(copied.prefix)
    brood.brood, brood.drop_in = Brood.brood, Brood.drop_in  # another installation
    brood.warm("-O", "-c", "pass")
    assert brood.daemon_pid() not in (old, None)
