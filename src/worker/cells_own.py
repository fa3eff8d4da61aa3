"""What the cell loop holds itself, so that no cell can take it away: a user may replace what modules have, or empty
sys.modules and builtins. A part of the cell loop (cells.py), whose builtins are a copy, too (execute() in py.cc)."""
import sys

modules = sys.modules  # the interpreter's, also when sys has another one


def hold():
    """Before the first cell: what is imported here is not imported again. Names of this file are what others use."""
    global POLLIN, StringIO, ast, fstat, getpid, linecache, listdir, make_encoder, poll, quoted, scan, traceback, warnings
    import ast
    import json
    import linecache
    import traceback
    import warnings
    from _json import encode_basestring as quoted
    from _json import make_encoder, make_scanner
    from io import StringIO
    from posix import fstat, getpid, listdir
    from select import POLLIN, poll

    scan = make_scanner(json.JSONDecoder())


def encoded(head):
    """JSON that every reader takes: no NaN, half surrogates as python shows them. ValueError, TypeError or RecursionError if not."""
    text = "".join(make_encoder({}, no_json, quoted, None, ":", ",", False, False, False)(head, 0))
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = "".join(one if not "\ud800" <= one <= "\udfff" else f"\\\\u{ord(one):04x}" for one in text)
    return text


def no_json(value):
    raise TypeError(f"an object of type {type(value).__name__} is no JSON")


def decoded(text):
    """What the server has written."""
    return scan(text, 0)[0]
