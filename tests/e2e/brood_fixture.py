"""A private brood for a test: its own runtime directory and daemon, and the interpreter it is compared with."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BROOD_BUILD", ROOT / "build")).resolve()
PYTHON = os.environ.get("BROOD_TEST_PYTHON", "/usr/bin/python3")
TIMEOUT = 60  # seconds: a hang, not a measure of speed
TRACE = {"BROOD_TRACE": "1"}

# What would make runs differ, or set up this machine's shell.
CLEAN = ("PYTHON", "BROOD", "LC_", "VIRTUAL_ENV", "XDG_", "MPL", "PYENV")


def clean_environment():
    return {
        name: value for name, value in os.environ.items() if not name.startswith(CLEAN) and name not in ("LANG", "LANGUAGE")
    }


def open_files(process):
    """What the descriptors of a process in /proc lead to. One that is closed meanwhile is no reason to miss the rest."""
    found = []
    for link in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(link).encode())
    return found


def kill_if_there(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


@dataclass
class Outcome:
    status: int  # negative: died of that signal
    out: bytes
    err: bytes


class Brood:
    def __init__(self):
        self.base = Path(tempfile.mkdtemp(prefix="brood-test-"))
        self.runtime = self.base / "run"
        self.home = self.base / "home"
        self.work = self.base / "work"
        for folder in (self.runtime, self.home, self.work):
            folder.mkdir(mode=0o700)
        self.environment = {
            **clean_environment(),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "BROOD_PYTHON": PYTHON,
        }

    brood = str(BUILD / "bin/brood")
    drop_in = str(BUILD / "bin/brood-python")

    @property
    def folder(self):
        """Where the daemon's sockets are."""
        return self.runtime / "brood"

    def run(self, arguments, *, program=None, env=None, cwd=None, stdin=b"", **more):
        """Runs `brood-python arguments` (or another program) and returns its Outcome."""
        done = subprocess.run(
            [program or self.drop_in, *map(str, arguments)],
            env={**self.environment, **(env or {})},
            cwd=cwd or self.work,
            capture_output=True,
            timeout=TIMEOUT,
            **({"input": stdin} if "stdin_file" not in more else {"stdin": more.pop("stdin_file")}),
            **more,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def python(self, arguments, **more):
        """The same with the plain interpreter."""
        return self.run(arguments, program=PYTHON, **more)

    def tool(self, *words, **more):
        """Runs `brood words`."""
        return self.run(words, program=self.brood, **more)

    def status(self):
        """What `brood status --json` says."""
        done = self.tool("status", "--json")
        assert (done.status, done.err) == (0, b""), done
        return json.loads(done.out)

    def warm(self, *arguments, env=None, cwd=None):
        """Waits until the environment that this command line needs is warm. `arguments`: as for `brood run`."""
        for _ in range(5):
            done = self.tool("run", "--wait", *arguments, env={**(env or {}), **TRACE}, cwd=cwd)
            if b"no spare answered within" not in done.err:  # the machine has too much to do
                break
        assert b"brood: warm" in done.err, done
        return done

    def warm_drop_in(self, arguments, **more):
        """Runs brood-python until a run was warm; returns the Outcome of that one, without the trace line."""
        env = {**(more.pop("env", None) or {}), **TRACE}
        deadline = time.monotonic() + TIMEOUT
        while True:
            done = self.run(arguments, env=env, **more)
            lines = done.err.split(b"\n")
            traces = [line for line in lines if line.startswith(b"brood: ")]
            if any(line.startswith(b"brood: warm") for line in traces):
                done.err = b"\n".join(line for line in lines if not line.startswith(b"brood: "))
                return done
            assert time.monotonic() < deadline, f"never warm: {done}"
            time.sleep(0.02)  # while the zygote is being prepared: there is no event to wait for from outside

    def trace(self, arguments, **more):
        """The trace line of one run: `warm: ...` or `cold: reason`."""
        env = {**(more.pop("env", None) or {}), **TRACE}
        done = self.run(arguments, env=env, **more)
        for line in done.err.split(b"\n"):
            if line.startswith((b"brood: warm", b"brood: cold")):
                return line[len(b"brood: ") :].decode()
        raise AssertionError(f"no trace: {done}")

    def processes(self):
        """pid -> command line of every process that has a path of this brood in its command, environment or descriptors."""
        marker = str(self.base).encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes()
                links = open_files(entry)
            except OSError:
                continue
            if marker in command or marker in environment or any(marker in x for x in links):
                found[int(entry.name)] = command
        return found

    def processes_for_certain(self):
        """A process that executes a program just then, or a daemon on its way to the background, is missed by one look."""
        return self.processes() or (time.sleep(0.01), self.processes())[1]

    def daemon_pid(self):
        for pid, command in self.processes().items():
            if b"broodd" in command.split(b"\0")[0]:
                return pid
        return None

    def stop(self):
        """Ends the daemon and waits until nothing of this brood is left; returns what had to be killed."""
        deadline = time.monotonic() + 10
        told = None
        while (left := self.processes_for_certain()) and time.monotonic() < deadline:
            daemon = self.daemon_pid()
            if daemon and daemon != told:  # more than once: it may just be starting
                kill_if_there(told := daemon, signal.SIGTERM)
            time.sleep(0.01)
        for pid in left:
            kill_if_there(pid, signal.SIGKILL)
        return left

    def close(self):
        left = self.stop()
        shutil.rmtree(self.base, ignore_errors=True)
        assert not left, f"left behind: {left}"
