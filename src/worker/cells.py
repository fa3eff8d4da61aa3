"""The cells of a session: begin one, run its awaits, report its end.

Executed once in the zygote, with its parts cells_own, cells_compile, cells_await, cells_report, cells_display, cells_talk, cells_ask
and cells_look; the functions run in a session's worker. No function of these files is on the stack while a cell runs,
except below a top-level await: C++ calls begin(), evaluates the code objects in __main__'s namespace, then calls
finish(). All run in the main thread, but display(), brood.messages.send() and input() may be called by any. Frames and
heads are those of docs/protocol.md, section 4.

How C++ uses it:
    assemble({name: namespace})        in the zygote, once: cells and the parts named below, each executed by itself
    practise(for_sessions)             in the zygote, before the image
    begin_session(setup, send, receive, heard)   send(type, head, body, in_order)
    wants_checkpoint(head), begin(), awaited(coroutine), finish(value, exception, wants_value)
    show(exception)                    in a child that a cell has forked and that ends by it
    ask(head), message(body), next_kept(), carries(own), resumed(), new_stdin()
"""
import sys

import _signal
import io
import os
from _thread import get_ident

EVENT = 58
kHeadLimit = 4 << 20  # bytes of a frame's head
kNoticeLimit = 200_000  # characters
AWAIT = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class Part:
    """A namespace of another file, as attributes."""

    def __init__(self, space):
        self.__dict__ = space


def assemble(spaces):
    """Makes the files of the cell loop known to each other."""
    parts = {name: Part(space) for name, space in spaces.items()}
    for space in spaces.values():
        space.update(parts)


class Session:
    """What belongs to one session; practise() has one of its own."""

    def __init__(self, main, send, receive, heard):
        self.main = main  # the module __main__
        self.names = main.__dict__
        self.send = send
        self.receive = receive
        self.heard = heard
        self.thread = get_ident()
        self.pid = cells_own.getpid()
        self.preparser = None
        self.flags = AWAIT  # of compile(): the __future__ imports of earlier cells stay
        self.running = False  # the code of a cell runs: an interrupt is for it
        self.cell = {}
        self.has_value = False
        self.failed = False  # this cell did not compile
        self.results = []  # the newest three, newest first
        self.streams = {}
        self.displayhook = None
        self.excepthook = sys.excepthook
        self.random = None  # the state of the module random when the newest copy was made
        self.loop = None  # of asyncio, once a cell has awaited
        self.task = None  # the cell's, while it awaits
        self.interrupts = 0  # since that began
        self.too_late = False  # the last of them came when the task had ended, or was about to


session = None  # the Session

# --- beginning -----------------------------------------------------------------------------------


def begin_session(setup_json, send, receive, heard):
    """In the worker, once, after its streams were opened."""
    global session
    cells_own.hold()
    setup = cells_own.decoded(setup_json)
    session = Session(sys.modules["__main__"], send, receive, heard)
    open_session_streams()
    install_hooks()
    set_limits(setup.get("limits") or {})
    load_preparser(setup.get("preparser") or "")


def prepare_pyplot():
    """In the zygote, once, what install_hooks() would do in each session: 2.6 MiB and 3 ms for loading the backend, 1 MiB
    for choosing it."""
    if "matplotlib.pyplot" in cells_own.modules:
        cells_display.choose_backend(cells_own.modules["matplotlib.pyplot"])


def install_hooks():
    _signal.signal(_signal.SIGINT, on_interrupt)
    session.displayhook = sys.displayhook = displayhook
    session.names["display"] = cells_display.display
    cells_talk.install()
    os.environ["MPLBACKEND"] = "agg"
    cells_display.install()


def on_interrupt(number, frame):
    """SIGINT. Between cells, and in the last moment of one, there is nothing to interrupt."""
    session.heard()
    if not session.running or (frame is not None and frame.f_code is finish.__code__):
        return
    if session.task is None or not cells_await.cancels(session.task):
        raise KeyboardInterrupt


