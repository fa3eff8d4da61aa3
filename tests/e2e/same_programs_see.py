"""What a program sees of itself, and what is shown of its errors: see same_programs.py."""

# What a program sees of itself.
SELF = {
    "main_names": "for name in sorted(globals()): print(name, repr(globals()[name])[:200])",
    "main_module": """
import sys
main = sys.modules['__main__']
print(main.__dict__ is globals(), sorted(vars(main)), repr(main))
""",
    "main_loader": """
print(type(__loader__), getattr(__loader__, 'name', 0), getattr(__loader__, 'path', 0), __spec__, __package__,
      __cached__ if '__cached__' in globals() else 'no')
""",
    "loader_source": """
print(__loader__.get_source('__main__') if hasattr(__loader__, 'get_source') else None)
""",
    "import_main": "import __main__\nprint(__main__.__name__, __main__.__file__)",
    "builtins": "import builtins\nprint(__builtins__ is builtins, sorted(vars(builtins)))",
    "argv": "import sys\nprint(sys.argv, getattr(sys, 'orig_argv', None))",
    "path": "import sys\nprint(sys.path)",
    "prefixes": """
import sys
print(sys.executable, sys.prefix, sys.exec_prefix, sys.base_prefix, sys._base_executable)
""",
    "flags": """
import sys
print(sys.flags, sys.warnoptions, sys._xoptions, sys.dont_write_bytecode, sys.pycache_prefix)
""",
    "hooks": """
import sys
print(len(sys.meta_path), len(sys.path_hooks), sys.gettrace(), sys.getprofile(), sys.excepthook is sys.__excepthook__,
      sys.displayhook is sys.__displayhook__, sys.breakpointhook is sys.__breakpointhook__,
      sys.unraisablehook is sys.__unraisablehook__)
""",
    "sys_attributes": "import sys\nprint([n for n in sorted(vars(sys)) if n != '_brood'])",
    "sys_settings": """
import sys
print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.getdlopenflags(), sys.getfilesystemencoding(),
      sys.getfilesystemencodeerrors(), sys.getdefaultencoding(), sys.maxsize, getattr(sys, 'get_int_max_str_digits',
          int)(), sys.get_asyncgen_hooks())
""",
    "site": "import site\nprint(site.ENABLE_USER_SITE, site.USER_BASE, site.USER_SITE, site.PREFIXES)",
    "stack": """
import inspect, sys
print(len(inspect.stack()), [f.function for f in inspect.stack()], sys._getframe().f_back)
try:
    sys._getframe(1)
except ValueError as error:
    print(error)
""",
    "stack_in_function": """
import inspect
def f(): return [(f.function, f.lineno, f.filename) for f in inspect.stack()]
print(f())
""",
    "inspect_source": """
import inspect
def f():
    return 'source'
print(inspect.getsource(f), inspect.getfile(f))
""",
    "current_frames": """
import sys
print(len(sys._current_frames()), [f.f_code.co_name for f in sys._current_frames().values()])
""",
    "code_of_main": """
import sys
code = sys._getframe().f_code
print(code.co_filename, code.co_name, code.co_flags, code.co_firstlineno)
""",
    "threads": """
import threading
print(threading.enumerate() == [threading.main_thread()], threading.main_thread().name,
      threading.current_thread() is threading.main_thread(), threading.active_count(),
      threading.get_ident() == threading.main_thread().ident,
      threading.get_native_id() == threading.main_thread().native_id, threading.current_thread().daemon)
""",
    "thread_names": """
import threading
t = threading.Thread(target=print)
print(t.name)
t.start(); t.join()
""",
    "native_thread": "import os, threading\nprint(threading.get_native_id() == os.getpid())",
    "collector": """
import gc
print(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.callbacks, gc.garbage)
""",
    "getpid": """
import os
print(os.getpid() == int(os.readlink('/proc/self')), os.getuid(), os.geteuid(), os.getgid(), os.getgroups())
""",
    "cwd": "import os\nprint(os.getcwd(), os.listdir('.') == os.listdir(os.getcwd()))",
    "environment": "import os\nprint(sorted(os.environ.items()), os.environb is not None)",
    "environment_of_child": """
import subprocess
print(subprocess.run(['env'], stdout=subprocess.PIPE).stdout)
""",
    "environment_in_c": """
import ctypes, os
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
print(libc.getenv(b'HOME'), libc.getenv(b'BROOD_TEST_NONE'))
os.environ['BROOD_TEST_NEW'] = 'v'
print(libc.getenv(b'BROOD_TEST_NEW'))
""",
    "proc": "print(open('/proc/self/cmdline', 'rb').read(), open('/proc/self/environ', 'rb').read())",
    "proc_exe": """
import os
print(os.readlink('/proc/self/exe'), os.readlink('/proc/self/cwd'), os.readlink('/proc/self/root'))
""",
    "umask": "import os\nold = os.umask(0); print(oct(old))",
    "limits": """
import resource
for name in sorted(vars(resource)):
    if name.startswith('RLIMIT_'): print(name, resource.getrlimit(getattr(resource, name)))
""",
    "scheduling": """
import os
print(os.nice(0), os.sched_getaffinity(0), os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))
""",
    "signals": """
import signal
for number in sorted(signal.valid_signals()): print(number, signal.getsignal(number))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.sigpending(), signal.set_wakeup_fd(-1),
      signal.getitimer(signal.ITIMER_REAL))
""",
    "signals_of_child": """
import subprocess
print(subprocess.run(['grep', '-E', 'Sig[^Q]', '/proc/self/status'], stdout=subprocess.PIPE).stdout)
""",
    "signals_in_kernel": """
for line in open('/proc/self/status'):
    if line.startswith(('Sig', 'Shd', 'NoNewPrivs', 'Cap', 'Umask', 'Groups', 'Uid', 'Gid', 'Threads', 'TracerPid',
                        'Seccomp')) and 'SigQ' not in line: print(line, end='')
""",
    "locale": """
import locale, time
print(locale.setlocale(locale.LC_ALL), locale.getlocale(), locale.getpreferredencoding(), locale.localeconv(),
      time.tzname, time.timezone, time.localtime(0))
""",
    "streams": """
import sys, os
for s in (sys.stdin, sys.stdout, sys.stderr):
    print(s, s.name, s.mode, s.encoding, s.errors, s.newlines, s.line_buffering, s.write_through, s.isatty(),
          s.fileno(), s.buffer, s.buffer.raw, s.buffer.raw.closefd, s.buffer.raw.mode,
          s.seekable(), s.readable(), s.writable(), os.get_inheritable(s.fileno()))
print(sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__)
""",
    "hash_randomization": "import sys\nprint(sys.flags.hash_randomization, sys.hash_info)",
    "audit": """
import sys
sys.addaudithook(lambda name, args: None)
print('ok')
""",
    "deprecation_in_main": "import asyncio, sys\nprint(asyncio.get_event_loop_policy().__class__.__name__)",
    "faulthandler": """
import faulthandler, sys
print(faulthandler.is_enabled())
faulthandler.dump_traceback(file=sys.stdout)
""",
    "dlopen": "import ctypes\nprint(ctypes.CDLL(None).getpid() == __import__('os').getpid())",
    "context": "import contextvars, decimal\nprint(list(contextvars.copy_context()), decimal.getcontext())",
    "import_lock": "import _imp\nprint(_imp.lock_held())",
    "timers": """
import time
print(time.process_time() < 60, time.thread_time() < 60, time.perf_counter() > 0)
""",
    "processes": """
import multiprocessing as m
print(m.current_process().name, m.parent_process(), m.active_children(), m.get_start_method(),
      len(m.current_process().authkey), m.current_process()._identity)
p = m.Process(target=print)
print(p.name)
""",
    "random": """
import random
random.seed(5)
print(random.random(), random.randrange(10 ** 9))
""",
    "logging": """
import logging
print(logging.root.handlers, logging.root.level, logging.Logger.manager.loggerDict.get('x'))
logging.warning('shown')
logging.getLogger('a.b').error('as well')
""",
    "logging_relative": """
import logging
r = logging.LogRecord('n', 10, 'p', 1, 'm', (), None)
print(0 <= r.relativeCreated < 30000, r.processName, r.threadName, r.process == __import__('os').getpid())
""",
    "caches": """
import re, linecache, functools
print(linecache.cache.get('program.py'), re.compile('a+').match('aa'))
""",
    "atexit_count": "import atexit\nprint(isinstance(atexit._ncallbacks(), int))",
    "copyright": "print(exit, quit, copyright)",
    "version": "import sys, platform\nprint(sys.version, platform.python_build(), sys.implementation)",
    "displayhook": """
import sys
sys.displayhook(3)
print(_)
""",
}

