"""What a forked interpreter must know anew, and what may not be forked at all: one test for each hazard."""

import ast
import os
import stat
import subprocess
from pathlib import Path

import pytest
from brood_fixture import PYTHON, TRACE
from same import run_traced, same, same_program, strip_trace, without_addresses

pytestmark = pytest.mark.core

NUMPY = subprocess.run([PYTHON, "-c", "import numpy"], capture_output=True, check=False).returncode == 0
needs_numpy = pytest.mark.skipif(not NUMPY, reason="numpy is not installed")


def run_warm(brood, options, program, **more):
    """The value that a warm program prints, as a literal."""
    brood.warm(*options, "-c", "pass")
    done, trace = run_traced(brood, ["-c", program], options, lambda words, **how: brood.tool("run", *words, **how), **more)
    assert trace.startswith("warm") and (done.status, done.err) == (0, b""), (trace, done)
    return ast.literal_eval(done.out.decode())


def refused(brood, options, program="print('ran')"):
    """Runs twice with an environment that may not be; the program runs all the same. Returns what the user is told."""
    done = brood.tool("run", "--wait", *options, "-c", program, env=TRACE)
    assert (done.status, done.out.splitlines()[-1:]) == (0, [b"ran"]), done
    again = brood.tool("run", *options, "-c", program, env=TRACE)
    assert (again.status, again.out.splitlines()[-1:]) == (0, [b"ran"]), again
    assert strip_trace(done.err)[1].startswith("cold") and strip_trace(again.err)[1].startswith("cold")
    told = brood.tool("explain", *options, "-c", program)
    return (done.err + told.out).decode()


def init_file(folder, text):
    path = folder / "init.py"
    path.write_text(text)
    return ["--init", str(path)]


# Random state.

RANDOM = """
import random, uuid, secrets, os, tempfile
before = [random.random(), uuid.uuid4().hex, secrets.token_hex(), os.urandom(8), next(tempfile._get_candidate_names())]
print(before)
"""


def test_random_values_differ_between_programs(shared_brood):
    runs = [run_warm(shared_brood, [], RANDOM) for _ in range(4)]
    for kind in zip(*runs):
        assert len(set(kind)) == len(runs), kind


@needs_numpy
def test_numpys_random_values_differ(shared_brood):
    program = ("import numpy\n"
               "print([float(numpy.random.rand()), float(numpy.random.default_rng().random()), "
               "int(numpy.random.randint(2**31))])")
    runs = [run_warm(shared_brood, ["--preload", "numpy"], program) for _ in range(4)]
    for kind in zip(*runs):
        assert len(set(kind)) == len(runs), kind


@needs_numpy
def test_a_seed_of_the_program_holds(shared_brood):
    program = ("import numpy, random\nnumpy.random.seed(1); random.seed(1)\n"
               "print([float(numpy.random.rand()), random.random()])")
    assert run_warm(shared_brood, ["--preload", "numpy"], program) == run_warm(shared_brood, ["--preload", "numpy"],
        program)


def test_openssls_random_values_differ(shared_brood):
    program = "import ssl\nprint(ssl.RAND_bytes(16))"
    runs = [run_warm(shared_brood, ["--preload", "ssl"], program) for _ in range(4)]
    assert len(set(runs)) == len(runs)


def test_hash_seed_is_honoured(shared_brood, tmp_path):
    for seed in ("0", "1", "4294967295"):
        same_program(shared_brood, tmp_path, "print(hash('x'), {'a', 'b', 'c', 'd'})", env={"PYTHONHASHSEED": seed})


# Threads.


