"""The engine's thread: waits for descriptors and the clock."""

import os
import selectors
import sys
import threading
from collections import deque
from time import monotonic


class Loop:
    """Calls what is given to it in one daemonic thread. call() is for any thread, a finaliser and a signal handler, too;
    everything else for the loop's own thread."""

    def __init__(self):
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._calls = deque()
        self._waking = threading.RLock()  # a finaliser may run inside of wake()
        self._timers = {}  # function -> when to call it
        self._is_stopped = False
        self._selector.register(self._woken, selectors.EVENT_READ, self._empty_pipe)
        self._thread = threading.Thread(target=self._run, name="brood-engine", daemon=True)

    def start(self):
        self._thread.start()

    def call(self, function):
        """Has it called soon."""
        self._calls.append(function)
        self.wake()

    def wake(self):
        with self._waking:
            if not self._is_stopped:
                try:
                    os.write(self._waker, b"\0")
                except BlockingIOError:  # full: it will wake
                    pass

    def is_current(self):
        return threading.current_thread() is self._thread

    def stop(self):
        """Any thread. Returns when the thread has ended, unless it is the caller."""
        self.call(self._stop)
        if not self.is_current() and self._thread.is_alive():
            self._thread.join()

    def forget(self):
        """After a fork, in the child: the thread is not there, what it shares with the parent is not touched."""
        self._waking = threading.RLock()
        self._stop()
        self._calls.clear()

    # --- in the thread ----------------------------------------------------------------------------------------------

    def on_readable(self, descriptor, function):
        """Until on_readable(descriptor, None)."""
        self._watch(descriptor, selectors.EVENT_READ, function)

    def on_writable(self, descriptor, function):
        self._watch(descriptor, selectors.EVENT_WRITE, function)

    def _watch(self, descriptor, events, function):
        is_known = descriptor in self._selector.get_map()
        if function is None:
            if is_known:
                self._selector.unregister(descriptor)
        elif not is_known:
            self._selector.register(descriptor, events, function)

    def at(self, moment, function):
        """Calls it once, at that moment of the monotonic clock; None: not at all."""
        if moment is None:
            self._timers.pop(function, None)
        else:
            self._timers[function] = moment

    def _run(self):
        select = self._selector.select
        calls = self._calls
        while not self._is_stopped:
            for key, _ in select(self._until_timer()):
                key.data()
            while calls:
                calls.popleft()()
            if self._timers:
                self._run_timers()

    def _until_timer(self):
        if self._calls:
            return 0
        return max(0, min(self._timers.values()) - monotonic()) if self._timers else None

    def _run_timers(self):
        now = monotonic()
        for function in [function for function, moment in self._timers.items() if moment <= now]:
            del self._timers[function]
            function()

    def _empty_pipe(self):
        try:
            os.read(self._woken, 4096)
        except BlockingIOError:
            pass

    def _stop(self):
        with self._waking:
            if not self._is_stopped:
                self._is_stopped = True
                self._selector.close()
                os.close(self._woken)
                os.close(self._waker)


def complain():
    """Of an exception that only a mistake of ours can cause."""
    import traceback
    if sys.stderr is not None:
        traceback.print_exc()