# What is shown of errors.
ERRORS = {
    "uncaught": """
def f(x):
    return 1 / x

f(0)
""",
    "chained": """
try:
    {}['k']
except KeyError as error:
    raise ValueError('v') from error
""",
    "chained_implicitly": """
try:
    {}['k']
except KeyError:
    [][1]
""",
    "chain_suppressed": """
try:
    {}['k']
except KeyError:
    raise ValueError('v') from None
""",
    "no_such_name": "sys.exit(1)",
    "no_such_module": "import no_such_module_anywhere",
    "no_such_attribute": "import os\nos.no_such_thing",
    "suggestion": "import collections\ncollections.namedtoplo",
    "syntax_error": """
print('never')
if True
    pass
""",
    "indentation_error": "if True:\nprint('never')",
    "tab_error": """
if True:
        a = 1
	b = 2
""",
    "unterminated": "x = (1,\n",
    "unterminated_string": "x = 'abc\n",
    "return_outside": "return 1",
    "invalid_escape": "print('\\d')",
    "is_literal": "x = 1\nprint(x is 1)",
    "assert_tuple": "assert (1, 'always true')",
    "future_unknown": "from __future__ import braces",
    "future_annotations": """
from __future__ import annotations
x: nonsense = 1
print(__annotations__)
""",
    "annotations": "x: int = 1\nprint(__annotations__)",
    "exec_syntax_error": "exec('a b')",
    "compile_error_own_name": "compile('a b', 'other.py', 'exec')",
    "recursion": "def f(): f()\nf()",
    "recursion_depth": """
import sys
def f(n):
    try:
        return f(n + 1)
    except RecursionError:
        return n
print(f(0), sys.getrecursionlimit())
""",
    "deep_repr": """
x = []
for _ in range(100000): x = [x]
try:
    repr(x)
except RecursionError as error:
    print(error)
""",
    "str_of_exception_raises": """
class Own(Exception):
    def __str__(self): 1 / 0
raise Own()
""",
    "multi_line_exception": "raise ValueError('a\\nb\\nc')",
    "surrogate_in_exception": "raise ValueError('\\udc80 \\U0001f40d')",
    "excepthook": """
import sys
sys.excepthook = lambda kind, value, trace: print(kind, value, trace.tb_lineno)
1 / 0
""",
    "excepthook_raises": """
import sys
def hook(*a): raise ValueError('in the hook')
sys.excepthook = hook
1 / 0
""",
    "excepthook_exits": """
import sys
def hook(*a): sys.exit(5)
sys.excepthook = hook
1 / 0
""",
    "unraisable": """
class A:
    def __del__(self): 1 / 0
a = A()
del a
print('on')
""",
    "unraisable_hook": """
import sys
sys.unraisablehook = lambda u: print(u.exc_type, u.err_msg)
class A:
    def __del__(self): 1 / 0
A()
""",
    "warning": """
import warnings
warnings.warn('careful')
warnings.warn('older', DeprecationWarning)
""",
    "warning_levels": """
import warnings
def f(level): warnings.warn(f'level {level}', stacklevel=level)
def g():
    for level in range(1, 6): f(level)
g()
""",
    "warning_once": """
import warnings
for _ in range(3): warnings.warn('once')
for i in range(2): warnings.warn(str(i))
""",
    "warning_resource": """
import warnings
warnings.simplefilter('always')
open('/dev/null')
print('on')
""",
    "warnings_filters": "import warnings\nfor item in warnings.filters: print(item)",
    "never_awaited": "async def f(): pass\nf()",
    "traceback_module": """
import traceback
def f(): traceback.print_stack()
f()
try:
    1 / 0
except Exception: traceback.print_exc()
""",
    "format_stack_in_class": """
import traceback
class A:
    print(''.join(traceback.format_stack()))
""",
    "exception_note": """
e = ValueError('v')
if hasattr(e, 'add_note'): e.add_note('a note')
raise e
""",
    "exception_group": """
import sys
if sys.version_info >= (3, 11): raise ExceptionGroup('g', [ValueError(1), KeyError('k')])
""",
    "exception_in_thread": """
import threading
def work(): 1 / 0
t = threading.Thread(target=work)
t.start()
t.join()
print('on')
""",
    "last_exception": """
import sys, atexit
@atexit.register
def show(): print(sys.last_type, sys.last_value)
1 / 0
""",
}
