"""The engine's thread: waits for descriptors and the clock."""

import os
import select
import sys
from _thread import allocate_lock, get_ident, start_new_thread
from collections import deque
from time import monotonic, sleep


class Loop:
    """Calls what is given to it in one daemonic thread. call() is for any thread, a finaliser and a signal handler, too;
    everything else for the loop's own thread."""

    def __init__(self):
        self._poll = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._unit = 1 if hasattr(select, "epoll") else 1000  # of its time-outs in a second
        self._functions = {}  # descriptor -> what to call
        self._woken, self._waker = os.pipe()
        for descriptor in self._woken, self._waker:
            os.set_blocking(descriptor, False)
        self._wakers = set()  # one for each thread in wake(): the descriptor stays open as long
        self._calls = deque()
        self._timers = {}  # function -> when to call it
        self._is_stopped = self._is_closed = False
        self.on_readable(self._woken, self._empty_pipe)
        self._ident = None  # of the thread
        self._running = allocate_lock()  # held until the thread ends

    def start(self):
        self._running.acquire()
        self._ident = start_new_thread(self._run, ())

    def call(self, function):
        """Has it called soon."""
        self._calls.append(function)
        if not self.is_current():
            self.wake()

    def wake(self):
        token = object()
        try:
            self._wakers.add(token)
            if not self._is_stopped:
                os.write(self._waker, b"\0")
        except BlockingIOError:  # full: it will wake
            pass
        finally:
            self._wakers.discard(token)

    def is_current(self):
        return get_ident() == self._ident

    def stop(self):
        """Any thread. Returns when the thread has ended, unless it is the caller."""
        self.call(self._stop)
        if not self.is_current():
            with self._running:
                pass

    def forget(self):
        """After a fork, in the child: the thread is not there, what it shares with the parent is not touched."""
        self._running = allocate_lock()
        self._is_stopped = True
        self._calls.clear()
        if not self._is_closed:
            self._close()

    def _close(self):
        if hasattr(self._poll, "close"):
            self._poll.close()
        os.close(self._woken)
        os.close(self._waker)
        self._is_closed = True

    # --- in the thread ----------------------------------------------------------------------------------------------

    def on_readable(self, descriptor, function):
        """Until on_readable(descriptor, None)."""
        self._watch(descriptor, select.POLLIN, function)

    def on_writable(self, descriptor, function):
        self._watch(descriptor, select.POLLOUT, function)

    def _watch(self, descriptor, events, function):
        """A descriptor is watched for one thing only."""
        if function is None:
            if self._functions.pop(descriptor, None) is not None:
                self._poll.unregister(descriptor)
        else:
            if descriptor not in self._functions:
                self._poll.register(descriptor, events)
            self._functions[descriptor] = function

    def at(self, moment, function):
        """Calls it once, at that moment of the monotonic clock; None: not at all."""
        if moment is None:
            self._timers.pop(function, None)
        else:
            self._timers[function] = moment

    def _run(self):
        self._ident = get_ident()
        try:
            while not self._is_stopped:
                for descriptor, _ in self._poll.poll(self._until_timer()):
                    function = self._functions.get(descriptor)
                    if function is not None:
                        self._do(function)
                self._run_calls()
                if self._timers:
                    self._run_timers()
            self._run_calls()
            for _ in range(1000):
                if not self._wakers:
                    break
                sleep(0.001)
            self._close()
        finally:
            self._running.release()

    def _run_calls(self):
        while self._calls:
            self._do(self._calls.popleft())

    @staticmethod
    def _do(function):
        try:
            function()
        except Exception:  # a mistake of ours must not end all links
            complain()

    def _until_timer(self):
        if self._calls:
            return 0
        return max(0, min(self._timers.values()) - monotonic()) * self._unit if self._timers else -1

    def _run_timers(self):
        now = monotonic()
        for function in [function for function, moment in self._timers.items() if moment <= now]:
            del self._timers[function]
            self._do(function)

    def _empty_pipe(self):
        try:
            os.read(self._woken, 4096)
        except BlockingIOError:
            pass

    def _stop(self):
        self._is_stopped = True


def complain():
    """Of an exception that only a mistake of ours can cause."""
    import traceback
    if sys.stderr is not None:
        traceback.print_exc()
