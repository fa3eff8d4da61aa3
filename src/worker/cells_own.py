"""What the cell loop holds itself, so that no cell can take it away: a user may replace what modules have, or empty
sys.modules and builtins. A part of the cell loop (cells.py), whose builtins are a copy, too (execute() in py.cc)."""
import sys

modules = sys.modules  # the interpreter's, also when sys has another one


def hold():
    """Before the first cell: what is imported here is not imported again. Names of this file are what others use."""
    global ast, linecache, traceback, scan, StringIO, fstat, getpid, listdir, make_encoder, quoted
    import ast
    import json
    import linecache
    import traceback
    from _json import encode_basestring as quoted
    from _json import make_encoder, make_scanner
    from io import StringIO
    from posix import fstat, getpid, listdir

    scan = make_scanner(json.JSONDecoder())


def encoded(head):
    """JSON that every reader takes: no NaN, no half surrogates. ValueError, TypeError or RecursionError if not."""
    text = "".join(make_encoder({}, no_json, quoted, None, ":", ",", False, False, False)(head, 0))
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


def no_json(value):
    raise TypeError(f"an object of type {type(value).__name__} is no JSON")


def decoded(text):
    """What the server has written."""
    return scan(text, 0)[0]
