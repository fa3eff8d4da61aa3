"""`brood slap session`: load on a real server; that it counts right and leaves nothing behind."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import xml.etree.ElementTree as tree

import pytest
from brood_fixture import PYTHON, TIMEOUT
from session_server import SessionServer
from waiting import DEADLINE, wait_until


@pytest.fixture(scope="module")
def server(shared_brood):
    made = SessionServer(shared_brood)
    yield made
    made.close()


def slap(server, *words, **more):
    return server.brood.tool("slap", "session", *words, env={"BROOD_SERVER": server.address}, **more)


def sessions(server):
    done = server.tool("list", "--json")
    assert done.status == 0, done
    return json.loads(done.out)


def rows(done):
    return {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for line in done.out.decode().splitlines() if len(cells := line.split("|")) > 3}


def test_what_it_counts(server):
    folder = server.brood.work
    done = slap(server, "--threads", 2, "--connections", 3, "--executions", 4, "--json", "slap.json", "--plot", "slap.svg", "--python", PYTHON)
    assert (done.status, done.err) == (0, b""), done
    table = rows(done)
    assert [table[name][0] for name in ("session created", "and its first result", "cell")] == ["6", "6", "24"]
    assert all(re.fullmatch(r"[\d.e+]+ (us|ms|s)", cell) for cell in table["cell"][2:]), table
    report = json.loads((folder / "slap.json").read_text())
    assert (report["sessions"], report["cells"], report["errors"], report["interrupted"]) == (6, 24, {}, False)
    latency = report["latency"]
    assert 0 < latency["create"]["p50_us"] < latency["first"]["p50_us"] <= latency["first"]["max_us"]
    assert latency["cell"]["p50_us"] <= latency["cell"]["p99_us"] <= latency["cell"]["max_us"] == latency["cell"]["curve"][-1][1]
    assert tree.parse(folder / "slap.svg").getroot().tag.endswith("svg")
    assert sessions(server) == []


@pytest.mark.parametrize(
    "words, says",
    [
        (["--code", "1 / 0"], "error: cell error: 4 times; the first: ZeroDivisionError: division by zero"),
        (["--env", "no-such"], "error: not_found: 2 times; the first: there is no environment no-such"),
        (["--code", "raise SystemExit(3)"], "error: ended: 2 times"),
        (["--server", "unix:/no/such/socket"], "error: connection: 2 times"),
    ],
    ids=["exception", "environment", "exit", "server"],
)
def test_errors_by_kind(server, words, says):
    done = slap(server, "--threads", 1, "--connections", 2, "--executions", 2, *words)
    assert done.status == 1 and says in done.out.decode(), done
    wait_until(lambda: sessions(server) == [] or all(one["state"] == "ended" for one in sessions(server)), "the end of the sessions")


def test_a_cell_that_asks_for_input_gets_its_end(server):
    done = slap(server, "--threads", 1, "--connections", 1, "--executions", 1, "--code", "input()")
    assert done.status == 1 and b"EOFError" in done.out, done


def test_interrupted(server):
    process = subprocess.Popen(
        [server.brood.brood, "slap", "session", "--threads", "2", "--connections", "1", "--executions", "9", "--code", "import time\ntime.sleep(600)"],
        env=server.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    try:
        wait_until(lambda: len([one for one in sessions(server) if one["state"] == "busy"]) == 2, "two cells that run")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (130, b"") and b"| session created      |        2 |" in out
    assert sessions(server) == []


def test_progress_is_for_terminals(server):
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [server.brood.brood, "slap", "session", "--threads", "1", "--connections", "1", "--executions", "2", "--code", "import time\ntime.sleep(0.3)"],
            env=server.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs,
        )
        assert process.wait(TIMEOUT) == 0
        shown = b""
        while select.select([ours], [], [], 0)[0]:
            shown += os.read(ours, 4096)
    finally:
        os.close(theirs)
        os.close(ours)
    assert b"running cells: 1 sessions" in shown and shown.endswith(b"\r\x1b[K")


def test_usage(server):
    assert slap(server, "--threads", 0).status == 2
    assert server.brood.tool("slap").status == 2