def set_limits(limits):
    import resource

    memory, size, files = (limits.get(name) or 0 for name in ("memory", "file_size", "open_files"))
    if memory:
        lower_limit(resource, resource.RLIMIT_DATA, data_size() + memory)
    if files:
        lower_limit(resource, resource.RLIMIT_NOFILE, files)
    if size:
        _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)
        lower_limit(resource, resource.RLIMIT_FSIZE, size)


def data_size():
    """Bytes of private writable memory: what RLIMIT_DATA counts."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def lower_limit(resource, which, value):
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def load_preparser(text):
    if not text:
        return
    import importlib

    module, _, name = text.partition(":")
    try:
        session.preparser = getattr(importlib.import_module(module), name)
    except Exception as error:
        notice(f"the preparser {text} cannot be loaded, cells are not changed by it: {one_line(error)}")


# --- streams -------------------------------------------------------------------------------------


def open_session_streams():
    """Text is UTF-8 whatever the locale, and a line goes out when it is complete."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if not usable(stream):
            continue
        if number == 0:
            new_stdin()
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
            session.streams[name] = stream


def new_stdin():
    """Also when descriptor 0 is another one: what was read ahead is gone with the old one."""
    sys.stdin = sys.__stdin__ = session.streams["stdin"] = new_stream(0, "<stdin>")


def usable(stream):
    try:
        return stream is not None and not stream.closed
    except ValueError:  # detached
        return False


def restore_streams():
    """A cell that replaced, closed or detached a standard stream has done so for itself only."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        kept = session.streams.get(name)
        if not usable(kept):
            kept = session.streams[name] = new_stream(number, f"<{name}>")
            setattr(sys, f"__{name}__", kept)
        if getattr(sys, name, None) is not kept:
            setattr(sys, name, kept)


def new_stream(number, name):
    try:
        cells_own.fstat(number)
    except OSError:
        return None  # the cell has closed the descriptor
    if number:
        stream = io.open(number, "wb", closefd=False)
    else:
        stream = io.BufferedReader(cells_talk.Stdin(number, "rb", closefd=False))
    stream.raw.name = name
    errors = "backslashreplace" if number else "replace"
    text = io.TextIOWrapper(stream, "utf-8", errors, newline="\n", line_buffering=number > 0)
    text.mode = "w" if number else "r"
    return text


def flush():
    """What was written comes before the frame that is sent next."""
    for name in ("stdout", "stderr"):
        kept = session.streams.get(name)
        stream = getattr(sys, name, None)
        flush_one(stream)
        if stream is not kept:
            flush_one(kept)


def flush_one(stream):
    try:
        if stream is not None:
            stream.flush()
    except KeyboardInterrupt:
        raise
    except BaseException:
        pass  # it is closed or not a stream; the cell hears of that when it writes


# --- events --------------------------------------------------------------------------------------


def speaks():
    """Whether this process has got the cell. A child that the cell has forked, which says nothing to clients, has not."""
    return cells_own.getpid() == session.pid


def send_event(kind, **members):
    flush()
    if speaks():
        session.send(EVENT, cells_own.encoded({"type": kind, **members}), b"")


def notice(text):
    send_event("notice", text=shortened(text, kNoticeLimit))


def shortened(text, limit):
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n... ({len(text):,} characters; the first {limit:,} are shown)"


def one_line(error):
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:
        return type(error).__name__


# --- a cell begins -------------------------------------------------------------------------------


def wants_checkpoint(head_json):
    """Keeps CELL's head for begin(); whether it asks for a checkpoint."""
    session.cell = cells_own.decoded(head_json)
    return bool(session.cell.get("checkpoint"))


