"""Which processes there are, whose they are, and that none is left. Linux; all of it is read from /proc."""

import contextlib
import os
import signal
import time
import uuid
from pathlib import Path

DEADLINE = float(os.environ.get("BROOD_TEST_DEADLINE", "20"))  # seconds: a hang, not a measure of speed
MARK = "BROOD_TEST_MARK"


def wait_until(condition, what="the condition", deadline=DEADLINE):
    """Polls until `condition()` is true and returns its value; fails after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline} s in vain for {what}"
        time.sleep(0.005)
    return value


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def state_and_parent(pid):
    """The letter of proc(5) and the parent's pid; ("", 0) when there is no such process."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return "", 0
    return state, int(parent)


def ended(*pids):
    """Whether none of them runs any more; a zombie has ended."""
    return all(state_and_parent(pid)[0] in ("", "Z") for pid in pids)


def descendants(pid):
    """Children, their children and so on, zombies included; not those that have become children of process 1."""
    children = {}
    for each in all_pids():
        children.setdefault(state_and_parent(each)[1], set()).add(each)
    found, look_at = set(), [pid]
    while look_at:
        new = children.get(look_at.pop(), set()) - found
        found |= new
        look_at.extend(new)
    return found


def carrying(name, value):
    """The processes that were started with the variable `name` set to `value`."""
    entry = f"{name}={value}".encode()
    found = set()
    for pid in all_pids():
        with contextlib.suppress(OSError):
            if entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found


def describe(pids):
    """`pid (state): command line` of each, for messages."""
    return "; ".join(f"{pid} ({state_and_parent(pid)[0] or 'gone'}): {command_line(pid)}" for pid in sorted(pids))


def command_name(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def command_line(pid):
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        words = []
    return " ".join(words).strip() or command_name(pid)


def kill(pids, number=signal.SIGKILL):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def still_there(find, deadline):
    """What `find()` still finds after up to `deadline` seconds; empty as soon as it finds nothing twice in a row.

    One look misses a process that executes another program just then."""
    end = time.monotonic() + deadline
    while (left := find() or (time.sleep(0.01), find())[1]) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def end_all(find, deadline):
    """Waits for what `find()` finds to end by itself; then kills the rest. Returns a description of that rest, or ""."""
    left = still_there(find, deadline)
    text = describe(left)
    while left:
        kill(left)
        time.sleep(0.01)
        left = {pid for pid in find() if not ended(pid)}
    return text


@contextlib.contextmanager
def orphans(deadline=10.0):
    """Whatever the block starts, here or behind an ssh, must be gone `deadline` seconds after it. The rest is killed and named.

    Counted are the descendants of this process that it did not have before, zombies included, and every process that has
    inherited MARK from the block's os.environ (an sshd of these fixtures takes it over). So start an sshd before the block.
    Yields a function that returns the pids at that moment. Main thread: it changes os.environ."""
    me, mark, previous = os.getpid(), uuid.uuid4().hex, os.environ.get(MARK)
    before = descendants(me) | {me}

    def now():
        return (descendants(me) | carrying(MARK, mark)) - before

    os.environ[MARK] = mark
    try:
        yield now
    except BaseException:
        end_all(now, 0)
        raise
    finally:
        os.environ.pop(MARK)
        if previous is not None:
            os.environ[MARK] = previous
    left = end_all(now, deadline)
    assert not left, f"left behind: {left}"
