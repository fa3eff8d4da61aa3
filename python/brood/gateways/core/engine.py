"""Channels over links, in Python: the engine of contexts that have no C++ (docs/protocol.md, section 7).

`_brood` has the same classes with the same behaviour. One thread of the engine reads all links and never runs user code; every
method may be called from any thread. Nothing here takes part in starting processes or in running code.

class Engine(context, ancestors=(), item=MAX_ITEM, window=WINDOW, channel_type=Channel, name="", heartbeat=0)
    context, ancestors     numbers; ancestors[0] is the parent, ancestors[-1] the root; the root has none
    name                   what texts call this context; default "master", "context N" if it has ancestors
    heartbeat              seconds; a parent that is not heard for four times that is lost; 0: never
    add_link(peer, reader, writer, ahead=b"", name="", heartbeat=0)   descriptors (may be equal) of a stream on which the mark and
        GREET were exchanged; owned from now on, made non-blocking and not inheritable; peer is the parent or a new child.
        ahead: bytes that were read beyond GREET. name: what texts call the peer, default "context N". heartbeat: seconds
        between two PINGs to a child (to a parent: as Engine's); 0: none. ValueError, or GatewayLost after stop(): they are
        not owned then
    add_route(context, via)          this context is behind that child
    open(peer) -> Channel            a new number; nothing is sent. With a peer that is gone: a channel that has ended
    adopt(peer, number) -> Channel   the local object of a channel that somebody else opened (OPEN, extension 6); the same object
        as long as one exists. One that is neither open nor announced has ended
    request(peer, kind, value) -> Channel    opens a channel with EXEC, CALL, MODULE, STATUS or START. CALL blocks while
        MAX_CALLS, MODULE while 256 to that context are unanswered: an answer is the end of the channel, by either side. A value
        longer than a frame goes as PARTs of that channel before the frame that opens it. DumpError; GatewayLost if the context
        is gone or unknown; OSError over MAX_CHANNELS, also of open()
    post(peer, kind, value)          LOG, OPEN, ROUTE, GONE, SHUTDOWN: no channel, no answer; dropped if there is no way. OPEN and
        ROUTE: value is a pair of numbers. LOG is dropped, and counted, over MAX_LOGS (or 32 MiB) that wait to be written; the
        next one that is not is preceded by a record ("brood.gateways", 30, how many were lost). LOG to the own context goes to
        SERVICE here. DumpError
    next(queue, timeout=None) -> (kind, peer, value, channel)   waits for a request; None after the time-out or stop()
        TASKS: EXEC and CALL.  SERVICE: MODULE, LOG, STATUS, START, SHUTDOWN, GONE (value: [contexts, why]; peer: the first).
        CALLBACKS: kind is 0, value is (function, argument) to call; one thread serves it, and says by its next next() that the
        function has returned. Also (RemoteError.warn, error) for an error that nobody can receive any more.
        channel is None where none was opened, and in CALLBACKS if nobody has it any more. A request that cannot be decoded is
        answered with an error and not seen here. It is not taken back when its channel is closed before somebody takes it.
        Received LOGs that wait are at most MAX_LOGS and `window` bytes; what is over is counted, and told by a record as above.
    set_spawner(function)            function(queue) is called in a new thread (daemonic) when something waits in a queue and
        nobody is in next() for it, nor on the way there. It is expected to call next(queue, ...) until None. TASKS has at most
        1000 such threads, and CALL is short: it gets one when none was taken for 2 ms. The other queues have one at a time
    capture(fd, name)                reads lines from fd (owned) and posts LOG (name, 20, line) to the root; lines over 8 KiB are
        cut into several; what is no UTF-8 is replaced; reading stops while the link is congested
    watch(seconds) -> token, unwatch(token)     unless unwatched in time the process group is killed, even if the interpreter
        hangs
    watch_writer           None or a descriptor, to be set: a pipe to a process that kills; it is sent struct "<d", the
        CLOCK_MONOTONIC time at which to do it, inf for none, always the earliest that is set. Not closed here. Without it a
        thread kills (the group if this process leads it, else the process): it cannot while something holds the interpreter.
        What was set outlives stop()
    lose(context, why)               the child, or what is behind it, is gone: its links are closed, GONE is sent, channels end
        with GatewayLost(why)
    drain(seconds)                   waits until all that was sent, and was in the captured descriptors (an incomplete line,
        too), is with the kernel; False after the time
    stop()                           says BYE, closes all links and channels, ends the thread, and waits for those of
        set_spawner, a second at most. Channels raise GatewayLost afterwards
    stats() -> dict                  channels, calls (unanswered), queued (items and requests that nobody has taken), tasks (of
        them), dropped (frames), lost_logs, bytes_in, bytes_out, unwritten (bytes that are not with the kernel yet)
    raise_in_thread(ident, exception) -> bool     asynchronously, where that thread executes Python code

    When the link to the parent ends: SERVICE gets GONE for it, TASKS is emptied, all queues then return None at their end, and
    watch(LEAVE_WITHIN) is set.
    SHUTDOWN: watch(min(seconds, LEAVE_WITHIN)), then the request goes to SERVICE.
    After a fork the child's engine is over: its descriptors are closed, nothing is said, methods raise GatewayLost.

class Channel     made by an Engine only; `channel_type` of the engine is a subclass, whose __init__ is not called
    engine, peer, number
    send(item, timeout=None)         blocks while the window is full, or 32 MiB wait for the link. DumpError, TimeoutError,
        OSError if closed. A signal's exception while it waits: nothing was sent
    receive(timeout=None)            the next item. RemoteError once, if the other side closed with an error, then EOFError;
        GatewayLost each time; TimeoutError; OSError if there is a callback; LoadError for bytes that are no value: the channel
        is then closed
    __iter__, __next__               until EOFError
    end()                            no more items from here
    finish(value)                    RETURN: the last item; never blocks
    close(error=None)                ends both directions; error: text, a dict (type, text, traceback) or an exception. The other
        side gets what was sent before. Nothing is done if it is closed already
    isclosed()                       whether it was closed, here or there, or both sides have said END; items may be left
    waitclose(timeout=None)          until the other side has closed, or END came, and a callback has returned from the last call
        (but in the thread that serves CALLBACKS). RemoteError (once), GatewayLost, TimeoutError
    setcallback(callback, endmarker=NO_ENDMARKER)   each item, also those that wait, goes to callback in the thread that serves
        CALLBACKS, in order; endmarker, if given, after the last. OSError if there is one already
    when(function, writable=False)   CALLBACKS gets (function, None) once: when receive(), or send(), would not wait for the other
        side
    A channel that is not referenced any more is closed (END if it has a callback); nothing is said of one that the other side
    does not know. One that open() has made becomes known by OPEN, before the first value that has it, the first item and END.
    A channel can be an item, or in one, on the way to its own peer only (DumpError); kinds.End to its `home`.

Frames that are for no open channel, not allowed, or not what the table says, are dropped and counted. A router reads no more
from a child while 32 MiB that wait for another link came from it; from its parent it always reads. GONE from the parent may name
a child: its link is closed. What a context says that was lost here is dropped without a strike: it may not know yet. CLOSE with
type "GatewayLost" and no traceback is a router's: it is received as GatewayLost.
"""

