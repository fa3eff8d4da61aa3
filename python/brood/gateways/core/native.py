"""Engine and Channel of brood's extension module, or None where it cannot be loaded."""

import os
import sys

from . import errors, kinds
from .twin import twin

NO_ENDMARKER = getattr(twin(__name__), "NO_ENDMARKER", None) or object()  # of Channel.setcallback


def _load():
    found = sys.modules.get("_brood")
    if found is not None:
        return found
    place = os.path.realpath(__file__)
    for _ in range(4):  # PREFIX/lib/brood/python/brood/gateways/core/native.py
        place = os.path.dirname(place)
    for folder in (os.environ.get("BROOD_LIB"), os.path.dirname(place), os.path.join(os.path.dirname(place), "build", "lib", "brood")):
        path = folder and os.path.join(folder, "_brood.abi3.so")
        if path and os.path.exists(path):
            break
    else:
        return None
    from importlib.machinery import ExtensionFileLoader, ModuleSpec
    loader = ExtensionFileLoader("_brood", path)
    module = loader.create_module(ModuleSpec("_brood", loader, origin=path))
    loader.exec_module(module)
    sys.modules["_brood"] = module
    return module


def _bound():
    if sys.implementation.name != "cpython" or sys.version_info < (3, 9):
        return None
    try:
        module = _load()
    except ImportError:
        return None
    if module is not None and hasattr(module, "Engine"):
        module.bind(errors.RemoteError, errors.TimeoutError, errors.DumpError, errors.LoadError, errors.GatewayLost, kinds.End,
                    NO_ENDMARKER)
        return module
    return None


module = _bound()
Engine = Channel = None

if module is not None:
    from _weakref import ref

    Channel = module.Channel
    _engines = set()  # weak references

    class Engine(module.Engine):
        def __init__(self, *_, **__):
            _engines.add(ref(self, _engines.discard))

    _forking = []  # engines, between the hooks of one fork

    def _before_fork():
        _forking.extend(filter(None, [engine() for engine in list(_engines)]))
        for engine in _forking:
            engine.before_fork()

    def _after_fork(in_child):
        for engine in _forking:
            engine.after_fork_in_child() if in_child else engine.after_fork_in_parent()
        del _forking[:]

    # At once: in the child an engine must be in order before whoever uses it hears of the fork.
    os.register_at_fork(before=_before_fork, after_in_parent=lambda: _after_fork(False), after_in_child=lambda: _after_fork(True))
