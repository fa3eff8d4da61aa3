"""The examples of docs/gateways.md do what they say, and the tests that docs/coverage.md names are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/gateways.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs(number, tmp_path):
    program = tmp_path / "example.py"
    program.write_text(BLOCKS[number], encoding="utf-8")
    done = subprocess.run([sys.executable, program], env={**os.environ, "PYTHONPATH": str(ROOT / "python")}, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout == ""


def test_there_are_examples():
    assert len(BLOCKS) >= 5


def test_tests_that_are_named_are_there():
    rows = (ROOT / "docs/coverage.md").read_text(encoding="utf-8").split("\n|---|---|---|\n")[1].splitlines()
    assert [row.split(" | ")[0] for row in rows] == [f"| C{number}" for number in range(1, 11)] + [f"| D{number}" for number in range(1, 6)] + ["| X4"]
    for row in rows:
        names = re.findall(r"`([^`]+)`", row.rpartition(" | ")[2])
        assert len(names) >= 2, row
        for name in names:
            file, _, test = name.partition("::")
            path = ROOT / (file if "/" in file else f"tests/gateways/{file}")
            assert re.search(rf"^def {test}\(" if test else "", path.read_text(encoding="utf-8"), re.MULTILINE), name
