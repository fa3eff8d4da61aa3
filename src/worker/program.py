"""Becoming a program inside a forked interpreter, and leaving like python.

Executed once in the zygote (its functions are inherited by every worker); the functions run in a worker only.
No function of this file is on the stack while the program runs: C++ calls prepare(), evaluates what it returns,
then takes the program apart (worker/program.h, worker/ending.h).
"""
import sys

STARTED_WITH = frozenset(sys.modules)  # a file in the program's folder never replaces these

import _signal
import builtins
import gc
import io
import os
import runpy
import stat
from importlib.machinery import SourceFileLoader

MAIN = sys.modules["__main__"]
main_names = frozenset(vars(MAIN))
main_references = sys.getrefcount(MAIN)
SAFE_PATH = bool(getattr(sys.flags, "safe_path", sys.flags.isolated))
ENCODINGS = [(s.encoding, s.errors) if s else ("utf-8", "strict") for s in (sys.stdin, sys.stdout, sys.stderr)]
INTERPRETER = getattr(sys, "orig_argv", [sys.executable])[0]
ZIP_END = b"PK\x05\x06"  # the end record of a zip file
BROOD = sys.modules.pop("_brood", None)  # no program sees it, nor a list of extension modules

kept = []  # what the zygote made is not taken apart, which would write to its pages
shadowable = {}  # top-level module name -> the folder it was found in; filled by freeze()


class Refuse(Exception):
    """Raised by prepare(): this program must go the cold way. The text is the reason."""


def freeze():
    """Zygote, after the preload: remembers what is loaded, and sys.path as programs get it."""
    global search_path, last_preloaded, builtin_names, main_is_ours, shadow_names
    builtin_names = frozenset(vars(builtins))
    main_is_ours = vars(MAIN).keys() == main_names and sys.getrefcount(MAIN) <= main_references
    search_path = list(sys.path)
    for name, module in list(sys.modules.items()):
        last_preloaded = name
        if "." in name:
            continue
        spec = getattr(module, "__spec__", None)
        origin = getattr(spec, "origin", None)
        if name in STARTED_WITH or origin in ("built-in", "frozen", None):
            continue  # built-in and frozen modules go before the path; what has no origin was not found on it
        folder = os.path.dirname(origin)
        if getattr(spec, "submodule_search_locations", None) is not None:
            folder = os.path.dirname(folder)
        shadowable[name] = os.path.realpath(folder)
    shadow_names = frozenset(shadowable)


def practise():
    """Zygote, before the image: runs what every worker will run. First uses initialise libraries (OpenSSL reads its
    configuration), and CPython 3.11 and later rewrite the code of functions that run often; better once than in
    every fork."""
    keep = sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__, sys.path[:], sys.argv[:]
    for _ in range(16):
        reseed()
        open_streams(False)
        set_environment(dict(os.environ._data))
        prepare_command("pass", [], ["", "-c", "pass"])
        check_shadowing("/")
        acknowledged()
    sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__, sys.path[:], sys.argv[:] = keep
    gc.collect()  # empties CPython's free lists, too, whose objects lie all over the heap


def check_shadowing(folder):
    """A file in the program's folder may have the name of a preloaded module: python would load that file."""
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return
    for name in names:
        stem = name.partition(".")[0]
        if stem not in shadow_names:  # a dict would touch its keys, all over the heap
            continue
        if stem == name:
            if not os.path.exists(os.path.join(folder, name, "__init__.py")):
                continue  # a folder that is no package
        elif not name.endswith((".py", ".pyc", ".so")):
            continue
        if shadowable[stem] != os.path.realpath(folder or "."):
            raise Refuse(f"{name} in the program's folder has the name of a module that is loaded already")


def set_path(first):
    sys.path[:] = search_path
    if first is not None and not SAFE_PATH:
        check_shadowing(first)
        sys.path.insert(0, first)


def open_stream(number, name, unbuffered):
    """As create_stdio() in CPython's pylifecycle.c."""
    encoding, errors = ENCODINGS[number]
    writing = number > 0
    try:
        os.fstat(number)
    except OSError:
        return None
    raw_only = unbuffered and writing
    stream = io.open(number, "wb" if writing else "rb", 0 if raw_only else -1, closefd=False)
    raw = stream if raw_only else stream.raw
    raw.name = name
    interactive = raw.isatty()
    text = io.TextIOWrapper(
        stream,
        encoding,
        errors,
        newline="\n",
        line_buffering=not unbuffered and (interactive or number == 2),
        write_through=unbuffered,
    )
    text.mode = "w" if writing else "r"
    return text


def open_streams(unbuffered):
    for number, short in enumerate(("stdin", "stdout", "stderr")):
        stream = open_stream(number, f"<{short}>", unbuffered)
        setattr(sys, short, stream)
        setattr(sys, f"__{short}__", stream)


def set_environment(variables):
    data = os.environ._data
    data.clear()
    data.update(variables)


def reset_modules():
    """What preloaded modules remember of the zygote and must know anew."""
    process = sys.modules.get("multiprocessing.process")
    if process:
        process.ORIGINAL_DIR = os.getcwd()


def compiled(source, filename):
    """Compiles; what the compiler warns of is held back until it is certain that the program runs here."""
    global held_back
    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        return compile(source, filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError, Warning) as error:
        raise Refuse(f"it does not compile ({type(error).__name__})") from None
    finally:
        held_back = sys.stderr.getvalue()
        sys.stderr = stderr


held_back = ""


def ignore_signal(number):
    """The client ignores it, as under nohup."""
    import signal

    signal.signal(number, signal.SIG_IGN)


