"""Waiting for a condition with a deadline, and looking at processes from outside."""

import os
import select
import time
from pathlib import Path

from brood_fixture import TIMEOUT

DEADLINE = float(os.environ.get("BROOD_TEST_DEADLINE", "20"))  # seconds: a hang, not a measure of speed


def wait_until(condition, what="the condition", deadline=DEADLINE):
    """Polls until `condition()` is true and returns its value; fails after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline} s in vain for {what}"
        time.sleep(0.002)
    return value


def process_state(pid):
    """The letter of proc(5): R, S, T (stopped), Z, ...; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def ended(*pids):
    """Whether none of them runs any more; a zombie has ended."""
    return all(process_state(pid) in ("", "Z") for pid in pids)


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Watched:
    """A process seen through a pidfd, so that its end is noticed even when its number is used again."""

    def __init__(self, pid):
        self.pid = pid
        self.fd = os.pidfd_open(pid)

    def ended(self, deadline=DEADLINE):
        """Waits until it has ended; false when it has not."""
        return bool(select.select([self.fd], [], [], deadline)[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


def zygotes(brood):
    """The zygotes of this brood's daemon: its children."""
    daemon = brood.daemon_pid()
    return children(daemon) if daemon else []


def the_zygote(brood):
    return wait_until(lambda: zygotes(brood), "a zygote")[0]


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def finish(program):
    """Waits until a Popen has ended; returns its status, output and errors."""
    out, err = program.communicate(timeout=TIMEOUT)
    return program.returncode, out, err
