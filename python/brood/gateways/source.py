"""What remote_exec() sends: the source of a text, a module, or a function that needs nothing from around it."""

import builtins
import dis
import inspect
import linecache
import textwrap
import types

_BUILTINS = {*dir(builtins), "__name__", "channel"}


def exec_request(source, kwargs):
    """The map of EXEC. TypeError, ValueError: this cannot be executed elsewhere; OSError: it has no source."""
    if isinstance(source, types.ModuleType):
        file = inspect.getsourcefile(source)
        linecache.checkcache(file)
        request = {"source": inspect.getsource(source), "file": file, "function": None}
    elif isinstance(source, types.FunctionType):
        return {**_function(source), "name": "__channelexec__", "kwargs": kwargs}
    elif callable(source) and not isinstance(source, str):
        raise TypeError(f"remote_exec() takes a text, a module or a plain function, not {source!r}")
    else:
        request = {"source": textwrap.dedent(str(source)), "file": None, "function": None}
    if kwargs:
        raise TypeError(f"keyword arguments ({', '.join(kwargs)}) go to a function: a text or a module takes none")
    return {**request, "name": "__channelexec__", "kwargs": {}}


def _function(function):
    code = function.__code__
    name = function.__name__
    if name == "<lambda>":
        raise ValueError("a lambda cannot be executed elsewhere, as its source is part of a line: use def")
    if not code.co_argcount or code.co_varnames[0] != "channel":
        raise ValueError(f"the first argument of {name}() must be `channel`")
    if code.co_freevars:
        raise ValueError(f"{name}() is a closure: it uses {_list(code.co_freevars)} of the function around it; pass them as arguments")
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError) as error:
        raise OSError(f"the source of {name}() is not known: {error}") from None
    source = textwrap.dedent("".join(lines))
    missing = sorted(_globals(code, set()))
    if missing:
        raise ValueError(
            f"{name}() uses {_list(missing)}, which {'are' if len(missing) > 1 else 'is'} not there: "
            "import inside of the function, pass values as arguments"
        )
    missing = sorted(_at_definition(source, name))
    if missing:
        raise ValueError(f"the def of {name}() needs {_list(missing)} (in a decorator, a default or an annotation), not there")
    return {"source": "\n" * (max(first, 1) - 1) + source, "file": code.co_filename, "function": code.co_name}


def _list(names):
    return " and ".join(", ".join(names).rsplit(", ", 1))


def _globals(code, stored):
    """Names that code, or a function in it, reads as globals, and that are neither built in nor made global by it."""
    read = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            read.add(instruction.argval)
        elif instruction.opname in ("STORE_GLOBAL", "STORE_NAME"):
            stored.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            read |= _globals(constant, stored)
    return {name for name in read - stored - _BUILTINS if name.isidentifier()}  # pytest's assert uses @py_builtins: not in the source


def _at_definition(source, name):
    """Names that executing the def itself reads."""
    try:
        code = compile(source, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ValueError(f"the source of {name}() cannot stand alone: {error}") from None
    return {
        instruction.argval for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL") and instruction.argval not in _BUILTINS
    }