def begin():
    """What the cell is, to be evaluated one after the other: at most one code object of statements and one of the
    last expression, whose value goes to finish(). None: it does not compile, the client has been told; finish(None,
    None, False) comes next. A KeyboardInterrupt from here belongs to the cell: give it to finish()."""
    session.has_value = session.failed = False
    try:
        codes = cells_compile.compiled_cell(session, prepared(session.cell.get("code", "")))
    except BaseException as error:
        session.failed = True
        helped = cells_compile.with_hint(error) if isinstance(error, SyntaxError) else error
        cells_report.report(helped.with_traceback(cells_report.without_own_frames(error.__traceback__)))
        return None
    session.running = True
    if cells_talk.was_interrupted():
        raise KeyboardInterrupt
    return codes


def prepared(source):
    if session.preparser is None:
        return source
    result = session.preparser(source)
    if isinstance(result, str):
        return result
    raise TypeError(f"the preparser must return text, not {type(result).__name__}")


def awaited(coroutine):
    """The value of an evaluated code object that has CO_COROUTINE. Raises what the cell raises."""
    return cells_await.run(coroutine)


# --- a cell ends ---------------------------------------------------------------------------------


def finish(value, exception, wants_value):
    """Tells the client how the cell ended; DONE's head. Never raises for what the user's objects do. Should an
    interrupt arrive before its first line, it raises KeyboardInterrupt: call it again, with that as the exception."""
    session.running = False
    hook = getattr(sys, "displayhook", None) or session.displayhook
    status, exit_status = "error" if session.failed else "ok", None
    flush()
    restore_streams()
    if exception is not None:
        status, exit_status = end_by(exception)
    elif wants_value and session.has_value and (value is not None or hook is not session.displayhook):
        status = status_of(guarded(hook, value))
    shown = value if status == "ok" else None
    if "matplotlib.pyplot" in cells_own.modules:
        guarded(cells_display.show_figures, shown)
    del value, exception, shown
    flush()
    restore_streams()
    done = {"cell": session.cell.get("cell", 0), "status": status}
    if exit_status is not None:
        done["exit_status"] = exit_status
    return cells_own.encoded(done)


def guarded(function, *arguments):
    """Runs what may run the user's code, and can be interrupted; its exception, reported, or None."""
    try:
        try:
            session.running = True
            function(*arguments)
        finally:
            session.running = False
    except BaseException as error:
        session.running = False
        restore_streams()
        cells_report.report(error.with_traceback(cells_report.without_own_frames(error.__traceback__)))
        return error
    return None


def status_of(error):
    if error is None:
        return "ok"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "error"


def end_by(exception):
    if isinstance(exception, SystemExit):
        return "exit", exit_status_of(exception.code)
    show(exception)
    return status_of(exception), None


def show(exception):
    exception.__traceback__ = cells_report.without_own_frames(exception.__traceback__)
    cells_report.report(exception)


def exit_status_of(code):
    """As python does at the end of a program."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    try:
        print(code, file=sys.stderr)
    except BaseException:
        pass
    return 1


def displayhook(value):
    """sys.displayhook: shows the value of a cell's last expression and remembers it."""
    if value is None:
        return
    data, metadata = cells_display.bundle(value)
    remember_result(value)
    cells_display.send_bundle(
        "result", data, {"metadata": metadata, "execution_count": session.cell.get("execution_count", 0)}
    )


def remember_result(value):
    """_, __ and ___ are the newest values, unless the user has given one of these names another meaning."""
    names, newest = session.names, ("_", "__", "___")
    for name, kept in zip(newest, session.results):
        if names.get(name, kept) is not kept:
            return
    if any(name in names for name in newest[len(session.results) :]):
        return
    session.results = [value, *session.results[:2]]
    names.update(zip(newest, session.results))


# --- between cells -------------------------------------------------------------------------------


