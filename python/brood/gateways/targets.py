"""What call() may call: functions that a remote can import by name."""

import sys
import types

_CACHE = 10000  # functions


def with_context(function):
    """Decorator: on the remote the function gets its context there as first argument: its name, number, ancestors, and the seconds left."""
    function.__brood_context__ = True
    return function


class Targets:
    """Remembers where functions are. Any thread."""

    def __init__(self):
        self._known = {}

    def of(self, function):
        """(module, class or None, function, with_context) as CALL has it. TypeError, ValueError: cannot be called elsewhere, and why."""
        try:
            return self._known[function]
        except (KeyError, TypeError):
            pass
        target = _target(function)
        if isinstance(function, (types.FunctionType, types.BuiltinFunctionType)):
            if len(self._known) >= _CACHE:
                self._known.clear()
            self._known[function] = target
        return target


def _target(function):
    holder = getattr(function, "__self__", None)
    if isinstance(function, types.MethodType) or (holder is not None and isinstance(function, types.BuiltinFunctionType)):
        if isinstance(holder, types.ModuleType):
            pass
        elif isinstance(holder, type):  # a class method
            place = _place(holder, holder.__module__, holder.__qualname__)
            return place[0], ".".join(filter(None, place[1:3])), function.__name__, _wants_context(function)
        else:
            raise TypeError(
                f"{function.__qualname__} is a method of an object, a {type(holder).__name__}, which cannot be sent: "
                "call a function, a static or a class method"
            )
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not callable(function) or not module or not name:
        raise TypeError(f"{function!r} is no function that a remote could import")
    return (*_place(function, module, name), _wants_context(function))


def _wants_context(function):
    return bool(getattr(function, "__brood_context__", False))


def _place(function, module, name):
    """(module, class or None, name), after making sure that an import finds this very object."""
    if name.endswith("<lambda>"):
        raise ValueError(f"a lambda ({name} of {module}) has no name to import it by: use def, at the top level of a module")
    if "<locals>" in name:
        outer, _, inner = name.partition(".<locals>.")
        raise ValueError(f"{inner} is defined inside of {outer}(), where no import finds it: move it to the top level of {module}")
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not None and found is not function and found != function:
        raise ValueError(f"{module}.{name} is something else by now: {found!r}")
    if found is None:
        raise ValueError(f"{module} has no {name}: a remote could not import it")
    if module == "__main__":
        module = _main(name)
    owner, _, last = name.rpartition(".")
    return module, owner or None, last


def _main(name):
    from . import finding
    module = finding.main_name()
    if module == "__main__" and finding.find(module) is None:
        raise ValueError(
            f"{name}() is of __main__, which is no file here (python -c, standard input or a prompt): put it into a module, or use "
            "remote_exec()"
        )
    return module
