"""The fixtures; `from hosts.fixtures import ...` in a conftest.py gives them to its tests."""

import pytest

from .sshd import Sshd


@pytest.fixture(scope="module")
def sshd():
    """An sshd for all tests of a file that do not change it."""
    with Sshd() as server:
        yield server
