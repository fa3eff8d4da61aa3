"""What `orphans` promises: nothing that a test starts, here or on another machine, stays unnoticed."""

import os
import signal
import subprocess
import sys

import pytest

from .processes import MARK, carrying, descendants, ended, orphans, state_and_parent, wait_until

IN_BACKGROUND = ["sh", "-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!"]


def test_what_ends_in_time_is_no_orphan():
    with orphans() as now:
        subprocess.Popen(["sh", "-c", "sleep 0.1 & exec sleep 0.2"]).wait()
    assert not now()


def test_a_child_is_named_and_killed():
    child = None
    with pytest.raises(AssertionError, match="left behind: [0-9]+ .S.: sleep 1000"):
        with orphans(0.1):
            child = subprocess.Popen(["sleep", "1000"], env={})
            wait_until(lambda: child.pid in descendants(os.getpid()))
    assert child.wait() == -signal.SIGKILL


def test_a_process_that_has_left_its_parents_is_named_and_killed():
    with pytest.raises(AssertionError, match="left behind: [0-9]+ .S.: sleep 1000$"):
        with orphans(0.1) as now:
            pid = int(subprocess.run(IN_BACKGROUND, capture_output=True).stdout)
            assert now() == {pid} and pid not in descendants(os.getpid())
    assert ended(pid)


def test_a_process_on_the_other_side_is_named_and_killed(sshd):
    with pytest.raises(AssertionError, match="left behind: [0-9]+ .S.: sleep 1000$"):
        with orphans(1):
            pid = int(sshd.run(*IN_BACKGROUND).stdout)
            assert pid in carrying(MARK, os.environ[MARK])
    assert ended(pid)


def test_a_child_that_nobody_waits_for_is_named():
    with pytest.raises(AssertionError, match="left behind: [0-9]+ .Z.: true"):
        with orphans(0.1):
            child = subprocess.Popen(["true"])
    assert child.wait() == 0


def test_the_failure_of_the_block_is_what_is_seen():
    with pytest.raises(ZeroDivisionError):
        with orphans():
            child = subprocess.Popen(["sleep", "1000"])
            1 / 0
    assert child.wait() == -signal.SIGKILL
    assert MARK not in os.environ


def test_blocks_nest():
    with orphans() as outer:
        mark = os.environ[MARK]
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as of_outer:
            with orphans() as inner:
                assert os.environ[MARK] != mark and not inner()
                with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as of_inner:
                    assert inner() == {of_inner.pid} and outer() == {of_outer.pid, of_inner.pid}
                    of_inner.communicate(b"\n")
            assert os.environ[MARK] == mark and state_and_parent(of_outer.pid)[1] == os.getpid()
