"""Executor: concurrent.futures over gateways."""

import collections
import concurrent.futures
import threading
import time

from .core.errors import GatewayLost
from .gateway import Gateway
from .group import Group

_AHEAD = 2  # pieces of work that a gateway has at a time: one runs, one is there already when it ends


class Executor(concurrent.futures.Executor):
    """Calls functions on whichever gateway has the least to do.

    specs: a spec ("popen", "4*popen", "ssh=host"), a number of local interpreters, or a list of specs and of Gateways that exist.
    ahead: how many calls (of map(): chunks) a gateway is given at a time; it runs them at the same time, in threads. What waits
    beyond them can still be cancelled. retry: what a lost gateway has not answered is done by another one, so perhaps twice;
    otherwise it fails with GatewayLost. serve: as of Group.

    Functions, arguments and results are those of Gateway.call(). shutdown() ends the gateways that were started here. Any thread.
    """

    def __init__(self, specs, *, ahead=_AHEAD, retry=False, serve=None):
        if ahead < 1:
            raise ValueError(f"ahead={ahead}: a gateway is given at least one call")
        given = _expanded(specs)
        if not given:
            raise ValueError("an executor needs a gateway: specs is empty")
        self._ahead = ahead
        self._retry = retry
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._queue = collections.deque()
        self._shut = False
        self._feeding = set()  # threads
        self._group = Group([spec for spec in given if not isinstance(spec, Gateway)], serve=serve)
        started = iter(list(self._group))
        self._load = {spec if isinstance(spec, Gateway) else next(started): 0 for spec in given}

    @property
    def gateways(self):
        """Those that are not lost."""
        with self._lock:
            return list(self._load)

    def submit(self, fn, /, *args, **kwargs):
        """A concurrent.futures.Future of fn(*args, **kwargs) on some gateway."""
        return self._submit(_Work(fn, [(args, kwargs)], single=True))

    def map(self, fn, *iterables, timeout=None, chunksize=1):
        """Results in order. `chunksize` calls are given to a gateway together; a few hundred make short functions fast."""
        if chunksize < 1:
            raise ValueError("chunksize must be at least 1")
        calls = [(arguments, {}) for arguments in zip(*iterables)]
        chunks = [_Work(fn, calls[at:at + chunksize], single=False) for at in range(0, len(calls), chunksize)]
        futures = [self._submit(chunk) for chunk in chunks]
        return _results(futures, timeout)

    def shutdown(self, wait=True, *, cancel_futures=False):
        with self._lock:
            self._shut = True
            waiting = list(self._queue) if cancel_futures else []
            if cancel_futures:
                self._queue.clear()
        for work in waiting:
            if work.future.cancel():
                work.future.set_running_or_notify_cancel()
        if wait:
            with self._lock:
                self._idle.wait_for(self._is_idle)
            self._group.terminate()
        else:
            self._end_if_idle()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _is_idle(self):
        return not self._queue and not any(self._load.values())

    def _end_if_idle(self):
        with self._lock:
            if not self._shut or not self._is_idle():
                return
            self._idle.notify_all()
        threading.Thread(target=self._group.terminate, name="brood-executor", daemon=True).start()

    def _submit(self, work):
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot submit after shutdown()")
            if not self._load:
                raise GatewayLost("all gateways of this executor are lost")
            self._queue.append(work)
        self._feed()
        return work.future

    def _feed(self):
        """Gives away what there is room for."""
        me = threading.get_ident()
        if me in self._feeding:  # an answer that came at once: the loop below goes on
            return
        self._feeding.add(me)
        try:
            while (given := self._next()) is not None:
                self._give(*given)
        finally:
            self._feeding.discard(me)
        self._end_if_idle()

    def _next(self):
        """(gateway, work): what to give to whom; the gateway is None if all are lost. None: nothing now."""
        with self._lock:
            gateway = min(self._load, key=self._load.get, default=None)
            if not self._queue or (gateway is not None and self._load[gateway] >= self._ahead):
                return None
            if gateway is not None:
                self._load[gateway] += 1
            return gateway, self._queue.popleft()

    def _give(self, gateway, work):
        if gateway is None:
            work.fail(GatewayLost("all gateways of this executor are lost"))
        elif not work.begin():
            self._done(gateway, None)
        else:
            work.give(gateway, self._answered)

    def _answered(self, gateway, work):
        """In any thread: all answers of this work are there."""
        lost = work.lost()
        if lost and self._retry:
            with self._lock:
                self._queue.appendleft(work)
        elif lost:
            work.fail(lost)
        else:
            work.finish()
        self._done(gateway, lost)

    def _done(self, gateway, lost):
        with self._lock:
            if gateway in self._load:
                self._load[gateway] -= 1
                if lost and not gateway.hasreceiver():
                    del self._load[gateway]
        self._feed()


class _Work:
    """One or more calls that one gateway is given together."""

    def __init__(self, function, calls, single):
        self.future = concurrent.futures.Future()
        self._function = function
        self._calls = calls
        self._single = single
        self._begun = False
        self._answers = []
        self._left = 0  # answers that are not known to be there

    def begin(self):
        """False: it was cancelled."""
        self._begun = self._begun or self.future.set_running_or_notify_cancel()
        return self._begun

    def give(self, gateway, then):
        """then(gateway, self) is called when all is answered."""
        self._answers = []
        try:
            for args, kwargs in self._calls:
                self._answers.append(gateway.call_async(self._function, *args, **kwargs))
        except Exception as error:  # it cannot be sent, or the gateway is gone
            failed = concurrent.futures.Future()
            failed.set_exception(error)
            self._answers.append(failed)
        self._left = len(self._answers)
        self._answers[-1].add_done_callback(lambda _: self._follow(gateway, then))

    def _follow(self, gateway, then):
        """One more is there. They come nearly in order: behind the last, the others only have to be looked at."""
        self._left -= 1
        while self._left:
            answer = self._answers[self._left - 1]
            if not answer.done():
                answer.add_done_callback(lambda _: self._follow(gateway, then))
                return
            self._left -= 1
        then(gateway, self)

    def lost(self):
        """The GatewayLost among the answers, or None."""
        errors = (answer.exception() for answer in self._answers)
        return next((error for error in errors if isinstance(error, GatewayLost)), None)

    def fail(self, error):
        if self.begin():
            self.future.set_exception(error)

    def finish(self):
        if not self._single:
            self.future.set_result(self._answers)
        elif self._answers[0].exception() is not None:
            self.future.set_exception(self._answers[0].exception())
        else:
            self.future.set_result(self._answers[0].result())


def _results(futures, timeout):
    """What map() returns: gives the answers of the chunks, cancels the rest if it is left early."""
    end = None if timeout is None else time.monotonic() + timeout
    futures.reverse()

    def results():
        try:
            while futures:
                for answer in futures.pop().result(None if end is None else max(0, end - time.monotonic())):
                    yield answer.result()
        finally:
            for future in futures:
                future.cancel()

    return results()


def _expanded(specs):
    """A list of specs and Gateways."""
    if isinstance(specs, int):
        return ["popen"] * specs
    if isinstance(specs, (str, Gateway)):
        specs = [specs]
    given = []
    for spec in specs:
        count, star, one = spec.partition("*") if isinstance(spec, str) else ("", "", spec)
        given += [one] * int(count) if star and count.isdigit() else [spec]
    return given
