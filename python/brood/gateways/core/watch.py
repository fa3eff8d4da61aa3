"""The end of a process that does not end by itself."""

import math
import os
import signal
import struct
from _thread import TIMEOUT_MAX, allocate_lock, start_new_thread
from time import monotonic

MOMENT = struct.Struct("<d")  # of CLOCK_MONOTONIC; inf: none


class Watch:
    """Moments at which this process group is to be killed, unless they are taken back before.

    `writer` is a pipe to a process that does it, and is told the earliest: this works whatever this process hangs in. Without
    one a thread does it, which never comes to that while something holds the interpreter.
    """

    def __init__(self):
        self.writer = None
        self._lock = allocate_lock()
        self._moments = {}
        self._tokens = 0
        self._told = math.inf
        self._changed = None  # a lock that the thread waits for

    def set(self, seconds):
        with self._lock:
            self._tokens = token = self._tokens + 1
            self._moments[token] = monotonic() + seconds
            self._tell()
        return token

    def unset(self, token):
        with self._lock:
            if self._moments.pop(token, None) is not None:
                self._tell()

    def forget(self):
        """After a fork, in the child: what was set is about the parent."""
        self._lock = allocate_lock()
        self._moments.clear()
        self._told, self._changed = math.inf, None
        if self.writer is not None:
            os.close(self.writer)
            self.writer = None

    def _tell(self):
        moment = min(self._moments.values()) if self._moments else math.inf
        if moment == self._told:
            return
        self._told = moment
        if self.writer is not None:
            try:
                os.write(self.writer, MOMENT.pack(moment))
                return
            except OSError:
                self.writer = None  # it is gone: better a thread than nothing
        if self._changed is None:
            self._changed = allocate_lock()
            self._changed.acquire()
            start_new_thread(self._run, (self._changed,))
        elif self._changed.locked():
            self._changed.release()

    def _run(self, changed):
        while True:
            left = self._told - monotonic()
            if left <= 0:
                kill()
            changed.acquire(True, min(left, TIMEOUT_MAX))


def kill():
    """This process and, if it leads one, its process group."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
