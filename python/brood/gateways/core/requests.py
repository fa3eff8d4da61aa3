"""What waits for a thread that is not the engine's: tasks, requests to the engine's owner, callbacks."""

import threading  # by the main thread: it takes whoever imports it first for that
from _thread import get_ident
from collections import deque
from time import monotonic

from .waiting import Until, Waiters

_STALLED = 0.002  # seconds that short work waits for a thread that is busy


class Requests:
    """One queue, and the threads that are started for it: when something waits, nobody is in take() nor on the way there, and fewer
    than `most` have been started. `is_short(item)`: a busy thread will take it soon, unless it takes none for _STALLED."""

    def __init__(self, number, loop, most, is_short=lambda item: False):
        self._number, self._loop, self._most, self._is_short = number, loop, most, is_short
        self._items = deque()
        self._waiters = Waiters()
        self._inside = set()  # tokens of the threads in take()
        self._spawner = None
        self._threads = {}  # token of each that was started here -> thread
        self._left = Waiters()  # until they have left
        self._coming = {}  # of them, those that were not in take() yet -> thread
        self._taken = 0  # items, ever
        self._taken_before = None  # when it began to wait for a busy thread; else None
        self.is_ended = False  # nothing more will be put here

    def __len__(self):
        return len(self._items)

    def put(self, item):
        self._items.append(item)
        self._waiters.wake()
        if self._wants_thread() and not (self._taken_before is not None and self._is_short(item)):
            self._loop.call(self._provide)

    def set_spawner(self, function):
        self._spawner = function
        self._loop.call(self._provide)

    def _wants_thread(self):
        return bool(self._items and self._spawner and not self._inside and not self._coming and len(self._threads) < self._most)

    def _provide(self):
        """In the engine's thread."""
        if not self._wants_thread() or self.is_ended:
            return
        try:
            is_short = self._is_short(self._items[-1])
        except IndexError:
            return
        if not is_short:
            self._spawn()
        elif self._taken_before is None:
            self._taken_before = self._taken
            self._loop.at(monotonic() + _STALLED, self._check_stalled)

    def _check_stalled(self):
        before, self._taken_before = self._taken_before, None
        if self._taken != before:
            self._provide()
        elif self._wants_thread() and not self.is_ended:
            self._spawn()

    def _spawn(self):
        token = object()
        self._threads[token] = self._coming[token] = 0
        name = "brood-queue-%d" % self._number
        try:
            threading.Thread(target=self._serve, args=(token,), name=name, daemon=True).start()
        except RuntimeError:  # no more threads: the next item tries again
            del self._threads[token], self._coming[token]

    def _serve(self, token):
        self._threads[token] = self._coming[token] = get_ident()
        try:
            self._spawner(self._number)
        finally:
            self._coming.pop(token, None)
            del self._threads[token]
            self._left.wake_all()
            if self._items:
                self._loop.call(self._provide)

    def take(self, present, timeout):
        """present() of the next item that is not None from it; None after the time, and at the end of the queue."""
        until = Until(timeout)
        token = object()
        try:
            self._inside.add(token)
            if self._coming:
                self._arrived()
            while True:
                while self._items:
                    found = self._take_one(present)
                    if found is not None:
                        return found
                if self.is_ended or not self._waiters.wait(self._is_ready, until.left()):
                    return None
        finally:
            self._inside.discard(token)
            if self._items and self._taken_before is None and self._wants_thread():
                self._loop.call(self._provide)

    def _arrived(self):
        me = get_ident()
        for token, thread in list(self._coming.items()):
            if thread == me:
                self._coming.pop(token, None)

    def _take_one(self, present):
        try:
            item = self._items.popleft()
        except IndexError:
            return None
        self._taken += 1
        try:
            return present(item)
        except BaseException:  # a signal's: nobody was given it
            self._items.appendleft(item)
            raise

    def _is_ready(self):
        return bool(self._items) or self.is_ended

    def wait_for_threads(self, until):
        """All but the caller."""
        def have_left():
            return all(thread == get_ident() for thread in list(self._threads.values()))

        while not have_left() and self._left.wait(have_left, until.left()):
            pass

    def end(self, forget):
        """Nothing more comes; `forget` what is there."""
        if forget:
            self._items.clear()
        self.is_ended = True
        self._waiters.wake_all()
