"""The commands of brood, and which interpreter it stands for."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest
from brood_fixture import PYTHON, ROOT, TIMEOUT, TRACE
from waiting import DEADLINE, ended, the_zygote, wait_until, zygotes

pytestmark = pytest.mark.core


SESSION = ("new", "list", "attach", "exec", "interrupt", "signal", "undo", "fork", "checkpoints", "rm")


# --- help, version, usage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [[], ["run"], ["env"], ["env", "list"], ["env", "show"], ["env", "warm"], ["env", "retire"], ["status"], ["top"], ["stop"], ["logs"], ["explain"], ["bench"], ["bench", "run"], ["bench", "sessions"],
     ["slap"], ["slap", "session"],
     ["serve"], ["session"], *(["session", command] for command in SESSION), ["user"], ["token"]], ids=" ".join
)
def test_help(shared_brood, words):
    done = shared_brood.tool(*words, "--help")
    assert (done.status, done.err) == (0, b"")
    assert b"usage" in done.out.lower()


def test_help_of_the_daemon(shared_brood):
    done = shared_brood.run(["--help"], program=str(Path(shared_brood.brood).parent / "broodd"))
    assert (done.status, done.err) == (0, b"") and b"--background" in done.out


def test_every_command_is_in_the_help(shared_brood):
    text = shared_brood.tool("--help").out.decode()
    commands = ("run", "python", "serve", "session", "explain", "env", "bench", "slap", "status", "top", "stop", "logs", "user", "token")
    for command in commands:
        assert re.search(rf"^  {command}\s", text, re.M), command
    assert sorted(re.findall(r"^  ([a-z]+)\s", text, re.M)) == sorted(commands)
    sessions = shared_brood.tool("session", "--help").out.decode()
    assert all(re.search(rf"^  {command}\s", sessions, re.M) for command in SESSION)


def options_of(brood, *words):
    return set(re.findall(r"(?<![\w-])--[a-z-]+", re.sub(r"\(.*?\)", "", brood.tool(*words, "--help").out.decode())))


def test_the_man_page_and_the_completion_know_the_options_of_serve(shared_brood):
    page = (ROOT / "packaging/man/brood.1").read_text().replace("\\-", "-")
    completion = (ROOT / "packaging/completion/brood").read_text()
    offered = re.search(r"_brood_serve\(\).*?\n}", completion, re.S)[0]
    options = {"--listen", "--ready-fd"} | {
        option for option in re.findall(r'"(--[a-z-]+)"', (ROOT / "src/main/serve_options.cc").read_text())
    }
    assert len(options) >= 12 and options <= options_of(shared_brood, "serve")
    for option in options:
        assert re.search(rf"^\.[A-Z]+ .*{option}\b", page, re.M), option
        assert option in offered, option
    for command in SESSION:
        assert re.search(rf"brood session {command}\b|\" {command} \"", page), command


def test_version(shared_brood):
    done = shared_brood.tool("--version")
    assert done.status == 0 and re.fullmatch(rb"brood \d+\.\d+\.\d+\n", done.out)
    daemon = shared_brood.run(["--version"], program=str(Path(shared_brood.brood).parent / "broodd"))
    assert daemon.out.split()[1] == done.out.split()[1]
    assert shared_brood.run(["--version"]).out == shared_brood.python(["--version"]).out, "brood-python is a python3"


@pytest.mark.parametrize(
    "words,says",
    [
        (["statsu"], 'did you mean "status"?'),
        (["nonsense"], "unknown command nonsense"),
        (["run", "--nonsense", "-c", "pass"], "unknown option --nonsense"),
        (["run", "--env"], "--env needs a value"),
        (["run", "--preload"], "--preload needs a value"),
        (["run", "--env", "x", "--preload", "json", "-c", "pass"], "--env"),
        (["run", "--init", "/no/such/file", "-c", "pass"], "/no/such/file"),
        (["run", "--python", "/no/such/python", "-c", "pass"], "/no/such/python"),
        (["explain", "--nonsense"], "unknown option --nonsense; see brood explain --help"),
        (["env"], ""),
        (["env", "bogus"], "unknown command bogus; see brood env --help"),
        (["env", "show"], ""),
        (["env", "retire"], ""),
        (["status", "--nonsense"], ""),
        (["logs", "-n", "many"], ""),
        (["top"], "terminal"),
        ([], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors(shared_brood, words, says):
    done = shared_brood.tool(*words)
    assert (done.status, done.out) == (2, b""), done
    assert done.err and says in done.err.decode(), done.err


# --- explain -----------------------------------------------------------------------------------------------------------


def explain(brood, *words, **more):
    done = brood.tool("explain", *words, **more)
    assert (done.status, done.err) == (0, b""), done
    lines = done.out.decode().splitlines()
    facts = {}
    for line in lines[1:]:
        name, _, value = line.strip().partition("  ")
        facts[name] = value.strip()
    return lines[0], facts


def test_explain_before_and_after(brood):
    verdict, facts = explain(brood, "-c", "pass")
    assert verdict == "cold: no daemon runs" and "starts the daemon" in facts["to be warm"]
    assert brood.daemon_pid() is None, "explaining starts nothing"
    brood.warm_drop_in(["-c", "pass"])
    verdict, facts = explain(brood, "-c", "pass")
    assert verdict.startswith("warm")
    assert facts["interpreter"] == PYTHON and re.fullmatch("[0-9a-f]{32}", facts["key"]) and facts["environment"] == "plain"
    assert (brood.folder / "env" / facts["key"]).exists()
    assert explain(brood, "-O", "-c", "pass")[0] == "cold: no zygote has this environment yet"


@pytest.mark.parametrize("words", [["-X", "importtime", "-c", "pass"], ["-i", "-c", "pass"], ["--version"], ["-v", "x.py"]], ids=" ".join)
def test_explain_agrees_with_what_happens(shared_brood, words):
    shared_brood.warm_drop_in(["-c", "pass"])
    verdict, _ = explain(shared_brood, *words)
    assert verdict == shared_brood.trace(words)


def test_explain_a_failure(brood):
    (brood.work / "brood.toml").write_text('[env.app]\npreload = ["no_such_module"]\n')
    brood.run(["-c", "pass"])
    verdict, facts = wait_until(lambda: (found := explain(brood, "-c", "pass")) and "cannot be kept warm" in found[0] and found, "the failure")
    assert facts["environment"] == "app" and facts["configuration"] == str(brood.work / "brood.toml")
    assert b"No module named 'no_such_module'" in brood.tool("explain", "-c", "pass").out


# --- env, status, stop, logs ----------------------------------------------------------------------------------------------


@pytest.fixture
def project(brood):
    folder = brood.work / "project"
    folder.mkdir()
    (folder / "brood.toml").write_text('default = "app"\n[env.app]\npreload = ["xml.dom.minidom"]\nspares = 2\n[env.other]\ninit = "init.py"\n')
    (folder / "init.py").write_text("print('loading')\n")
    return folder


def test_environments(brood, project):
    listed = brood.tool("env", "list", cwd=project)
    assert listed.status == 0 and b"app *" in listed.out and b"other" in listed.out and b"xml.dom.minidom" in listed.out
    warmed = brood.tool("env", "warm", cwd=project)
    assert warmed.status == 0 and warmed.out.startswith(b"app is warm, key ")
    assert brood.trace(["-c", "pass"], cwd=project).startswith("warm"), "what is warmed is what programs get"
    assert brood.tool("env", "warm", "app", cwd=project).out == warmed.out
    assert brood.tool("env", "warm", "other", cwd=project).status == 0
    assert brood.tool("run", "--env", "other", "-c", "print(1)", cwd=project, env=TRACE).err.startswith(b"brood: warm")
    assert re.search(rb"app \*\s+ready", brood.tool("env", "list", cwd=project).out)
    shown = brood.tool("env", "show", "other", cwd=project)
    assert shown.status == 0 and b"it wrote while it was loaded:\nloading" in shown.out and str(project / "init.py").encode() in shown.out
    key = warmed.out.split()[-1].decode()
    assert brood.tool("env", "show", key[:8], cwd=project).status == 0
    (zygote, _) = sorted(zygotes(brood))
    retired = brood.tool("env", "retire", "app", cwd=project)
    assert (retired.status, retired.out) == (0, b"retired 1\n")
    wait_until(lambda: len(zygotes(brood)) == 1, "its zygote to leave")
    assert brood.trace(["-c", "pass"], cwd=project).startswith("cold")


def test_environments_that_are_not_there(brood, project):
    shown = brood.tool("env", "show", "ohter", cwd=project)
    assert shown.status == 1 and b'did you mean "other"?' in shown.err
    retired = brood.tool("env", "retire", "app", cwd=project)
    assert retired.status == 1 and b"no environment app is warm" in retired.err
    assert brood.daemon_pid() is None, "asking starts no daemon"
    assert brood.tool("env", "warm", "ohter", cwd=project).status == 1


def test_a_retired_environments_program_runs_on(brood):
    brood.warm_drop_in(["-c", "pass"])
    program = subprocess.Popen([brood.drop_in, "-c", "print('begun', flush=True); print(input())"], env=brood.environment, cwd=brood.work, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"begun\n"
    assert brood.tool("env", "retire", "plain").status == 0
    wait_until(lambda: [env["state"] for env in brood.status()["environments"]] == ["retiring"], "it to be retiring")
    assert program.communicate(b"on\n", TIMEOUT)[0] == b"on\n" and program.returncode == 0
    wait_until(lambda: not zygotes(brood), "the zygote to leave after it")


def test_status_without_a_daemon(brood):
    found = brood.status()
    assert found["daemon"] is None and found["environments"] == []
    assert found["paths"]["runtime_dir"] == str(brood.folder)
    assert brood.tool("status").out.startswith(b"No daemon runs")
    assert brood.daemon_pid() is None


def test_status(brood, project):
    brood.warm_drop_in(["-c", "pass"], cwd=project)
    program = subprocess.Popen([brood.drop_in, "-c", "print('begun', flush=True); input()"], env=brood.environment, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"begun\n"

    def settled():
        """The program before has gone, two spares wait."""
        now = brood.status()
        zygote = now["environments"][0]["zygotes"][0]
        programs = [one["program"][:16] for one in zygote["programs"]]
        return (programs, zygote["running"], zygote["spares"]) == (["-c print('begun'"], 1, 2) and now

    found = wait_until(settled, "two spares beside the one program")
    daemon, (env,) = found["daemon"], found["environments"]
    assert daemon["pid"] == brood.daemon_pid() and daemon["runtime_dir"] == str(brood.folder) and daemon["served"] >= 2
    assert (env["name"], env["state"], env["python"], env["config_file"], env["wanted_spares"]) == ("app", "ready", PYTHON, str(project / "brood.toml"), 2)
    assert re.fullmatch("[0-9a-f]{32}", env["key"]) and "xml.dom.minidom" in env["preload"] and env["failure"] == ""
    (zygote,) = env["zygotes"]
    assert [zygote["pid"]] == zygotes(brood)
    assert zygote["python_version"] == brood.python(["-c", "import platform; print(platform.python_version())"]).out.decode().strip()
    for name in ("preload_ms", "fork_us", "modules", "watched_directories", "age_s"):
        assert zygote[name] > 0, name
    assert len(zygote["spare_pids"]) == 2
    for memory in (zygote["memory"], zygote["spare_memory"], zygote["programs"][0]["memory"]):
        assert 0 < memory["unique_bytes"] <= memory["pss_bytes"]
    text = brood.tool("status").out.decode()
    assert "app" in text and str(zygote["pid"]) in text and "print('begun'" in text and "\x1b" not in text
    program.communicate(b"\n", TIMEOUT)
    wait_until(lambda: brood.status()["environments"][0]["zygotes"][0]["running"] == 0, "the program to be gone from it")


def test_escape_sequences_of_a_program_do_not_reach_the_terminal(brood):
    brood.warm_drop_in(["-c", "pass"])
    program = subprocess.Popen([brood.drop_in, "-c", "print('begun\x1b[2J\x07', flush=True); input()"], env=brood.environment, cwd=brood.work, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdout.readline().startswith(b"begun")
    wait_until(lambda: b"-c print('begun" in brood.tool("status").out, "the program to be listed")
    assert b"\x1b" not in brood.tool("status").out and b"\x07" not in brood.tool("status").out
    program.communicate(b"\n", TIMEOUT)


def test_stop(brood):
    assert brood.tool("stop").out == b"No daemon runs.\n"
    brood.warm_drop_in(["-c", "pass"])
    program = subprocess.Popen([brood.drop_in, "-c", "print('begun', flush=True); print(input())"], env=brood.environment, cwd=brood.work, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"begun\n"
    daemon = brood.daemon_pid()
    done = brood.tool("stop")
    assert (done.status, done.err) == (0, b"")
    assert ended(daemon), "it is gone when the command returns"
    assert not (brood.folder / "daemon.sock").exists() and [*(brood.folder / "env").iterdir()] == []
    assert program.communicate(b"on\n", TIMEOUT)[0] == b"on\n", "programs run on"


def test_logs(brood):
    assert brood.tool("logs").status == 1
    brood.warm_drop_in(["-c", "pass"])
    done = brood.tool("logs")
    assert done.status == 0 and b"ready after" in done.out
    assert len(brood.tool("logs", "-n", "1").out.splitlines()) == 1
    follower = subprocess.Popen([brood.brood, "logs", "-f", "-n", "1"], env=brood.environment, stdout=subprocess.PIPE)
    try:
        assert follower.stdout.readline() == done.out.splitlines(keepends=True)[-1]
        brood.warm_drop_in(["-O", "-c", "pass"])
        assert select.select([follower.stdout], [], [], DEADLINE)[0]
        assert b"preparing" in follower.stdout.readline()
    finally:
        follower.kill()
        follower.communicate()


def test_top(brood):
    brood.warm_drop_in(["-c", "pass"])
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    before = termios.tcgetattr(slave)
    top = subprocess.Popen([brood.brood, "top"], env={**brood.environment, "TERM": "xterm"}, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    text = b""

    def shows(*parts):
        nonlocal text
        end = time.monotonic() + DEADLINE
        while not all(part in text for part in parts):
            assert time.monotonic() < end, (parts, text)
            if select.select([master], [], [], 0.1)[0]:
                text += os.read(master, 65536)
        text = b""

    try:
        shows(b"\x1b[?1049h", b"plain", b"runs/s", b"q quits", str(the_zygote(brood)).encode())
        brood.warm_drop_in(["-O", "-c", "pass"])
        shows(b"ready", b"runs/s")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 60, 0, 0))
        os.kill(top.pid, signal.SIGWINCH)
        shows(b"runs/s")
        os.write(master, b"q")
        assert top.wait(DEADLINE) == 0
        shows(b"\x1b[?1049l")
        assert termios.tcgetattr(slave) == before, "the terminal is as it was"
    finally:
        top.kill()
        top.wait()
        os.close(master)
        os.close(slave)


# --- run ----------------------------------------------------------------------------------------------------------------


def test_run_with_a_preload(brood):
    done = brood.warm("--preload", "xml.dom.minidom,wave", "-c", "import sys; print('wave' in sys.modules, 'xml.dom.minidom' in sys.modules)")
    assert done.out == b"True True\n"


def test_run_with_an_init_file(brood):
    (brood.work / "init.py").write_text("GIVEN = 5\n")
    assert brood.warm("--init", "init.py", "-c", "print(GIVEN)").out == b"5\n"


def test_brood_python_is_brood_python(brood):
    for words in (["--version"], ["-c", "import sys; print(sys.argv)", "a"], ["-h"]):
        assert brood.tool("python", *words).out == brood.python(words).out


def test_off(brood):
    brood.warm_drop_in(["-c", "pass"])
    assert brood.trace(["-c", "pass"], env={"BROOD": "off"}) == "cold: BROOD=off"
    assert brood.tool("run", "--wait", "-c", "pass", env={**TRACE, "BROOD": "off"}).err == b"brood: cold: BROOD=off\n"


def test_off_starts_nothing(brood):
    assert brood.run(["-c", "print(1)"], env={"BROOD": "off"}).out == b"1\n"
    assert not brood.folder.exists() and brood.daemon_pid() is None


# --- which interpreter -----------------------------------------------------------------------------------------------------


def interpreter(folder, name="python3"):
    """A stand-in that says its name; a program, not a script, so that it could be an interpreter."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / name
    link.symlink_to("/bin/echo")
    return link


