import os
import signal
from pathlib import Path

import pytest
from brood_fixture import Brood
from launcher import Launcher


def pytest_configure(config):
    config.addinivalue_line("markers", "core: also run with sanitizers")
    # Under nohup, or in the background of a script, they are ignored, and no shell can trap them again.
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def open_descriptors():
    return {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if Path(f"/proc/self/fd/{fd}").exists()}


@pytest.fixture
def brood():
    """A brood of this test's own. Fails the test when it leaves a process behind."""
    private = Brood()
    yield private
    private.close()


@pytest.fixture(scope="module")
def shared_brood():
    """One for all tests of a file that change nothing about it."""
    private = Brood()
    yield private
    private.close()


@pytest.fixture(scope="module")
def warm_brood():
    """A brood that is warm, for all tests of a file that use `launcher`."""
    brood = Brood()
    brood.warm_drop_in(["-c", "pass"])
    yield brood
    brood.close()


@pytest.fixture(params=["brood", "python3"])
def launcher(request, warm_brood):
    """Starts programs under the one and the other."""
    made = Launcher(warm_brood, request.param == "brood")
    yield made
    made.close()


@pytest.fixture
def warm(warm_brood):
    """Only under brood."""
    made = Launcher(warm_brood, True)
    yield made
    made.close()
