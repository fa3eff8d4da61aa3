"""Work that is done in the background, one after the other, by a thread that is there only while there is some."""

import collections
import threading

_IDLE = 5.0  # seconds after which a thread without work leaves


class Lane:
    """Functions to call in order, in a daemonic thread. At most `most` wait; whoever comes then is refused."""

    def __init__(self, name, most):
        self._name = name
        self._most = most
        self._waiting = collections.deque()
        self._condition = threading.Condition()
        self._running = False

    def put(self, function, *arguments):
        """False if too many wait. What the function raises is told as an unhandled exception of a thread; the lane goes on."""
        with self._condition:
            if len(self._waiting) >= self._most:
                return False
            self._waiting.append((function, arguments))
            if self._running:
                self._condition.notify()
                return True
            self._running = True
        threading.Thread(target=self._run, name=self._name, daemon=True).start()
        return True

    def _run(self):
        while True:
            with self._condition:
                if not self._waiting:
                    self._condition.wait(_IDLE)
                if not self._waiting:
                    self._running = False
                    return
                function, arguments = self._waiting.popleft()
            try:
                function(*arguments)
            except Exception:
                threading.excepthook(threading.ExceptHookArgs((*_exc_info(), threading.current_thread())))


def _exc_info():
    import sys
    return sys.exc_info()