def found(brood, *, path, env=None, cwd=None, command=None):
    environment = {name: value for name, value in brood.environment.items() if name != "BROOD_PYTHON"}
    done = subprocess.run([*(command or [brood.brood, "explain", "-c", "pass"])], env={**environment, "PATH": path, **(env or {})}, cwd=cwd or brood.work, capture_output=True, timeout=TIMEOUT)
    match = re.search(rb"interpreter\s+(\S+)", done.stdout)
    return match[1].decode() if match else done


def test_the_first_in_path(brood):
    first = interpreter(brood.base / "first")
    assert found(brood, path=f"{first.parent}:/usr/bin") == str(first)
    assert found(brood, path=f"/nowhere:/usr/bin:{first.parent}") == "/usr/bin/python3"


def test_a_virtual_environment_goes_first(brood):
    venv = interpreter(brood.base / "venv/bin")
    assert found(brood, path="/usr/bin", env={"VIRTUAL_ENV": str(brood.base / "venv")}) == str(venv)
    assert found(brood, path="/usr/bin", env={"VIRTUAL_ENV": str(brood.base / "missing")}) == "/usr/bin/python3"


def test_brood_python_variable_and_option(brood):
    chosen = interpreter(brood.base / "chosen", "my-python")
    assert found(brood, path="/usr/bin", env={"BROOD_PYTHON": str(chosen)}) == str(chosen)
    assert found(brood, path=f"{chosen.parent}:/usr/bin", env={"BROOD_PYTHON": "my-python"}) == str(chosen)
    option = found(brood, path="/usr/bin", env={"BROOD_PYTHON": PYTHON}, command=[brood.brood, "explain", "--python", str(chosen), "-c", "pass"])
    assert option == str(chosen)
    missing = found(brood, path="/usr/bin", env={"BROOD_PYTHON": "/no/such"})
    assert missing.returncode == 2 and b"BROOD_PYTHON names /no/such" in missing.stderr
    for itself in ("brood-python", brood.drop_in, brood.brood):
        path = f"{Path(brood.drop_in).parent}:/usr/bin"
        refused = found(brood, path=path, env={"BROOD_PYTHON": itself})
        assert refused.returncode == 2 and b"which is brood itself" in refused.stderr
        done = brood.run(["-c", "pass"], env={"BROOD_PYTHON": itself, "PATH": path})
        assert done.status == 127 and b"which is brood itself" in done.err


