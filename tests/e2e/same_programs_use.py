"""What a program uses, processes and the standard library: see same_programs.py."""

# Programs that use processes and signals.
PROCESSES = {
    "fork": """
import os
pid = os.fork()
if pid == 0:
    print('child')
else:
    print(os.waitpid(pid, 0)[1]); print('parent')
""",
    "fork_exit": """
import os, sys
pid = os.fork()
if pid == 0:
    sys.exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
    "fork_error": """
import os
pid = os.fork()
if pid == 0:
    1 / 0
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
    "fork_atexit": """
import os, atexit
atexit.register(lambda: print('exit', os.getpid() == own))
own = os.getpid()
pid = os.fork()
if pid: os.waitpid(pid, 0)
""",
    "fork_unflushed": """
import os
print('twice')
pid = os.fork()
if pid: os.waitpid(pid, 0)
""",
    "fork_del": """
import os
class A:
    def __del__(self): print('del')
a = A()
pid = os.fork()
if pid: os.waitpid(pid, 0)
""",
    "fork_threads": """
import os, threading
pid = os.fork()
if not pid:
    t = threading.Thread(target=print, args=('thread',))
    t.start(); t.join()
    print(threading.main_thread() is threading.current_thread())
else: os.waitpid(pid, 0)
""",
    "fork_in_thread": r"""
import os, threading
def f():
    pid = os.fork()
    if not pid:
        print(threading.current_thread().name); os._exit(0) if os.write(1, b'child\n') else 0
    print(os.waitpid(pid, 0)[1])
t = threading.Thread(target=f)
t.start(); t.join()
""",
    "fork_orphan_keeps_output": """
import os
r, w = os.pipe()
if os.fork() == 0:
    os.close(w)
    os.read(r, 1)  # until the parent has ended
    print('late')
else:
    print('parent')
""",
    "double_fork": """
import os, sys, time
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(w, b'daemon')
        os._exit(0)
    os._exit(0)
os.wait()
print(os.read(r, 100))
""",
    "setsid": """
import os
try:
    if os.fork() == 0:
        os.setsid(); print(os.getsid(0) == os.getpid())
    else: os.wait()
except OSError as e: print(e)
""",
    "exec": """
import os
print('before', flush=True)
os.execvp('sh', ['sh', '-c', 'echo in sh; exit 7'])
""",
    "exec_python": """
import os, sys
os.execv(sys.executable, [sys.executable, '-c', 'import sys; print(sys.argv); sys.exit(8)', 'a'])
""",
    "exec_kills_itself": "import os\nos.execvp('sh', ['sh', '-c', 'kill -TERM $$'])",
    "subprocess": """
import subprocess, sys
print(subprocess.run([sys.executable, '-c', 'import sys; print(sys.argv)'], capture_output=True))
""",
    "subprocess_shell": """
import subprocess
subprocess.run('echo out; echo err >&2; exit 3', shell=True)
print('x')
""",
    "subprocess_input": """
import subprocess
print(subprocess.run(['cat'], input=b'abc', stdout=subprocess.PIPE).stdout)
""",
    "subprocess_inherits": """
import subprocess
print(subprocess.run('ls /proc/self/fd | wc -l', shell=True, stdout=subprocess.PIPE).stdout)
""",
    "subprocess_all_descriptors": """
import subprocess
print(subprocess.run('ls /proc/self/fd | wc -l', shell=True, stdout=subprocess.PIPE, close_fds=False).stdout)
""",
    "system": "import os\nprint(os.system('exit 3'), os.popen('echo x').read())",
    "orphan_status": """
import subprocess
p = subprocess.Popen(['sh', '-c', 'kill -9 $$'])
print(p.wait())
""",
    "wait_without_children": """
import os
try:
    os.wait()
except ChildProcessError as e: print(e)
""",
    "signal_handler": """
import os, signal
signal.signal(signal.SIGUSR1, lambda n, f: print('got', n, f.f_code.co_name))
os.kill(os.getpid(), signal.SIGUSR1)
print('on')
""",
    "signal_alarm": """
import signal, time
class Own(Exception): pass
def f(n, frame): raise Own('alarm')
signal.signal(signal.SIGALRM, f)
signal.setitimer(signal.ITIMER_REAL, 0.02)
time.sleep(10)
""",
    "signal_alarm_kills": """
import signal, time
print('x', flush=True)
signal.setitimer(signal.ITIMER_REAL, 0.02)
time.sleep(10)
""",
    "signal_child": """
import signal, subprocess
signal.signal(signal.SIGCHLD, lambda n, f: print('child'))
subprocess.run(['true'])
""",
    "signal_wakeup": """
import signal, os, socket
a, b = socket.socketpair()
a.setblocking(False)
signal.set_wakeup_fd(a.fileno())
signal.signal(signal.SIGUSR1, lambda *a: None)
os.kill(os.getpid(), signal.SIGUSR1)
print(b.recv(1))
""",
    "signal_group": "print('x')",
    "sigpipe": """
import os, signal
r, w = os.pipe()
os.close(r)
try:
    os.write(w, b'x')
except BrokenPipeError as e: print(e)
""",
    "sigpipe_default": """
import os, signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
r, w = os.pipe()
os.close(r)
os.write(w, b'x')
""",
    "sigint_default": """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.kill(os.getpid(), signal.SIGINT)
""",
    "sigint_ignored": """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGINT)
print('on')
""",
    "faulthandler_enable": """
import faulthandler, os, signal
faulthandler.enable()
os.kill(os.getpid(), signal.SIGABRT)
""",
    "file_size_limit": """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
f = open('left.txt', 'wb', 0)
try:
    f.write(b'x' * 10); f.write(b'y')
except OSError as e: print(e)
""",
    "set_limits": """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
print(resource.getrlimit(resource.RLIMIT_CORE))
""",
    "close_descriptors": """
import os
os.closerange(3, 1000)
print('x')
raise SystemExit(3)
""",
    "close_and_reuse_descriptors": """
import os
os.closerange(3, 1000)
f = os.open('left.txt', os.O_RDWR | os.O_CREAT | os.O_TRUNC)
for n in range(4, 300): os.dup2(f, n)
os.write(f, b'mine')
raise SystemExit(3)
""",
    "close_and_reuse_descriptors_as_sockets": """
import os, socket, sys
os.closerange(3, 1000)
ours, theirs = socket.socketpair()
for n in range(10, 1000): os.dup2(theirs.fileno(), n)
pid = os.fork()
if pid == 0:
    os.closerange(10, 1000)
    theirs.close()
    os.write(1, b'heard: ' + ours.recv(100))
    os._exit(0)
""",
    "lowest_descriptor": "import os\nprint(os.open('/dev/null', os.O_RDONLY), os.dup(1), os.pipe())",
    "multiprocessing_fork": """
import multiprocessing as m
def f(q): q.put(m.current_process().name)
c = m.get_context('fork')
q = c.Queue()
p = c.Process(target=f, args=(q,))
p.start(); print(q.get()); p.join(); print(p.exitcode)
""",
    "multiprocessing_pool": """
import multiprocessing as m
def f(x): return x * x
if __name__ == '__main__':
    with m.get_context('fork').Pool(2) as p: print(p.map(f, range(5)))
""",
    "multiprocessing_spawn": """
import multiprocessing as m
def f(x): return x * x
if __name__ == '__main__':
    with m.get_context('spawn').Pool(1) as p: print(p.map(f, range(5)))
""",
    "multiprocessing_forkserver": """
import multiprocessing as m
def f(x): return x * x
if __name__ == '__main__':
    with m.get_context('forkserver').Pool(1) as p: print(p.map(f, range(5)))
""",
    "multiprocessing_exit": """
import multiprocessing as m, sys
p = m.get_context('fork').Process(target=sys.exit, args=(4,))
p.start(); p.join(); print(p.exitcode)
""",
    "multiprocessing_shared": """
from multiprocessing import shared_memory
s = shared_memory.SharedMemory(create=True, size=10)
s.buf[0] = 7
t = shared_memory.SharedMemory(s.name)
print(t.buf[0])
t.close(); s.close(); s.unlink()
""",
    "process_pool": """
from concurrent.futures import ProcessPoolExecutor
if __name__ == '__main__':
    with ProcessPoolExecutor(2) as p: print(list(p.map(abs, [-1, -2, -3])))
""",
}

