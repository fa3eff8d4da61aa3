"""What one fork costs, as `brood bench run` measures it. Prints one JSON object.

usage: bench_fork.py plain|image MODULE HEAP_MIB   fork and fork+exit of a process with that many MiB of Python objects
       bench_fork.py loop MODULES                  forks per second: fork, _exit in the child, wait; without the image
"""
import gc
import importlib
import json
import os
import statistics
import sys
import time

FORKS = 200
LOOP_SECONDS = 2.0


def load_extension(path):
    from importlib.machinery import ExtensionFileLoader, ModuleSpec
    from importlib.util import module_from_spec

    loader = ExtensionFileLoader("_brood", path)
    return module_from_spec(ModuleSpec("_brood", loader, origin=path))


def fork_cost(mode, module, heap_mib):
    ballast = [{"k": str(i)} for i in range(heap_mib * 3600)]  # about 1 MiB for 3,600 of these
    extension = load_extension(module)
    gc.collect()
    gc.disable()
    gc.freeze()
    report = {"mode": mode, "heap_mib": heap_mib, "objects": len(ballast)}
    if mode == "image":
        report["image_bytes"] = extension.make_image()
    forks, totals = [], []
    for _ in range(FORKS):
        begin = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        forked = time.perf_counter()
        os.waitpid(pid, 0)
        forks.append(forked - begin)
        totals.append(time.perf_counter() - begin)
    report["fork_us"] = statistics.median(forks) * 1e6
    report["fork_exit_us"] = statistics.median(totals) * 1e6
    return report


def fork_loop(modules):
    for name in filter(None, modules.split(",")):
        importlib.import_module(name)
    gc.collect()
    gc.disable()
    gc.freeze()
    count = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < LOOP_SECONDS:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        count += 1
    return {"per_second": count / (time.perf_counter() - begin)}


if __name__ == "__main__":
    if sys.argv[1] == "loop":
        print(json.dumps(fork_loop(sys.argv[2])))
    else:
        print(json.dumps(fork_cost(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