@pytest.mark.parametrize("how", ["symbolic link", "hard link"])
def test_brood_as_python3_in_path(brood, how):
    """It does not find itself."""
    folder = brood.base / "bin"
    folder.mkdir()
    if how == "symbolic link":
        (folder / "python3").symlink_to(brood.drop_in)
    else:
        try:
            os.link(os.path.realpath(brood.drop_in), folder / "python3")
        except OSError:
            pytest.skip("another file system")
    environment = {name: value for name, value in brood.environment.items() if name != "BROOD_PYTHON"}
    environment["PATH"] = f"{folder}:/usr/bin:/bin"
    code = "import sys; print(sys.executable); import subprocess; print(subprocess.run(['python3', '-c', 'print(6 * 7)'], capture_output=True).stdout)"
    for _ in range(3):
        done = subprocess.run(["python3", "-c", code], env=environment, cwd=brood.work, capture_output=True, timeout=TIMEOUT, executable=str(folder / "python3"))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"/usr/bin/python3\nb'42\\n'\n", b"")
    (brood.work / "script").write_text("#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1:])\n")
    (brood.work / "script").chmod(0o755)
    assert subprocess.run([brood.work / "script", "a", "b c"], env=environment, capture_output=True, timeout=TIMEOUT).stdout == b"['a', 'b c']\n"


