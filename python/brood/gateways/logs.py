"""Log records of remotes, and what they print, as records of loggers here."""

import logging
import sys

MAX_NAMES = 1000  # distinct loggers of one context: a logger is never freed
MAX_WAITING = 10000  # records that wait for slow handlers, of all contexts of a group
_MAX_NAME = 200  # characters of a logger's name
_STREAMS = ("stdout", "stderr")


class Logs:
    """Records of one context. One thread at a time.

    A record of the remote's logger `a.b` goes to the logger `brood.ID.a.b`, one of its root logger to `brood.ID`; lines that are
    printed there are records of `brood.ID.stdout` and `.stderr`. When logging has no handler at all, they are written to
    sys.stderr, so that a print() on the remote is seen.
    """

    def __init__(self, id):
        self._logger = logging.getLogger("brood." + id)
        self._known = {}

    def level(self):
        """What the remote's root logger is set to: 0 to 50."""
        return self._logger.getEffectiveLevel()

    def record(self, value):
        """Hands on what a LOG carries. A value of another form is dropped: it comes from the remote."""
        try:
            name, level, message = value
        except (TypeError, ValueError):
            return
        if not (isinstance(name, str) and isinstance(level, int) and isinstance(message, str)):
            return
        logger = self._of(name)
        if name in _STREAMS and not logger.hasHandlers():
            _print(message)
        elif logger.isEnabledFor(level):
            logger.handle(logger.makeRecord(logger.name, level, "(remote)", 0, message, (), None))

    def _of(self, name):
        logger = self._known.get(name)
        if logger is None:
            if name in ("", "root") or len(self._known) >= MAX_NAMES or len(name) > _MAX_NAME or not name.isprintable():
                return self._logger
            logger = self._known[name] = logging.getLogger(f"{self._logger.name}.{name}")
        return logger


def _print(line):
    if sys.stderr is not None:
        try:
            sys.stderr.write(line if line.endswith("\n") else line + "\n")
        except (OSError, ValueError):  # closed, or its other end is
            pass