def test_a_thread_of_the_preload_is_refused(shared_brood, tmp_path):
    (tmp_path / "threaded.py").write_text("import threading\n"
                                          "threading.Thread(target=threading.Event().wait, daemon=True).start()\n")
    (tmp_path / "brood.toml").write_text('[env.threads]\npreload = ["json", "threaded"]\n')
    done = shared_brood.tool("run", "--wait", "--env", "threads", "-c", "print('ran')", env=TRACE, cwd=tmp_path)
    assert (done.status, done.out) == (0, b"ran\n")
    told = shared_brood.tool("explain", "--env", "threads", "-c", "", cwd=tmp_path)
    text = (done.err + told.out).decode()
    assert strip_trace(done.err)[1].startswith("cold")
    assert "1 thread(s) run after the preload" in text and "preload threaded" in text and "python3" in text, text


def test_a_thread_of_the_init_file_is_refused(shared_brood, tmp_path):
    options = init_file(tmp_path, "import threading\n"
                                  "threading.Thread(target=threading.Event().wait, daemon=True).start()\n")
    text = refused(shared_brood, options)
    assert "1 thread(s) run after the preload" in text and "init.py" in text and "allow_threads" in text


def test_the_module_that_started_the_thread_is_named(shared_brood, tmp_path):
    """Not the one loaded after it, whose own thread ends in time."""
    (tmp_path / "keeps.py").write_text("import threading\n"
                                       "threading.Thread(target=threading.Event().wait, daemon=True).start()\n")
    (tmp_path / "ends.py").write_text("import threading, time\n"
                                      "threading.Thread(target=time.sleep, args=(0.5,)).start()\n")
    (tmp_path / "brood.toml").write_text('[env.app]\npreload = ["keeps", "ends"]\n')
    done = shared_brood.tool("run", "--wait", "--env", "app", "-c", "print('ran')", env=TRACE, cwd=tmp_path)
    assert (done.status, done.out) == (0, b"ran\n")
    text = (done.err + shared_brood.tool("explain", "--env", "app", "-c", "", cwd=tmp_path).out).decode()
    assert "1 thread(s) run after the preload" in text and "started by preload keeps;" in text, text


def test_a_thread_that_ended_is_no_matter(shared_brood, tmp_path):
    options = init_file(tmp_path, "import threading\nt = threading.Thread(target=print, args=('x',))\n"
                                  "t.start(); t.join()\n")
    assert run_warm(shared_brood, options, "import threading\nprint(threading.active_count())") == 1


def test_a_thread_that_is_about_to_end_is_waited_for(shared_brood, tmp_path):
    """Also a joined one may be: join returns before the kernel has removed it."""
    options = init_file(tmp_path, "import threading, time\n"
                                  "ended = []\n"
                                  "def work():\n"
                                  "    time.sleep(0.5)\n"
                                  "    ended.append(True)\n"
                                  "threading.Thread(target=work).start()\n")
    assert run_warm(shared_brood, options, "print(ended)") == [True]


@needs_numpy
def test_openblas_computes_with_threads_in_the_program(shared_brood):
    """Its threads end with the fork and are started again when there is work."""
    program = """
import numpy, os
a = numpy.arange(1_000_000, dtype=float).reshape(1000, 1000) % 7
b = a @ a.T
right = all(float(b[i, j]) == float((a[i] * a[j]).sum()) for i in (0, 7, 999) for j in (0, 500, 998))
print([right, len(os.listdir('/proc/self/task'))])
"""
    right, threads = run_warm(shared_brood, ["--preload", "numpy"], program)
    plain = ast.literal_eval(shared_brood.python(["-c", program]).out.decode())
    assert right and plain[0] and threads == plain[1]


@needs_numpy
@pytest.mark.parametrize("variable", ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
                                      "NUMEXPR_NUM_THREADS"])
def test_thread_variables_are_the_callers(shared_brood, variable):
    program = ("import os, numpy\na = numpy.ones((600, 600)); a @ a\n"
               f"print([os.environ.get('{variable}'), len(os.listdir('/proc/self/task'))])")
    for value in (None, "1", "2"):
        env = {variable: value} if value else {}
        expected = shared_brood.python(["-c", program], env=env)
        shared_brood.warm("--preload", "numpy", "-c", "pass", env=env)
        done = shared_brood.tool("run", "--preload", "numpy", "-c", program, env={**env, **TRACE})
        done.err, trace = strip_trace(done.err)
        assert trace.startswith("warm") and (done.out, done.err) == (expected.out, expected.err)


