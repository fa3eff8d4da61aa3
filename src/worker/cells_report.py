"""How a cell's exceptions are shown. A part of the cell loop (cells.py)."""
import sys

kErrorLimit = 200_000  # characters of an exception's text or traceback that are shown


def without_own_frames(trace):
    """A traceback as it would be if nobody had called the cell's code."""
    if trace is None or not is_own(trace.tb_frame.f_code.co_filename):
        return trace
    while trace is not None and (is_own(trace.tb_frame.f_code.co_filename) or is_asyncio(trace.tb_frame)):
        trace = trace.tb_next
    return trace


def is_asyncio(frame):
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "asyncio"


def is_own(filename):
    return filename.startswith("<brood ")


def report(error):
    """Sends the error event. A hook of the user's has written what he wants to see; the event then has no lines. In a
    child that a cell has forked the lines go to stderr."""
    kind, trace = type(error), error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    lines = None
    hook = getattr(sys, "excepthook", cells.session.excepthook)
    if hook is not cells.session.excepthook:
        lines = from_hook(hook, kind, error, trace)
    if lines is None:
        lines = traceback_lines(error)
    if not cells.speaks():
        return print("".join(lines), end="", file=sys.stderr)
    cells.send_event("error", name=kind.__name__, value=cells.shortened(text_of(error), kErrorLimit), traceback=lines)


def from_hook(hook, kind, error, trace):
    try:
        hook(kind, error, trace)
        return []
    except BaseException as second:
        second.__traceback__ = without_own_frames(second.__traceback__)
        return ["Error in sys.excepthook:\n", *traceback_lines(second), "\nOriginal exception was:\n",
                *traceback_lines(error)]


def text_of(error):
    try:
        return str(error)
    except BaseException:
        return "<its text cannot be had>"


def traceback_lines(error):
    try:
        whole = cells_own.traceback.TracebackException(type(error), error, error.__traceback__)
        hide_own_frames(whole, set())
        lines = list(whole.format())
    except BaseException as second:  # MemoryError, RecursionError, an exception whose attributes fail
        lines = [f"{cells.one_line(error)}\n", f"(its traceback cannot be shown: {type(second).__name__})\n"]
    return bounded(lines)


def hide_own_frames(whole, seen):
    if whole is None or id(whole) in seen:
        return
    seen.add(id(whole))
    if any(is_own(frame.filename) for frame in whole.stack):
        whole.stack[:] = [frame for frame in whole.stack if not is_own(frame.filename)]
    hide_own_frames(whole.__cause__, seen)
    hide_own_frames(whole.__context__, seen)
    for inner in getattr(whole, "exceptions", None) or ():
        hide_own_frames(inner, seen)


def bounded(lines):
    """The beginning and the end of what is longer than a client wants to read."""
    if sum(map(len, lines)) <= kErrorLimit:
        return lines
    text = "".join(lines)
    half = kErrorLimit // 2
    return [f"{text[:half]}\n", f"... ({len(text) - 2 * half:,} characters are left out)\n", text[-half:]]
