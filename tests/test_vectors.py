"""The golden frames are what docs/protocol.md says, as written by an independent reader of it."""

import runpy
from pathlib import Path

VECTORS = Path(__file__).parent / "vectors"


def test_the_checked_in_frames_are_what_the_script_makes(tmp_path):
    for script in ("make_vectors.py", "make_value_vectors.py"):
        runpy.run_path(str(VECTORS / script))["write"](tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in VECTORS.iterdir() if path.suffix in (".frame", ".json")}
    assert len(made) > 10
    assert made == kept
