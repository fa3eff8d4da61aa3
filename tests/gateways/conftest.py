import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from group_fixture import engine, gateway, group  # noqa: E402, F401
from remote_fixture import remotes  # noqa: E402, F401
from hosts.fixtures import sshd  # noqa: E402, F401
