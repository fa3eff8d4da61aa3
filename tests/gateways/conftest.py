import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from engine_fixture import contexts, engine_module  # noqa: E402, F401
from group_fixture import engine, gateway, group  # noqa: E402, F401
from hosts.fixtures import hosts, sshd  # noqa: E402, F401
from remote_fixture import remotes  # noqa: E402, F401
from rsync_fixture import dest, meddle, source, sync  # noqa: E402, F401
from serve_gateways_fixture import own_brood, serve  # noqa: E402, F401


@pytest.fixture
def gateways(group):  # noqa: F811
    """A function that starts one more gateway to a process of this machine; all are ended after the test."""
    return lambda spec="popen": group.makegateway(spec)
