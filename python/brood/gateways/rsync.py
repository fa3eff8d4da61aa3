"""RSync: one directory of this machine, brought to any number of gateways.

    sync = RSync("project")
    for gateway in group:
        sync.add_target(gateway, "work/project", delete=True)
    sync.send()

Only what differs is sent: a file of the same size and modification time is taken for the same, one of the same size and
another time is compared by its SHA-256. Contents, permissions, modification times of files, directories (empty ones, too)
and symbolic links are carried; owners, hard links, holes and extended attributes are not. A relative link stays as it is;
an absolute one that leads into the source leads into the target there; any other stays as it is. Names are bytes.

What is at a target and differs is replaced, a file by a directory and the reverse, too, but never a directory by a source
that is a file. A file is written beside its place and renamed: who reads it sees the old one or the new one. Memory is
bounded, whatever the size of a file: 4 MiB are under way to each target.
"""

import os
import queue
import threading
import time
from collections import deque

from brood import BroodError
from brood.gateways import rsync_remote
from brood.gateways.rsync_remote import PIECE, printable
from brood.gateways.rsync_source import Changed, Gone, SourceFile, Tree, Unreadable

_WINDOW = 4 << 20  # bytes that were sent to a target and not answered
_ITEMS = 64  # and items: less than half a channel takes before its sender must wait
_ENTRY = 256  # bytes that an entry of a directory counts for
_ATTEMPTS = 5  # at a file that changes while it is read
_PAUSE = 0.02  # seconds before the second attempt, twice as long before each further one
_TOLD = 10  # problems of a target that an error names; the others are counted
_PARTING = 5  # seconds that threads have to end when send() is left by an exception


class RSyncError(BroodError, OSError):
    """Some targets are not what the source is. `failures` is a list of (gateway, destdir, list of texts)."""

    def __init__(self, text, failures=()):
        super().__init__(text)
        self.failures = list(failures)

    def __str__(self):
        return self.args[0]


class RSync:
    """A source and its targets. Not for several threads at once; all callbacks run in the thread that calls send().

    `callback(event, size, channel)`: "list" when it is known how many bytes a target needs, "ack" when it has a file, of
    `size` bytes. `verbose` prints a line for each file that is sent; to have it otherwise, override
    `_report_send_file(gateway, path)`.
    """

    def __init__(self, sourcedir, callback=None, verbose=True):
        self._sourcedir = _without_slash(os.fsdecode(sourcedir))
        self._callback = callback
        self._verbose = verbose
        self._targets = []

    def filter(self, path):
        """Whether `path`, an entry of the source with its directory, is sent. To be overridden.

        Of a directory that is not, nothing is. A target with delete=True loses what is filtered.
        """
        return True

    def add_target(self, gateway, destdir, finishedcallback=None, delete=False):
        """For the next send(): `destdir`, a path there, from the gateway's working directory. It is made if need be.

        `finishedcallback()` is called when the target is what the source is. `delete` removes what the source does not have.
        Targets of one gateway are served one after the other, gateways at the same time.
        """
        if not os.fsencode(destdir):
            raise ValueError("destdir is empty; the gateway's working directory is '.'")
        self._targets.append(_Target(gateway, destdir, finishedcallback, bool(delete)))

    def send(self, raises=True):
        """Brings the source to all targets that were added since the last send().

        Raises OSError without any (unless `raises` is false); OSError or ValueError, before anything is sent, if the source
        cannot be listed as a whole; and RSyncError at the end if something failed: an unreadable file, a gateway that is
        lost. All else has been brought to all others then.
        """
        targets, self._targets = self._targets, []
        if not targets:
            if raises:
                raise OSError("there is no target: call add_target() before each send()")
            return
        tree = Tree(self._sourcedir, self.filter)
        events = queue.SimpleQueue()
        threads = [threading.Thread(target=_serve, args=(some, tree, events), name="brood rsync", daemon=True)
                   for some in _by_gateway(targets)]
        try:
            for thread in threads:
                thread.start()
            self._follow(events, len(targets))
        except BaseException:
            threads.append(_stop(targets))
            raise
        finally:
            _join(threads)
        self._check(targets)

    def _report_send_file(self, gateway, modified_rel_path):
        if self._verbose:
            print(f"{gateway.id} <= {modified_rel_path}")

    def _follow(self, events, targets):
        """Passes on what the threads tell, until all are done."""
        while targets:
            event, target, value = events.get()
            if event == "send":
                self._report_send_file(target.gateway, value)
            elif event == "done":
                targets -= 1
                if target.finished and not target.problems:
                    target.finished()
            elif self._callback:
                self._callback(event, value, target.channel)

    def _check(self, targets):
        failed = [target for target in targets if target.problems]
        if not failed:
            return
        lines = [f"{printable(self._sourcedir)} could not be brought to {len(failed)} of {len(targets)} targets as it is"]
        for target in failed:
            lines += [f"  {target.gateway.id}: {text}" for text in target.problems.texts()]
        raise RSyncError("\n".join(lines), [(target.gateway, target.destdir, target.problems.texts()) for target in failed])


