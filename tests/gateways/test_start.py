"""Starting contexts: here, over ssh, sudo and sockets, from warm interpreters, by other contexts; what is said when it fails."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pexpect
import pytest
from hosts.processes import DEADLINE, command_line, ended, wait_until
from hosts.sshd import Sshd
from remote_fixture import Master, without_files

from brood.gateways.core import kinds, process, start
from brood.gateways.core.errors import HostNotFound, RemoteError

ROOT = Path(__file__).resolve().parents[2]


def failure(spec, timeout=DEADLINE, **greet):
    with pytest.raises(HostNotFound) as info:
        start.start(spec, {"context": 1, "ancestors": [0], **greet}, timeout)
    return str(info.value)


# --- local ----------------------------------------------------------------------------------------------------------------


def test_argv_says_who_has_started_it(remotes):
    remote = remotes.start()
    user = pwd.getpwuid(os.getuid()).pw_name
    assert command_line(remote.pid).startswith(f"{sys.executable}(brood:{user}@{os.uname()[1]}:{os.getpid()}) -c ")
    assert remote.evaluate("(lambda s: (s.executable, s.argv))(__import__('sys'))") == (sys.executable, ["-c"])


def test_what_the_spec_may_be(remotes):
    for spec in "popen//engine=python", {"popen": True, "engine": "python"}, type("Spec", (), {})():
        if not isinstance(spec, (str, dict)):
            spec.popen, spec.engine = True, "python"
        remote = remotes.start(spec)
        assert remote.child.where == "popen" and remote.child.greet["engine"] == "python"
    with pytest.raises(ValueError):
        start.start("nothing", {"context": 1, "ancestors": [0]})


def test_what_the_greeting_asks_for(remotes, tmp_path):
    folder = tmp_path / "new"
    remote = remotes.start(chdir=str(folder), nice=3, env={"BROOD_X": "1"})
    found = remote.evaluate("(lambda o: (o.getcwd(), o.nice(0), o.environ['BROOD_X']))(__import__('os'))")
    assert found == (str(folder), os.nice(0) + 3, "1")


def test_what_the_greeting_asks_for_in_vain(tmp_path):
    (tmp_path / "file").touch()
    assert re.search("popen: FileExistsError: .*file", failure("popen//engine=python", chdir=str(tmp_path / "file")))


def test_search_path_of_programs_is_not_touched(remotes):
    remote = remotes.start()
    source = "import sys; channel.send((sys.path, sys.flags.dont_write_bytecode))"
    expected = subprocess.check_output([sys.executable, "-c", "import sys; print(sys.path)"], text=True).strip()
    path, writes_none = remote.evaluate(source)
    assert str(path) == expected and writes_none == sys.flags.dont_write_bytecode
    assert remotes.start("popen//engine=python//dont_write_bytecode").evaluate("__import__('sys').dont_write_bytecode") is True


def test_descriptors_of_the_master_are_not_inherited(remotes, tmp_path):
    with open(tmp_path / "file", "w"):
        remote = remotes.start()
        links = [os.readlink(f"/proc/{remote.pid}/fd/{name}") for name in os.listdir(f"/proc/{remote.pid}/fd")]
        assert str(tmp_path / "file") not in links


def test_many_at_once():
    children = {}

    def run(number):
        children[number] = start.start("popen//engine=python", {"context": number, "ancestors": [0], "id": str(number)})

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({child.greet["pid"] for child in children.values()}) == 6
    for child in children.values():
        child.close()
        assert child.process.wait(DEADLINE) is not None


def test_what_cannot_be_executed():
    assert "popen: cannot execute /nowhere/python3: No such file" in failure("popen//python=/nowhere/python3")
    assert "no-such-python" in failure("popen//python=no-such-python")


def test_what_is_no_python_of_brood(tmp_path):
    text = failure("popen//python=/bin/false")
    assert text == "popen: ended before it said a word of brood's, exit status 1"
    script = tmp_path / "python3"
    script.write_text("#!/bin/sh\necho 'it is broken' >&2\necho hello\nexit 3\n")
    script.chmod(0o755)
    text = failure(f"popen//python={script}")
    assert "exit status 3" in text and "it is broken" in text and "hello" in text


def test_what_says_nothing_is_killed(tmp_path):
    script = tmp_path / "python3"
    script.write_text("#!/bin/sh\necho $$ >&2\nsleep 60\n")
    script.chmod(0o755)
    text = failure(f"popen//python={script}", timeout=0.5)
    assert "no answer within 0.5 seconds" in text
    wait_until(lambda: ended(int(text.split()[-1])), "the end of the script")


def test_what_says_too_much(tmp_path):
    script = tmp_path / "python3"
    script.write_text("#!/bin/sh\nexec cat /dev/zero\n")
    script.chmod(0o755)
    assert "more than 65536 bytes" in failure(f"popen//python={script}")


@pytest.mark.parametrize("answer", [b"\nbrood gateway 1\n" + b"x" * 100, b"\nbrood gateway 1\n\5\0\0\0\x50\0\1\0hello"])
def test_a_greeting_that_is_none(tmp_path, answer):
    (tmp_path / "answer").write_bytes(answer)
    script = tmp_path / "python3"
    script.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\nsleep 60\n")
    script.chmod(0o755)
    assert "sent something else than a greeting" in failure(f"popen//python={script}")


def test_an_interpreter_by_name_and_with_options(remotes):
    remote = remotes.start("popen//engine=python//python=python3 -O")
    assert remote.evaluate("__import__('sys').flags.optimize") == 1
    assert remote.evaluate("__import__('sys').executable") == executable("python3")


def executable(*words):
    """What an interpreter that is started so calls itself."""
    return subprocess.check_output([*words, "-c", "import sys; print(sys.executable)"], text=True).strip()


def test_an_interpreter_by_way_of_another_program(remotes):
    remote = remotes.start("popen//engine=python//python=/usr/bin/env BROOD_X=1 python3")
    assert remote.evaluate("__import__('os').environ['BROOD_X']") == "1"
    assert remote.evaluate("__import__('sys').executable") == executable("/usr/bin/env", "python3")


def test_interrupts_of_the_terminal_are_not_for_children(remotes):
    """Ctrl-C goes to the foreground process group; a child is not in it from its first moment."""
    remote = remotes.start()
    assert os.getpgid(remote.pid) != os.getpgid(0)
    assert remote.evaluate("import signal; channel.send(signal.getsignal(signal.SIGINT) is signal.default_int_handler)") is True


def test_a_master_that_ignores_interrupts(remotes):
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        remote = remotes.start()
    finally:
        signal.signal(signal.SIGINT, old)
    channel = remote.execute("import time; channel.send(1); time.sleep(60)")
    channel.receive(DEADLINE)
    os.kill(remote.pid, signal.SIGINT)
    with pytest.raises(RemoteError):
        channel.receive(DEADLINE)


TYPED = """
import sys
sys.path[:0] = {path!r}
from remote_fixture import Master
master = Master()
try:
    remotes = [master.start(), *(master.start(spec) for spec in {specs!r})]
    try:
        print("ready", flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        print("interrupted", [remote.call("os", "getpid") == remote.pid for remote in remotes])
finally:
    master.close()
"""


def test_an_interrupt_that_is_typed(sshd):
    child = pexpect.spawn(sys.executable, ["-c", TYPED.format(path=sys.path, specs=[sshd.spec()])], timeout=DEADLINE)
    try:
        child.expect("ready")
        child.sendintr()
        child.expect(r"interrupted \[True, True\]")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0


def test_processes():
    child = process.spawn(["sh", "-c", "exit 3"], "/bin/sh", (0, 1, 2), leads=True)
    assert child.wait(DEADLINE) == 3 and child.poll() == 3
    child = process.spawn(["sleep", "60"], "/bin/sleep", (0, 1, 2), leads=True)
    assert child.wait(0.05) is None
    child.kill()
    assert child.wait(DEADLINE) == -signal.SIGKILL
    child.kill()  # its number may be another's now


# --- ssh ------------------------------------------------------------------------------------------------------------------


def test_ssh(remotes, sshd):
    remote = remotes.start(sshd.spec())
    assert remote.call("os", "getpid") == remote.pid
    assert "(brood:" in command_line(remote.pid)
    remote.execute("print('there')").waitclose(DEADLINE)
    remotes.wait_for_line("there")
    remote.shut()
    assert remote.process.wait(DEADLINE) == 0


def test_ssh_when_the_client_is_killed(remotes, sshd):
    remote = remotes.start(sshd.spec())
    remote.execute("import re; channel.send(1); re.match(r'(a+)+$', 'a' * 40 + 'b')").receive(DEADLINE)
    begin = time.monotonic()
    remote.process.kill()
    wait_until(lambda: ended(remote.pid), "the end of the remote")
    assert time.monotonic() - begin < 5


def test_ssh_with_a_banner_and_noise(remotes, capfd):
    with Sshd(banner="Authorized use only", noise="Welcome") as server:
        remote = remotes.start(server.spec())
        assert remote.call("os", "getpid") == remote.pid
        remote.shut()
        remote.process.wait(DEADLINE)
    wait_until(lambda: "Welcome" in capfd.readouterr().err, "what was said on stderr")


def test_ssh_to_a_read_only_machine(remotes):
    with Sshd(read_only=True) as server:
        remote = remotes.start(server.spec())
        source = "try: open('/tmp/x', 'w')\nexcept OSError as e: channel.send(e.errno)"
        assert remote.evaluate(source) == 30
        remote.shut()
        remote.process.wait(DEADLINE)


def test_ssh_that_fails(sshd, tmp_path):
    config = tmp_path / "config"
    config.write_text("Host nowhere\n  HostName 127.0.0.1\n  Port 1\n  BatchMode yes\n")
    text = failure(f"ssh=nowhere//ssh_config={config}")
    assert text.startswith("ssh=nowhere: ended") and "exit status 255" in text and "refused" in text
    text = failure(sshd.spec("python=no-such-python"))
    assert "exit status 127" in text and "not found" in text


def test_ssh_whose_master_gets_an_interrupt(remotes, sshd):
    """ssh stays in the foreground for its questions, and does not end of a Ctrl-C that is for the master."""
    remote = remotes.start(sshd.spec())
    assert os.getpgid(remote.process.pid) == os.getpgid(0)
    os.kill(remote.process.pid, signal.SIGINT)
    assert remote.call("os", "getpid") == remote.pid


def test_no_ssh(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "exit status 127" in failure("ssh=host")


# --- sudo, sockets, warm interpreters ---------------------------------------------------------------------------------------


def test_sudo(remotes):
    if not shutil.which("sudo") or subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no sudo without a password: tools/install_deps.sh test")
    remote = remotes.start("sudo=nobody//python=/usr/bin/python3")
    assert remote.evaluate("__import__('getpass').getuser()") == "nobody"
    remote.shut()
    assert remote.process.wait(DEADLINE) == 0
    assert "exit status 1" in failure("sudo=no-such-user-here")


SERVER = ROOT / "examples" / "gateways" / "socketserver.py"


@pytest.fixture
def server(tmp_path):
    """Starts a socket server with those words, and returns its HOST:PORT."""
    if not SERVER.exists():
        pytest.skip("no socket server")
    started = []

    def run(*words):
        process = subprocess.Popen([sys.executable, str(SERVER), ":0", *words], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process.stdout.readline().split()[-1]

    yield run
    for each in started:
        each.terminate()
        assert each.wait(DEADLINE) is not None
        each.stdout.close()


def test_socket(remotes, server):
    remote = remotes.start(f"socket={server()}")
    assert remote.process is None
    assert remote.call("os", "getpid") == remote.pid
    assert "(brood:" in command_line(remote.pid)
    remote.shut()
    wait_until(lambda: ended(remote.pid), "the end of the remote")


def test_socket_with_a_token(remotes, server, tmp_path):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o600)
    address = server("--token-file", str(token))
    assert remotes.start(f"socket={address}//token_file={token}").call("os.path", "basename", "/a") == "a"
    assert remotes.start({"socket": address, "token": "0123456789abcdef"}).call("os.path", "basename", "/a") == "a"
    assert "asks for a token" in failure(f"socket={address}")
    assert f"socket={address}: the server refused" in failure(f"socket={address}//token=wrong")
    assert "cannot be read" in failure(f"socket={address}//token_file={tmp_path}/none")


def test_socket_that_nobody_listens_to(remotes):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        assert "refused" in failure(f"socket=127.0.0.1:{other.getsockname()[1]}")
        other.listen()
        begin = time.monotonic()
        assert "timed out" in failure(f"socket=127.0.0.1:{other.getsockname()[1]}", timeout=0.3)
        assert time.monotonic() - begin < 5


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """A brood of its own."""
    program = Path(os.environ.get("BROOD_BUILD", ROOT / "build")) / "bin" / "brood"
    if not program.exists():
        pytest.skip(f"no {program}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("BROOD_PYTHON", sys.executable)
    yield program
    subprocess.run([program, "stop"], check=False, stdout=subprocess.DEVNULL)


def test_warm(remotes, runtime):
    subprocess.run([runtime, "run", "--wait", "-c", "pass"], check=True)
    remote = remotes.start("warm")
    assert remote.call("os", "getpid") == remote.pid
    assert remote.evaluate("__import__('sys').executable") == sys.executable
    remote.execute("print('warm')").waitclose(DEADLINE)
    remotes.wait_for_line("warm")
    remote.shut()
    assert remote.process.wait(DEADLINE) == 0


def test_warm_without_brood(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(start, "_brood", lambda folder: "brood")
    assert "warm: the command brood is neither" in failure("warm")
    with without_files():
        assert "warm: brood's own files are not" in failure("warm")


# --- contexts that start contexts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["files", "stage"])
def test_a_context_starts_another(remotes, way):
    if way == "stage":
        with without_files():
            middle = remotes.start("popen")
    else:
        middle = remotes.start()
    greet = {"context": 7, "ancestors": [middle.number, 0], "id": "gw7", "level": 10, "master": "me@here:1"}
    answer = middle.request(kinds.START, {"context": 7, "spec": "popen//engine=python", "greet": greet}).receive(DEADLINE)
    remotes.engine.add_route(7, middle.number)
    assert command_line(answer["pid"]).split()[0].endswith("(brood:me@here:1)")
    channel = remotes.engine.request(7, kinds.CALL, ["os", None, "getppid", (), {}, None, False])
    assert channel.receive(DEADLINE) == middle.pid
    remotes.modules["mine"] = "x = 1\nimport logging\nlogging.info('imported')"
    for number in 7, middle.number:
        channel = remotes.engine.request(number, kinds.EXEC, {"source": "import mine; channel.send(mine.x)"})
        assert channel.receive(DEADLINE) == 1
    assert [name for name, _ in remotes.asked] == ["mine"]  # the second time it was at the one in the middle
    wait_until(lambda: (7, "root", 20, "imported") in remotes.records, "its record")
    os.kill(answer["pid"], signal.SIGKILL)
    wait_until(lambda: any(7 in contexts for contexts, _ in remotes.gone), "the news of its end")
    wait_until(lambda: not os.path.exists(f"/proc/{answer['pid']}"), "it to be reaped")


def test_a_context_that_cannot_start_another(remotes):
    middle = remotes.start()
    greet = {"context": 7, "ancestors": [middle.number, 0]}
    with pytest.raises(RemoteError) as info:
        middle.request(kinds.START, {"context": 7, "spec": "popen//python=/nowhere/python", "greet": greet}).receive(DEADLINE)
    assert info.value.type == "HostNotFound" and "/nowhere/python" in info.value.text


def test_everything_behind_a_context_ends_with_it(remotes):
    middle = remotes.start()
    greet = {"context": 7, "ancestors": [middle.number, 0]}
    answer = middle.request(kinds.START, {"context": 7, "spec": "popen//engine=python", "greet": greet}).receive(DEADLINE)
    middle.process.kill()
    wait_until(lambda: ended(answer["pid"]), "the end of the one behind it")


def test_the_masters_of_two_tests_do_not_meet(remotes):
    other = Master()
    try:
        assert other.start().pid != remotes.start().pid
    finally:
        other.close()


def test_a_file_without_a_token(tmp_path):
    (tmp_path / "token").touch()
    assert "no token in the first line of" in failure(f"socket=127.0.0.1:1//token_file={tmp_path}/token")