def test_threads_of_the_program_work(shared_brood):
    program = """
import threading
seen = []
threads = [threading.Thread(target=seen.append, args=(i,)) for i in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(seen))
"""
    assert run_warm(shared_brood, [], program) == [0, 1, 2, 3, 4]


# Memory.


def test_collector_is_on_and_the_preload_frozen(shared_brood):
    program = """
import gc
print([gc.isenabled(), gc.get_threshold(), gc.get_count()[2] < 10, gc.get_freeze_count() > 10000])
"""
    ours = run_warm(shared_brood, [], program)
    plain = ast.literal_eval(shared_brood.python(["-c", program]).out.decode())
    assert ours == [*plain[:3], True] and plain[3] is False


def test_a_collection_leaves_the_preload_shared(shared_brood):
    """A full collection writes to the objects of the program only."""
    program = """
import gc
def private():
    return sum(int(line.split()[1]) for line in open('/proc/self/smaps_rollup') if line.startswith('Private_Dirty'))
gc.collect()
before = private()
gc.collect(); gc.collect()
print(private() - before)
"""
    assert run_warm(shared_brood, [], program) < 500  # KiB; the heap of the plain environment has some 20,000


def test_cycles_of_the_program_are_collected(shared_brood):
    program = ("import gc, weakref\nclass A: pass\na = A(); a.me = a; r = weakref.ref(a)\ndel a\ngc.collect()\n"
               "print(r() is None)")
    assert run_warm(shared_brood, [], program) is True


# Streams, signals, descriptors.


def test_output_of_the_preload_appears_once_or_never(shared_brood, tmp_path):
    """What an init file prints without a newline or flush does not come out of every program."""
    options = init_file(tmp_path, "import sys\nprint('from init', end='')\nsys.stderr.write('err')\n")
    assert run_warm(shared_brood, options, "print(5)") == 5


def test_streams_are_the_programs_own(shared_brood, tmp_path):
    options = init_file(tmp_path, "import sys\nkept = sys.stdin, sys.stdout, sys.stderr\n")
    program = ("import sys\n"
               "print([k is s for k, s in zip(kept, (sys.stdin, sys.stdout, sys.stderr))] + [sys.stdin.read()])")
    assert run_warm(shared_brood, options, program, stdin=b"typed") == [False, False, False, "typed"]


def test_handlers_and_wakeup_descriptor_of_the_preload(shared_brood, tmp_path):
    program = ("import signal\n"
               "print([signal.getsignal(n) == getattr(signal, 'default_int_handler') for n in (2,)] + "
               "[signal.set_wakeup_fd(-1)])")
    assert run_warm(shared_brood, [], program) == [True, -1]


def test_descriptors_of_a_fresh_worker(shared_brood, tmp_path):
    """Exactly python's, and one of brood's above 199, which is closed on exec."""
    program = "import os\nprint(sorted(int(n) for n in os.listdir('/proc/self/fd')))"
    same_fds = ast.literal_eval(shared_brood.python(["-c", program]).out.decode())
    ours = run_warm(shared_brood, [], program)
    assert [n for n in ours if n < 200] == same_fds
    assert len([n for n in ours if n >= 200]) == 1
    program = ("import subprocess\n"
               "print(subprocess.run('ls /proc/self/fd', shell=True, close_fds=False, stdout=-1).stdout)")
    assert run_warm(shared_brood, [], program) == ast.literal_eval(shared_brood.python(["-c", program]).out.decode())


