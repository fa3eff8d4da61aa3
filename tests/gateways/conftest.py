import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from engine_fixture import contexts, engine_module  # noqa: E402, F401
