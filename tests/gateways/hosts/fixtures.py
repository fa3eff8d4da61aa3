"""The fixtures; `from hosts.fixtures import hosts, sshd` in a conftest.py gives them to its tests."""

import pytest

from .network import Hosts
from .sshd import Sshd


@pytest.fixture(scope="module")
def sshd():
    """An sshd for all tests of a file."""
    with Sshd() as server:
        yield server


@pytest.fixture
def hosts():
    """Makes other machines, and fails the test when it leaves processes there: `a, b = hosts.make("a", "b")`."""
    with Hosts() as made:
        yield made
