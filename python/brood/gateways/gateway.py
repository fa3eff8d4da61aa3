"""Gateway: one remote interpreter, as its master sees it."""

import os
import threading
import time

from .calls import CallFuture
from .core.errors import GatewayLost, TimeoutError
from .core.kinds import CALL, EXEC, LEAVE_WITHIN, SHUTDOWN, STATUS
from .lanes import Lane
from .logs import MAX_WAITING, Logs
from .targets import Targets

_targets = Targets()
_MAX_ASKED = 256  # questions for modules that wait
_AFTER = 1.0  # seconds more than a remote may take to leave


class Gateway:
    """Made by Group.makegateway(). `id`: its name; `spec`: its XSpec; `remoteaddress`: of what ssh or socket reaches, else None. Any thread."""

    def __init__(self, group, spec, context, via):
        self._group = group
        self._engine = group.engine
        self.spec = spec
        self.id = spec.id
        self.context = context  # its number
        self.via = via  # the Gateway that has started it, or None
        self.greet = {}  # what it said of itself: pid, python, executable, platform, engine
        self.address = None  # of another machine
        self.server = None  # the channel of the server that was started for it
        self._process = None
        self._life = None  # a channel that ends when it is gone
        self._leaves = False
        self._told = threading.Event()  # that it is gone: nothing it has sent comes any more
        self._rinfo_known = None
        self._logs = Logs(self.id)
        self._log_lane = Lane(f"brood-logs-{self.id}", MAX_WAITING)
        self._lost_logs = 0
        self._module_lane = Lane(f"brood-modules-{self.id}", _MAX_ASKED)
        self._sent_modules = set()

    # --- executing ----------------------------------------------------------------------------------------------------

    def remote_exec(self, source_, **kwargs):
        """Executes a text, a module's source or a function there; returns a Channel, which the code sees as `channel`.

        A function gets the channel as its first argument, and kwargs. It is sent as source: it must import what it uses, and be no
        lambda, closure or method (ValueError, TypeError). Its exception comes out of receive() and waitclose() as RemoteError.
        """
        from . import source
        channel = self._request(EXEC, source.exec_request(source_, kwargs))
        channel.gateway = self
        return channel

    def call(self, function, /, *args, deadline=None, **kwargs):
        """The function's result there; `function` can be imported by name here, its module is sent if it is not there.

        RemoteError: it raised. DeadlineExceeded: it took longer than `deadline` seconds. GatewayLost. TypeError, ValueError, DumpError:
        it cannot be called there, or its arguments cannot be sent.
        """
        return self.call_async(function, *args, deadline=deadline, **kwargs).result()

    def call_async(self, function, /, *args, deadline=None, **kwargs):
        """The same; a CallFuture at once (or, while 16,384 calls are unanswered, later)."""
        module, owner, name, with_context = _targets.of(function)
        if self._leaves:
            self._check()
        value = [module, owner, name, args, kwargs, deadline, with_context]
        future = CallFuture(self._engine.request(self.context, CALL, value))
        if deadline is not None:
            self._group.deadlines.add(future, deadline, self.kill)
        return future

    def newchannel(self):
        """A channel that the other side knows once it was sent there."""
        self._check()
        channel = self._engine.open(self.context)
        channel.gateway = self
        return channel

    def _request(self, kind, value):
        self._check()
        return self._engine.request(self.context, kind, value)

    def _check(self):
        if self._leaves:
            self._wait(0)
            raise GatewayLost(f"gateway {self.id} was told to exit")

    # --- files --------------------------------------------------------------------------------------------------------

    def put(self, local, remote):
        """Copies a file there, to a path of its own, which is there complete or not at all; the mode is kept. OSError names the file."""
        from . import files
        files.put(self, os.fspath(local), os.fspath(remote))

    def get(self, remote, local):
        """Copies a file from there in the same way."""
        from . import files
        files.get(self, os.fspath(remote), os.fspath(local))

    # --- asking -------------------------------------------------------------------------------------------------------

    @property
    def remoteaddress(self):
        """What ssh= or socket= say; None for a local one."""
        return self.address

    def remote_status(self, timeout=10):
        """What it does: numexecuting, numchannels, execqsize, and pid, python, engine, threads. Answered while code hangs, too."""
        status = self._request(STATUS, None).receive(timeout)
        return Info({
            **status, "numexecuting": status.get("executing"), "numchannels": status.get("channels"),
            "execqsize": status.get("queued"), "execmodel": "thread", "receiving": True,
        })

    def _rinfo(self, update=False):
        """executable, version_info, platform, cwd and pid of the interpreter there."""
        if update or self._rinfo_known is None:
            self._rinfo_known = Info(self.remote_exec(_RINFO).receive())
        return self._rinfo_known

    def reconfigure(self, py2str_as_py3str=True, py3str_as_py2str=False):
        """Accepted for execnet's sake: there is no Python 2 on the other side."""

    def remote_init_threads(self, num=None):
        """Accepted for execnet's sake: code runs in threads anyway."""

    def hasreceiver(self):
        """Whether it can be reached."""
        return not self._is_gone(0)

    def __repr__(self):
        return f"<Gateway id={self.id!r} {'receive-live' if self.hasreceiver() else 'not-receiving'}, {self.spec}>"

    # --- the end ------------------------------------------------------------------------------------------------------

    def exit(self):
        """Tells it to leave, and the group to forget it. Does not wait: join() and Group.terminate() do. It is gone after 4 seconds."""
        self._group.remove(self)
        if not self._leaves and self.hasreceiver():
            self._leaves = True
            try:
                self._engine.post(self.context, SHUTDOWN, LEAVE_WITHIN)
            except GatewayLost:
                pass

    def join(self, timeout=None):
        """Waits until it is gone, at most `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        if self._is_gone(timeout) and self._process is not None:
            self._process.wait(None if end is None else max(0, end - time.monotonic()))

    def kill(self, why="it was killed"):
        """Ends its process at once, or, where that is of another machine, the link to it."""
        try:
            self._engine.lose(self.context, why)  # first: the end of its link says less
        except GatewayLost:
            pass
        if self._process is not None:
            self._process.kill()

    def is_there(self):
        """Whether it, or its process, is still there."""
        return self.hasreceiver() or (self._process is not None and self._process.poll() is None)

    def _is_gone(self, timeout):
        try:
            self._wait(timeout)
        except TimeoutError:
            return False
        except GatewayLost:
            pass
        return True

    def _wait(self, timeout):
        """Raises GatewayLost as soon as it is gone, TimeoutError."""
        self._life.waitclose(timeout)

    def started(self, greet, process):
        """The group's: it has answered, and the engine has its link."""
        self.greet = greet
        self._process = process
        self._life = self._engine.open(self.context)

    def cut(self):
        """The group's, in the child of a fork(): the process is not this one's."""
        self._process = None

    def ended(self):
        """The group's: it is gone, and what it has sent was handed out."""
        self._told.set()
        self._group.reaper.put(self._reap)

    def hear_out(self, seconds):
        """The group's: waits until its last log records were handled, at most so many seconds."""
        end = time.monotonic() + seconds
        if self._group.wait(self._told, seconds):
            self._log_lane.drain(max(0, end - time.monotonic()))

    def _reap(self):
        if self._process is not None and self._process.wait(LEAVE_WITHIN + _AFTER) is None:
            self._process.kill()
            self._process.wait(_AFTER)
        self._log_lane.drain(_AFTER)
        self._group.forget(self)

    # --- what it asks for -----------------------------------------------------------------------------------------------

    def logged(self, value):
        """The group's: a LOG came."""
        if not self._log_lane.put(self._log, value):
            self._lost_logs += 1

    def _log(self, value):
        lost, self._lost_logs = self._lost_logs, 0
        if lost:
            self._logs.record(["", 30, f"{lost} log records of {self.id} were dropped: they came faster than they were handled"])
        self._logs.record(value)

    def asked(self, value, channel):
        """The group's: a MODULE came."""
        if not self._module_lane.put(self._answer, value, channel):
            channel.close(f"{_MAX_ASKED} requests for modules wait already")

    def _answer(self, value, channel):
        try:
            name, cached = value
            if not (isinstance(name, str) and all(isinstance(other, str) for other in cached)):
                raise TypeError
        except (TypeError, ValueError):
            channel.close("not a name and a list of names")
            return
        try:
            channel.finish(self._group.modules.answer(name, cached, self._sent_modules))
        except OSError:  # gone meanwhile
            pass


class Info:
    """Values as attributes."""

    def __init__(self, values):
        self.__dict__.update(values)

    def __repr__(self):
        return "<" + ", ".join(f"{name}={value}" for name, value in sorted(self.__dict__.items())) + ">"


_RINFO = """
import os, sys
channel.send(dict(executable=sys.executable, version_info=tuple(sys.version_info), platform=sys.platform, cwd=os.getcwd(),
                  pid=os.getpid()))
"""
