"""`brood bench run` on a small scale: that it measures, not what."""

import json
import subprocess
import xml.etree.ElementTree as tree

import pytest
from brood_fixture import PYTHON

SMALL = ["--runs", "10", "--heap-mib", "1", "--spares", "2", "--preload", "json"]
PATIENCE = 300  # seconds: a hang, not a measure of speed


def bench(brood, *options):
    return subprocess.run([brood.brood, "bench", "run", "--python", PYTHON, *options], env=brood.environment, cwd=brood.work,
                          capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.long
def test_a_small_run(brood):
    done = bench(brood, *SMALL, "--output", "small")
    assert done.returncode == 0, done
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) > 15 and len({len(row) for row in rows}) == 1, done.stdout
    verdicts = {row[3].strip() for row in rows[2:] if row[2].strip()}
    assert verdicts and verdicts <= {"met", "MISSED"}, done.stdout
    written = json.loads((brood.work / "small.json").read_text())
    assert len(written["series"]["warm_us"]) == 10 and min(written["series"]["warm_us"]) > 0
    assert tree.parse(brood.work / "small.svg").getroot().tag.endswith("svg")
    assert not brood.folder.exists(), "it has a daemon of its own and leaves that of the user alone"


def test_modules_that_are_not_there(brood):
    done = bench(brood, "--preload", "no_such_module")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot import no_such_module; --python names another interpreter" in done.stderr
