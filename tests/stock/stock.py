"""What the tests of stock clients share: the caller's environment, and whose child a remote interpreter is."""

import os
import subprocess
from pathlib import Path

import pytest
from brood_fixture import PYTHON, clean_environment
from waiting import parent_of, zygotes

ATTEMPTS = 10
ROOT = Path(__file__).resolve().parents[2]


def be_called_as(monkeypatch, brood):
    """This process' variables and folder become those of who uses this brood."""
    for name in set(os.environ) - set(brood.environment):
        if not name.startswith("PYTEST"):
            monkeypatch.delenv(name)
    for name, value in brood.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(brood.work)


def has(*modules):
    code = ";".join(f"import {module}" for module in modules)
    return subprocess.run([PYTHON, "-c", code], env=clean_environment(), capture_output=True).returncode == 0


needs_pandas = pytest.mark.skipif(not has("pandas"), reason="needs pandas")


def is_worker(brood, pid):
    """Whether it was forked by a zygote of this brood."""
    return parent_of(pid) in zygotes(brood)


def warmly(brood, start):
    """Calls `start`, which returns (anything, pid of an interpreter), until that is a worker; returns all that was started.

    A machine with much to do answers too late now and then, and then the plain interpreter runs."""
    started = []
    for _ in range(ATTEMPTS):
        started.append(start())
        if is_worker(brood, started[-1][1]):
            return started
    raise AssertionError(f"never warm: {started}")
