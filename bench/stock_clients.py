#!/usr/bin/python3
"""What execnet, mitogen and pytest-xdist wait for, with python3 and with brood-python in turn.

usage: bench/stock_clients.py [RUNS]        default: 20 of each; prints the table of docs/stock.md

Needs Debian's python3-execnet, python3-mitogen, python3-pytest-xdist and python3-pandas. The daemon is one of its own.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import execnet
import mitogen.master

PYTHON = "/usr/bin/python3"
BIN = Path(__file__).resolve().parents[1] / "build/bin"
DROP_IN = str(BIN / "brood-python")

# Where each way stands: the folder's environment.
ENVIRONMENTS = {
    "bare": "",
    "pandas": '[env.pandas]\npreload = ["pandas"]\n',
    "tests": '[env.tests]\npreload = ["pandas", "pytest"]\n',
    "through": '[env.through]\npreload = ["pandas", "pytest"]\ninit = "init.py"\n',
}

SUITE = """
import pandas
import pytest

@pytest.mark.parametrize("n", range(10))
def test_sum(n):
    assert pandas.Series(range(n), dtype=int).sum() == n * (n - 1) // 2
"""


def make_folders(base):
    for name, text in ENVIRONMENTS.items():
        folder = base / name
        folder.mkdir()
        (folder / "init.py").write_text(f"__import__('sys').executable = {DROP_IN!r}\n")
        if text:
            (folder / "brood.toml").write_text(text)
        for number in range(4):
            (folder / f"test_{number}.py").write_text(SUITE)
        subprocess.run([BIN / "brood", "run", "--wait", "-c", "pass"], cwd=folder, check=True)


def gateway(python):
    group = execnet.Group()
    begin = time.perf_counter()
    group.makegateway(f"popen//python={python}").remote_exec("import pandas; channel.send(0)").receive()
    taken = time.perf_counter() - begin
    group.terminate(timeout=5)
    return taken


def socket_gateway(address):
    group = execnet.Group()
    begin = time.perf_counter()
    group.makegateway(f"socket={address}").remote_exec("import pandas; channel.send(0)").receive()
    taken = time.perf_counter() - begin
    group.terminate(timeout=5)
    return taken


@contextlib.contextmanager
def listener(folder):
    """A server with the environment of this folder; yields HOST:PORT."""
    command = [BIN / "brood", "serve", "--listen", "execnet:127.0.0.1:0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip().removeprefix("execnet:")
        server.terminate()


def context(python):
    broker = mitogen.master.Broker()
    router = mitogen.master.Router(broker)
    begin = time.perf_counter()
    router.local(python_path=python).call(exec, "import pandas")
    taken = time.perf_counter() - begin
    broker.shutdown()
    broker.join()
    return taken


def suite(*command):
    begin = time.perf_counter()
    subprocess.run([*command, "-q", "-p", "no:cacheprovider"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


PYTEST = [PYTHON, "-m", "pytest"]
TX = ["-d", "--tx", f"4*popen//python={DROP_IN}"]

# What is measured, the way, the folder, the measurement in seconds, given brood serve's HOST:PORT.
WAYS = [
    ("execnet: a gateway that imports pandas", "python3", "bare", lambda _: gateway(PYTHON)),
    ("execnet: a gateway that imports pandas", "brood-python", "bare", lambda _: gateway(DROP_IN)),
    ("execnet: a gateway that imports pandas", "brood-python, preload pandas", "pandas", lambda _: gateway(DROP_IN)),
    ("execnet: a gateway that imports pandas", "`brood serve`, preload pandas", "pandas", socket_gateway),
    ("mitogen: a context that imports pandas", "python3", "bare", lambda _: context(PYTHON)),
    ("mitogen: a context that imports pandas", "brood-python, preload pandas", "pandas", lambda _: context(DROP_IN)),
    ("mitogen: a context that imports pandas", "the same, and sys.executable", "through", lambda _: context(DROP_IN)),
    ("pytest-xdist: 40 tests in 4 files", "`-n 4`", "bare", lambda _: suite(*PYTEST, "-n", "4")),
    ("pytest-xdist: 40 tests in 4 files", "`--tx 4*popen//python=brood-python`", "bare", lambda _: suite(*PYTEST, *TX)),
    ("pytest-xdist: 40 tests in 4 files", "the same, preload pandas", "pandas", lambda _: suite(*PYTEST, *TX)),
    ("pytest-xdist: 40 tests in 4 files", "the same, preload pandas, pytest", "tests", lambda _: suite(*PYTEST, *TX)),
    ("pytest-xdist: 40 tests in 4 files", "`brood-python -m pytest -n 4`, and sys.executable", "through",
     lambda _: suite(DROP_IN, "-m", "pytest", "-n", "4")),
]


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory(prefix="brood-bench-") as base, contextlib.ExitStack() as stack:
        os.environ.update(XDG_RUNTIME_DIR=base, BROOD_PYTHON=PYTHON)
        stack.callback(subprocess.run, [BIN / "brood", "stop"], stdout=subprocess.DEVNULL)
        make_folders(Path(base))
        address = stack.enter_context(listener(Path(base) / "pandas"))
        stack.callback(os.chdir, "/")
        taken = [[] for _ in WAYS]
        for run in range(runs + 1):  # the first is not counted
            for way, (_, _, folder, measure) in enumerate(WAYS):
                os.chdir(Path(base) / folder)
                milliseconds = 1000 * measure(address)
                if run > 0:
                    taken[way].append(milliseconds)
    print("| what | with | p50, ms | p90, ms |\n|---|---|---|---|")
    for (what, name, _, _), times in zip(WAYS, taken):
        print(f"| {what} | {name} | {statistics.median(times):.0f} | {sorted(times)[int(0.9 * len(times))]:.0f} |")


main()