def test_a_descriptor_of_the_init_file_is_kept(shared_brood, tmp_path):
    (tmp_path / "data").write_text("from the file")
    options = init_file(tmp_path, f"file = open({str(tmp_path / 'data')!r})\n")
    assert run_warm(shared_brood, options, "print([file.read()])") == ["from the file"]


def test_a_socket_of_the_preload_is_refused(shared_brood, tmp_path):
    text = refused(shared_brood, init_file(tmp_path, "import socket\nlistener = socket.socket()\n"))
    assert "left a socket open" in text and "allow_sockets" in text


def test_allowed_sockets_are_kept(shared_brood, tmp_path):
    (tmp_path / "sockets_init.py").write_text("import socket\na, b = socket.socketpair()\n")
    (tmp_path / "brood.toml").write_text('[env.sockets]\ninit = "sockets_init.py"\nallow_sockets = true\n')
    shared_brood.warm("--env", "sockets", "-c", "pass", cwd=tmp_path)
    done = shared_brood.tool("run", "--env", "sockets", "-c", "a.send(b'x'); print(b.recv(1))", cwd=tmp_path, env=TRACE)
    assert done.out == b"b'x'\n" and strip_trace(done.err)[1].startswith("warm")


def test_a_running_event_loop_is_refused(shared_brood, tmp_path):
    """An init file inside a loop that goes on afterwards."""
    text = refused(shared_brood,
                   init_file(tmp_path, "import asyncio\nloop = asyncio.new_event_loop()\n"
                                       "asyncio._set_running_loop(loop)\n"))
    assert "event loop is running" in text


def test_the_resource_tracker_is_refused(shared_brood, tmp_path):
    text = refused(shared_brood,
                   init_file(tmp_path, "from multiprocessing import resource_tracker\n"
                                       "resource_tracker.ensure_running()\n"))
    assert "resource tracker" in text


@pytest.fixture
def fake_gpu():
    """A device node with the name of a GPU's."""
    path = Path(f"/dev/nvidia-brood-test-{os.getpid()}")
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("device nodes cannot be made here")
    yield path
    path.unlink()


def test_a_preload_that_touched_a_gpu_is_refused(shared_brood, tmp_path, fake_gpu):
    try:
        fake_gpu.read_bytes()
    except PermissionError:
        pytest.skip("device nodes cannot be opened here")
    text = refused(shared_brood, init_file(tmp_path, f"device = open({str(fake_gpu)!r}, 'rb')\n"))
    assert f"opened {fake_gpu}" in text and "Touch the GPU in the program only" in text


OPENMP = """
int sum(int n) {
  int total = 0;
#pragma omp parallel for reduction(+:total) num_threads(4)
  for (int i = 0; i < n; i++) total += i;
  return total;
}
"""


@pytest.fixture(scope="module")
def openmp_library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openmp")
    (folder / "sum.c").write_text(OPENMP)
    subprocess.run(["cc", "-shared", "-fPIC", "-fopenmp", "-o", folder / "sum.so", folder / "sum.c"], check=True)
    return folder / "sum.so"


def test_openmp_that_was_only_loaded_computes_in_the_program(shared_brood, tmp_path, openmp_library):
    options = init_file(tmp_path, f"import ctypes\nlibrary = ctypes.CDLL({str(openmp_library)!r})\n")
    assert run_warm(shared_brood, options, "print([library.sum(1000)])") == [499500]


def test_openmp_that_has_computed_is_refused(shared_brood, tmp_path, openmp_library):
    """Its threads would be missing in a fork, and its next use would wait for them for ever."""
    text = refused(shared_brood,
                   init_file(tmp_path, f"import ctypes\nctypes.CDLL({str(openmp_library)!r}).sum(1000)\n"))
    assert "thread(s) run after the preload" in text


# Memory.

