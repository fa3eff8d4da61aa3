"""How a program ends, and what happens at its end: see same_programs.py."""

# How a program ends.
ENDINGS = {
    "nothing": "",
    "print": "print('hello', 'wörld')",
    "exit_nothing": "import sys; sys.exit()",
    "exit_none": "import sys; sys.exit(None)",
    "exit_zero": "import sys; sys.exit(0)",
    "exit_three": "import sys; print('x', end=''); sys.exit(3)",
    "exit_text": "import sys; print('out'); sys.exit('the reason: ä')",
    "exit_empty_text": "import sys; sys.exit('')",
    "exit_256": "import sys; sys.exit(256)",
    "exit_huge": "import sys; sys.exit(10 ** 30)",
    "exit_negative": "import sys; sys.exit(-1)",
    "exit_true": "import sys; sys.exit(True)",
    "exit_float": "import sys; sys.exit(2.5)",
    "exit_tuple": "import sys; sys.exit((1, 'two'))",
    "exit_object": """
import sys
class Thing:
    def __str__(self): return 'a thing'
sys.exit(Thing())
""",
    "exit_object_that_raises": """
import sys
class Thing:
    def __str__(self): 1 / 0
sys.exit(Thing())
""",
    "exit_subclass": "class Own(SystemExit): pass\nraise Own(7)",
    "exit_without_code": """
class Own(SystemExit):
    def __init__(self): self.code = 9
raise Own()
""",
    "raise_class": "raise SystemExit",
    "builtin_exit": "exit(4)",
    "builtin_quit": "quit('bye')",
    "os_exit": "import os; print('lost'); os._exit(5)",
    "os_exit_flushed": "import os; print('kept', flush=True); os._exit(6)",
    "abort": "import os; print('a', flush=True); os.abort()",
    "sigterm_self": """
import os, signal; print('a', flush=True); os.kill(os.getpid(), signal.SIGTERM); print('never')
""",
    "sigkill_self": "import os, signal; print('a', flush=True); os.kill(os.getpid(), signal.SIGKILL)",
    "sigsegv_self": "import os, signal; print('a', flush=True); os.kill(os.getpid(), signal.SIGSEGV)",
    "sigint_self": """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(60)
""",
    "keyboard_interrupt": "print('a')\nraise KeyboardInterrupt",
    "keyboard_interrupt_subclass": "class Own(KeyboardInterrupt): pass\nraise Own('text')",
    "keyboard_interrupt_caught": """
try:
    raise KeyboardInterrupt
except KeyboardInterrupt:
    print('caught')
""",
    "keyboard_interrupt_then_exit": """
import sys
try:
    raise KeyboardInterrupt
finally:
    sys.exit(3)
""",
    "null_pointer": "import ctypes; print('a', flush=True); ctypes.string_at(0)",
    "stdout_closed": "import sys; print('x'); sys.stdout.close()",
    "stdout_none": "import sys; print('x'); sys.stdout = None; print('y')",
    "stderr_none": "import sys; sys.stderr = None\n1 / 0",
    "stderr_closed": "import sys; sys.stderr.close()\n1 / 0",
    "stdout_replaced": "import sys, io; sys.stdout = io.StringIO(); print('lost')",
    "stdout_file_left_open": "import sys; sys.stdout = open('left.txt', 'w'); print('kept')",
    "stdout_descriptor_closed": "import os; print('x'); os.close(1)",
    "stdout_full": """
import os
os.dup2(os.open('/dev/full', os.O_WRONLY), 1)
print('x')
""",
    "stdout_full_hook": """
import os, sys
sys.unraisablehook = lambda u: os.write(2, repr((u.exc_type, str(u.exc_value), u.err_msg)).encode())
os.dup2(os.open('/dev/full', os.O_WRONLY), 1)
print('x')
""",
    "stdout_full_exit": """
import os, sys
os.dup2(os.open('/dev/full', os.O_WRONLY), 1)
print('x')
sys.exit(3)
""",
    "stderr_full": """
import os
os.dup2(os.open('/dev/full', os.O_WRONLY), 2)
1 / 0
""",
}

