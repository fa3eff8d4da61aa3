"""What a remote executes: EXEC and CALL of its ancestors (docs/protocol.md, section 7)."""
import sys
from _signal import SIGINT, pthread_kill
from _thread import get_ident
from time import monotonic, sleep

from . import errors
from .kinds import CALL, EXEC, TASKS

SLICE = 0.05  # seconds after which a further thread looks whether the main thread is free
INTERRUPTED = "keyboard-interrupted"  # execnet's text for a KeyboardInterrupt


class Tasks:
    """Any number of threads run them; `running` is {thread: request}, with None for one that waits."""

    def __init__(self, worker):
        self._worker = worker
        self._engine = worker.engine
        self._ready = {}  # modules that were imported for calls
        self._deadlines = None
        self._execs = 0
        self.running = {}

    def run(self, idle):
        """Executes what comes until nothing has come for `idle` seconds (None: for ever), or the engine has stopped. Whether something came."""
        take, ready, running, me, worker = self._engine.next, self._ready, self.running, get_ident(), self._worker
        running[me] = request = None
        some = False
        try:
            while not worker.leaving:
                request = take(TASKS, idle)
                if request is None:
                    break
                some = True
                kind, _, value, channel = request
                running[me] = request
                try:
                    if kind == CALL:
                        module, outer, name, args, kwargs, deadline, with_context = value
                        if deadline is None and outer is None and not with_context and module in ready:
                            function = getattr(ready[module], name, None) or self._resolve(module, None, name)
                            channel.finish(function(*args, **kwargs))
                        else:
                            channel.finish(self._call(*value))
                    else:
                        self._execute(value, channel)
                        channel.close()
                except BaseException as error:
                    self._fail(kind, channel, error)
                running[me] = request = channel = value = args = kwargs = None
            return some
        finally:
            del running[me]

    def help(self, idle):
        """A further thread: executes what waits, and what comes while the main thread is busy. When that is free, it has all of it."""
        for _ in range(20):  # this thread may have been started because the main thread was not there yet
            if self._is_main_busy():
                break
            sleep(0.001)
        if not self.run(0):
            return
        end = monotonic() + idle
        while self._is_main_busy() and monotonic() < end:
            begin = monotonic()
            if self.run(SLICE):
                end = monotonic() + idle
            elif monotonic() - begin < SLICE / 2:  # the engine has stopped
                return

    def _is_main_busy(self):
        return self.running.get(self._worker.main) is not None

    # --- calls ------------------------------------------------------------------------------------------------------

    def _resolve(self, module, outer, name):
        """The function of a CALL. Imports its module; whatever that raises."""
        found = self._ready.get(module)
        if found is None:
            if module == "__main__":
                found = self._worker.importer.main_module()
            else:
                __import__(module)
                found = sys.modules[module]
            self._ready[module] = found
        for part in ("%s.%s" % (outer, name) if outer else name).split("."):
            found = getattr(found, part)
        return found

    def _call(self, module, outer, name, args, kwargs, deadline, with_context):
        if deadline is not None and self._deadlines is None:
            from .deadlines import Deadlines
            self._deadlines = Deadlines(self._engine, self._worker.main)
        if deadline is None:
            return self._call_now(module, outer, name, args, kwargs, None, with_context)
        return self._deadlines.run(deadline, self._call_now, module, outer, name, args, kwargs, deadline, with_context)

    def _call_now(self, module, outer, name, args, kwargs, deadline, with_context):
        function = self._resolve(module, outer, name)
        if with_context:
            from .gateway import Context
            args = (Context(self._worker.greet, deadline),) + tuple(args)
        return function(*args, **kwargs)

    # --- source -----------------------------------------------------------------------------------------------------

    def _execute(self, value, channel):
        source, file = value["source"], value.get("file")
        if not file:
            self._execs += 1
            file = "<remote exec> %d" % self._execs
        namespace = {"channel": channel, "__name__": value.get("name") or "__channelexec__", "__loader__": Source(source)}
        exec(compile(source + "\n", file, "exec", 0, True), namespace)
        if value.get("function"):
            namespace[value["function"]](channel, **value.get("kwargs") or {})

    # --- ends -------------------------------------------------------------------------------------------------------

    def _fail(self, kind, channel, error):
        """Tells the other side what was raised."""
        if kind != CALL and isinstance(error, EOFError):
            report = None  # the other side has ended the conversation
        elif kind != CALL and isinstance(error, KeyboardInterrupt):
            report = {"type": "KeyboardInterrupt", "text": INTERRUPTED, "traceback": INTERRUPTED}
        else:
            report = describe(error)
        error.__traceback__ = None  # its frames hold the channel
        try:
            channel.close(report)
        except OSError:  # the other side is gone
            pass

    def busy(self):
        """How many are being executed."""
        return sum(request is not None for request in list(self.running.values()))

    def release(self):
        """Ends the channels of source that is executed: whoever waits for an item gets EOFError."""
        for request in list(self.running.values()):
            if request is not None and request[0] == EXEC:
                try:
                    request[3].close()
                except OSError:
                    pass

    def interrupt(self):
        """Raises KeyboardInterrupt in the threads that execute something, and wakes the main thread if it waits for work."""
        self.wake()
        for thread, request in list(self.running.items()):
            if thread != self._worker.main and request is not None:
                self._engine.raise_in_thread(thread, KeyboardInterrupt)

    def wake(self):
        """The same, in the main thread only."""
        if self._worker.main in self.running:
            pthread_kill(self._worker.main, SIGINT)

    def is_waiting(self):
        """Whether the main thread waits for work."""
        return self.running.get(self._worker.main, 0) is None

    def join(self, seconds):
        """Waits until nothing is executed. False after the time."""
        end = monotonic() + seconds
        while self.busy():
            if monotonic() >= end:
                return False
            sleep(0.002)
        return True


class Source:
    """The loader of a namespace whose source came over the link: tracebacks and inspect find their lines by it."""

    def __init__(self, source):
        self._source = source

    def get_source(self, name=None):
        return self._source


def describe(error):
    """The map of an error for CLOSE, without the frames of this package that led to it."""
    import traceback

    kind, trace = type(error), error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
        trace = trace.tb_next
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", errors.__name__):
        name = "%s.%s" % (kind.__module__, name)
    try:
        text = str(error)
    except Exception:
        text = "<an exception whose str() raises>"
    return {"type": name, "text": text, "traceback": "".join(traceback.format_exception(kind, error, trace))}