# Parts of the standard library that lean on the interpreter's state.
LIBRARY = {
    "asyncio": """
import asyncio
async def main():
    p = await asyncio.create_subprocess_exec('echo', 'x', stdout=-1)
    print(await p.communicate(), await asyncio.to_thread(lambda: 5))
asyncio.run(main())
""",
    "asyncio_error": """
import asyncio
async def main(): 1 / 0
asyncio.run(main())
""",
    "sqlite": """
import sqlite3
c = sqlite3.connect(':memory:')
c.execute('create table t (a)')
c.execute('insert into t values (1)')
print(list(c.execute('select * from t')))
""",
    "ctypes_callback": """
import ctypes
T = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
def cmp(a, b): return a[0] - b[0]
x = (ctypes.c_int * 4)(3, 1, 2, 0)
ctypes.CDLL(None).qsort(x, 4, 4, T(cmp))
print(list(x))
""",
    "ctypes_in_thread": """
import ctypes, threading
T = ctypes.PYFUNCTYPE(ctypes.c_int)
f = T(lambda: 5)
t = threading.Thread(target=lambda: print(f()))
t.start(); t.join()
""",
    "pickle_main": """
import pickle
class A:
    def __init__(self): self.x = 1
print(pickle.loads(pickle.dumps(A())).x, A.__module__, pickle.dumps(A()))
""",
    "dataclass": """
from dataclasses import dataclass, field
@dataclass(order=True)
class A:
    x: int
    y: list = field(default_factory=list)
print(A(1), A(1) < A(2), A.__module__)
""",
    "enum": """
import enum
class E(enum.Enum):
    A = 1
print(E.A, repr(E.A), E.__module__)
""",
    "namedtuple": """
from collections import namedtuple
T = namedtuple('T', 'a b')
print(T(1, 2), T.__module__)
""",
    "typing": """
import typing
class A: x: 'int'
print(typing.get_type_hints(A))
""",
    "reload": "import importlib, json\nprint(importlib.reload(json) is json)",
    "import_own_module": r"""
import sys, pathlib
pathlib.Path('own_module.py').write_text('''
print(__name__, __file__)
class A:
    def __del__(self): print("own module gone")
a = A()
''')
import own_module
""",
    "runpy": """
import runpy, pathlib
pathlib.Path('other.py').write_text('import sys; print(__name__, __file__, sys.argv)')
print(sorted(runpy.run_path('other.py', run_name='__main__'))[:3])
""",
    "warnings_catch": """
import warnings
with warnings.catch_warnings(record=True) as w:
    warnings.simplefilter('always')
    warnings.warn('x')
print([str(x.message) for x in w])
""",
    "contextvar": """
import contextvars
v = contextvars.ContextVar('v', default=1)
v.set(2)
print(v.get())
""",
    "unittest": """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(1, 2)
try:
    unittest.main(verbosity=0)
finally:
    import os, sys
    os.dup2(os.open('/dev/null', os.O_WRONLY), 2)
""",
    "doctest": """
def f():
    '''
    >>> f()
    1
    '''
    return 2
import doctest
print(doctest.testmod())
""",
    "argparse": """
import argparse
p = argparse.ArgumentParser()
p.add_argument('x')
p.parse_args()
""",
    "timeit": "import timeit\nprint(timeit.timeit('x', 'x = 1', number=10) < 10)",
    "threading_timer": """
import threading
t = threading.Timer(0.01, print, ['timer'])
t.start()
""",
    "queue": """
import queue, threading
q = queue.Queue()
threading.Thread(target=lambda: q.put(1)).start()
print(q.get(timeout=5))
""",
    "socket": """
import socket
a, b = socket.socketpair()
a.sendall(b'x')
print(b.recv(1))
""",
    "tempfile": """
import tempfile, os
with tempfile.NamedTemporaryFile() as f: print(os.path.dirname(f.name))
""",
    "getpass_user": "import getpass\nprint(getpass.getuser())",
    "expanduser": "import os, pathlib\nprint(os.path.expanduser('~'), pathlib.Path.home())",
    "code_module": """
import code
code.InteractiveInterpreter().runcode('print(1)')
code.interact(banner='b', exitmsg='e')
""",
    "input": """
print('before')
try:
    print(repr(input('prompt> ')))
except EOFError as e: print('EOF', e)
""",
    "stdin_lines": "import sys\nprint(sys.stdin.read(), sys.stdin.isatty())",
    "breakpoint_off": """
import os
os.environ['PYTHONBREAKPOINT'] = '0'
breakpoint()
print('on')
""",
    "pdb": """
import pdb
x = 1
pdb.set_trace()
x = 2
print(x)
""",
    "decimal": """
from decimal import Decimal, getcontext
getcontext().prec = 5
print(Decimal(1) / 3)
""",
    "strptime": """
import time, datetime
print(datetime.datetime.strptime('2020-02-03', '%Y-%m-%d'), time.strftime('%A', time.gmtime(0)))
""",
    "zoneinfo": "import zoneinfo\nprint(zoneinfo.ZoneInfo('UTC'))",
    "mimetypes": "import mimetypes\nprint(mimetypes.guess_type('a.html'))",
    "hashlib": """
import hashlib
print(hashlib.sha256(b'x').hexdigest(), sorted(hashlib.algorithms_available))
""",
    "json_error": "import json\njson.loads('{')",
    "compileall": """
import compileall, pathlib
pathlib.Path('c.py').write_text('x = 1')
print(compileall.compile_file('c.py', quiet=1))
""",
    "subinterpreter": """
try:
    import _xxsubinterpreters as s
    i = s.create(); s.run_string(i, 'print(1)'); s.destroy(i)
except ImportError: print('none')
""",
    "pkgutil_main": "import pkgutil\nprint(len(list(pkgutil.iter_modules(['.']))))",
    "importlib_metadata": """
import importlib.metadata as m
print(sorted(d.metadata['Name'] for d in m.distributions())[:3])
""",
    "resource_usage": "import resource\nprint(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime < 1)",
    "shelve": """
import shelve
with shelve.open('left') as s: s['a'] = [1]
with shelve.open('left') as s: print(dict(s))
import glob, os
for n in glob.glob('left*'): os.unlink(n)
""",
}
