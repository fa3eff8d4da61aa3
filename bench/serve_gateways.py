#!/usr/bin/python3
"""From makegateway() to the first item: a server of warm interpreters, beside other ways to an interpreter with pandas.

usage: bench/serve_gateways.py [RUNS]        default: 40 of each, in turn; prints a table

Needs Debian's python3-execnet and python3-pandas.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))

import brood  # noqa: E402

PYTHON = "/usr/bin/python3"
TOKEN = "the-token-of-this-bench"
NOTHING, PANDAS = "channel.send(0)", "import pandas; channel.send(0)"
FREE_PORT = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"


@contextlib.contextmanager
def running(*command, **more):
    """A server that prints one line when it is ready; the words of that line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more) as server:
        try:
            yield server.stdout.readline().split()
        finally:
            server.terminate()


def of_brood(spec):
    def measure(source):
        group = brood.Group()
        begin = time.perf_counter()
        group.makegateway(spec).remote_exec(source).receive(60)
        taken = time.perf_counter() - begin
        group.terminate(5)
        return taken

    return measure


def of_execnet(address):
    def measure(source):
        group = execnet.Group()
        begin = time.perf_counter()
        group.makegateway(f"socket={address}").remote_exec(source).receive(60)
        taken = time.perf_counter() - begin
        group.terminate(timeout=5)
        return taken

    return measure


def serve(stack, base, kind, token):
    environment = {**os.environ, "XDG_RUNTIME_DIR": base, "HOME": base, "BROOD_PYTHON": PYTHON, "BROOD_TOKEN": token}
    command = [str(ROOT / "build/bin/brood"), "serve", "--listen", f"{kind}:127.0.0.1:0"]
    return stack.enter_context(running(*command, cwd=base, env=environment))[0].partition(":")[2]


def ways(stack, base):
    """(name, measurement)"""
    warm, locked, execnets = serve(stack, base, "gateway", ""), serve(stack, base, "gateway", TOKEN), serve(stack, base, "execnet", "")
    own = stack.enter_context(running(PYTHON, ROOT / "examples/gateways/socketserver.py", ":0"))[-1]
    port = subprocess.run([PYTHON, "-c", FREE_PORT], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    script = "/usr/lib/python3/dist-packages/execnet/script/socketserver.py"
    stack.enter_context(running(PYTHON, "-u", script, f"127.0.0.1:{port}"))
    return [
        ("brood serve, `gateway:`, preload pandas", of_brood(f"socket={warm}")),
        ("the same with a token", of_brood(f"socket={locked}//token={TOKEN}")),
        ("brood popen", of_brood("popen")),
        ("brood's socketserver.py", of_brood(f"socket={own}")),
        ("brood serve, `execnet:`, preload pandas, used by execnet", of_execnet(execnets)),
        ("execnet's socketserver, used by execnet (one process for all)", of_execnet(f"127.0.0.1:{port}")),
    ]


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory(prefix="brood-bench-") as base, contextlib.ExitStack() as stack:
        (Path(base) / "brood.toml").write_text('[env.analysis]\npreload = ["pandas"]\n')
        measured = ways(stack, base)
        taken = {(name, source): [] for name, _ in measured for source in (NOTHING, PANDAS)}
        for run in range(runs + 2):  # the first two are not counted
            for name, measure in measured:
                for source in NOTHING, PANDAS:
                    milliseconds = 1000 * measure(source)
                    if run > 1:
                        taken[name, source].append(milliseconds)
    print("| interpreter | first item, p50 / p90 | with pandas imported, p50 / p90, ms |\n|---|---|---|")
    for name, _ in measured:
        both = [taken[name, source] for source in (NOTHING, PANDAS)]
        print(f"| {name} | " + " | ".join(f"{statistics.median(one):.1f} / {sorted(one)[int(0.9 * len(one))]:.1f}" for one in both) + " |")


main()
