"""Which requests of a connection may be sent. A server takes 64 without an answer on each; a client that keeps below
that never sees the limit, however many threads or tasks it has. Values; no sockets, no locks: both clients use it."""

_WAIT_FOR_A_CELL = frozenset(("run",))


class Turns:
    """The places of one connection. One is taken from the sending of a request until its answer, also when nobody waits
    for that any more. First come, first served, the short ones before those that wait for a cell."""

    PLACES = 60
    LONG = 48  # of them, for those that wait for a cell: an interrupt finds a place soon

    def __init__(self):
        self._taken = {}  # request -> whether it is a long one
        self._long = 0  # of them
        self._waiting = {False: {}, True: {}}  # long -> the requests, in their order
        self.answered = 0  # so many have given up their place

    def ask(self, number, method):
        """Whether the request may be sent now. If not, the done() of another one will name it."""
        long = method in _WAIT_FOR_A_CELL
        if self._waiting[long] or not self._is_free(long):
            self._waiting[long][number] = None
            return False
        self._take(number, long)
        return True

    def done(self, number):
        """It was answered, or not sent. Returns the requests that may be sent now."""
        for waiting in self._waiting.values():
            waiting.pop(number, None)
        long = self._taken.pop(number, None)
        if long is None:
            return []
        self._long -= long
        self.answered += 1
        return self._admit()

    def _is_free(self, long):
        return len(self._taken) < self.PLACES and not (long and self._long >= self.LONG)

    def _take(self, number, long):
        self._taken[number] = long
        self._long += long

    def _admit(self):
        admitted = []
        for long, waiting in self._waiting.items():
            while waiting and self._is_free(long):
                number = next(iter(waiting))
                del waiting[number]
                self._take(number, long)
                admitted.append(number)
        return admitted
