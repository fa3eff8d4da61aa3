"""What a process writes to a descriptor, as log records."""

import os

from .kinds import LOG

MAX_LINE = 8 << 10  # bytes of a record; longer lines are cut into several
LEVEL = 20  # logging.INFO
_READ = 8 << 10  # bytes at once: fewer lines than may wait
_PIPE = 1 << 20  # bytes that a pipe has at most
_ENOUGH = 1 << 20  # bytes that wait on the link: nothing more is read


class Capture:
    """Belongs to the engine's thread. Owns the descriptor."""

    def __init__(self, engine, loop, descriptor, name):
        self._engine, self._loop, self._descriptor, self._name = engine, loop, descriptor, name
        self._rest = b""
        os.set_blocking(descriptor, False)
        loop.on_readable(descriptor, self.read)

    def read(self):
        """What is there. False: there may be more."""
        try:
            data = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self.close()
            return True
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._post(line)
        while len(self._rest) >= MAX_LINE:
            self._post(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]
        if self._engine.is_congested(_ENOUGH, self.resume):
            self._loop.on_readable(self._descriptor, None)
        return False

    def read_all(self):
        """As much as a pipe can have, and an incomplete line."""
        for _ in range(_PIPE // _READ):
            if self._descriptor < 0 or self.read():
                break
        self._post_rest()

    def resume(self):
        if self._descriptor >= 0:
            self._loop.on_readable(self._descriptor, self.read)

    def close(self):
        """Also posts an incomplete line."""
        if self._descriptor < 0:
            return
        self._post_rest()
        self._loop.on_readable(self._descriptor, None)
        os.close(self._descriptor)
        self._descriptor = -1
        self._engine.captures.discard(self)

    def _post_rest(self):
        if self._rest:
            self._post(self._rest)
            self._rest = b""

    def abandon(self):
        """After a fork, in the child."""
        os.close(self._descriptor)
        self._descriptor = -1

    def _post(self, line):
        for start in range(0, len(line) or 1, MAX_LINE):
            text = line[start : start + MAX_LINE].decode("utf-8", "replace")
            self._engine.post(self._engine.root, LOG, [self._name, LEVEL, text])
