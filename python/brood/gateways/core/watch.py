"""The end of a process that does not end by itself."""

import itertools
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
        self._moments = {}
        self._tokens = itertools.count(1)
        self._changed = None  # a lock that the thread waits for

    def set(self, seconds):
        token = next(self._tokens)
        self._moments[token] = moment = monotonic() + seconds
        if moment <= self._earliest():
            self._tell()
        return token

    def unset(self, token):
        moment = self._moments.pop(token, math.inf)
        if moment < self._earliest():
            self._tell()

    def forget(self):
        """After a fork, in the child: what was set is about the parent."""
        self._moments.clear()
        self._changed = None
        if self.writer is not None:
            os.close(self.writer)
            self.writer = None

    def _earliest(self):
        return min(list(self._moments.values()), default=math.inf)

    def _tell(self):
        """Without a lock: whoever has told what is true no more says it again."""
        told = None
        while told != self._earliest():
            told = self._earliest()
            if self.writer is not None:
                try:
                    os.write(self.writer, MOMENT.pack(told))
                    continue
                except OSError:  # it is gone: better a thread than nothing
                    self.writer = None
            self._wake_thread()

    def _wake_thread(self):
        changed = self._changed
        if changed is None:
            self._changed = changed = allocate_lock()
            changed.acquire()
            start_new_thread(self._run, (changed,))
        try:
            changed.release()
        except RuntimeError:  # it is awake
            pass

    def _run(self, changed):
        while True:
            left = self._earliest() - monotonic()
            if left <= 0:
                kill()
            changed.acquire(True, min(left, TIMEOUT_MAX))


def kill():
    """This process and, if it leads one, its process group."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
