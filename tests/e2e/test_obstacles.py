"""When something is in the way, a preload that fails, a limit, the runtime directory: the program runs all the same."""

import os
import resource
import subprocess
import time
from pathlib import Path

import pytest
from brood_fixture import PYTHON, TIMEOUT, TRACE
from waiting import finish, wait_until

pytestmark = pytest.mark.core


def project(brood, toml, **files):
    folder = Path(brood.work) / "project"
    folder.mkdir(exist_ok=True)
    (folder / "brood.toml").write_text(toml)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


# --- the preload ------------------------------------------------------------------------------------------


def told(brood, folder, code="print('ran')"):
    """Runs until the environment's failure is shown with a run; that run's Outcome."""
    seen = []

    def shown():
        done = brood.run(["-c", code], cwd=folder)
        seen.append(done)
        return b"cannot be kept warm" in done.err and done

    done = wait_until(shown, "the failure to be shown")
    for each in seen:
        assert each.out == b"ran\n" and each.status == 0, each
    return done


@pytest.mark.parametrize(
    "text,shows",
    [
        ("def f():\n    raise ValueError('no such thing')\nf()\n", [b"Traceback", b"init.py", b"in f", b"ValueError: no such thing"]),
        ("x = (\n", [b"SyntaxError", b"init.py"]),
        ("import sys\nsys.exit('enough')\n", [b"SystemExit", b"enough"]),
        ("import os\nos._exit(7)\n", [b"status 7"]),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", [b"signal 9"]),
    ],
    ids=["raises", "syntax", "exits", "leaves", "dies"],
)
def test_an_init_file_that_fails(brood, text, shows):
    folder = project(brood, '[env.app]\ninit = "init.py"\n', init=text)
    # The init file that leaves the process leaves the cold one, too, as a script with this line would.
    if "_exit" in text or "kill" in text:
        brood.run(["-c", "pass"], cwd=folder)
        failure = wait_until(lambda: [*(brood.folder / "failed").glob("?" * 32)], "the failure to be noted")[0]
        noted = failure.read_bytes()
    else:
        noted = told(brood, folder).err
    for part in shows:
        assert part in noted, noted
    assert b"<brood" not in noted and b"preload.py" not in noted, noted


def test_a_corrected_init_file_is_used(brood):
    folder = project(brood, '[env.app]\ninit = "init.py"\n', init="raise ValueError('broken')\n")
    assert b"broken" in told(brood, folder).err
    (folder / "init.py").write_text("VALUE = 3\n")
    done = brood.warm_drop_in(["-c", "print(VALUE)"], cwd=folder)
    assert (done.out, done.err) == (b"3\n", b"")


@pytest.mark.parametrize(
    "text,shows",
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n", [b"thread", b"init.py", b"allow_threads"]),
        ("import socket\nheld = socket.socket()\n", [b"socket", b"allow_sockets"]),
        ("import asyncio\nasync def main():\n    raise SystemExit\n", []),
    ],
    ids=["thread", "socket", "harmless"],
)
def test_what_cannot_be_forked_is_refused(brood, text, shows):
    folder = project(brood, '[env.app]\ninit = "init.py"\n', init=text)
    if not shows:
        brood.warm_drop_in(["-c", "pass"], cwd=folder)
        return
    done = told(brood, folder)
    for part in shows:
        assert part in done.err, done.err


def test_a_missing_module_in_the_preload(brood):
    folder = project(brood, '[env.app]\npreload = ["json", "no_such_module_at_all"]\n')
    assert b"ModuleNotFoundError: No module named 'no_such_module_at_all'" in told(brood, folder).err


def test_waiting_for_what_fails_runs_cold(brood):
    folder = project(brood, "", init="1 / 0\n")
    done = brood.tool("run", "--wait", "--init", folder / "init.py", "-c", "print('ran')", env=TRACE)
    assert (done.status, done.out) == (0, b"ran\n")
    assert b"ZeroDivisionError" in done.err


# --- limits ---------------------------------------------------------------------------------------------------------


