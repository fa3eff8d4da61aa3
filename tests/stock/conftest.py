import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from brood_fixture import Brood  # noqa: E402


@pytest.fixture
def brood():
    """A brood of this test's own. Fails the test when it leaves a process behind."""
    private = Brood()
    yield private
    private.close()


@pytest.fixture(scope="module")
def warm_brood():
    """A brood whose plain environment is warm, for all tests of a file."""
    private = Brood()
    private.warm_drop_in(["-c", "pass"])
    yield private
    private.close()


@pytest.fixture
def programs():
    """A list for the processes that a test starts: those that still run in the end are killed."""
    started = []
    yield started
    for program in started:
        if program.poll() is None:
            program.kill()
        program.wait()
        for stream in (program.stdin, program.stdout, program.stderr):
            if stream:
                stream.close()
