"""Groups for tests, with either engine; nothing is left of them afterwards."""

import os
import threading
import time

import pytest

from brood.gateways import channel
from brood.gateways import group as group_module


def wait_until(condition, seconds=10.0):
    """The first true value of condition()."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.005)
    return value


def is_gone(pid):
    """Whether there is no such process, or only what its parent has not been told yet."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children():
    """Pids of this process's children."""
    found = set()
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                found.update(map(int, file.read().split()))
        except FileNotFoundError:
            pass
    return found


def descriptors():
    return {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


@pytest.fixture(params=["python", "native"])
def engine(request, monkeypatch):
    """The name of the engine that groups have in this test, here and on what they start."""
    try:
        classes = channel.classes(request.param)
    except ImportError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(group_module, "Engine", classes[0])
    monkeypatch.setattr(group_module, "Channel", classes[1])
    monkeypatch.setattr(group_module.Group, "defaultspec", "popen//engine=python" if request.param == "python" else "popen")
    return request.param


@pytest.fixture
def group(engine):
    """An empty Group. Its gateways, their processes, threads and descriptors must be gone when it was terminated."""
    before = children(), len(descriptors())
    made = group_module.Group()
    yield made
    made.terminate(5)
    assert not made and made.engine is None
    wait_until(lambda: children() <= before[0])
    wait_until(lambda: not any(thread.name == "brood-engine" for thread in threading.enumerate()))
    try:
        wait_until(lambda: len(descriptors()) <= before[1])
    except AssertionError:
        raise AssertionError(f"more descriptors than before: {descriptors()}") from None


@pytest.fixture
def gateway(group):
    return group.makegateway()