class _Problems:
    """What went wrong with a target: the first texts, and how many more."""

    def __init__(self):
        self._first, self._count = [], 0

    def add(self, text):
        self._count += 1
        if self._count <= _TOLD:
            self._first.append(text)

    def __len__(self):
        return self._count

    def texts(self):
        more = self._count - len(self._first)
        return self._first + ([f"and {more} more"] if more else [])


class _Target:
    """A value, but for `channel` and `problems`, which its thread sets; `stop` is set by the caller of send()."""

    def __init__(self, gateway, destdir, finished, delete):
        self.gateway = gateway
        self.destdir = destdir
        self.finished = finished
        self.delete = delete
        self.channel = None
        self.problems = _Problems()
        self.stop = False


def _without_slash(path):
    return path.rstrip("/") or path[:1]


def _by_gateway(targets):
    found = {}
    for target in targets:
        found.setdefault(id(target.gateway), []).append(target)
    return found.values()


def _stop(targets):
    """Asks their threads to end, in a thread, which it returns: closing may wait for a gateway that hangs."""
    for target in targets:
        target.stop = True
    closing = threading.Thread(target=_close_all, args=(targets,), name="brood rsync", daemon=True)
    closing.start()
    return closing


def _join(threads):
    end = time.monotonic() + _PARTING
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0, end - time.monotonic()))


def _close_all(targets):
    for target in targets:
        _close(target.channel)


def _close(channel):
    try:
        if channel is not None:
            channel.close()
    except OSError:
        pass  # it is closed, or its gateway is gone


def _serve(targets, tree, events):
    """A thread: one gateway's targets, one after the other."""
    for target in targets:
        try:
            if not target.stop:
                target.channel = target.gateway.remote_exec(rsync_remote)
                _Conversation(target, tree, events).run()
        except Exception as error:  # whatever a gateway raises: it costs this target, not the others
            target.problems.add(f"{printable(os.fspath(target.destdir))}: {_lost(error)}")
            _close(target.channel)
        events.put(("done", target, None))


def _lost(error):
    """What the end of a conversation means, for people."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, EOFError):
        return f"the gateway has ended ({text})"
    return text


class _Conversation:
    """What one target is told and answers. Each item is answered by one, in order; some are under way at the same time."""

    def __init__(self, target, tree, events):
        self._target = target
        self._channel = target.channel
        self._tree = tree
        self._events = events
        self._pending = deque()  # (path, cost, size to acknowledge or None) of each item that was not answered
        self._under_way = 0  # their cost, bytes
        self._wanted = []  # (path, size, SHA-256 of what is there or None)
        self._failed = None  # the path that the target had a problem with last
        self._told = None  # the path that was reported last

    def run(self):
        self._channel.send((os.fsencode(self._target.destdir), self._target.delete))
        for item in self._tree.items:
            self._ask(item, cost=_ENTRY * len(item[3]) if item[0] == "directory" else 0)
        self._take_all()
        self._events.put(("list", self._target, sum(size for _, size, _ in self._wanted)))
        for path, _, digest in self._wanted:
            self._bring(path, digest)
        self._ask(("end",))
        self._take_all()
        self._channel.waitclose()

    def _bring(self, path, digest):
        for attempt in range(_ATTEMPTS):
            try:
                with SourceFile(self._tree.place(path)) as file:
                    self._send(file, path, digest)
                return
            except Changed:
                time.sleep(_PAUSE * 2**attempt)
            except Gone:
                self._ask(("gone", path))
                return
            except Unreadable as error:
                self._target.problems.add(str(error))
                return
        self._target.problems.add(f"{printable(self._tree.place(path))} changes all the time; what the target had was left")

    def _send(self, file, path, digest):
        if digest is not None and file.has(digest):
            self._ask(("meta", path, file.mode, file.mtime), path, acknowledge=file.size)
            return
        piece = file.read()
        if path != self._told:
            self._told = path
            self._events.put(("send", self._target, self._tree.shown(path)))
        if len(piece) < PIECE:
            self._ask(("whole", path, file.mode, file.mtime, piece), path, len(piece), file.size)
        else:
            self._send_pieces(file, path, piece)

    def _send_pieces(self, file, path, piece):
        self._failed = None
        self._ask(("begin", path), path)
        try:
            while piece and self._failed != path:
                self._ask(("piece", piece), path, len(piece))
                piece = file.read()
        except (Changed, Unreadable):
            self._ask(("drop",))
            raise
        if not piece:  # else the target has given it up
            self._ask(("commit", file.mode, file.mtime), path, acknowledge=file.size)

    def _ask(self, item, path=None, cost=0, acknowledge=None):
        while self._pending and (len(self._pending) >= _ITEMS or self._under_way + cost > _WINDOW):
            self._take()
        if self._target.stop:
            raise OSError("send() was left")
        self._channel.send(item)
        self._pending.append((path, cost, acknowledge))
        self._under_way += cost

    def _take_all(self):
        while self._pending:
            self._take()

    def _take(self):
        wanted, problems = self._channel.receive()
        path, cost, acknowledge = self._pending.popleft()
        self._under_way -= cost
        self._wanted += wanted
        for text in problems:
            self._failed = path
            self._target.problems.add(text)
        if acknowledge is not None and not problems:
            self._events.put(("ack", self._target, acknowledge))
