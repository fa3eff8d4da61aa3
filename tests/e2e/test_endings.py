"""A program's end as a trace or profile function sees it that the program leaves set."""

import pytest
from same import same_program

pytestmark = pytest.mark.core

TRACE = """
import sys
out = sys.stdout
def seen(frame, event, arg):
    out.write(f"{event} {frame.f_code.co_name} {frame.f_code.co_filename}\\n")
    return seen
sys.settrace(seen)
"""
PROFILE = """
import sys
out = sys.stdout
def seen(frame, event, arg):
    out.write(f"{event} {frame.f_code.co_name} {frame.f_code.co_filename} {getattr(arg, '__name__', None)}\\n")
sys.setprofile(seen)
"""
CPROFILE = """
import atexit, cProfile
profile = cProfile.Profile()
def done():
    profile.disable()
    profile.create_stats()
    for function in sorted(profile.stats):
        print(function)
atexit.register(done)
profile.enable()
sum(range(10))
"""
THREAD = """
import threading, time
def work():
    threading.main_thread().join()
    time.sleep(0.1)
    print("worked")
threading.Thread(target=work).start()
"""
FINALIZER = """
class Last:
    def __del__(self):
        print("last")
last = Last()
last.cycle = last
"""
BEFORE = {
    "nothing": "",
    "threading": "import threading\n",
    "something of threading": "from threading import Thread\n",
    "a module that imports threading": "from queue import Queue\n",
    "thread pools": "from concurrent.futures import ThreadPoolExecutor\n",
    "modules that do not import threading": "import json, collections.abc, dataclasses, os\n",
}


@pytest.mark.parametrize("watcher", [TRACE, PROFILE, CPROFILE], ids=["trace", "profile", "cProfile"])
@pytest.mark.parametrize("before", BEFORE)
def test_who_watches_sees_what_python_shows(shared_brood, tmp_path, before, watcher):
    same_program(shared_brood, tmp_path, BEFORE[before] + watcher)


@pytest.mark.parametrize("watcher", [TRACE, PROFILE], ids=["trace", "profile"])
@pytest.mark.parametrize("program", [THREAD + "{}", "{}" + FINALIZER, "{}raise SystemExit(3)"], ids=["thread", "finalizer", "exit"])
def test_who_watches_sees_the_programs_own_end(shared_brood, tmp_path, watcher, program):
    same_program(shared_brood, tmp_path, program.replace("{}", watcher))


def test_exit_functions_of_what_was_imported_are_run(shared_brood, tmp_path):
    """Also when somebody watches: logging flushes its handlers, executors wait for their work."""
    program = TRACE.replace("out.write", "(lambda text: None)") + """
import logging, logging.handlers, time
from concurrent.futures import ThreadPoolExecutor
log = logging.getLogger()
log.addHandler(logging.handlers.MemoryHandler(10, target=logging.StreamHandler(sys.stdout)))
log.warning("kept until the end")
ThreadPoolExecutor().submit(lambda: (time.sleep(0.1), print("worked")))
"""
    done = same_program(shared_brood, tmp_path, program)
    assert done.out == b"worked\nkept until the end\n"