def ask(head_json):
    """ANSWER's head for a request to complete or to inspect. Never raises."""
    head = cells_own.decoded(head_json)
    try:
        answer = cells_ask.answer(head, session.names)
        return cells_own.encoded({"ask": head.get("ask", 0), **answer})
    except BaseException:
        empty = {"found": False, "data": {}, "signature": ""}
        if head.get("what") != "inspect":
            cursor = head.get("cursor", 0)
            empty = {"matches": [], "start": cursor, "end": cursor}
        return cells_own.encoded({"ask": head.get("ask", 0), **empty})


def message(body):
    """A MESSAGE that came between cells."""
    cells_talk.queue(body)


def next_kept():
    """The oldest frame that brood.messages.receive() read but that is not for it, as (type, head, body), or None."""
    return cells_talk.kept.popleft() if cells_talk.kept else None


def carries(own=()):
    """Before a fork: (threads, children), how many other threads and living child processes the copy will lack.
    `own` are the process numbers that are none of the user's: the frozen copies."""
    random = cells_own.modules.get("random")
    session.random = random.getstate() if hasattr(random, "getstate") else None
    threads = cells_own.listdir("/proc/self/task")
    children = 0
    for thread in threads:
        for child in read_words(f"/proc/self/task/{thread}/children"):
            if int(child) not in own and lives(child):
                children += 1
    return len(threads) - 1, children


def read_words(path):
    try:
        with open(path, "rb", 0) as file:
            return file.read().split()
    except OSError:
        return []


def lives(child):
    try:
        with open(f"/proc/{int(child)}/stat", "rb", 0) as file:
            return file.read(512).rpartition(b")")[2].split()[0] not in b"ZX"
    except (OSError, IndexError):
        return False


# --- a copy takes over ---------------------------------------------------------------------------


def resumed():
    """In a copy that becomes the session or a branch, after PyOS_AfterFork_Child."""
    session.thread = get_ident()
    session.pid = cells_own.getpid()
    session.running = False
    if session.random is not None:  # the module seeds itself anew in every fork; this one goes on where it was
        cells_own.modules["random"].setstate(session.random)
    cells_talk.after_fork()
    if session.loop is not None and not session.loop.is_closed():
        cells_await.detach_loop(session.loop)
    process = cells_own.modules.get("multiprocessing.process")
    if process:
        process._children.clear()
    subprocess = cells_own.modules.get("subprocess")
    if subprocess and getattr(subprocess, "_active", None):
        subprocess._active.clear()


# --- practising ----------------------------------------------------------------------------------


def practise(for_sessions):
    """Zygote, before the image: runs what every session will run (see program.practise), and leaves no trace, unless
    nothing but sessions will come of it."""
    global session
    cells_own.hold()
    if for_sessions:
        prepare_pyplot()
    keep = session, {name: sys.__dict__[name] for name in TOUCHED if name in sys.__dict__}
    session = Session(type(sys)("__main__"), lambda kind, head, body, in_order=False: None, lambda seconds=-1.0: None, None)
    session.streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
    session.displayhook = sys.displayhook = displayhook
    try:
        for source in PRACTICE * 8:
            practise_cell(source)
        ask(cells_own.encoded({"what": "complete", "code": "prin"}))
    finally:
        session = keep[0]
        cells_own.linecache.cache.pop("<cell 0>", None)
        for name in TOUCHED:
            sys.__dict__.pop(name, None)
        sys.__dict__.update(keep[1])


PRACTICE = ("1+1", "a = [1, 'b', {2: 3.5}]\na", "def f(x):\n    return x / 0\nf(1)", "x = = 1")
TOUCHED = ("displayhook", "stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__",
           "last_type", "last_value", "last_traceback", "last_exc")  # names in sys


def practise_cell(source):
    value = error = None
    wants_checkpoint(cells_own.encoded({"cell": 0, "code": source, "execution_count": 0}))
    try:
        for code in begin() or ():
            value = eval(code, session.names)
    except ZeroDivisionError as caught:
        error = caught
    finish(value, error, True)
