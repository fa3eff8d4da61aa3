"""Starts programs under brood and under python3, on terminals and on pipes of their own."""

import fcntl
import os
import re
import resource
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest
from brood_fixture import PYTHON, TRACE
from same import TRACE_LINE
from waiting import DEADLINE, children, process_state, wait_until, zygotes

ANYTHING = "(?!)"  # never found: expect() returns when the trace has come


class Launcher:
    def __init__(self, brood, is_brood):
        self.brood = brood
        self.is_brood = is_brood
        self.program = brood.drop_in if is_brood else PYTHON
        self.environment = {**brood.environment, "TERM": "xterm", **TRACE, "PYTHONDONTWRITEBYTECODE": "1"}
        self.started = []
        if is_brood:
            brood.warm_drop_in(["-c", "pass"], env={"PYTHONDONTWRITEBYTECODE": "1"})

    def terminal(self, *arguments, size=(30, 100)):
        started = Terminal([self.program, *arguments], self.environment, self.brood.work, size)
        self.started.append(started)
        if self.is_brood:
            started.expect_trace()
        return started

    def popen(self, *arguments, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        started = subprocess.Popen([self.program, *arguments], env=self.environment, cwd=self.brood.work, **more)
        self.started.append(started)
        return started

    def shell(self, text, stdin=subprocess.DEVNULL):
        """A bash script in which $PROGRAM is the interpreter; returns (status, stdout, stderr without traces)."""
        done = subprocess.run(
            ["bash", "-c", text],
            env={**self.environment, "PROGRAM": self.program},
            cwd=self.brood.work,
            stdin=stdin,
            capture_output=True,
            timeout=60,
        )
        lines = done.stderr.splitlines(keepends=True)
        if self.is_brood:
            assert any(line.startswith(b"brood: warm") for line in lines), done
        return done.returncode, done.stdout, b"".join(x for x in lines if not x.startswith(b"brood: "))

    def close(self):
        for started in self.started:
            started.kill()
            started.wait()
            for stream in (started.stdin, started.stdout, started.stderr):
                if stream:
                    stream.close()


class Terminal:
    """A program whose controlling terminal is a pseudo-terminal of its own."""

    stdin = stdout = stderr = None

    def __init__(self, command, environment, cwd, size):
        self.master, slave = os.openpty()
        self.resize(*size)

        def take_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(slave)
        self.text = b""  # what was written and not expected yet
        self.trace = None

    @property
    def pid(self):
        return self.process.pid

    def expect(self, pattern, patience=DEADLINE):
        """Waits for output that matches; what came before it is in `before`."""
        end = time.monotonic() + patience
        while not (found := re.search(pattern.encode(), self.text)):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.master], [], [], left)[0], f"no {pattern!r} in {self.text!r}"
            try:
                self.text += os.read(self.master, 4096)
            except OSError:
                pytest.fail(f"the program ended without {pattern!r}, with {self.text!r}")
            if trace := TRACE_LINE.search(self.text):  # it is written beside the program's own output
                self.trace = b"".join(trace.groups()).decode()
                self.text = self.text[: trace.start()] + self.text[trace.end() :]
                if pattern == ANYTHING:
                    return None
        self.before = self.text[: found.start()]
        self.text = self.text[found.end() :]
        return found

    def expect_trace(self):
        self.expect(ANYTHING)
        assert self.trace.startswith("warm: worker")

    def send(self, text):
        os.write(self.master, text.encode())

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hang_up(self):
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def wait(self, deadline=DEADLINE):
        return self.process.wait(deadline)

    def kill(self):
        self.process.kill()
        self.hang_up()


def read_line(stream):
    """One line of a pipe, with a deadline."""
    assert select.select([stream], [], [], DEADLINE)[0], "no output"
    return stream.readline()


def stopped(pid):
    return process_state(pid) == "T"


def assert_no_program_is_left(brood):
    """Nothing but spares below the zygotes, and none of them stopped."""
    for zygote in wait_until(lambda: zygotes(brood), "the zygotes"):
        wait_until(lambda: not [pid for pid in children(zygote) if running(pid)], "no program to run any more")
    assert brood.warm_drop_in(["-c", "print('still warm')"]).out == b"still warm\n"


def running(pid):
    """Whether it is a worker: it shows its program's command line; a spare shows its zygote's."""
    try:
        return b"_brood" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
