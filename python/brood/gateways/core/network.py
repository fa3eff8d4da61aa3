"""The links of an engine: what is written to them, and what their end means (docs/protocol.md, section 7, "Ends")."""

import functools
import os
from time import monotonic

from . import kinds
from .errors import GatewayLost
from .kinds import GONE, SERVICE, TASKS
from .link import LOW, Link, make_frame
from .values import dumps

_BURST = 2e-5  # seconds between two frames; what comes faster is written together,
_CALM = 1e-4  # until so many seconds are between them
_TIMES = 4  # heartbeats without one: the link is broken


class Network:
    """Base of Engine, which has the state. `lock` guards all of it."""

    # --- links ------------------------------------------------------------------------------------------------------

    def add_link(self, peer, reader, writer, ahead=b"", name="", heartbeat=0):
        is_parent = bool(self.ancestors) and peer == self.ancestors[0]
        with self.lock:
            self._check()
            if peer == self.context or peer in self.links or peer in self.gone:
                raise ValueError("there cannot be a link to context %d here" % peer)
            if writer == reader:
                writer = os.dup(reader)
            for descriptor in (reader, writer):
                os.set_blocking(descriptor, False)
                os.set_inheritable(descriptor, False)
            heartbeat = heartbeat or is_parent and self._heartbeat
            link = Link(peer, is_parent, reader, writer, name or "context %d" % peer, heartbeat)
            self.links[peer] = link
            if is_parent:
                self.parent = link
            else:
                self.routes[peer] = link
        self._loop.call(functools.partial(self._begin, link, ahead))

    def _begin(self, link, ahead):
        if ahead and not self._dispatch.take(link, ahead) or link.closed:
            return
        if not link.paused:
            self._loop.on_readable(link.reader, functools.partial(self._dispatch.read, link))
        if link.heartbeat:
            self._loop.at(monotonic(), self._beat)

    def add_route(self, context, via):
        """False: there is no such child, or that context is none that could be behind it."""
        with self.lock:
            link = self.links.get(via)
            if link is None or link.is_parent or context in self.links or context == self.context or context in self.gone:
                return False
            self.routes[context] = link
            return True

    def _way_to(self, context):
        """With the lock. The link, or None."""
        link = self.routes.get(context)
        if link is None and context != self.context and context not in self.gone:
            link = self.parent
        return link

    def _link_to(self, context):
        """With the lock. GatewayLost."""
        link = self._way_to(context)
        if link is None:
            self._check()
            raise GatewayLost(self.why_lost(context))
        return link

    def why_lost(self, context):
        if context == self.context:
            return "context %d is this one" % context
        return self._over or self.gone.get(context) or self._orphan or "there is no way to context %d" % context

    def _check(self):
        if self._over:
            raise GatewayLost(self._over)

    def _beat(self):
        """In the engine's thread, at the moment of the next PING or of the end of silence."""
        now, moments = monotonic(), []
        for link in list(self.links.values()):
            if not link.heartbeat:
                continue
            if link.paused:  # what has come is not read
                link.heard = now
            if link.is_parent or link.pings:
                moments.append(link.heard + _TIMES * link.heartbeat)
                if moments[-1] <= now:
                    moments.pop()
                    self.link_ended(link, "nothing was heard from there for %g seconds" % (_TIMES * link.heartbeat))
                    continue
            if link.pinged + link.heartbeat <= now:
                link.pinged = now
                with self.lock:
                    if not link.waits:
                        self.deliver(link, None, make_frame(kinds.PING, link.peer, self.context, 0))
            moments.append(link.pinged + link.heartbeat)
        self._loop.at(min(moments) if moments else None, self._beat)

    def link_ended(self, link, why):
        """Any thread. The link to a neighbour, and all behind it; without a reason it has said BYE."""
        with self.lock:
            if link.closed:
                return
            if not why:
                why = "%s has left" % link.name
            elif link.is_parent:
                why = "the link from %s to its parent, %s, has ended: %s" % (self.name, link.name, why)
            else:
                why = "the link from %s to %s has ended: %s" % (self.name, link.name, why)
            if link.is_parent:
                self._orphan = why
                self.queues[TASKS].end(forget=True)
                contexts = list(self.ancestors)
            else:
                behind = [other for other, through in self.routes.items() if through is link and other != link.peer]
                contexts = [link.peer] + behind
            self.contexts_gone(contexts, why, link)
            self._close_link(link)
            if link.is_parent:
                self.parent = None
                self._watch.set(kinds.LEAVE_WITHIN)
                for queue in self.queues:
                    queue.end(forget=False)

    def _close_link(self, link):
        """With the lock; the descriptors are closed by the engine's thread, which may be reading."""
        if not link.closed:
            link.closed = True
            self.links.pop(link.peer, None)
            link.senders.wake_all()
            self._loop.call(functools.partial(self._release, link))

    def _release(self, link):
        with self.lock:
            if link.reader < 0:
                return
            for descriptor in (link.reader, link.writer):
                self._loop.on_readable(descriptor, None)
                os.close(descriptor)
            link.reader = link.writer = -1
            self._bytes[0] += link.bytes_in
            self._bytes[1] += link.bytes_out
            resumes, link.resumes = link.resumes, []
        for resume in resumes:
            resume()
        self._written.wake_all()

    def contexts_gone(self, contexts, why, source=None):
        """With the lock. They have ended, as a neighbour's link says, or a caller of lose()."""
        lost = set(contexts)
        if source is not None and source.is_parent and source.peer in lost:
            lost.update(end.peer for end in self.ends.values() if end.peer not in self.routes)
        for end in [end for end in self.ends.values() if end.peer in lost]:
            end.lost = why
            self.give_up(end)
            self.finished(end, None)
        for key in [key for key in self.announced if key[0] in lost]:
            del self.announced[key]
        for context in contexts:
            self.gone[context] = why
            self.routes.pop(context, None)
        if not contexts:
            return
        body = dumps([list(contexts), why])
        for link in list(self.links.values()):
            if link is not source and not link.closed:
                if link.peer in lost:
                    self._close_link(link)
                else:
                    self.deliver(link, None, make_frame(GONE, link.peer, self.context, 0, body))
        self.queues[SERVICE].put((GONE, contexts[0], body, None))

    def lose(self, context, why):
        with self.lock:
            self._check()
            if context in self.routes:
                child = self.links.get(context)
                behind = [context] if child is None else [other for other, link in self.routes.items() if link is child]
                self.contexts_gone(behind, why)

    # --- writing ----------------------------------------------------------------------------------------------------

    def deliver(self, link, behind, frame, end=None, counter="", amount=0):
        """With the lock. Queues the frame, `behind` what that end still sends, and adds to a counter of an end, both or none of
        it; writes what can be written."""
        if link.busy:  # a handler of a signal, or a finaliser, in the middle of this
            if end is not None:
                setattr(end, counter, getattr(end, counter) + amount)
            link.late.append((behind, frame))
            return self._attend(link)
        link.busy = True
        queue = link.queue_of(behind)
        before = getattr(end, counter) if end is not None else 0
        try:
            if end is not None:
                setattr(end, counter, before + amount)
            queue.append(frame)
            link.queued += len(frame)
            if not link.waits:
                self._write_soon(link)
        except BaseException:
            if end is not None and not (queue and queue[-1] is frame):
                setattr(end, counter, before)
            self._attend(link)
            raise
        finally:
            link.busy = False

    def _write_soon(self, link):
        now = monotonic()
        if now - link.wrote < link.pace:
            link.pace = _CALM
            self.deferred.add(link)
            self._attend(link)
        else:
            link.pace = _BURST
            if not link.write() or link.broken:
                self._attend(link)
        link.wrote = now

    def flush(self):
        """Writes what was left to the engine's thread; for a thread that has nothing to do now."""
        with self.lock:
            for link in list(self.deferred):
                self.deferred.discard(link)
                if not link.busy:
                    link.busy = True
                    try:
                        link.write()
                    finally:
                        link.busy = False

    def _attend(self, link):
        link.waits = True
        self._loop.call(functools.partial(self._write_on, link))

    def _write_on(self, link):
        """In the engine's thread: writes what waits."""
        with self.lock:
            self.deferred.discard(link)
            if link.closed:
                return
            link.busy = True
            while link.late:
                behind, frame = link.late.popleft()
                link.queue_of(behind).append(frame)
            is_done = link.write_all()
            link.busy, link.waits = False, not is_done
            if link.broken:
                return self._read_rest(link)
            self._loop.on_writable(link.writer, None if is_done else functools.partial(self._write_on, link))
            resumes = []
            if link.pending() <= LOW:
                link.senders.wake_all()
                resumes, link.resumes = link.resumes, []
        for resume in resumes:
            resume()
        if is_done:
            self._written.wake_all()

    def _read_rest(self, link):
        """It cannot be written to; what it said before is still heard."""
        for _ in range(1000):
            before = link.bytes_in
            if not self._dispatch.read(link) or link.bytes_in == before:
                break
        self.link_ended(link, link.broken)

    def pause(self, link, full):
        """In the engine's thread: nothing more is read from `link` until `full` has been written."""
        link.paused += 1
        if link.paused == 1:
            self._loop.on_readable(link.reader, None)
        full.resumes.append(functools.partial(self._resume, link))
        self._attend(full)

    def _resume(self, link):
        link.paused -= 1
        if not link.paused and not link.closed:
            self._loop.on_readable(link.reader, functools.partial(self._dispatch.read, link))

    def is_congested(self, limit, resume):
        """In the engine's thread. If more waits for the parent, resume() is called when it is less again."""
        with self.lock:
            link = self.parent
            if link is None or not link.waits or link.pending() < limit and link.logs < limit // 1024:
                return False
            link.resumes.append(resume)
            return True
