"""What code on a remote sees beside its channel's own methods: names of execnet's published API."""
import sys
from time import monotonic

from . import errors


class FarGateway:
    """`channel.gateway` there."""

    def __init__(self, name):
        self.id = name + "-worker"
        self.engine = None
        self._model = None

    def __repr__(self):
        return "<FarGateway %s>" % self.id

    def newchannel(self):
        """A channel to whoever started this context; it can be sent there as an item."""
        return self.engine.open(self.engine.ancestors[0])

    @property
    def execmodel(self):
        if self._model is None:
            self._model = ExecModel()
        return self._model


class ExecModel:
    """The modules of threads, as programs for execnet expect them in one place."""

    backend = "thread"

    def __init__(self):
        import os
        import queue
        import socket
        import subprocess
        import threading
        import time
        self.queue, self.socket, self.subprocess = queue, socket, subprocess
        self.get_ident, self.sleep, self.fdopen = threading.get_ident, time.sleep, os.fdopen
        self.Lock, self.RLock, self.Event = threading.Lock, threading.RLock, threading.Event

    def start(self, function, args=()):
        import _thread
        return _thread.start_new_thread(function, args)

    def PopenPiped(self, args):
        pipe = self.subprocess.PIPE
        return self.subprocess.Popen(args, stdout=pipe, stdin=pipe)


def make_channel_type(base, name):
    """The class of this process' channels: the engine's, with what execnet has beyond it."""
    far = FarGateway(name)

    class Channel(base):
        __slots__ = ()
        RemoteError = errors.RemoteError
        TimeoutError = errors.TimeoutError
        gateway = far
        id = property(lambda self: self.number)

        def makefile(self, mode="w", proxyclose=False):
            from .channel_file import make_file
            return make_file(self, mode, proxyclose)

        def reconfigure(self, py2str_as_py3str=True, py3str_as_py2str=False):
            """Nothing: there is no Python 2 on either side."""

    return Channel


class Context:
    """Where a function runs that was called `with_context`; its first argument."""

    def __init__(self, greet, deadline):
        self.name = greet.get("id") or ""
        self.number = greet["context"]
        self.ancestors = tuple(greet["ancestors"])
        self._until = None if deadline is None else monotonic() + deadline

    @property
    def parent(self):
        return self.ancestors[0]

    @property
    def left(self):
        """Seconds until the deadline of the call; None if it has none."""
        return None if self._until is None else self._until - monotonic()

    def __repr__(self):
        return "<Context %d %s, python %d.%d>" % ((self.number, self.name) + sys.version_info[:2])
