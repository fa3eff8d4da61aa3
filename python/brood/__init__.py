"""brood for Python programs: a client of ``brood serve``, gateways to other interpreters, and a thin layer over the ``brood`` command.

    import brood
    with brood.Client() as client, client.new("math") as session:
        print(session.run("1 + 1").value)

    with brood.Group(["popen", "ssh=host"]) as group:
        print([gateway.call(os.getpid) for gateway in group])

    brood.status()["environments"]    # zygotes, spares, running programs, their memory
    brood.paths()["daemon_log"]       # where things are
    brood.__version__

Nothing here starts the daemon or the server. Programs need none of it to run warm.
"""

import os

# Where the names of the clients are: imported when one of them is first used.
_PLACES = {
    "brood.client": ("Client", "EventStream", "Session"),
    "brood.aio": ("AsyncClient", "AsyncEventStream", "AsyncSession"),
    "brood.results": ("Checkpoints", "ErrorReport", "Event", "Result"),
    "brood.gateways.group": ("Group", "makegateway"),
    "brood.gateways.gateway": ("Gateway",),
    "brood.gateways.channel": ("Channel",),
    "brood.gateways.xspec": ("XSpec",),
    "brood.gateways.multi": ("MultiChannel",),
    "brood.gateways.rsync": ("RSync",),
    "brood.gateways.executor": ("Executor",),
    "brood.gateways.calls": ("CallFuture",),
    "brood.gateways.targets": ("with_context",),
    "brood.gateways.core.errors": (
        "DeadlineExceeded", "DumpError", "GatewayLost", "HostNotFound", "LoadError", "RemoteError", "TimeoutError",
    ),
    "brood.errors": (
        "AuthenticationError", "BadRequest", "Busy", "CellError", "ConnectionLost", "EnvironmentUnavailable", "Error", "Forbidden",
        "LimitExceeded", "NotFound", "ProtocolError", "SessionEnded", "SessionNotFound", "Timeout",
    ),
}
_LAZY = {name: place for place, names in _PLACES.items() for name in names}

__all__ = ["BroodError", "paths", "status", *sorted(_LAZY.keys() - {"TimeoutError"})]  # `import *` leaves the builtin alone


class BroodError(RuntimeError):
    """The ``brood`` command is missing or failed; the text says why."""


def _command():
    """The brood that this package belongs to, else the first in PATH."""
    place = os.path.dirname(os.path.abspath(__file__))
    for _ in range(4):  # PREFIX/lib/brood/python/brood, or python/brood in a build tree
        place = os.path.dirname(place)
        candidate = os.path.join(place, "bin", "brood")
        if os.access(candidate, os.X_OK):
            return candidate
    import shutil
    found = shutil.which("brood")
    if found is None:
        raise BroodError("the brood command is neither beside this package nor in PATH; install brood")
    return found


def _run(*arguments):
    import subprocess
    done = subprocess.run([_command(), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="surrogateescape")
    if done.returncode != 0:
        raise BroodError(done.stderr.strip() or f"brood ended with status {done.returncode}")
    return done.stdout


def status():
    """``brood status --json`` as a dict; its ``"daemon"`` is None when no daemon runs."""
    import json
    return json.loads(_run("status", "--json"))


def paths():
    """Where brood's files are: the runtime directory, the daemon's socket and log, the user's configuration."""
    return status()["paths"]


def __getattr__(name):
    if name == "__version__":
        return _run("--version").split()[-1]
    if name in _LAZY:
        import importlib
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LAZY, "__version__"})
