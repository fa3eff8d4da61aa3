"""Work that is done in the background, one after the other, by a thread that is there only while there is some."""

import collections
import sys
import threading

_IDLE = 5.0  # seconds after which a thread without work leaves


class Lane:
    """Functions to call in order, in a daemonic thread. At most `most` wait; whoever comes then is refused."""

    def __init__(self, name, most):
        self._name = name
        self._most = most
        self._waiting = collections.deque()
        self._condition = threading.Condition()
        self._running = False  # a thread is there
        self._busy = False  # it is in a function

    def put(self, function, *arguments):
        """False if too many wait. What the function raises is told as an unhandled exception of a thread; the lane goes on."""
        with self._condition:
            if len(self._waiting) >= self._most:
                return False
            self._waiting.append((function, arguments))
            if self._running:
                self._condition.notify_all()
                return True
            self._running = True
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # the interpreter ends, there are no more threads
            self._run(idle=0)
        return True

    def _run(self, idle=_IDLE):
        while True:
            with self._condition:
                if not self._waiting:
                    self._condition.wait(idle)
                if not self._waiting:
                    self._running = False
                    return
                function, arguments = self._waiting.popleft()
                self._busy = True
            try:
                function(*arguments)
            except Exception:
                complain()
            finally:
                with self._condition:
                    self._busy = False
                    self._condition.notify_all()

    def drain(self, seconds):
        """Waits until nothing is left, at most so many seconds."""
        with self._condition:
            self._condition.wait_for(lambda: not self._waiting and not self._busy, seconds)


def complain():
    """Of an exception that nobody above takes."""
    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
