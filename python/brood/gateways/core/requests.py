"""What waits for a thread that is not the engine's: tasks, requests to the engine's owner, callbacks."""

import threading
from collections import deque

from .waiting import Until, Waiters


class Requests:
    """One queue. `kick()` is called when a thread should be started for it; the engine's thread then calls spawn()."""

    def __init__(self, kick):
        self._kick = kick
        self._items = deque()
        self._waiters = Waiters()
        self._inside = set()  # tokens of the threads in take()
        self._spawner = None
        self._spawned = None  # the thread that was started here
        self.is_ended = False  # nothing more will be put here

    def __len__(self):
        return len(self._items)

    def put(self, item):
        self._items.append(item)
        self._waiters.wake()
        self.check()

    def check(self):
        """Asks for a thread if one is due."""
        if self._items and not self._inside and self._spawner is not None and self._spawned is None:
            self._kick()

    def set_spawner(self, function):
        self._spawner = function
        self.check()

    def spawn(self, queue):
        """In the engine's thread. Starts a thread that is in nobody's way, if one is due."""
        if self._items and not self._inside and self._spawner is not None and self._spawned is None:
            self._spawned = threading.Thread(target=self._serve, args=(queue,), name="brood-queue-%d" % queue, daemon=True)
            try:
                self._spawned.start()
            except RuntimeError:  # no more threads: the next item tries again
                self._spawned = None

    def _serve(self, queue):
        try:
            self._spawner(queue)
        finally:
            self._spawned = None
            self.check()

    def take(self, present, timeout):
        """present() of the next item that is not None from it; None after the time, and at the end of the queue."""
        until = Until(timeout)
        token = object()
        try:
            self._inside.add(token)
            while True:
                while self._items:
                    found = self._take_one(present)
                    if found is not None:
                        return found
                if self.is_ended or not self._waiters.wait(self._is_ready, until.left()):
                    return None
        finally:
            self._inside.discard(token)
            if self._items:
                self.check()

    def _take_one(self, present):
        try:
            item = self._items.popleft()
        except IndexError:
            return None
        try:
            return present(item)
        except BaseException:  # a signal's: nobody was given it
            self._items.appendleft(item)
            raise

    def _is_ready(self):
        return bool(self._items) or self.is_ended

    def end(self, forget):
        """Nothing more comes; `forget` what is there."""
        if forget:
            self._items.clear()
        self.is_ended = True
        self._waiters.wake_all()
