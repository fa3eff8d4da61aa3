"""What brood keeps warm, for Python programs: a thin layer over the ``brood`` command.

    import brood
    brood.status()["environments"]    # zygotes, spares, running programs, their memory
    brood.paths()["daemon_log"]       # where things are
    brood.__version__

Nothing here starts the daemon. Programs need none of it to run warm.
"""

import json
import os
import shutil
import subprocess

__all__ = ["BroodError", "paths", "status"]


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
    found = shutil.which("brood")
    if found is None:
        raise BroodError("the brood command is neither beside this package nor in PATH; install brood")
    return found


def _run(*arguments):
    done = subprocess.run([_command(), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="surrogateescape")
    if done.returncode != 0:
        raise BroodError(done.stderr.strip() or f"brood ended with status {done.returncode}")
    return done.stdout


def status():
    """``brood status --json`` as a dict; its ``"daemon"`` is None when no daemon runs."""
    return json.loads(_run("status", "--json"))


def paths():
    """Where brood's files are: the runtime directory, the daemon's socket and log, the user's configuration."""
    return status()["paths"]


def __getattr__(name):
    if name == "__version__":
        return _run("--version").split()[-1]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
