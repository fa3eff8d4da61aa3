"""DeadlineExceeded in functions that take too long."""
from _thread import allocate_lock, get_ident, start_new_thread
from time import monotonic, sleep
import _signal

from .errors import DeadlineExceeded
from .kinds import DEADLINE_GRACE

LONGEST = 1000.0  # seconds that the keeper sleeps at most


class Entry:
    """A function that runs. Three words of state without a lock, as a lock could be held when the exception comes:

    the thread sets `done`, then looks at `fired`; the keeper sets `fired`, then looks at `done`. At least one sees the other.
    """

    __slots__ = ("thread", "moment", "done", "fired", "settled")

    def __init__(self, thread, moment):
        self.thread, self.moment = thread, moment
        self.done = self.fired = self.settled = False


class Deadlines:
    """One for a process. A daemonic thread, the keeper, sleeps until the next deadline; it is started with the first."""

    def __init__(self, engine, main):
        self._engine = engine
        self._main = main
        self._entries = set()
        self._alarm = None  # the signal that reaches the main thread in a system call
        self._wake = allocate_lock()
        self._wake.acquire()
        self._until = 0.0  # when the keeper wakes
        start_new_thread(self._keep, ())

    def run(self, seconds, function, *args):
        """function(*args); DeadlineExceeded is raised in it after so many seconds, and the process ends if that does not help."""
        me = get_ident()
        if me == self._main:
            self._listen()
        entry = Entry(me, monotonic() + seconds)
        token = self._engine.watch(max(seconds, 0) + DEADLINE_GRACE)
        try:
            try:
                self._entries.add(entry)
                if entry.moment < self._until:
                    self._call_keeper()
                return function(*args)
            finally:
                entry.done = True
        finally:
            self._engine.unwatch(token)
            self._entries.discard(entry)
            if entry.fired:
                _absorb(entry)

    def _listen(self):
        """Main thread: takes a signal that nobody uses."""
        if self._alarm is not None:
            return
        last = getattr(_signal, "SIGRTMAX", _signal.SIGUSR2)
        for number in range(last, getattr(_signal, "SIGRTMIN", last) - 1, -1):
            if _signal.getsignal(number) == _signal.SIG_DFL:
                break
        _signal.signal(number, self._on_alarm)
        self._alarm = number

    def _on_alarm(self, number, frame):
        for entry in list(self._entries):
            if entry.thread == self._main and entry.fired and not entry.settled:
                entry.settled = True
                if not entry.done:
                    raise DeadlineExceeded("the call did not end within its deadline")

    def _call_keeper(self):
        try:
            self._wake.release()
        except RuntimeError:  # it was called already
            pass

    def _keep(self):
        while True:
            now = monotonic()
            waiting = [entry for entry in list(self._entries) if not entry.fired]
            for entry in waiting:
                if entry.moment <= now:
                    self._fire(entry)
            self._until = min([entry.moment for entry in waiting if not entry.fired] + [now + LONGEST])
            if any(entry.moment < self._until and not entry.fired for entry in list(self._entries)):
                continue  # it came while `_until` was that of before
            self._wake.acquire(True, max(self._until - monotonic(), 0))

    def _fire(self, entry):
        entry.fired = True
        if entry.thread == self._main:
            _signal.pthread_kill(entry.thread, self._alarm)
            return
        if not entry.done:
            self._engine.raise_in_thread(entry.thread, DeadlineExceeded)
        entry.settled = True


def _absorb(entry):
    """An exception that is on its way to this thread shall not come later."""
    try:
        for _ in range(1000):
            if entry.settled:
                break
            sleep(0.001)
        for _ in range(10):
            sleep(0)
    except DeadlineExceeded:
        pass
