"""The channels of an engine: how they begin and end, what is sent on them (docs/protocol.md, section 7, "Flow control")."""

import functools

from . import kinds
from .channel import Channel, End, Handle, as_error, error_map
from .errors import DumpError, GatewayLost, LoadError, RemoteError, TimeoutError
from .kinds import CLOSE, CREDIT, ITEM_COST, PIECE, RETURN, SENDER
from .link import FULL, TWO, Bulk, make_frame
from .network import Network
from .values import Refused, dumps
from .waiting import Until

_DIRECT = 2 * PIECE  # bytes; longer values go in pieces


class Channels(Network):
    """Base of Engine, which has the state."""

    def open(self, peer):
        with self.lock:
            self._check()
            end = self._new_end(peer)
            end.known = False
            if self._way_to(peer) is None:
                self._lost(end, self.why_lost(peer))
            return self.handle(end)

    def adopt(self, peer, number):
        with self.lock:
            self._check()
            end = self.announced.pop((peer, number), None) or self.ends.get((peer, number))
            if end is None or end.opening:
                end = End(self, peer, number)
                self._lost(end, self.gone.get(peer, ""))
            return self.handle(end)

    def found(self, source, context, number):
        """The object of a channel that a value from `source` has."""
        if context == SENDER:
            context = source
        elif (context, number) not in self.ends and (context, number) not in self.announced:
            raise LoadError("channel %d to context %d was announced by nobody" % (number, context))
        return self.adopt(context, number)

    def named(self, peer, value):
        """How a channel is written in a value for `peer`; None if it is no channel."""
        if isinstance(value, kinds.End):
            if value.home != peer:
                raise Refused("an end of a channel that is for context %d" % value.home)
            return value.context, value.number
        if not isinstance(value, Channel):
            return None
        if value.engine is not self or value.peer != peer:
            raise Refused("a channel that does not lead to context %d" % peer)
        with self.lock:
            link = self._way_to(peer)
            if link is not None:
                self.announce(link, value._end)
        return SENDER, value.number

    def announce(self, link, end):
        """With the lock. The other side shall know of it."""
        if not end.known and not end.is_closed:
            self.deliver(link, None, make_frame(kinds.OPEN, end.peer, self.context, 0, TWO.pack(SENDER, end.number)))
            end.known = True

    def handle(self, end):
        """With the lock. The Channel object."""
        channel = end.there()
        if channel is None:
            channel = object.__new__(self._channel_type)
            channel._end = end
            end.handle = Handle(channel, self._abandoned)
            end.handle.end = end
        return channel

    def _new_end(self, peer):
        if len(self.ends) >= kinds.MAX_CHANNELS:
            raise OSError("there are %d channels already" % kinds.MAX_CHANNELS)
        first = 2 if self.context < peer else 1
        number = self._numbers.get(peer, first - 2)
        while True:
            number = number + 2 if number < 0xFFFFFFFE else first
            end = End(self, peer, number)
            if self.ends.setdefault((peer, number), end) is end:
                self._numbers[peer] = number
                return end

    def _abandoned(self, handle):
        """Nobody has the Channel any more. In any thread, at any point of it."""
        end = handle.end
        if not end.is_closed or end.error is not None:
            self._loop.call(functools.partial(self._forget, end))

    def _forget(self, end):
        """In the engine's thread."""
        with self.lock:
            if end.there() is not None or self._over:
                return
            if end.callback is None:
                self.close(end, None)
            elif not end.is_ended:
                self.end(end)
        if end.callback is None:
            self.warn(end)

    def warn(self, end):
        """Has it said that the other side closed with an error, when nobody can receive that any more."""
        error = as_error(end.error) if type(end.error) is bytes else None
        end.error = None
        if isinstance(error, RemoteError):
            self.callbacks.put((RemoteError.warn, error))

    def end(self, end):
        with self.lock:
            if end.is_ended:
                return
            link = self._link_to(end.peer)
            self.announce(link, end)
            self.deliver(link, end, make_frame(kinds.END, end.peer, self.context, end.number))
            end.is_ended = True
            end.senders.wake_all()
            if end.is_received:
                self.remove(end)

    def close(self, end, error, local_error=None):
        """Also for the engine's thread, with what is to be raised here."""
        with self.lock:
            if end.is_closed:
                return
            self._check()
            link = self._way_to(end.peer)
            if end.known and link is not None:
                body = b"" if error is None else dumps(error_map(error))
                self.deliver(link, end, make_frame(CLOSE, end.peer, self.context, end.number, body))
            self.finished(end, local_error)

    def fail(self, end, error):
        """An item is none."""
        self.dropped += 1
        self.close(end, {"type": "LoadError", "text": str(error), "traceback": str(error)})

    def received(self, end):
        """With the lock. No more items will come."""
        if not end.is_received:
            end.is_received = True
            end.receivers.wake_all()
            end.closers.wake_all()
            if end.callback is not None:
                self.callbacks.put(end)
            self.tell(end)
            if end.is_ended:
                self.remove(end)

    def finished(self, end, error):
        """With the lock. Nothing more comes and goes; `error` is raised after the last item."""
        if error is not None:
            end.error = error
        end.is_ended = True
        end.partial = None
        self.remove(end)
        self.received(end)
        end.senders.wake_all()
        self.tell(end)

    def _lost(self, end, why):
        end.lost = why
        self.finished(end, None)

    def remove(self, end):
        """With the lock."""
        self.ends.pop((end.peer, end.number), None)
        end.is_closed = True
        if end.quota is not None:
            (counts, key), end.quota = end.quota, None
            counts[key] -= 1
            if not counts[key]:
                del counts[key]
            self._answered.wake_all()

    def count(self, end, counts, key):
        """With the lock. Until it ends."""
        counts[key] = counts.get(key, 0) + 1
        end.quota = counts, key

    def grant(self, end, arrived):
        """So much was taken; tells the other side when it is worth it."""
        if arrived - end.granted < self.quarter or end.is_received:
            return
        with self.lock:
            amount = min(arrived - end.granted, 0xFFFFFFFF)
            link = self.routes.get(end.peer, self.parent)
            if amount >= self.quarter and not end.is_received and link is not None:
                frame = make_frame(CREDIT, end.peer, self.context, end.number, amount.to_bytes(4, "little"))
                self.deliver(link, None, frame, end, "granted", amount)

    def set_callback(self, end, callback, endmarker):
        with self.lock:
            if end.callback is not None:
                raise OSError("this channel has a callback already")
            end.endmarker = endmarker
            end.callback = callback
            end.receivers.wake_all()
            for _ in range(len(end.items) + end.is_received):
                self.callbacks.put(end)

    def when(self, end, function, writable):
        with self.lock:
            if writable:
                end.when_writable = function
            else:
                end.when_readable = function
            self.tell(end)

    def tell(self, end):
        """Has the functions called that wait for something that has come."""
        if end.when_readable is None and end.when_writable is None:
            return
        with self.lock:
            if end.when_readable is not None and (end.items or end.is_received):
                function, end.when_readable = end.when_readable, None
                self.callbacks.put((function, None))
            if end.when_writable is not None and end.may_send():
                function, end.when_writable = end.when_writable, None
                self.callbacks.put((function, None))

    def send(self, end, kind, body, timeout):
        """ITEM or RETURN."""
        size = len(body)
        if size > self.item:
            raise DumpError("cannot send a value of %d bytes, at most %d are allowed" % (size, self.item))
        until = None
        while True:
            with self.lock:
                if end.is_ended:
                    raise self._cannot_send(end)
                link = self._link_to(end.peer)
                if kind == RETURN or end.sent - end.credited < self.window:
                    if kind == RETURN or self._has_room(link, size):
                        return self._send(link, end, kind, body)
                    waiters, ready = link.senders, functools.partial(self._may_go, link, end, size)
                else:
                    waiters, ready = end.senders, end.may_send
            until = until or Until(timeout)
            if not self.wait(waiters, ready, until.left()):
                raise TimeoutError("the other side has not taken enough after %s seconds" % timeout)

    def _send(self, link, end, kind, body):
        self.announce(link, end)
        if len(body) <= _DIRECT:
            frame = make_frame(kind, end.peer, self.context, end.number, body)
            self.deliver(link, end, frame, end, "sent", len(body) + ITEM_COST)
        else:
            self._send_long(link, end, kind, body)
        if kind == RETURN:
            self.finished(end, None)

    @staticmethod
    def _cannot_send(end):
        if end.lost:
            return GatewayLost(end.lost)
        why = "it is closed" if end.is_closed else "end() was called"
        return OSError("nothing can be sent on channel %d to context %d: %s" % (end.number, end.peer, why))

    @staticmethod
    def _has_room(link, size):
        return link.queued < FULL if size <= _DIRECT else sum(bulk.left for bulk in link.bulk) < FULL

    def _may_go(self, link, end, size):
        return link.closed or end.is_ended or self._has_room(link, size)

    def _send_long(self, link, end, kind, body):
        bulk = Bulk(end, kind, (end.peer, self.context, end.number), body)
        queue = link.bulk if end.bulk is None else end.bulk.then
        before = end.sent, end.bulk
        try:
            end.sent += len(body) + ITEM_COST
            end.bulk = end.bulk or bulk
            queue.append(bulk)
        except BaseException:
            if not (queue and queue[-1] is bulk):
                end.sent, end.bulk = before
            raise
        finally:
            self._attend(link)

    def give_up(self, end):
        """With the lock. The other side does not want the rest of what is being sent, nor to wait for it."""
        link = self.routes.get(end.peer, self.parent)
        bulk = end.bulk
        if bulk is not None and link is not None and not link.closed:
            link.give_up(bulk)
            if bulk.at and not end.lost:
                self.deliver(link, None, make_frame(CLOSE, end.peer, self.context, end.number))