def test_huge_pages_are_off_in_the_zygote_and_as_usual_in_the_program(shared_brood):
    read = "[line for line in open('/proc/self/status') if line.startswith('THP_enabled')]"
    program = f"import os\nprint([{read}, open(f'/proc/{{os.getppid()}}/status').read()])"
    own, zygote = run_warm(shared_brood, [], program)
    expected = subprocess.run([PYTHON, "-c", f"print({read})"], capture_output=True, check=True).stdout
    assert own == ast.literal_eval(expected.decode())
    assert "THP_enabled:\t0\n" in zygote


# Modules that remember.


def test_logging_counts_from_the_start_of_the_program(shared_brood):
    program = "import logging, time\nr = logging.LogRecord('n', 10, 'p', 1, 'm', (), None)\nprint(r.relativeCreated)"
    first = run_warm(shared_brood, [], program)
    second = run_warm(shared_brood, [], program)
    assert 0 <= first < 60_000 and 0 <= second < 60_000
    same_spare = ("import logging, time\n"
                  "print(time.time() - (logging._startTime / 1e9 if isinstance(logging._startTime, int) else "
                  "logging._startTime))")
    age = run_warm(shared_brood, ["--preload", "wave"], same_spare)
    assert 0 <= age < 60


MULTIPROCESSING = """
import multiprocessing as m, multiprocessing.process as p, multiprocessing.util, os
q = m.Process(target=print)
print([q.name, m.active_children(), bytes(m.current_process().authkey), p.ORIGINAL_DIR == os.getcwd(),
       m.current_process().name])
"""


def test_multiprocessing_starts_anew(shared_brood, tmp_path):
    options = init_file(tmp_path, "import multiprocessing, multiprocessing.util\n"
                                  "p = multiprocessing.get_context('fork').Process(target=print)\n"
                        "p.start(); p.join()\n")
    first = run_warm(shared_brood, options, MULTIPROCESSING)
    second = run_warm(shared_brood, options, MULTIPROCESSING)
    assert first[0] == "Process-1" and first[1] == [] and first[3:] == [True, "MainProcess"]
    assert first[2] != second[2]


def test_exit_handlers_of_the_preload_run_in_every_program(shared_brood, tmp_path):
    options = init_file(tmp_path, "import atexit\natexit.register(print, '[\"handler\"]')\n")
    assert run_warm(shared_brood, options, "pass") == ["handler"]
    assert run_warm(shared_brood, options, "pass") == ["handler"]


def test_process_time_starts_anew(shared_brood, tmp_path):
    options = init_file(tmp_path, "import time\nwhile time.process_time() < 0.5: pass\n")
    assert run_warm(shared_brood, options, "import time\nprint(time.process_time())") < 0.3


def test_ids_of_process_and_thread(shared_brood):
    program = """
import os, threading
main = threading.main_thread()
print([os.getpid(), threading.get_native_id(), main.native_id, main.ident == threading.get_ident()])
"""
    pid, native, main, is_main = run_warm(shared_brood, [], program)
    assert pid == native == main and is_main


def test_diagnostics_go_cold(shared_brood, tmp_path):
    for options, env in ((["-X", "tracemalloc"], {}), (["-X", "importtime"], {}), (["-v"], {}),
                         ([], {"PYTHONTRACEMALLOC": "1"}),
                         ([], {"PYTHONPROFILEIMPORTTIME": "1"})):
        trace = shared_brood.trace([*options, "-c", "pass"], env=env)
        assert trace.startswith("cold") and "of its own" in trace, trace


def test_faulthandler_is_on_when_asked_for(shared_brood, tmp_path):
    program = "import faulthandler, os\nprint(faulthandler.is_enabled(), flush=True)\nos.abort()"
    same_program(shared_brood, tmp_path, program, options=["-X", "faulthandler"], normalise=without_addresses)


# The environment of the preload.


