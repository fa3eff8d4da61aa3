"""What is done with each frame that arrives: who may send it, where it goes (docs/protocol.md, section 7)."""

import functools
import struct

from . import kinds
from .channel import End, error_map
from .errors import LoadError, RemoteError
from .kinds import CALL, CLOSE, EXEC, ITEM, ITEM_COST, MODULE, SENDER, SERVICE, START, STATUS, TASKS
from .link import FULL, TWO, NotAFrame, make_frame
from .loop import complain
from .values import dumps, loads
from .waiting import monotonic

OPENERS = frozenset((EXEC, CALL, MODULE, STATUS, START))
LINK_ONLY = frozenset((kinds.GREET, kinds.GONE, kinds.BYE, kinds.PING))  # are never passed on
MAX_STRIKES = 3
MAX_MODULES = 256  # requests of one context, unanswered
_ONE = struct.Struct("<I")


class Dispatch:
    """Part of an Engine: its thread calls read(); the other methods are for that thread, too, those for frames with the engine's
    lock."""

    def __init__(self, engine):
        self._engine = engine
        self._context = engine.context
        self._ancestors = frozenset(engine.ancestors)
        self._handlers = {
            kinds.PART: self._part,
            kinds.RETURN: self._return,
            kinds.CLOSE: self._close,
            kinds.END: self._end,
            kinds.CREDIT: self._credit,
            kinds.LOG: self._log,
            kinds.OPEN: self._open,
            kinds.ROUTE: self._route,
            kinds.GONE: self._gone,
            kinds.SHUTDOWN: self._shutdown,
            kinds.BYE: self._bye,
            kinds.PING: self._ping,
        }
        for kind in OPENERS:
            self._handlers[kind] = functools.partial(self._request, kind)

    def read(self, link):
        """Takes what is there. False: nothing more will come."""
        try:
            data = link.read()
        except BlockingIOError:
            return True
        except OSError as error:
            return self._ended(link, str(error.strerror))
        if not data:
            return self._ended(link, "its other end has closed")
        try:
            return self.take(link, data)
        except Exception:  # memory, or a mistake of ours: what comes next would be misunderstood
            complain()
            return self._ended(link, "an error here")

    def take(self, link, data):
        """The same with bytes that were read."""
        if link.heartbeat:
            link.heard = monotonic()
        try:
            for kind, to, source, number, data, at, stop in link.frames(data):
                if source != link.peer and not self._may_speak(link, source) or kind not in self._handlers and kind != ITEM:
                    self._strike(link, source)
                elif to != self._context:
                    self._forward(link, kind, to, source, number, bytes(data[at:stop]))
                elif kind == ITEM:
                    self._item(source, number, data[at + 20 : stop] if type(data) is bytes else memoryview(data)[at + 20 : stop])
                else:
                    with self._engine.lock:
                        self._handlers[kind](link, source, number, bytes(data[at + 20 : stop]))
                if link.closed:
                    return False
        except NotAFrame as error:
            return self._ended(link, str(error))
        return True

    def _ended(self, link, why):
        self._engine.link_ended(link, why)
        return False

    # --- routing ----------------------------------------------------------------------------------------------------

    def _may_speak(self, link, source):
        """Whether frames of that context may come from there."""
        behind = self._engine.routes.get(source)
        return behind is None and source != self._context if link.is_parent else behind is link

    def _strike(self, link, source):
        self._engine.dropped += 1
        if source in self._engine.gone:  # it was lost here, and does not know yet
            return
        link.strikes += 1
        if link.strikes >= MAX_STRIKES:
            self._ended(link, "%d frames came from there that are not allowed" % link.strikes)

    def _forward(self, link, kind, to, source, number, frame):
        engine = self._engine
        out = engine.routes.get(to)
        if out is None and not link.is_parent:
            out = engine.parent
        if kind in LINK_ONLY or out is link:
            engine.dropped += 1
        elif out is None:
            engine.dropped += 1
            if kind in OPENERS:
                self._refuse(link, to, source, number, "GatewayLost", engine.why_lost(to))
        else:
            with engine.lock:
                if not out.closed:
                    engine.deliver(out, None, frame)
            if out.queued > FULL and not link.is_parent:
                engine.pause(link, out)

    def _refuse(self, link, to, source, number, kind, text):
        """Answers what would open a channel, in the name of the context it was for."""
        engine = self._engine
        body = dumps({"type": kind, "text": text, "traceback": ""})
        with engine.lock:
            engine.deliver(link, None, make_frame(CLOSE, source, to, number, body))
        if link.queued > FULL and not link.is_parent:
            engine.pause(link, link)

    # --- items ------------------------------------------------------------------------------------------------------

    def _item(self, source, number, body):
        """Without a lock: only this thread puts items in."""
        engine = self._engine
        end = engine.ends.get((source, number))
        if end is None or end.is_received:
            engine.dropped += 1
            return
        if end.opening:
            engine.dropped += 1
            with engine.lock:
                engine.remove(end)
            return
        if end.partial is not None:
            end.partial += body
            body, end.partial = end.partial, None
        if end.arrived - end.granted >= engine.window:
            return self._fail(end, "more came than the window allows")
        if len(body) > engine.item:
            return self._fail(end, "an item of %d bytes came, at most %d are allowed" % (len(body), engine.item))
        self._put(end, body)

    def _put(self, end, body):
        end.arrived += len(body) + ITEM_COST
        end.items.append((end.arrived, body))
        if end.callback is not None:
            self._engine.callbacks.put(end)
        else:
            end.receivers.wake()
            if end.when_readable is not None:
                self._engine.tell(end)

    def _fail(self, end, text):
        self._engine.dropped += 1
        error = RemoteError("channel %d to context %d: %s" % (end.number, end.peer, text), "ProtocolError", text)
        self._engine.close(end, error, error)

    def _known(self, source, number):
        """That channel, else None, and it is counted."""
        end = self._engine.ends.get((source, number))
        if end is not None and not end.opening:
            return end
        self._engine.dropped += 1
        if end is not None:
            self._engine.remove(end)
        return None

    def _part(self, link, source, number, body):
        engine = self._engine
        end = engine.ends.get((source, number))
        if end is None and source in self._ancestors and self._is_free(source, number) and len(engine.ends) < kinds.MAX_CHANNELS:
            end = engine.ends[source, number] = End(engine, source, number)
            end.opening = True
        if end is None or end.is_received:
            engine.dropped += 1
            return
        if end.partial is None:
            end.partial = bytearray()
        end.partial += body
        if len(end.partial) > engine.item:
            self._fail(end, "a value of more than %d bytes came" % engine.item)

    def _return(self, link, source, number, body):
        end = self._known(source, number)
        if end is None or end.is_received:
            return
        if end.partial is not None:
            body = bytes(end.partial + body)
            end.partial = None
        if len(body) > self._engine.item:
            return self._fail(end, "a value of %d bytes came, at most %d are allowed" % (len(body), self._engine.item))
        self._put(end, body)
        self._engine.finished(end, None)

    def _close(self, link, source, number, body):
        end = self._engine.ends.get((source, number))
        if end is None:
            self._engine.dropped += 1
            return
        self._engine.give_up(end)
        self._engine.finished(end, body or None)

    def _end(self, link, source, number, body):
        end = self._known(source, number)
        if end is not None:
            self._engine.received(end)

    def _credit(self, link, source, number, body):
        end = self._known(source, number)
        if end is None or len(body) != _ONE.size:
            return
        end.credited = min(end.sent, end.credited + _ONE.unpack(body)[0])
        end.senders.wake_all()
        self._engine.tell(end)

    # --- requests ---------------------------------------------------------------------------------------------------

    def _is_free(self, source, number):
        """Whether that context may open a channel of that number."""
        return number != 0 and (number % 2 == 0) == (source < self._context) and (source, number) not in self._engine.ends

    def _request(self, kind, link, source, number, body):
        engine = self._engine
        end = engine.ends.get((source, number))
        if end is not None and end.opening:
            engine.ends.pop((source, number))
            body = bytes(end.partial + body)
        allowed = source in engine.routes if kind == MODULE else source in self._ancestors
        if not allowed or not self._is_free(source, number):
            engine.dropped += 1
            return
        quota = engine.asked
        why = ""
        if len(engine.ends) >= kinds.MAX_CHANNELS:
            why = "context %d has %d channels already" % (self._context, kinds.MAX_CHANNELS)
        elif kind == MODULE and quota.get(source, 0) >= MAX_MODULES:
            why = "%d requests for modules of context %d wait already" % (MAX_MODULES, source)
        if why:
            engine.dropped += 1
            engine.deliver(link, None, make_frame(CLOSE, source, self._context, number, dumps(error_map(why))))
            return
        end = engine.ends[source, number] = End(engine, source, number)
        if kind == MODULE:
            engine.count(end, quota, source)
        queue = TASKS if kind in (EXEC, CALL) else SERVICE
        engine.queues[queue].put((kind, source, body, end))

    def _log(self, link, source, number, body):
        if source not in self._engine.routes:
            self._engine.dropped += 1
        else:
            self._engine.logged(source, body)

    def _shutdown(self, link, source, number, body):
        if source not in self._ancestors:
            self._engine.dropped += 1
            return
        try:
            seconds = loads(body)
        except LoadError:
            seconds = None
        if type(seconds) not in (int, float):
            self._engine.dropped += 1
            return
        self._engine.watch(seconds if 0 <= seconds < kinds.LEAVE_WITHIN else kinds.LEAVE_WITHIN)
        self._engine.queues[SERVICE].put((kinds.SHUTDOWN, source, body, None))

    # --- the tree ---------------------------------------------------------------------------------------------------

    def _open(self, link, source, number, body):
        engine = self._engine
        peer, number = TWO.unpack(body) if len(body) == TWO.size else (0, 0)
        if peer == SENDER:
            may, peer = source in self._ancestors or source in engine.routes, source
        else:
            may = source in self._ancestors and source == engine.root
        many = max(len(engine.ends), len(engine.announced)) >= kinds.MAX_CHANNELS
        if not may or many or number == 0 or peer == self._context or peer in engine.gone or (peer, number) in engine.ends:
            engine.dropped += 1
        else:
            engine.announced[peer, number] = engine.ends[peer, number] = End(engine, peer, number)

    def _route(self, link, source, number, body):
        engine = self._engine
        if source not in self._ancestors or len(body) != TWO.size:
            engine.dropped += 1
            return
        context, via = TWO.unpack(body)
        if context in self._ancestors or not engine.add_route(context, via):
            engine.dropped += 1

    def _gone(self, link, source, number, body):
        engine = self._engine
        try:
            contexts, why = loads(body)
            contexts = [context for context in contexts if type(context) is int]
        except (LoadError, TypeError, ValueError):
            contexts, why = [], ""
        if source != link.peer or not contexts or type(why) is not str:
            engine.dropped += 1
            return
        if not link.is_parent:
            contexts = [context for context in contexts if context != link.peer and engine.routes.get(context) is link]
        engine.contexts_gone([context for context in contexts if context != self._context], why, link)

    def _bye(self, link, source, number, body):
        if source == link.peer:
            self._engine.link_ended(link, "")
        else:
            self._engine.dropped += 1

    def _ping(self, link, source, number, body):
        if source == link.peer:
            link.pings = True
        else:
            self._engine.dropped += 1
