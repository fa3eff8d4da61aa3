"""`brood bench sessions`: what sessions of `brood serve` cost, in one paired run beside a Jupyter kernel.

Takes a few minutes and some 4 GiB of memory; everything runs in a server of its own. bench_sessions.py --help
"""
import argparse
import contextlib
import importlib.util
import json
import math
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # of the package, not of its modules

import brood
from brood import bench_jupyter
from brood.bench_sessions_server import BenchError, Server, Web, WebSocket, kib, most_sessions

MIB = 1 << 20
BLOCK = 65536  # bytes of one write of the cell that prints
OBJECTS_PER_MIB = 3600  # of {"k": str(i)}
TRAVELS = 10  # undos and branches


def percentile(values, share):
    """The smallest value that at least that share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


def median(values):
    return percentile(values, 0.5)


def show(seconds):
    for unit, factor in ((" us", 1e6), (" ms", 1e3)):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g}{unit}"
    return f"{seconds:.3g} s"


def pair(values):
    return " / ".join(show(value) for value in values)


def three_digits(value):
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"


class Table:
    """Figures, and figures with a bar."""

    def __init__(self):
        self.rows = []

    def note(self, what, value):
        self.rows.append((what, value, "", ""))

    def add(self, what, value, bar, met):
        self.rows.append((what, value, bar, "met" if met else "MISSED"))

    def at_most(self, what, value, bar, unit):
        self.add(what, f"{three_digits(value)}{unit}", f"at most {bar:g}{unit}", value <= bar)

    def at_least(self, what, value, bar, unit):
        self.add(what, f"{three_digits(value)}{unit}", f"at least {bar:g}{unit}", value >= bar)

    def text(self):
        head = ("figure", "measured", "bar", "")
        widths = [max(len(row[i]) for row in [head, *self.rows]) for i in range(4)]
        lines = [head, tuple("-" * width for width in widths), *self.rows]
        return "".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |\n" for row in lines)

    def report(self):
        return [dict(zip(("figure", "measured", "bar", "verdict"), row)) for row in self.rows]


def progress(text):
    terminal = sys.stderr.isatty()
    print(("\r\x1b[K" if terminal else "") + text, end="" if terminal else "\n", file=sys.stderr, flush=True)


def value_of(result, expected):
    """Seconds are worth nothing when the cell did something else."""
    if not result.ok or result.value != expected:
        raise BenchError(f"a cell ended with {result.status} and {result.value!r} instead of {expected!r}: {result.error or result.why}")


def at_rest(pid):
    """Waits until an idle session has got the huge pages that it gets: no more for a second."""
    seen, since, end = -1, 0, time.monotonic() + 30
    while time.monotonic() < end and (seen < 0 or time.monotonic() - since < 1):
        if (now := kib(f"/proc/{pid}/smaps_rollup", "AnonHugePages:")) > seen:
            seen, since = now, time.monotonic()
        time.sleep(0.1)


class Bench:
    def __init__(self, options, server):
        self.options = options
        self.server = server
        self.client = brood.Client(server.address, timeout=600)
        self.table = Table()
        self.series = {}

    def close(self):
        self.client.close()

    def warm(self):
        """The first session waits until the environment is loaded."""
        progress("loading the environment")
        with self.client.new() as session:
            value_of(session.run("1"), "1")
        self.server.settled()

    # --- the first result --------------------------------------------------------------------------------------------

    def first_result(self):
        options = self.options
        code = f"import {', '.join(options.preload)}\nvalue = 1\nvalue"
        kernels = options.kernels
        if importlib.util.find_spec("jupyter_client") is None or importlib.util.find_spec("ipykernel") is None:
            kernels = 0
        times, theirs = [], []
        every = max(1, options.runs // max(1, kernels))
        with contextlib.closing(Web(self.server)) as web, tempfile.TemporaryDirectory(prefix="brood-bench-") as folder, \
                bench_jupyter.apart_from_the_user(folder):
            if kernels:
                bench_jupyter.first_result(code)  # fills the caches of the file system
            for i in range(options.runs):
                if len(theirs) < kernels and i % every == 0:
                    progress(f"first results: {i} of {options.runs}, Jupyter kernels: {len(theirs)} of {kernels}")
                    theirs.append(bench_jupyter.first_result(code))
                    time.sleep(0.3)  # the kernel's end is not ours to measure
                times.append(self.one_first_result(web, code))
                time.sleep(options.pause / 1000)
        self.series.update(first_result_s=times, kernel_s=theirs)
        what = "new session and its first result, HTTP"
        self.table.at_most(f"{what}, p50", 1000 * median(times), 6, " ms")
        self.table.note(f"{what}, p90 / p99", pair(percentile(times, share) for share in (0.9, 0.99)))
        if theirs:
            self.table.note("new Jupyter kernel that imports the same, p50", show(median(theirs)))
            self.table.at_least("Jupyter kernel p50 / new session p50", median(theirs) / median(times), 100, "x")
        else:
            self.table.note("new Jupyter kernel", "not measured (python3-ipykernel, python3-jupyter-client)")

    @staticmethod
    def one_first_result(web, code):
        begin = time.perf_counter()
        session = web.ask("POST", "/v1/sessions", {})["id"]
        result = web.ask("POST", f"/v1/sessions/{session}/execute", {"code": code})
        took = time.perf_counter() - begin
        web.ask("DELETE", f"/v1/sessions/{session}")
        if (result["result"] or {}).get("text/plain") != "1":
            raise BenchError(f"the first cell gave {result}")
        return took

    # --- one cell ----------------------------------------------------------------------------------------------------

    def cells(self):
        with self.client.new(checkpoints=8) as session, contextlib.closing(WebSocket(self.server, session.id)) as web:
            ways = {
                ("native", False): lambda: session.run("1+1", checkpoint=False).value,
                ("WebSocket", False): lambda: web.run("1+1", False),
                ("native", True): lambda: session.run("1+1", checkpoint=True).value,
                ("WebSocket", True): lambda: web.run("1+1", True),
            }
            for (way, checkpoint), run in ways.items():
                progress(f"cells: {way}, {'with' if checkpoint else 'without'} checkpoints")
                times = self.times_of_cells(run)
                self.series[f"cell_{way.lower()}_{'with' if checkpoint else 'off'}_s"] = times
                bar = 2.5 if checkpoint else {"native": 0.3, "WebSocket": 0.6}[way]
                kind = "a checkpoint before it" if checkpoint else "checkpoints off"
                self.table.at_most(f"cell `1+1`, {way}, {kind}, p50", 1000 * median(times), bar, " ms")

    def times_of_cells(self, run):
        times = []
        for _ in range(self.options.cells):
            begin = time.perf_counter()
            value = run()
            times.append(time.perf_counter() - begin)
            if value != "2":
                raise BenchError(f"1+1 gave {value!r}")
        return times

    # --- undo and branch ---------------------------------------------------------------------------------------------

    def travel(self):
        objects = self.options.heap_mib * OBJECTS_PER_MIB
        checkpoints, undos, resumed, branches = [], [], [], []
        with self.client.new(checkpoints=2) as session:
            progress(f"undo and branch with {self.options.heap_mib} MiB of objects: making them")
            value_of(session.run(f"ballast = [{{'k': str(i)}} for i in range({objects})]; x = 0; len(ballast)", checkpoint=False), str(objects))
            at_rest(int(session.run("import os; os.getpid()", checkpoint=False).value))
            for i in range(TRAVELS):
                progress(f"undo and branch with {self.options.heap_mib} MiB of objects: {i} of {TRAVELS}")
                value_of(session.run("x = 1; x", checkpoint=True), "1")
                checkpoints.append(session.checkpoints()[-1]["us"] / 1e6)
                begin = time.perf_counter()
                session.undo()
                undos.append(time.perf_counter() - begin)
                value_of(session.run("x + len(ballast)", checkpoint=False), str(objects))
                resumed.append(time.perf_counter() - begin)
                begin = time.perf_counter()
                branch = session.fork()
                branches.append(time.perf_counter() - begin)
                with branch:
                    value_of(branch.run("x + len(ballast)", checkpoint=False), str(objects))
        self.series.update(checkpoint_s=checkpoints, undo_s=undos, fork_s=branches)
        what = f"session with {self.options.heap_mib} MiB of objects"
        self.table.at_most(f"undo, {what}, p50", 1000 * median(undos), 10, " ms")
        self.table.at_most(f"branch, {what}, p50", 1000 * median(branches), 10, " ms")
        self.table.note(f"checkpoint / undo and the next cell, {what}, p50", pair((median(checkpoints), median(resumed))))

    # --- many sessions -----------------------------------------------------------------------------------------------

    def many(self):
        wanted = self.options.sessions
        count = most_sessions(wanted)
        if count < wanted:
            progress(f"limits of this machine: {count} sessions instead of {wanted}")
        progress("memory without sessions")
        before = self.server.memory()
        sessions = []
        try:
            for i in range(count):
                if i % 50 == 0:
                    progress(f"many sessions: {i} of {count}")
                sessions.append(self.client.new(name=f"bench {i}"))
            progress(f"memory with {count} sessions")
            idle = self.server.memory()
            times = self.random_order(sessions)
            progress("memory with their checkpoints")
            used = self.server.memory()
        finally:
            progress("removing the sessions")
            for session in sessions:
                with contextlib.suppress(brood.Error):
                    session.remove()
        self.series["random_order_s"] = times
        each = [(now - then) / count / MIB for now, then in zip(idle, before)]
        self.table.at_most(f"memory (PSS) of one more idle session (over {count:,})", each[0], 1.8, " MiB")
        self.table.note("its page tables, which PSS leaves out", f"{each[1]:.3g} MiB")
        self.table.note("memory (PSS) of each after two cells, with two checkpoints", f"{(used[0] - before[0]) / count / MIB:.3g} MiB")
        what = f"{count:,} sessions alive, cells in random order"
        self.table.note(f"{what}, p50", show(median(times)))
        self.table.at_most(f"{what}, p99", 1000 * percentile(times, 0.99), 50, " ms")
        self.table.add(f"{what}: values lost", "0", "at most 0", True)  # else a BenchError

    @staticmethod
    def random_order(sessions):
        """Seconds of two cells on each session: what the first leaves must be there for the second."""
        times = []
        chance = random.Random(1)
        for turn, code in enumerate(("x = {}; x", "x")):
            order = list(enumerate(sessions))
            chance.shuffle(order)
            for done, (number, session) in enumerate(order):
                if done % 100 == 0:
                    progress(f"cells in random order, round {turn + 1} of 2: {done} of {len(order)}")
                begin = time.perf_counter()
                result = session.run(code.format(number))
                times.append(time.perf_counter() - begin)
                value_of(result, str(number))
        return times

    # --- output ------------------------------------------------------------------------------------------------------

    @staticmethod
    def printing(size):
        return f"import sys\nfor _ in range({max(1, size // BLOCK)}):\n    _ = sys.stdout.buffer.write(b'x' * {BLOCK})"

    def slow_reader(self):
        options = self.options
        rate = 1e6  # bytes a second
        with self.client.new() as session:
            before = most = self.server.resident()
            read = 0
            begin = time.monotonic()
            with session.stream(self.printing(options.output_mb * 1_000_000), checkpoint=False) as events:
                while (passed := time.monotonic() - begin) < options.slow_seconds:
                    if read / rate > passed:
                        time.sleep(min(0.05, read / rate - passed))
                        most = max(most, self.server.resident())
                        continue
                    read += self.bytes_of(events)
            session.interrupt()
        self.series["slow_reader"] = {"bytes_read": read, "growth_bytes": most - before}
        what = f"memory of the server grows by, while a cell's output is read at 1 MB/s for {options.slow_seconds} s"
        self.table.at_most(what, (most - before) / MIB, 16, " MiB")

    def fast_reader(self):
        size = max(1, self.options.output_mb * 1_000_000 // BLOCK) * BLOCK
        rates = []
        with self.client.new() as session:
            for i in range(3):
                progress(f"{self.options.output_mb} MB of output: {i + 1} of 3")
                read = 0
                begin = time.perf_counter()
                with session.stream(self.printing(size), checkpoint=False) as events:
                    while read < size:
                        read += self.bytes_of(events)
                rates.append(size / (time.perf_counter() - begin) / 1e6)
        self.series["output_mb_per_second"] = rates
        self.table.at_least(f"{self.options.output_mb} MB of output from one cell, native", median(rates), 300, " MB/s")

    @staticmethod
    def bytes_of(events):
        event = events.read(60)
        if event is None or event.type in ("dropped", "error", "done"):
            raise BenchError(f"output was lost: {event}")
        return len(event.body) if event.type == "stdout" else 0


def machine():
    return {"kernel": platform.release(), "processors": os.cpu_count()}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="brood bench sessions", description="What sessions cost on this machine, beside a Jupyter kernel.")

    def number(name, default, text):
        parser.add_argument(name, type=int, default=default, metavar="N", help=f"{text} (default: {default})")

    parser.add_argument("--brood", help=argparse.SUPPRESS)
    parser.add_argument("--python", metavar="EXE", help="the interpreter; it must have the modules, and for a kernel ipykernel and jupyter_client")
    parser.add_argument("--preload", default="numpy,pandas,matplotlib.pyplot", help="the modules of the environment (default: %(default)s)")
    parser.add_argument("--output", default="brood-bench-sessions", metavar="NAME", help="writes NAME.json and NAME.svg (default: %(default)s)")
    number("--runs", 200, "new sessions")
    number("--pause", 20, "milliseconds between them")
    number("--kernels", 10, "Jupyter kernels")
    number("--cells", 1000, "cells of each kind")
    number("--heap-mib", 1024, "objects of the session that is undone and branched")
    number("--sessions", 1000, "sessions at the same time")
    number("--output-mb", 100, "output of one cell")
    number("--slow-seconds", 20, "how long output is read slowly")
    options = parser.parse_args(arguments)
    for name in ("runs", "cells", "heap_mib", "sessions", "output_mb", "slow_seconds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is a number from 1 on")
    options.preload = [module for module in options.preload.split(",") if module]
    return options


def measure(options):
    with Server(options.brood, sys.executable, options.preload, options.sessions) as server, \
            contextlib.closing(Bench(options, server)) as bench:
        bench.warm()
        progress(f"reading output at 1 MB/s for {options.slow_seconds} s")
        bench.slow_reader()  # while the server is as small as it ever is
        bench.first_result()
        bench.cells()
        bench.fast_reader()
        bench.travel()
        bench.many()
        return bench.table, bench.series


def main(arguments):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends, too
    options = parse(arguments)
    try:
        table, series = measure(options)
    except (BenchError, brood.Error, OSError, RuntimeError) as error:
        progress("")
        print(f"brood bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if sys.stderr.isatty():
        progress("")
    print(table.text(), end="")
    report = {"machine": machine(), "python": sys.executable, "preload": options.preload, "options": vars(options), "table": table.report(),
              "series": series}
    for name in ("brood", "python"):
        del report["options"][name]
    with open(f"{options.output}.json", "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    plot = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench_sessions_plot.py")
    drawn = subprocess.run([sys.executable, plot, f"{options.output}.json", f"{options.output}.svg"], stderr=subprocess.DEVNULL)
    print(f"\nwritten: {options.output}.json" + (f", {options.output}.svg" if drawn.returncode == 0 else " (no plot: that needs matplotlib)"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