def test_no_python_at_all(brood):
    folder = brood.base / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to(brood.drop_in)
    done = found(brood, path=str(folder), command=[brood.drop_in, "-c", "pass"])
    assert done.returncode == 127 and b"no python3 in PATH besides brood itself" in done.stderr


@pytest.fixture
def pyenv(brood):
    """A tree as pyenv makes it: shims are scripts, versions have interpreters."""
    root = brood.base / "pyenv"
    for version in ("3.9.1", "3.12.0"):
        interpreter(root / "versions" / version / "bin")
    shim = root / "shims/python3"
    shim.parent.mkdir()
    shim.write_text("#!/usr/bin/env bash\nexec pyenv exec python3 \"$@\"\n")
    shim.chmod(0o755)
    return root


def test_a_pyenv_shim_is_followed(brood, pyenv):
    path = f"{pyenv}/shims:/usr/bin"
    assert found(brood, path=path) == "/usr/bin/python3", "no version is chosen: the system's"
    (pyenv / "version").write_text("3.9.1\n")
    assert found(brood, path=path) == f"{pyenv}/versions/3.9.1/bin/python3"
    deep = brood.work / "a/b"
    deep.mkdir(parents=True)
    (brood.work / ".python-version").write_text("3.12.0\n")
    assert found(brood, path=path, cwd=deep) == f"{pyenv}/versions/3.12.0/bin/python3"
    assert found(brood, path=path, cwd=deep, env={"PYENV_VERSION": "3.9.1"}) == f"{pyenv}/versions/3.9.1/bin/python3"
    assert found(brood, path=path, cwd=deep, env={"PYENV_VERSION": "system"}) == "/usr/bin/python3"


def test_a_wrapper_that_cannot_be_foreseen_runs_cold(brood, pyenv):
    folder = brood.base / "wrappers"
    folder.mkdir()
    (folder / "python3").write_text(f'#!/bin/sh\nexec {PYTHON} "$@"\n')
    (folder / "python3").chmod(0o755)
    environment = {name: value for name, value in brood.environment.items() if name != "BROOD_PYTHON"}
    environment["PATH"] = f"{folder}:/usr/bin:/bin"
    for _ in range(2):
        done = subprocess.run([brood.drop_in, "-c", "print(1)"], env={**environment, **TRACE}, cwd=brood.work, capture_output=True, timeout=TIMEOUT)
        assert done.stdout == b"1\n" and b"is a script that chooses an interpreter" in done.stderr
