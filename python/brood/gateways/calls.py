"""CallFuture: the answer of a call, a concurrent.futures.Future that costs little until somebody needs all of it."""

import concurrent.futures
import heapq
import threading
import time
import weakref
from concurrent.futures import Future

from .core.errors import DeadlineExceeded, GatewayLost, RemoteError, TimeoutError

GRACE = 1.0  # seconds beyond a call's deadline after which its gateway is ended
_END = object()
_making = threading.Lock()  # of any future's condition


def after_fork():
    """In the child: another thread may have had the lock."""
    global _making
    _making = threading.Lock()


class CallFuture(Future):
    """The answer of `call_async`. All of concurrent.futures.Future, and `await` in asyncio.

    As long as only result() and exception() are used, by one thread, it has no lock: they wait on the channel. Everything else (a
    second thread, done(), callbacks, wait(), await) makes it a complete Future, to which a callback of the channel brings the answer.
    Who has taken a future's `_free` away may take the answer from its channel: del works for one thread only.
    """

    __slots__ = ("_channel", "_free", "_answer", "_late", "_whole")

    def __init__(self, channel):
        self._channel = channel
        self._free = True
        self._answer = None
        self._whole = False  # Future.__init__ was called

    def __getattr__(self, name):  # for what Future.__init__ would have made, and slots that are empty
        if name in ("_condition", "_state", "_result", "_exception", "_waiters", "_done_callbacks"):
            self._complete()
            return self.__dict__[name]
        if name in CallFuture.__slots__:
            return None
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def result(self, timeout=None):
        """What the function returned; raises RemoteError, GatewayLost, DeadlineExceeded, CancelledError, TimeoutError (of concurrent.futures)."""
        if self._take():
            self._receive(timeout)
        if self._whole or self._answer is None:
            return super().result(timeout)
        value, error = self._answer
        if error is None:
            return value
        try:
            raise error
        finally:
            del error, self

    def exception(self, timeout=None):
        if self._take():
            self._receive(timeout)
        if self._whole or self._answer is None:
            return super().exception(timeout)
        return self._answer[1]

    def done(self):
        return self.is_answered() or super().done()

    def is_answered(self):
        """Whether the answer is there; takes it if it can be taken."""
        if self._take():
            try:
                self._receive(0)
            except concurrent.futures.TimeoutError:
                return False
        return self._answer is not None

    def _take(self):
        try:
            del self._free
        except AttributeError:
            return False
        return True

    def cancel(self):
        """Nobody wants the answer any more: what waits over there is not begun, what runs goes on. False if it has come already."""
        if not super().cancel():
            return False
        channel = self._channel
        if channel is not None:
            channel.close()
        with self._condition:
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()
        return True

    def __await__(self):
        import asyncio
        return asyncio.wrap_future(self).__await__()

    def _receive(self, timeout):
        """Waits on the channel, as the one who has "_free"."""
        channel = self._channel
        try:
            answer = channel.receive(timeout), None
        except TimeoutError:
            self._give_back()
            raise concurrent.futures.TimeoutError(f"no answer after {timeout} seconds") from None
        except Exception as error:
            answer = None, self._failure(error)
        except BaseException:
            self._give_back()
            raise
        self._answer = answer
        self._channel = None
        if self._whole:
            self._publish()

    def _give_back(self):
        self._free = True
        if self._whole:
            self._complete()

    def _complete(self):
        """Makes the rest of the Future, and sees to it that the answer will be there."""
        with _making:
            if not self._whole:
                super().__init__()
                self._whole = True
        if self._answer is not None:
            self._publish()
        elif self._take():
            self._channel.setcallback(self._arrived, endmarker=_END)

    def _arrived(self, item):
        """The channel's callback: the value, then _END; or only _END."""
        if self._answer is not None:
            return
        self._answer = (item, None) if item is not _END else (None, self._failure(_why(self._channel)))
        self._publish()
        self._channel = None

    def _publish(self):
        """Tells the condition of the answer. More than one thread may do so."""
        with _making:
            condition = self.__dict__["_condition"]
        with condition:
            if self._state in ("PENDING", "RUNNING"):
                value, error = self._answer
                if error is None:
                    self.set_result(value)
                else:
                    self.set_exception(error)

    def _failure(self, error):
        if self._late is not None and isinstance(error, GatewayLost):
            return DeadlineExceeded(self._late)
        return failure(error)


def failure(error):
    """What the caller gets for what the channel of a CALL raised."""
    if isinstance(error, RemoteError) and error.type.rpartition(".")[2] == "DeadlineExceeded":
        return DeadlineExceeded(error.text or "the call did not end within its deadline")
    if isinstance(error, EOFError) and not isinstance(error, GatewayLost):
        return GatewayLost("the gateway has ended the call without an answer")
    return error


def _why(channel):
    try:
        channel.waitclose(0)
    except Exception as error:
        return error
    return EOFError()


class Deadlines:
    """Ends gateways whose calls are beyond their deadline. One thread, as long as there are such calls."""

    def __init__(self):
        self._condition = threading.Condition()
        self._order = []  # (when, number)
        self._calls = {}  # number: (weak reference to the future, end of its gateway)
        self._number = 0
        self._running = False

    def add(self, future, seconds, end):
        """`end(why)` is called, unless the future has its answer, GRACE after so many seconds."""
        with self._condition:
            self._number += 1
            number = self._number
            self._calls[number] = weakref.ref(future, lambda _: self._calls.pop(number, None)), seconds, end
            heapq.heappush(self._order, (time.monotonic() + seconds + GRACE, number))
            if len(self._order) > 2 * len(self._calls) + 1000:
                self._order = [entry for entry in self._order if entry[1] in self._calls]
                heapq.heapify(self._order)
            if self._running:
                if self._order[0][1] == number:
                    self._condition.notify()
                return
            self._running = True
        threading.Thread(target=self._run, name="brood-deadlines", daemon=True).start()

    def clear(self):
        """The gateways are gone."""
        with self._condition:
            self._calls.clear()
            self._condition.notify()

    def _run(self):
        while True:
            with self._condition:
                while self._order and self._order[0][1] not in self._calls:
                    heapq.heappop(self._order)
                if not self._order:
                    self._running = False
                    return
                when, number = self._order[0]
                if when > time.monotonic():
                    self._condition.wait(when - time.monotonic())
                    continue
                reference, seconds, end = self._calls.pop(number, (None, 0, None))
            future = reference and reference()
            if future is not None and not future.is_answered():
                future._late = f"the call did not end within its deadline of {seconds} seconds, nor did its gateway say so: it was ended"
                end(future._late)
            del future
