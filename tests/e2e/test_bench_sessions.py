"""`brood bench sessions` on a small scale: that it measures, not what."""

import importlib.util
import json
import os
import signal
import subprocess
import xml.etree.ElementTree as tree

import pytest
from brood_fixture import PYTHON
from waiting import DEADLINE, ended, wait_until

PATIENCE = 300  # seconds: a hang, not a measure of speed
KERNELS = "1" if all(importlib.util.find_spec(name) for name in ("jupyter_client", "ipykernel")) else "0"
SMALL = ["--preload", "json", "--runs", "5", "--pause", "0", "--kernels", KERNELS, "--cells", "10", "--heap-mib", "1", "--sessions", "3",
         "--output-mb", "2", "--slow-seconds", "1"]


@pytest.fixture
def start(brood):
    """Starts it with a folder of the test's own for temporary files, where nothing may be left."""
    scratch = brood.base / "t"
    scratch.mkdir()

    def run(*options, **more):
        return subprocess.Popen(
            [brood.brood, "bench", "sessions", "--python", PYTHON, *options], env={**brood.environment, "TMPDIR": str(scratch)}, cwd=brood.work,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
        )

    yield run
    assert os.listdir(scratch) == []


def finish(process):
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err


def test_a_small_run(brood, start):
    status, out, err = finish(start(*SMALL, "--output", "small"))
    assert status == 0, (out, err)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows} == {4}, out
    barred = [row for row in rows[2:] if row[2]]
    assert len(barred) >= (12 if KERNELS == "1" else 11) and {row[3] for row in barred} <= {"met", "MISSED"}, out
    assert next(row for row in barred if row[0].endswith("values lost"))[1:] == ["0", "at most 0", "met"]
    written = json.loads((brood.work / "small.json").read_text())
    series = written["series"]
    assert (len(series["first_result_s"]), len(series["kernel_s"]), len(series["random_order_s"])) == (5, int(KERNELS), 6)
    assert all(len(series[f"cell_{way}_{kind}_s"]) == 10 for way in ("native", "websocket") for kind in ("off", "with"))
    assert [row["figure"] for row in written["table"]] == [row[0] for row in rows[2:]]
    assert tree.parse(brood.work / "small.svg").getroot().tag.endswith("svg")


def test_terminated(start):
    process = start(*SMALL, "--slow-seconds", "600")
    begun = process.stderr.readline()
    while begun and "reading output" not in begun:
        begun = process.stderr.readline()
    server = [int(name) for name in os.listdir("/proc") if name.isdigit() and parent(name) == process.pid]
    assert server, "a server runs"
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    wait_until(lambda: ended(*server), "the end of its server", DEADLINE)


def parent(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def test_usage(start):
    status, out, err = finish(start("--sessions", "0"))
    assert (status, out) == (2, "") and "--sessions is a number from 1 on" in err
    status, out, err = finish(start("--nonsense"))
    assert (status, out) == (2, "") and "--nonsense" in err
    status, out, err = finish(start("--preload", "no_such_module", "--runs", "1"))
    assert (status, out) == (1, "") and "no_such_module" in err
