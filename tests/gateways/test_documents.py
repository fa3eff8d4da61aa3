"""The examples of docs/gateways.md do what they say."""

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
