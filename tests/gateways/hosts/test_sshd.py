"""What the fixture `sshd` promises."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import execnet
import pytest

from .processes import DEADLINE, ended, orphans, wait_until
from .sshd import Sshd, privilege_separation

ADD = "import sys; print(sum(map(int, sys.argv[1:])))"
PACKAGE = Path(__file__).resolve().parents[1]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="changes mounts or users")


def test_a_command_is_executed(sshd):
    done = sshd.run("python3", "-c", ADD, "20", "22")
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
    assert "Accepted publickey" in sshd.log()


def test_nobody_else_gets_in(sshd, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    other = tmp_path / "config"
    other.write_text(sshd.config.read_text().replace(f"{sshd.folder}/user_key", str(key)))
    done = subprocess.run(["ssh", "-F", other, "node", "true"], capture_output=True, timeout=DEADLINE)
    assert done.returncode == 255 and b"Permission denied" in done.stderr


def test_execnet_goes_there(sshd):
    with orphans():
        group = execnet.Group()
        gateway = group.makegateway(sshd.spec("python=python3"))
        channel = gateway.remote_exec("import os; channel.send((os.getpid(), os.environ['SSH_CONNECTION']))")
        pid, connection = channel.receive(DEADLINE)
        assert pid in sshd.processes() and connection.endswith(f" 127.0.0.1 {sshd.port}")
        group.terminate(timeout=DEADLINE)


def test_variables_are_those_of_the_machine():
    with Sshd(environment={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}) as server:
        done = server.run("python3", "-c", "import sys, locale; print(sys.stdout.encoding, locale.getpreferredencoding())")
        assert done.stdout == "ascii ANSI_X3.4-1968\n" or done.stdout == "iso8859-1 ISO-8859-1\n", done


def test_a_login_that_talks():
    with Sshd(banner="Authorized use only", noise="welcome ü") as server:
        done = server.run("python3", "-c", ADD, "1", "2")
        assert (done.returncode, done.stdout) == (0, "welcome ü\n3\n")
        assert done.stderr.split("\n") == ["welcome ü", ""]  # the client is too quiet to show the banner
        done = server.login(alias="loud", options=["LogLevel INFO"]).run("true")
        assert "Authorized use only" in done.stderr.split("\n")


@root_only
def test_a_read_only_machine(tmp_path):
    with Sshd(read_only=True) as server:
        for place in ("/", "/tmp", "/dev/shm", "/var/tmp", "/run", os.path.expanduser("~"), str(tmp_path)):
            done = server.run("touch", f"{place}/brood-test")
            assert done.returncode == 1 and "Read-only file system" in done.stderr, (place, done)
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            program = Path(folder, "program")
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
            subprocess.run([program], check=True)
            assert "Permission denied" in server.run(str(program)).stderr
        assert server.run("python3", "-c", ADD, "1", "2", input="").stdout == "3\n"
        assert server.run("sh", "-c", "echo lost >/dev/null; cat", input="words").stdout == "words"
    assert not Path("/tmp/brood-test").exists()


@root_only
def test_a_machine_without_tmp():
    with Sshd(no_tmp=True) as server:
        done = server.run("sh", "-c", "ls -d /tmp /var /usr; touch /x; cat", input="words")
        assert done.stdout == "/usr\nwords" and done.stderr.count("No such file or directory") == 2 and "touch: cannot touch '/x'" in done.stderr
        done = server.run("python3", "-c", "import tempfile; tempfile.gettempdir()")
        assert "No usable temporary directory found" in done.stderr
    assert Path("/tmp").is_dir()


def test_what_a_connection_leaves_behind_fails_and_is_killed():
    with pytest.raises(AssertionError, match="[0-9]+ .S.: sleep 1000$"), Sshd() as server:
        server.grace = 0.1
        pid = int(server.run("sh", "-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!").stdout)
    assert ended(pid, server.process.pid) and not server.folder.exists()


def test_a_connection_without_a_command_ends_with_sshd():
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Sshd())
        command = ["ssh", "-F", server.config, "-N", "-v", "node"]
        client = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        while "Entering interactive session" not in client.stderr.readline():
            assert client.poll() is None
        connections = server.connections()
        server.close()
        assert connections and ended(*connections)
        client.communicate(timeout=DEADLINE)
        assert client.returncode == 255


def test_sshd_ends_with_the_process_that_made_it():
    code = "from hosts.sshd import Sshd\nserver = Sshd(); print(server.process.pid, server.folder); input()"
    with subprocess.Popen(
        [sys.executable, "-uc", code], cwd=PACKAGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        pid, folder = maker.stdout.readline().split()
        assert not ended(int(pid))
        maker.kill()
    wait_until(lambda: ended(int(pid)), "the end of sshd")
    with privilege_separation():  # who comes next removes what was left of that
        shutil.rmtree(folder)


@root_only
def test_the_directory_of_sshd_is_there_as_long_as_it_is_needed(tmp_path):
    folder = tmp_path / "sshd"
    code = "import sys; from hosts.sshd import *\nwith privilege_separation(Path(sys.argv[1])): print(); sys.stdin.read()"
    command = [sys.executable, "-u", "-c", code, folder]
    with subprocess.Popen(command, cwd=PACKAGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"\n"
        with privilege_separation(folder):
            pass
        assert folder.is_dir()
        with privilege_separation(folder):
            other.communicate(timeout=DEADLINE)
            assert folder.is_dir()
    assert not folder.exists()
    folder.mkdir(mode=0o755)
    with privilege_separation(folder):
        pass
    assert folder.is_dir()  # the system's