def test_a_variable_that_the_preload_read(shared_brood, tmp_path):
    """Programs with another value may not see what was loaded with the first."""
    options = init_file(tmp_path, "import os\nvalue = os.environ.get('OWN_SETTING', 'none')\n"
                                  "os.environ.get('OWN_OTHER')\n")
    program = "print([value])"
    for env, expected in (({"OWN_SETTING": "one"}, "one"), ({"OWN_SETTING": "two"}, "two"), ({}, "none")):
        for _ in range(3):
            done = shared_brood.tool("run", *options, "-c", program, env=env)
            assert done.out == f"['{expected}']\n".encode()
    shared_brood.warm(*options, "-c", "pass", env={})
    trace = shared_brood.tool("run", *options, "-c", program, env={"OWN_SETTING": "three", **TRACE}).err
    assert b"cold" in trace and b"OWN_SETTING" in trace


def test_a_change_of_the_environment_by_the_preload_is_seen(shared_brood, tmp_path):
    options = init_file(tmp_path, "import os\nos.environ['SET_BY_INIT'] = 'yes'\n")
    program = ("import os, subprocess\n"
               "print([os.environ['SET_BY_INIT'], subprocess.run(['printenv', 'SET_BY_INIT'], stdout=-1).stdout])")
    assert run_warm(shared_brood, options, program) == ["yes", b"yes\n"]


def test_secrets_do_not_reach_the_zygote(shared_brood):
    """Its environment holds what python reads when it starts, and nothing of the rest."""
    env = {"AWS_SECRET_ACCESS_KEY": "hunter2-secret", "OWN_PASSWORD": "hunter2-secret", "LC_MESSAGES": "C"}
    shared_brood.warm("-c", "pass", env=env)
    seen = ast.literal_eval(shared_brood.run(["-c", "import os; print([os.getppid(), os.environ['OWN_PASSWORD']])"],
                                             env=env).out.decode())
    assert seen[1] == "hunter2-secret"
    found = 0
    for pid, command in shared_brood.processes().items():
        if b"_brood" not in command:
            continue
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since
            continue
        found += 1
        assert b"hunter2-secret" not in environment
        for name in (item.partition(b"=")[0] for item in environment.split(b"\0") if item):
            assert not name.startswith((b"AWS_", b"OWN_", b"BROOD_")), name
    assert found >= 2  # a zygote and its spares
    assert Path(f"/proc/{seen[0]}/cmdline").read_bytes().find(b"_brood") > 0


def test_the_previous_program_leaves_no_trace(shared_brood):
    """Spares are forked from the zygote, not from programs."""
    run_warm(shared_brood, [],
             "import builtins, os, sys\nbuiltins.left = 1; os.environ['LEFT'] = '1'; os.left = 1; sys.left = 1\n"
             "print(1)")
    program = ("import builtins, os, sys\n"
               "print([hasattr(builtins, 'left'), 'LEFT' in os.environ, hasattr(os, 'left'), hasattr(sys, 'left')])")
    assert run_warm(shared_brood, [], program) == [False] * 4


def test_socket_folder_is_the_owners(shared_brood):
    shared_brood.warm("-c", "pass")
    for folder in (shared_brood.folder, shared_brood.folder / "env"):
        assert folder.stat().st_mode & 0o077 == 0 and folder.stat().st_uid == os.geteuid()


def test_nothing_is_loaded_but_the_standard_library(shared_brood):
    program = """
import sys
print([sorted({name.partition('.')[0] for name in sys.modules}),
       sorted(getattr(sys, 'stdlib_module_names', sys.modules))])
"""
    ours, standard = run_warm(shared_brood, [], program)
    plain, _ = ast.literal_eval(shared_brood.python(["-c", program]).out.decode())
    assert set(ours) <= {*standard, *plain}


def test_locale_set_by_the_preload_does_not_stay(shared_brood, tmp_path):
    same(shared_brood, ["-c", "import locale; print(locale.setlocale(locale.LC_ALL))"], cwd=tmp_path)
    same(shared_brood, ["-c", "import locale; print(locale.setlocale(locale.LC_ALL, ''))"], env={"LC_ALL": "C"},
         cwd=tmp_path)
