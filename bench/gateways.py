#!/usr/bin/python3
"""Gateways beside Debian's execnet and mitogen: the table of docs/gateways.md.

usage: bench/gateways.py [ROUNDS]       default: 7

Needs Debian's python3-execnet and python3-mitogen, and a built tree. In each round every library runs in a process of its own, one
after the other; a ratio is the median of the rounds' ratios, so that what slows the machine down for seconds slows down both.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"
ITEMS, CALLS, BLOCKS, STARTS = 5000, 3000, 100, 8  # of one measurement
BLOCK = bytes(1 << 20)

ECHO = """
while True:
    item = channel.receive()
    if item is None:
        break
    channel.send(item)
"""


def nothing():
    """What is called. It is imported by name on the other side."""


def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def median_seconds(function, times=STARTS):
    return statistics.median(seconds(function) for _ in range(times))


# --- one library, one process: figure -> value ----------------------------------------------------------------------


def channels(gateway):
    """What brood and execnet both have."""
    channel = gateway.remote_exec(ECHO)

    def one_by_one(item, count):
        for _ in range(count):
            channel.send(item)
            channel.receive()

    def pipelined():
        for number in range(ITEMS):
            channel.send(number)
        for _ in range(ITEMS):
            channel.receive()

    one_by_one(0, 100)
    figures = {
        "item echo, us": seconds(lambda: one_by_one(0, ITEMS)) / ITEMS * 1e6,
        "items pipelined, 1/s": ITEMS / min(seconds(pipelined) for _ in range(3)),
        "1 MiB echo, MiB/s": BLOCKS / seconds(lambda: one_by_one(BLOCK, BLOCKS)),
    }
    channel.send(None)
    channel.waitclose(10)
    return figures


def first_item(make, spec):
    gateway = make(spec)
    channel = gateway.remote_exec("channel.send(1)")
    channel.receive()
    return gateway


def starts(make, spec):
    """Median seconds from the spec to the first item."""
    taken = []
    for _ in range(STARTS):
        begin = time.perf_counter()
        gateway = first_item(make, spec)
        taken.append(time.perf_counter() - begin)
        gateway.exit()
    return statistics.median(taken)


def run_execnet():
    import execnet

    figures = {"popen to first item, ms": starts(execnet.makegateway, f"popen//python={PYTHON}") * 1e3}
    figures.update(channels(execnet.makegateway(f"popen//python={PYTHON}")))
    return figures


def run_brood():
    sys.path.insert(0, str(ROOT / "build/python"))
    import brood

    with brood.Group() as group:
        figures = {
            "popen to first item, ms": starts(group.makegateway, f"popen//python={PYTHON}") * 1e3,
            "warm to first item, ms": starts(group.makegateway, "warm") * 1e3,
        }
        for spec in "warm", f"popen//python={PYTHON}":
            there = group.makegateway(spec)
            for name, value in channels(there).items():
                figures[name if spec == "warm" else f"{name} (popen)"] = value
            figures.update(calls(there.call, lambda: there.call_async(nothing), lambda future: future.result()))
    return figures


def run_mitogen():
    import mitogen.master

    broker = mitogen.master.Broker()
    router = mitogen.master.Router(broker)
    try:
        figures = {"popen to first call, ms": median_seconds(lambda: router.local(python_path=PYTHON).call(os.getpid), 3) * 1e3}
        there = router.local(python_path=PYTHON)
        figures.update(calls(there.call, lambda: there.call_async(nothing), lambda reply: reply.get().unpickle()))
    finally:
        broker.shutdown()
    return figures


def calls(call, begin, result):
    call(nothing)

    def pipelined():
        for reply in [begin() for _ in range(CALLS)]:
            result(reply)

    return {
        "call, us": seconds(lambda: [call(nothing) for _ in range(CALLS)]) / CALLS * 1e6,
        "calls pipelined, 1/s": CALLS / min(seconds(pipelined) for _ in range(3)),
    }


SIDES = {"brood": run_brood, "execnet": run_execnet, "mitogen": run_mitogen}

# --- the table ------------------------------------------------------------------------------------------------------

# figure of brood, library and figure beside it, the ratio that is wanted (None: the figure itself)
ROWS = [
    ("item echo, us", "execnet", "item echo, us", "at most 0.333"),
    ("items pipelined, 1/s", "execnet", "items pipelined, 1/s", "at least 8"),
    ("1 MiB echo, MiB/s", "execnet", "1 MiB echo, MiB/s", "at least 6"),
    ("call, us", "mitogen", "call, us", "at most 0.25"),
    ("calls pipelined, 1/s", "mitogen", "calls pipelined, 1/s", "at least 8"),
    ("popen to first item, ms", "execnet", "popen to first item, ms", "at most 0.6"),
    ("warm to first item, ms", "mitogen", "popen to first call, ms", "brood's at most 4 ms"),
    ("item echo, us (popen)", "execnet", "item echo, us", ""),
    ("items pipelined, 1/s (popen)", "execnet", "items pipelined, 1/s", ""),
    ("1 MiB echo, MiB/s (popen)", "execnet", "1 MiB echo, MiB/s", ""),
]


def round_of(environment):
    figures = {}
    for side in SIDES:
        output = subprocess.run([PYTHON, __file__, "--side", side], env=environment, check=True, capture_output=True, text=True).stdout
        figures[side] = json.loads(output.splitlines()[-1])
    return figures


def main(rounds):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with tempfile.TemporaryDirectory() as runtime:
        environment.update(XDG_RUNTIME_DIR=runtime, XDG_CACHE_HOME=runtime)
        brood = str(ROOT / "build/bin/brood")
        try:
            subprocess.run([brood, "run", "--wait", "-c", "pass"], env=environment, check=True)
            found = [round_of(environment) for _ in range(rounds)]
        finally:
            subprocess.run([brood, "stop"], env=environment, stdout=subprocess.DEVNULL)
    print("| figure | brood | beside it | ratio (each round's) | bar |\n|---|---|---|---|---|")
    for name, side, other, bar in ROWS:
        own, theirs = [one["brood"][name] for one in found], [one[side][other] for one in found]
        ratios = sorted(mine / their for mine, their in zip(own, theirs, strict=True))
        print(f"| {name} | {statistics.median(own):,.4g} | {side} {statistics.median(theirs):,.4g} "
              f"| {statistics.median(ratios):.3g} ({ratios[0]:.3g} to {ratios[-1]:.3g}) | {bar} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        print(json.dumps(SIDES[sys.argv[2]]()))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 7)