def test_forty_clients_and_one_spare(brood):
    folder = project(brood, "[env.app]\nspares = 1\n")
    brood.warm_drop_in(["-c", "pass"], cwd=folder)
    running = [
        subprocess.Popen([brood.drop_in, "-c", f"print({i})"], env=brood.environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for i in range(40)
    ]
    outcomes = [finish(program) for program in running]
    assert outcomes == [(0, b"%d\n" % i, b"") for i in range(40)]


@pytest.mark.parametrize("count", range(3, 13))
def test_no_descriptors_left(brood, count):
    """Exactly what python3 does with so few; warm if it can be."""
    brood.warm_drop_in(["-c", "pass"])
    script = f'ulimit -n {count}; exec "$PROGRAM" -c "import json; print(1)"'
    outcomes = []
    for program in (PYTHON, brood.drop_in):
        done = subprocess.run(["bash", "-c", script], env={**brood.environment, "PROGRAM": program}, cwd=brood.work, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
        outcomes.append((done.returncode, done.stdout, done.stderr))
    if outcomes[0][0] == 0 or outcomes[1][0] != 0:
        assert outcomes[0][:2] == outcomes[1][:2], outcomes
    else:
        assert outcomes[1] == (0, b"1\n", b"")  # where python3 cannot even start, what has started already can


@pytest.mark.parametrize("megabytes", [1, 7, 9])
def test_a_large_environment(brood, megabytes):
    """Beyond what a message carries, the cold way."""
    brood.warm_drop_in(["-c", "pass"])
    size = megabytes << 20
    code = "import os; print(sum(len(v) for n, v in os.environ.items() if n.startswith('PIECE')))"
    env = {**brood.environment, **{f"PIECE{i}": "x" * (64 << 10) for i in range(size // (64 << 10))}}

    def unlimited():
        resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))

    outcomes = []
    for program in (PYTHON, brood.drop_in):
        try:
            done = subprocess.run([program, "-c", code], env=env, cwd=brood.work, capture_output=True, timeout=TIMEOUT, preexec_fn=unlimited)
            outcomes.append((done.returncode, done.stdout, done.stderr))
        except OSError as error:
            outcomes.append(error.errno)  # E2BIG
    assert outcomes[0] == outcomes[1]


def test_an_unreadable_script(brood):
    brood.warm_drop_in(["-c", "pass"])
    missing = brood.run(["missing.py"])
    assert missing.status == 2 and b"missing.py" in missing.err and missing.err == brood.python(["missing.py"]).err
    if os.geteuid() != 0:
        script = brood.work / "secret.py"
        script.write_text("print(1)")
        script.chmod(0)
        assert brood.run([script]).err == brood.python([script]).err


def test_a_working_directory_that_is_gone(brood):
    brood.warm_drop_in(["-c", "pass"])
    text = 'mkdir gone && cd gone && rmdir ../gone && exec "$PROGRAM" -c "print(1)"'
    outcomes = []
    for program in (PYTHON, brood.drop_in):
        done = subprocess.run(["bash", "-c", text], env={**brood.environment, "PROGRAM": program}, cwd=brood.work, capture_output=True, timeout=TIMEOUT)
        outcomes.append((done.returncode, done.stdout, done.stderr))
    assert outcomes[0] == outcomes[1]


# --- the runtime directory ------------------------------------------------------------------------------------------


def runs_cold(brood, runtime, within=5):
    """With this XDG_RUNTIME_DIR the program runs, silently and soon; returns the reason."""
    begin = time.monotonic()
    done = brood.run(["-c", "print('ran')"], env={"XDG_RUNTIME_DIR": str(runtime)})
    assert (done.status, done.out, done.err) == (0, b"ran\n", b"")
    assert time.monotonic() - begin < within
    return brood.trace(["-c", "pass"], env={"XDG_RUNTIME_DIR": str(runtime)})


def test_a_runtime_directory_that_is_missing(brood):
    assert runs_cold(brood, brood.base / "missing").startswith("cold")
    assert not (brood.base / "missing").exists()


def test_a_runtime_directory_that_is_a_file(brood):
    (brood.base / "file").touch()
    assert runs_cold(brood, brood.base / "file").startswith("cold")


def test_a_runtime_directory_that_cannot_be_written(brood):
    if os.geteuid() == 0:
        folder = Path("/proc/self/task")  # not even for root
    else:
        folder = brood.base / "closed"
        folder.mkdir(mode=0o500)
    assert runs_cold(brood, folder).startswith("cold")


def test_a_runtime_directory_whose_name_is_too_long(brood):
    folder = brood.base / ("long-" * 30)
    folder.mkdir(mode=0o700)
    assert "longer than" in runs_cold(brood, folder)
    assert brood.daemon_pid() is None


FULL = """
set -e
mount -t tmpfs -o size=64k,nr_inodes={inodes} none "$XDG_RUNTIME_DIR"
{fill}
for i in 1 2 3; do "$PROGRAM" -c 'print("ran")'; done
"$DAEMON" 2>/dev/null & daemon=$!
for i in 1 2 3 4 5; do "$PROGRAM" -c 'print("ran")'; done
kill $daemon 2>/dev/null || true
wait
"""


@pytest.mark.parametrize("inodes,fill", [(100, 'head -c 100000 /dev/zero > "$XDG_RUNTIME_DIR/filler" 2>/dev/null || true'), (1, ""), (2, ""), (4, "")])
def test_a_full_disk(brood, inodes, fill):
    can = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    if os.geteuid() != 0 or can.returncode != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", FULL.format(inodes=inodes, fill=fill)],
        env={**brood.environment, "PROGRAM": brood.drop_in, "DAEMON": str(Path(brood.drop_in).parent / "broodd")},
        cwd=brood.work,
        capture_output=True,
        timeout=TIMEOUT,
    )
    assert done.stdout == b"ran\n" * 8, done
    assert done.stderr == b"", done
