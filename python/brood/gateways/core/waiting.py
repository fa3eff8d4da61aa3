"""Threads that wait for something that another thread does."""

from _thread import TIMEOUT_MAX, allocate_lock
from time import monotonic


class Waiters:
    """Waiting threads; each wake() is for one of them, the first come. Nothing is locked meanwhile: a signal's exception
    (KeyboardInterrupt) ends wait() at once, and one that was woken and cannot go on passes that on to the next."""

    __slots__ = ("_locks",)

    def __init__(self):
        self._locks = []

    def __len__(self):
        return len(self._locks)

    def wait(self, is_ready, seconds=None):
        """Until woken; at once if is_ready() after this thread can be woken. False: the time is over."""
        lock = allocate_lock()
        lock.acquire()
        woken = False
        try:
            self._locks.append(lock)
            if is_ready():
                return True
            woken = lock.acquire(True, -1 if seconds is None else min(max(seconds, 0), TIMEOUT_MAX))
            return woken
        finally:
            if not woken:
                try:
                    self._locks.remove(lock)
                except ValueError:
                    self.wake()

    def wake(self):
        try:
            lock = self._locks.pop(0)
        except IndexError:
            return
        lock.release()

    def wake_all(self):
        for _ in range(len(self._locks)):
            self.wake()


class Until:
    """A point in time: so many seconds from now, or never (None)."""

    __slots__ = ("_at",)

    def __init__(self, seconds):
        self._at = None if seconds is None else monotonic() + seconds

    def left(self):
        """Seconds until then, 0 when it is over; None: never."""
        return None if self._at is None else max(0, self._at - monotonic())