def prepare(kind, program, arguments, orig_argv, unbuffered, environment):
    """Sets the interpreter up for the program and returns what to run: a code object, or (callable, arguments).

    Nothing of the program has run when it returns. Raises Refuse when python itself must run it.
    """
    set_environment(environment)
    open_streams(unbuffered)
    orig_argv[0] = INTERPRETER
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = orig_argv
    reset_modules()
    prepare_kind = (prepare_script, prepare_command, prepare_module, prepare_stdin, prepare_session)[kind]
    return prepare_kind(program, arguments, orig_argv)


def set_argv(first, arguments):
    sys.argv[:] = [first, *arguments]


def prepare_script(program, arguments, orig_argv):
    path = os.getcwd() if program == "." and sys.version_info >= (3, 11) else os.path.join(os.getcwd(), program)
    set_argv(program, arguments)
    if os.path.isdir(path):
        return prepare_bundle(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Refuse(f"{program} is no regular file; it may be read only once")
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise Refuse(f"{program}: {error.strerror}") from None
    if ZIP_END in source[-66000:]:
        return prepare_bundle(path)
    if b"\0" in source:
        raise Refuse("it is no source file")
    set_path(os.path.dirname(os.path.realpath(program)))
    code = compiled(source, path)
    MAIN.__file__ = path
    MAIN.__cached__ = None
    MAIN.__loader__ = SourceFileLoader("__main__", path)
    return code


def prepare_bundle(path):
    """A folder or a zip file with a __main__ module."""
    set_path(None)
    check_shadowing(path)
    sys.path.insert(0, path)
    return runpy._run_module_as_main, ("__main__", False)


def prepare_command(program, arguments, orig_argv):
    set_argv("-c", arguments)
    set_path("")
    if sys.version_info >= (3, 14) and program.startswith((" ", "\t", "\n")):
        raise Refuse("this version takes the indentation of -c code away")
    try:
        source = (program + "\n").encode()
    except UnicodeEncodeError:
        raise Refuse("the code is not valid in the locale's encoding") from None
    code = compiled(source.decode(), "<string>")
    if sys.version_info >= (3, 13):
        register_source(code, program + "\n")
    return code


def register_source(code, source):
    """3.13 and later show the lines of -c code in tracebacks."""
    import linecache

    register = getattr(linecache, "_register_code", None)
    if register:
        register(code if hasattr(linecache, "_interactive_cache") else "<string>", source, "<string>")


def prepare_module(program, arguments, orig_argv):
    set_argv("-m", arguments)
    set_path(os.getcwd())
    return runpy._run_module_as_main, (program, True)


def prepare_session(program, arguments, orig_argv):
    """As for the interactive interpreter; the code comes cell by cell (cells.py)."""
    set_argv("", arguments)
    set_path("")
    return (), ()


def prepare_stdin(program, arguments, orig_argv):
    dash = len(orig_argv) > len(arguments) + 1 and orig_argv[len(orig_argv) - len(arguments) - 1] == "-"
    set_argv("-" if dash else "", arguments)
    set_path("")
    if sys.stdin is None:
        raise Refuse("standard input is closed")
    MAIN.__file__ = "<stdin>"
    MAIN.__cached__ = None
    try:
        start = os.lseek(0, 0, os.SEEK_CUR)
    except OSError:
        return None  # a pipe: it can be read only once, after the acknowledgement
    source = read_all(0)
    try:
        if b"\0" in source:
            raise Refuse("standard input holds no source text")
        return compiled(source, "<stdin>")
    except Refuse:
        os.lseek(0, start, os.SEEK_SET)
        raise


def read_all(fd):
    parts = []
    while part := os.read(fd, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def acknowledged():
    global held_back
    if held_back:
        sys.stderr.write(held_back)
        held_back = ""


def bind_main_thread():
    """On the fresh thread state: threading's main thread belongs to it (3.12 and earlier keep a lock there)."""
    threading = sys.modules.get("threading")
    if not threading:
        return
    for step in ("_set_tstate_lock", "_set_native_id"):
        if hasattr(threading._main_thread, step):
            getattr(threading._main_thread, step)()


def reseed():
    """In a spare, before it waits: no two programs share random state."""
    mtrand = sys.modules.get("numpy.random.mtrand")
    if mtrand:
        mtrand.seed()
    ssl = sys.modules.get("_ssl")
    if ssl:
        ssl.RAND_add(os.urandom(32), 32.0)
    process = sys.modules.get("multiprocessing.process")
    if process:
        process._children.clear()
        process._process_counter = type(process._process_counter)(1)
        process._current_process._config["authkey"] = process.AuthenticationString(os.urandom(32))
    logging = sys.modules.get("logging")
    if logging:
        import time

        logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()


def wake():
    """In a spare, before it waits: what the zygote has switched off, and a namespace that the collector takes apart in
    the end, which it does not do with one that is frozen."""
    global MAIN
    if main_is_ours:
        kept.append(MAIN)
        MAIN = type(sys)("__main__")
        names = MAIN.__dict__
        names.clear()
        names.update(vars(kept[-1]))
        if "__annotations__" in names:
            names["__annotations__"] = {}
        sys.modules["__main__"] = MAIN
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    gc.enable()


def unraisable(what, error, trace):
    """For the program's own hook, in 3.13 and later."""
    sys.unraisablehook(type(sys.implementation)(exc_type=type(error), exc_value=error, exc_traceback=trace,
                                                err_msg=f"Exception ignored on {what}", object=None))
