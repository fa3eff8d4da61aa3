import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from fake_server import FakeServer  # noqa: E402


@pytest.fixture(autouse=True)
def nothing_of_the_callers(monkeypatch):
    for name in ("BROOD_SERVER", "BROOD_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(tmp_path):
    made = FakeServer(f"unix:{tmp_path}/sessions.sock")
    yield made
    made.close()