import functools
import os
import weakref
from _thread import RLock, get_ident

from . import kinds
from .capture import Capture
from .channel import NO_ENDMARKER, Channel
from .channels import Channels
from .dispatch import MAX_MODULES, Dispatch
from .errors import DumpError, LoadError
from .kinds import CALL, CALLBACKS, LOG, MAX_CALLS, MAX_FRAME, MODULE, SERVICE, STATUS, TASKS
from .link import FULL, HEAD, TWO, make_frame
from .loop import Loop
from .requests import Requests
from .values import dumps, loads
from .waiting import Until, Waiters
from .watch import Watch

_LOGGER, _WARNING = "brood.gateways", 30  # of what is said of lost records
_LIMITS = {CALL: MAX_CALLS, MODULE: MAX_MODULES}  # requests of a kind to one context, unanswered
_MOST_THREADS = 1000  # for tasks
_PATIENCE = 1.0  # seconds that stop() waits for threads that are in next()
_engines = weakref.WeakSet()


def _is_call(request):
    return request[0] == CALL


class Engine(Channels):
    """See the head of this file. `lock` guards all of it but what is said to belong to the engine's thread."""

    def __init__(
        self, context, ancestors=(), item=kinds.MAX_ITEM, window=kinds.WINDOW, channel_type=Channel, name="", heartbeat=0
    ):
        self.context, self.ancestors = context, tuple(ancestors)
        self.root = self.ancestors[-1] if ancestors else context
        self.name = name or ("context %d" % context if ancestors else "master")
        self.item, self.window, self.quarter = item, window, max(1, window // 4)
        self.lock = RLock()
        self.links = {}  # neighbour -> Link
        self.routes = {}  # context behind a child -> the child's Link
        self.parent = None  # Link
        self.ends = {}  # (peer, number) -> End
        self.announced = {}  # of them, those by OPEN that nobody has adopted; also when they have been closed since
        self.gone = {}  # context -> why
        self.asked = {}  # context -> its requests for modules, unanswered
        self.dropped = 0
        self.captures = set()
        self.deferred = set()  # links
        self._channel_type = channel_type
        self._numbers = {}  # peer -> the number that was opened last
        self._requests = {}  # (peer, kind) -> unanswered, of the kinds that have a limit
        self._answered = Waiters()
        self._written = Waiters()
        self._logs = [0, 0]  # in SERVICE: records, bytes
        self._lost_logs = self._untold = 0  # records; of them those that were not told of yet
        self._bytes = [0, 0]  # of links that have ended: in, out
        self._over = ""  # why nothing works any more
        self._orphan = ""  # why there is no parent any more
        self._watch = Watch()
        self._heartbeat = heartbeat
        self._handed = None  # the End whose callback is being called
        self._callback_thread = 0
        self._loop = Loop()
        tasks = Requests(TASKS, self._loop, _MOST_THREADS, _is_call)
        self.queues = [tasks, Requests(SERVICE, self._loop, 1), Requests(CALLBACKS, self._loop, 1)]
        self.callbacks = self.queues[CALLBACKS]
        self._dispatch = Dispatch(self)
        _engines.add(self)
        self._loop.start()

    # --- requests ---------------------------------------------------------------------------------------------------

    def request(self, peer, kind, value):
        body = b"" if kind == STATUS else dumps(value, functools.partial(self.named, peer))
        if len(body) > self.item:
            raise DumpError("cannot send a value of %d bytes, at most %d are allowed" % (len(body), self.item))
        key, limit = (peer, kind), _LIMITS.get(kind)
        while True:
            with self.lock:
                link = self._link_to(peer)
                if limit is None or self._requests.get(key, 0) < limit:
                    end = self._new_end(peer)
                    channel = self.handle(end)
                    if limit is not None:
                        self.count(end, self._requests, key)
                    if len(body) <= MAX_FRAME - HEAD:
                        self.deliver(link, None, make_frame(kind, peer, self.context, end.number, body))
                    else:
                        self._send_long(link, end, kind, body)
                    return channel
            self.wait(self._answered, lambda: self._requests.get(key, 0) < limit or link.closed)

    def post(self, peer, kind, value):
        if kind == LOG:
            return self._post_log(peer, value)
        body = TWO.pack(*value) if kind in (kinds.OPEN, kinds.ROUTE) else dumps(value)
        with self.lock:
            link = self._way_to(peer)
            if link is not None:
                self.deliver(link, None, make_frame(kind, peer, self.context, 0, body))

    def _post_log(self, peer, record):
        body = dumps(record)
        if len(body) > MAX_FRAME - HEAD:
            raise DumpError("a log record of %d bytes is too long" % len(body))
        with self.lock:
            if peer == self.context:
                return self.logged(peer, body)
            link = self._way_to(peer)
            if link is None:
                self._lost_logs += 1
                return
            if link.logs >= kinds.MAX_LOGS or link.queued > FULL:
                self._lost_logs += 1
                self._untold += 1
                return
            if self._untold:
                self.deliver(link, None, make_frame(LOG, peer, self.context, 0, self._notice()))
            link.logs += 1
            self.deliver(link, None, make_frame(LOG, peer, self.context, 0, body))

    def _notice(self):
        count, self._untold = self._untold, 0
        return dumps([_LOGGER, _WARNING, "%d log records were lost, there were too many at once" % count])

    def logged(self, source, body):
        """With the lock. A record that has arrived."""
        if self._logs[0] >= kinds.MAX_LOGS or self._logs[1] > self.window:
            self._lost_logs += 1
            self._untold += 1
            return
        for data in ([self._notice()] if self._untold else []) + [body]:
            self._logs[0] += 1
            self._logs[1] += len(data)
            self.queues[SERVICE].put((LOG, source, data, None))

    def next(self, queue, timeout=None):
        if queue != CALLBACKS:
            return self.queues[queue].take(self._present, timeout)
        self._callback_thread = get_ident()
        end, self._handed = self._handed, None
        if end is not None:
            self._check_delivered(end)
        return self.callbacks.take(self._present_callback, timeout)

    def is_calling_back(self):
        """Whether this is the thread that serves CALLBACKS."""
        return get_ident() == self._callback_thread

    def wait(self, waiters, is_ready, seconds=None):
        """Waiters.wait(), but for the engine's own thread, where a finaliser may run: it would wait for itself."""
        if self._loop.is_current():
            raise OSError("a finaliser cannot wait here")
        while self.lock._is_owned():  # before Python 3.10 a signal's exception may come between the end of a `with` and __exit__
            self.lock.release()
        return waiters.wait(is_ready, seconds)

    def set_spawner(self, function):
        for queue in self.queues:
            queue.set_spawner(function)

    def _present(self, request):
        kind, source, data, end = request
        if kind == LOG:
            with self.lock:
                self._logs[0] -= 1
                self._logs[1] -= len(data)
        try:
            value = self._value(kind, source, data)
        except LoadError as error:
            self.dropped += 1
            if end is not None:
                self.close(end, {"type": "LoadError", "text": str(error), "traceback": str(error)})
            return None
        if end is None:
            return kind, source, value, None
        with self.lock:
            return kind, source, value, self.handle(end)

    def _value(self, kind, source, body):
        if kind == STATUS:
            return None
        value = loads(body, functools.partial(self.found, source))
        if kind == LOG and not (type(value) is list and [type(part) for part in value] == [str, int, str]):
            raise LoadError("this is no log record")
        return value

    def _present_callback(self, end):
        if type(end) is tuple:
            return 0, self.context, end, None
        try:
            there, item = end.take()
        except LoadError:
            there = False
        if there:
            self._handed = end
            return 0, end.peer, (end.callback, item), end.there()
        if not end.is_received or end.items:
            return None
        marker, end.endmarker = end.endmarker, NO_ENDMARKER
        if end.there() is None:
            self.warn(end)
        if marker is NO_ENDMARKER:
            return self._check_delivered(end)
        self._handed = end
        return 0, end.peer, (end.callback, marker), end.there()

    @staticmethod
    def _check_delivered(end):
        if end.is_received and not end.items and end.endmarker is NO_ENDMARKER:
            end.delivered = True
            end.closers.wake_all()

    # --- the process ------------------------------------------------------------------------------------------------

    def capture(self, fd, name):
        os.set_inheritable(fd, False)
        with self.lock:
            self._check()
            self._loop.call(functools.partial(self._capture, fd, name))

    def _capture(self, fd, name):
        self.captures.add(Capture(self, self._loop, fd, name))

    @property
    def watch_writer(self):
        return self._watch.writer

    @watch_writer.setter
    def watch_writer(self, descriptor):
        self._watch.writer = descriptor

    def watch(self, seconds):
        return self._watch.set(seconds)

    def unwatch(self, token):
        self._watch.unset(token)

    @staticmethod
    def raise_in_thread(ident, exception):
        import ctypes
        return ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(exception)) > 0

    def drain(self, seconds):
        until, is_read = Until(seconds), []

        def read():
            for capture in list(self.captures):
                capture.read_all()
            is_read.append(True)
            self._written.wake_all()

        def is_done():
            with self.lock:
                return bool(self._over or is_read and all(link.is_idle() for link in self.links.values()))

        self._loop.call(read)
        while not is_done():
            if not self._written.wait(is_done, until.left()):
                return False
        return not self._over

    def stop(self):
        with self.lock:
            if not self._over:
                self._loop.call(self._shut)
        self._loop.stop()
        until = Until(_PATIENCE)
        for queue in self.queues:
            queue.wait_for_threads(until)

    def _shut(self):
        """In the engine's thread."""
        for capture in list(self.captures):
            capture.close()
        with self.lock:
            for link in list(self.links.values()):
                if not link.waits:
                    self.deliver(link, None, make_frame(kinds.BYE, link.peer, self.context, 0))
                self._close_link(link)
                self._release(link)
            self._end_all("the engine of context %d was stopped" % self.context)

    def _end_all(self, why):
        self._over = why
        self.links.clear()
        self.routes.clear()
        self.parent = None
        for end in list(self.ends.values()):
            end.lost = why
            self.finished(end, None)
        for queue in self.queues:
            queue.end(forget=True)
        self._answered.wake_all()
        self._written.wake_all()

    def _forked(self):
        """In a child of a fork: nothing here is its own."""
        self.lock = RLock()
        self._loop.forget()
        for link in self.links.values():
            link.closed = True
            os.close(link.reader)
            os.close(link.writer)
        for capture in self.captures:
            capture.abandon()
        self._watch.forget()
        for end in self.ends.values():
            end.items.clear()
        self._end_all("this process was forked from the one that has the gateway")

    def stats(self):
        with self.lock:
            links = list(self.links.values())
            return {
                "channels": len(self.ends),
                "calls": sum(count for (_, kind), count in self._requests.items() if kind == CALL),
                "dropped": self.dropped,
                "lost_logs": self._lost_logs,
                "bytes_in": self._bytes[0] + sum(link.bytes_in for link in links),
                "bytes_out": self._bytes[1] + sum(link.bytes_out for link in links),
                "queued": sum(map(len, self.queues)) + sum(len(end.items) for end in self.ends.values()),
                "tasks": len(self.queues[TASKS]),
                "unwritten": sum(link.pending() + sum(bulk.left for bulk in link.bulk) for link in links),
            }


def _forget_engines():
    for engine in list(_engines):
        engine._forked()


def _wrap_fork(fork):
    def wrapper():
        pid = fork()
        if pid == 0:
            _forget_engines()
        return pid

    return wrapper


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_engines)
else:  # 3.6
    os.fork = _wrap_fork(os.fork)
