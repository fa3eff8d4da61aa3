"""The same command line under plain python and under a warm brood-python: nobody may tell one from the other."""

import os
import pty
import re
import select
import subprocess
import termios
import time
from fcntl import ioctl

from brood_fixture import TIMEOUT, TRACE, Outcome

ATTEMPTS = 50
NOT_YET = ("no zygote has this environment yet", "no spare answered", "the spare left", "the spare died", "changed on disk")
TRACE_LINE = re.compile(rb"brood: (warm|cold)(: [^\r\n]*|)\r?\n")  # may stand in the middle of a line of the program


def strip_trace(text):
    """(text without trace lines, the last trace line or None)"""
    lines = [b"".join(groups).decode() for groups in TRACE_LINE.findall(text)]
    return TRACE_LINE.sub(b"", text), (lines[-1] if lines else None)


def without_addresses(text):
    return re.sub(rb"0x[0-9a-f]{6,}", b"0xADDRESS", text)


def run_traced(brood, arguments, options=(), runner=None, cold=None, **more):
    """Runs brood-python until its environment is warm, or says that it never will be. Returns (Outcome, trace)."""
    env = {**(more.pop("env", None) or {}), **TRACE}
    runner = runner or brood.run
    warmed = False
    for _ in range(ATTEMPTS):
        done = runner([*options, *arguments], env=env, **more)
        done.err, from_err = strip_trace(done.err)
        done.out, from_out = strip_trace(done.out)  # when both go to one place
        trace = from_err or from_out
        assert trace, f"no trace: {done}"
        if trace.startswith("warm") or (cold and cold in trace) or not any(reason in trace for reason in NOT_YET):
            return done, trace
        if not warmed:
            brood.warm(*options, "-c", "pass", env=env)
            warmed = True
    raise AssertionError(f"never warm: {trace}")


def same(brood, arguments, *, options=(), cold=None, normalise=None, runner=None, python=None, **more):
    """Compares both ways of running `arguments`. `cold`: a part of the reason why this one may not go warm.

    Returns python's Outcome, for what a test wants to assert besides.
    """
    env = {**(more.pop("env", None) or {}), **TRACE}
    if runner:
        expected = runner([*options, *arguments], env=env, program=python or brood.environment["BROOD_PYTHON"], **more)
    else:
        expected = brood.python([*options, *arguments], env=env, **more)
    actual, trace = run_traced(brood, arguments, options, runner, cold, env=env, **more)
    if cold is None:
        assert trace.startswith("warm"), trace
    else:
        assert trace.startswith("cold") and cold in trace, trace
    if normalise:
        for outcome in (expected, actual):
            outcome.out, outcome.err = normalise(outcome.out), normalise(outcome.err)
    assert actual.status == expected.status, (expected, actual)
    assert actual.out == expected.out, (expected, actual)
    assert actual.err == expected.err, (expected, actual)
    return expected


def same_program(brood, folder, source, arguments=(), *, name="program.py", **more):
    """The same for a script with this text."""
    path = folder / name
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return same(brood, [str(path), *arguments], cwd=folder, **more)


def shell_runner(brood, line):
    """A runner that executes `line` in sh, where "$@" is the interpreter's command line."""

    def run(arguments, *, program=None, shell=("/bin/sh", "-c"), **more):
        command = [*shell[1:], line, "sh", program or brood.drop_in, *arguments]
        return brood.run(command, program=shell[0], **more)

    return run


def pid_runner(brood, line):
    """As shell_runner, for lines after which stderr cannot carry a trace: the program writes its pid to the file named
    by PID_FILE, which tells whether it ran in the process that was started (cold) or in a worker."""
    run_line = shell_runner(brood, f"echo $$ > started; exec {line}")

    def run(arguments, *, env=None, cwd=None, program=None, **more):
        done = run_line(arguments, env=env, cwd=cwd, program=program, **more)
        if program is None:
            started, own = (int((cwd / name).read_text()) for name in ("started", "own"))
            done.out += b"" if TRACE_LINE.search(done.err + done.out) else b"brood: %s\n" % (
                b"cold: no zygote has this environment yet" if started == own else b"warm"
            )
        return done

    return run


WRITE_PID = "import os\nwith open('own', 'w') as f: f.write(str(os.getpid()))\n"


class Terminal:
    """A program whose standard streams and controlling terminal are a pseudo-terminal."""

    def __init__(self, argv, env, cwd, stdin=None, stdout=None):
        self.master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, attributes)

        def adopt():
            os.setsid()
            ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [str(word) for word in argv],
            env=env,
            cwd=cwd,
            stdin=slave if stdin is None else stdin,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            preexec_fn=adopt,
            close_fds=True,
        )
        os.close(slave)
        self.seen = b""

    def _read(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.master], [], [], left)[0]:
            raise AssertionError(f"the terminal stays silent after {self.seen!r}")
        try:
            part = os.read(self.master, 65536)
        except OSError:  # EIO: the other side has been closed
            part = b""
        self.seen += part
        return part

    def expect(self, text, start=0):
        """Reads until `text` was seen after `start`; returns the position after it."""
        deadline = time.monotonic() + TIMEOUT
        while (at := self.seen.find(text, start)) < 0:
            assert self._read(deadline), f"ended without {text!r}: {self.seen!r}"
        return at + len(text)

    def send(self, data):
        os.write(self.master, data)

    def finish(self):
        """Reads to the end; returns the Outcome, everything in `out`."""
        deadline = time.monotonic() + TIMEOUT
        while self._read(deadline):
            pass
        status = self.process.wait(TIMEOUT)
        os.close(self.master)
        return Outcome(status, self.seen, b"")


def terminal_runner(brood, dialogue=(), stdout=None):
    """A runner on a pseudo-terminal. `dialogue`: (what to wait for, what to type then), ..."""

    def run(arguments, *, env=None, cwd=None, program=None):
        terminal = Terminal(
            [program or brood.drop_in, *arguments], {**brood.environment,
                                                     **(env or {})}, cwd or brood.work, stdout=stdout
        )
        at = 0
        for text, answer in dialogue:
            at = terminal.expect(text, at)
            terminal.send(answer)
        return terminal.finish()

    return run