# What happens at the end.
TEARDOWN = {
    "unflushed_file": "f = open('left.txt', 'w')\nf.write('kept')",
    "unflushed_file_in_function": """
def f():
    g = open('left.txt', 'w')
    g.write('kept')
    return g
h = [f()]
""",
    "unflushed_file_in_cycle": """
class A: pass
a = A(); a.me = a
a.f = open('left.txt', 'w')
a.f.write('kept')
del a
""",
    "unflushed_after_error": """
f = open('left.txt', 'w')
f.write('kept')
1 / 0
""",
    "unflushed_after_exit": """
import sys
f = open('left.txt', 'w')
f.write('kept')
sys.exit(2)
""",
    "unflushed_in_frame_after_error": """
def f():
    g = open('left.txt', 'w')
    g.write('kept')
    1 / 0
f()
""",
    "unflushed_gzip": """
import gzip, io
f = io.TextIOWrapper(gzip.GzipFile('left.gz', 'wb', mtime=0))
f.write('x' * 1000)
""",
    "unflushed_csv": """
import csv
w = csv.writer(open('left.txt', 'w'))
w.writerow([1, 2])
""",
    "unflushed_zip": """
import zipfile
z = zipfile.ZipFile('left.zip', 'w')
z.writestr(zipfile.ZipInfo('a'), 'b')
""",
    "unflushed_in_generator": """
def f():
    with open('left.txt', 'w') as g:
        g.write('kept')
        yield
    print('never')
x = f()
next(x)
""",
    "unflushed_on_module": """
import os
os.own_file = open('left.txt', 'w')
os.own_file.write('kept')
""",
    "unflushed_in_builtins": """
import builtins
builtins.own_file = open('left.txt', 'w')
own_file.write('kept')
""",
    "unflushed_in_thread_local": """
import threading
local = threading.local()
local.f = open('left.txt', 'w')
local.f.write('kept')
""",
    "unflushed_in_default": """
import json
def f(x, y=open('left.txt', 'w')): y.write('kept')
f(1)
json.own = f
""",
    "generator_finally": """
def f():
    try:
        yield 1
    finally:
        print('finally')
g = f()
next(g)
""",
    "del_globals_in_order": """
class A:
    def __init__(self, name): self.name = name
    def __del__(self): print('del', self.name)
b = A('b'); a = A('a'); _c = A('_c'); d = A('d'); __e = A('__e'); a2 = a
""",
    "del_sees_globals": """
import os
class A:
    def __del__(self): print(A, os, x, other)
x = 5
a = A()
other = [a]
""",
    "del_cycle": """
class A:
    def __del__(self): print('del', self.name)
a = A(); a.name = 'cycle'; a.me = a
del a
print('end')
""",
    "del_cycle_in_globals": """
class A:
    def __del__(self): print('del', self.name, type(self).__name__)
a = A(); a.name = 'a'; b = A(); b.name = 'b'; a.b = b; b.a = a
""",
    "del_class_attribute": """
class A:
    def __del__(self): print('del')
class B: a = A()
""",
    "del_prints_late": """
import sys
class A:
    def __del__(self): print('late', file=sys.stderr); print('late')
a = A()
""",
    "del_imports": """
class A:
    def __del__(self):
        import json
        print(json.dumps([1]))
a = A()
""",
    "del_raises": """
class A:
    def __del__(self): raise ValueError('in del')
a = A()
""",
    "del_after_error": """
class A:
    def __del__(self): print('del')
def f():
    a = A()
    1 / 0
f()
""",
    "del_held_by_traceback": """
import sys
class A:
    def __del__(self): print('del')
def f():
    a = A()
    1 / 0
try:
    f()
except Exception as e: kept = e
print('end')
""",
    "del_lambda_default": """
class A:
    def __del__(self): print('del')
f = lambda a=A(): a
""",
    "del_in_atexit": """
import atexit
class A:
    def __del__(self): print('del')
atexit.register(print, A(), sep='') if 0 else atexit.register(lambda a=A(): print('exit'))
""",
    "weakref_callback": """
import weakref
class A: pass
a = A()
r = weakref.ref(a, lambda r: print('gone'))
""",
    "weakref_finalize": """
import weakref
class A: pass
a = A()
weakref.finalize(a, print, 'finalized')
b = A()
weakref.finalize(b, print, 'second')
""",
    "atexit_order": """
import atexit
for i in range(3): atexit.register(print, 'exit', i)
print('end')
""",
    "atexit_nested": """
import atexit
def f():
    print('f')
    atexit.register(print, 'nested')
atexit.register(f)
""",
    "atexit_raises": """
import atexit
def f(): 1 / 0
atexit.register(print, 'first')
atexit.register(f)
atexit.register(print, 'last')
""",
    "atexit_exits": """
import atexit, sys
atexit.register(print, 'first')
atexit.register(sys.exit, 7)
""",
    "atexit_os_exit": """
import atexit, os
atexit.register(print, 'never')
atexit.register(os._exit, 7)
""",
    "atexit_unregister": """
import atexit
atexit.register(print, 'a')
atexit.unregister(print)
atexit.register(print, 'b')
""",
    "atexit_sees_main": """
import atexit, sys
x = 'x'
atexit.register(lambda: print(x, '__file__' in globals(), len(sys.argv)))
""",
    "atexit_after_error": """
import atexit
atexit.register(print, 'exit')
1 / 0
""",
    "atexit_and_threads": """
import atexit, threading, time
atexit.register(print, 'exit')
threading.Thread(target=lambda: (threading.main_thread().join(), time.sleep(0.05), print('thread'))).start()
print('end')
""",
    "thread_awaited": """
import threading, time
def f():
    threading.main_thread().join()  # until the program's end has begun
    time.sleep(0.05)
    print('done')
threading.Thread(target=f).start()
print('end')
""",
    "thread_awaited_after_error": """
import threading, time
def f():
    threading.main_thread().join()  # until the program's end has begun
    time.sleep(0.05)
    print('done')
threading.Thread(target=f).start()
1 / 0
""",
    "thread_awaited_after_exit": """
import threading, time, sys
def f():
    threading.main_thread().join()  # until the program's end has begun
    time.sleep(0.05)
    print('done')
threading.Thread(target=f).start()
sys.exit(3)
""",
    "thread_starts_thread": """
import threading, time
def g(): time.sleep(0.02); print('g')
def f(): time.sleep(0.02); print('f'); threading.Thread(target=g).start()
threading.Thread(target=f).start()
""",
    "daemon_thread": """
import threading, time
threading.Thread(target=lambda: time.sleep(100), daemon=True).start()
print('end')
""",
    "daemon_thread_busy": """
import threading
def f():
    while True: pass
threading.Thread(target=f, daemon=True).start()
print('end')
""",
    "daemon_thread_busy_and_output": """
import threading
def f():
    while True: pass
class A:
    def __del__(self): print('del', flush=True)
a = A()
threading.Thread(target=f, daemon=True).start()
print('end')
""",
    "daemon_thread_in_ruins": """
import threading, time
x = 1
def f():
    while True: x + 1
class A:
    def __del__(self): time.sleep(0.05); print('del')
a = A()
threading.Thread(target=f, daemon=True).start()
print('end')
""",
    "exit_in_thread": """
import threading, sys
t = threading.Thread(target=sys.exit, args=(9,))
t.start(); t.join()
print('on')
""",
    "interrupt_main": """
import _thread, time
_thread.interrupt_main()
time.sleep(10)
""",
    "temporary_folder": """
import tempfile, os, atexit
t = tempfile.TemporaryDirectory()
name = t.name
class A:
    def __del__(self, exists=os.path.exists): print('left:', exists(name))
a = A()
""",
    "pool_left_open": """
from concurrent.futures import ThreadPoolExecutor
p = ThreadPoolExecutor(2)
f = p.submit(print, 'pooled')
""",
    "executor_with": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as p: print(list(p.map(abs, [-1, -2])))
""",
    "logging_at_exit": """
import logging, atexit
logging.basicConfig(filename='left.txt')
logging.error('text')
h = logging.handlers.MemoryHandler(100, target=logging.StreamHandler()) if hasattr(logging, 'x') else None
""",
    "memory_handler": """
import logging, logging.handlers
h = logging.handlers.MemoryHandler(100, target=logging.StreamHandler())
logging.getLogger().addHandler(h)
logging.warning('kept until the end')
""",
    "module_del": """
import sys, types
class A:
    def __del__(self): print('module gone')
m = types.ModuleType('own')
m.a = A()
sys.modules['own'] = m
del m
""",
    "print_without_newline": "print('x', end='')",
    "write_bytes_and_text": """
import sys
sys.stdout.write('a')
sys.stdout.buffer.write(b'b')
sys.stdout.flush()
sys.stdout.buffer.write(b'c')
""",
    "stdio_in_c": r"""
import ctypes
libc = ctypes.CDLL(None)
libc.printf(b'from c\n')
print('from python')
""",
    "async_generator": """
import asyncio
async def g():
    try:
        yield 1
    finally:
        print('closed')
async def main():
    async for x in g(): break
asyncio.run(main())
""",
    "coroutine_left": """
async def f():
    print('never')
c = f()
""",
    "asyncio_pending": """
import asyncio
async def f():
    try:
        await asyncio.sleep(100)
    finally:
        print('cancelled')
async def main():
    asyncio.ensure_future(f())
    await asyncio.sleep(0)
asyncio.run(main())
""",
    "subprocess_left": """
import subprocess
p = subprocess.Popen(['true'])
p.wait()
""",
    "gc_garbage_at_exit": """
import gc
gc.set_debug(gc.DEBUG_SAVEALL)
x = []
x.append(x)
del x
print(gc.collect() >= 0)
gc.set_debug(0)
""",
    "gc_disabled": """
import gc
gc.disable()
class A:
    def __del__(self): print('del')
a = A(); a.me = a
del a
print('end')
""",
    "exit_while_generator_runs": """
import sys
def f():
    try:
        yield
    finally: print('closed')
g = f(); next(g)
sys.exit(4)
""",
    "settrace": """
import sys
sys.settrace(lambda *a: None)
sys.setprofile(lambda *a: None)
print('traced')
""",
    "modules_emptied": """
import sys
for name in list(sys.modules):
    if name not in ('sys', 'builtins', '__main__'): del sys.modules[name]
print('still')
""",
    "modules_replaced": """
import sys
class A:
    def __getattr__(self, name): raise AttributeError(name)
sys.modules['__main__'] = A()
print('x')
""",
    "main_deleted": """
import sys
del sys.modules['__main__']
import gc
gc.collect()
print('x', sys.argv[1:])
""",
}
