"""Channels: streams of values between two contexts."""

import weakref
from collections import deque

from .errors import GatewayLost, LoadError, RemoteError, TimeoutError
from .kinds import ITEM, RETURN
from .values import dumps, loads
from .waiting import Until, Waiters

NO_ENDMARKER = object()


class Handle(weakref.ref):
    """The Channel object of an End, as long as somebody has it."""

    __slots__ = ("end",)


class End:
    """This side's state of a channel. What is received belongs to the engine's thread until it is in `items`; the rest is
    guarded by the engine's lock."""

    __slots__ = (
        "engine peer number handle callback endmarker delivered when_readable when_writable items receivers closers senders "
        "arrived granted sent credited partial bulk opening known is_received is_ended is_closed error lost quota"
    ).split()

    def __init__(self, engine, peer, number):
        self.engine, self.peer, self.number = engine, peer, number
        self.handle = None  # a Handle
        self.callback = None
        self.endmarker = NO_ENDMARKER  # also when the callback has had it
        self.delivered = False  # the callback has had all
        self.when_readable = self.when_writable = None  # functions
        self.items = deque()  # (arrived with it, bytes-like)
        self.receivers, self.closers, self.senders = Waiters(), Waiters(), Waiters()
        self.arrived = self.granted = 0  # bytes of items, and ITEM_COST for each: received; taken, as the other side was told
        self.sent = self.credited = 0  # the same in the other direction
        self.partial = None  # what came in PARTs
        self.bulk = None  # what goes in PARTs
        self.opening = False  # only PARTs of what shall open it have come
        self.known = True  # to the other side
        self.is_received = False  # no more items will come
        self.is_ended = False  # no more items may be sent
        self.is_closed = False
        self.error = None  # why the other side has closed: bytes of a map, a text or an exception; raised once
        self.lost = ""  # why there is no way to the other side any more
        self.quota = None  # (dict, key): counts those that are open

    def there(self):
        """The Channel object or None."""
        return None if self.handle is None else self.handle()

    def is_readable(self):
        return bool(self.items) or self.is_received or self.callback is not None

    def is_over(self):
        """Nothing more will come, and the callback has returned from the last call."""
        return self.is_received and (self.callback is None or self.delivered or self.engine.is_calling_back())

    def may_send(self):
        return self.sent - self.credited < self.engine.window or self.is_ended

    def take(self):
        """(True, the next item), (False, None) if there is none. LoadError: it is none, and the channel was closed."""
        try:
            entry = self.items.popleft()
        except IndexError:
            return False, None
        try:
            arrived, data = entry
            if arrived - self.granted >= self.engine.quarter:
                self.engine.grant(self, arrived)
            return True, loads(data, self.found)
        except LoadError as error:
            self.engine.fail(self, error)
            raise
        except BaseException:  # a signal's: nobody has received it
            self.items.appendleft(entry)
            raise

    def found(self, context, number):
        """The object for a channel that was received."""
        return self.engine.found(self.peer, context, number)

    def named(self, value):
        """(context, number) of a channel that is sent to the other side."""
        return self.engine.named(self.peer, value)

    def error_now(self):
        """What is to be raised after the last item; RemoteError only once."""
        error, self.error = self.error, None
        if error is not None:
            error = as_error(error)
            if error is not None:
                return error
        return GatewayLost(self.lost) if self.lost else None


def as_error(error):
    """The exception for what `End.error` is."""
    if isinstance(error, Exception):
        return error
    if isinstance(error, bytes):
        try:
            error = loads(error)
        except LoadError as wrong:
            error = "the other side has closed the channel with an error that cannot be read: %s" % wrong
    if not isinstance(error, dict):
        return RemoteError(str(error))
    kind, text, formatted = (str(error.get(name) or "") for name in ("type", "text", "traceback"))
    if kind == "GatewayLost" and not formatted:
        return GatewayLost(text)
    return RemoteError(formatted or text, kind, text)


def error_map(error):
    """What CLOSE carries."""
    if isinstance(error, dict):
        return {name: str(error.get(name) or "") for name in ("type", "text", "traceback")}
    if isinstance(error, RemoteError):
        return {"type": error.type, "text": error.text, "traceback": error.formatted}
    if isinstance(error, BaseException):
        import traceback
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        return {"type": type(error).__name__, "text": str(error), "traceback": "".join(lines)}
    return {"type": "", "text": str(error), "traceback": str(error)}


class Channel:
    """A stream of values to and from a peer. Made by an Engine only. Every method may be called from any thread."""

    __slots__ = ("_end", "__weakref__")

    RemoteError = RemoteError
    TimeoutError = TimeoutError

    def __init__(self, *_):
        raise TypeError("channels are made by an Engine")

    engine = property(lambda self: self._end.engine)
    peer = property(lambda self: self._end.peer, doc="the context at the other end")
    number = property(lambda self: self._end.number)

    def __repr__(self):
        end = self._end
        return "<Channel %d to context %d, %s>" % (end.number, end.peer, "closed" if end.is_closed else "open")

    def send(self, item, timeout=None):
        end = self._end
        end.engine.send(end, ITEM, dumps(item, end.named), timeout)

    def receive(self, timeout=None):
        end = self._end
        if end.callback is None:
            there, item = end.take()
            if there:
                return item
        until = Until(timeout)
        while True:
            if end.callback is not None:
                raise OSError("this channel has a callback, receive() is not possible")
            there, item = end.take()
            if there:
                return item
            if end.is_received and not end.items:
                raise end.error_now() or EOFError("the channel has ended")
            end.engine.grant(end, end.arrived)
            if end.engine.deferred:
                end.engine.flush()
            if not end.engine.wait(end.receivers, end.is_readable, until.left()):
                raise TimeoutError("no item after %s seconds" % timeout)

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self.receive()
        except GatewayLost:
            raise
        except EOFError:
            raise StopIteration from None

    def end(self):
        self._end.engine.end(self._end)

    def finish(self, value):
        end = self._end
        end.engine.send(end, RETURN, dumps(value, end.named), 0)

    def close(self, error=None):
        self._end.engine.close(self._end, error)

    def isclosed(self):
        return self._end.is_closed

    def waitclose(self, timeout=None):
        end = self._end
        until = Until(timeout)
        while not end.is_over():
            if not end.engine.wait(end.closers, end.is_over, until.left()):
                raise TimeoutError("the other side has not closed the channel after %s seconds" % timeout)
        error = end.error_now()
        if error is not None:
            raise error

    def setcallback(self, callback, endmarker=NO_ENDMARKER):
        self._end.engine.set_callback(self._end, callback, endmarker)

    def when(self, function, writable=False):
        self._end.engine.when(self._end, function, writable)
