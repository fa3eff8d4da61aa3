"""The life of a remote: from its first instruction to its exit.

The main thread executes tasks, further threads are started by the engine when it is busy. The service thread answers what is no
task, and ends the others. Nothing that is not needed by every remote is imported here: the time of a start is that of imports.
"""
import gc
import os
import sys
from _signal import SIGINT, SIGKILL, default_int_handler, signal
from _thread import get_ident

from . import greeting, logs, modules
from .gateway import make_channel_type
from .kinds import LEAVE_WITHIN, MARK, MAX_ITEM, TASKS, WINDOW
from .tasks import Tasks

FIRST = 100  # the link's descriptors are at least this
IDLE = 5.0  # seconds after which a thread without work leaves


def main(told=None, executable="", native=True):
    """Does not return. Descriptors 0 and 1 are the link.

    told    descriptor of the pipe to the process that watches this one; None: there is none yet
    executable      what sys.executable shall be; argv[0] says something else
    native  whether the engine in C++ is to be used if there is one
    """
    try:
        os.setpgid(0, 0)
    except OSError:  # a session's leader
        pass
    signal(SIGINT, default_int_handler)
    _name_interpreter(executable)
    reader, writer, output = _take_descriptors()
    _write(writer, MARK)
    engine_type, channel_type, engine_name, codec = _choose_engine(native)
    try:
        greet = greeting.read(reader, codec.loads)
    except (EOFError, OSError):
        os._exit(1)
    answer = {"version": 1, "pid": os.getpid(), "python": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable,
              "platform": sys.platform, "engine": engine_name}
    context, ancestors = greet["context"], tuple(greet["ancestors"])
    try:
        _settle(greet)
    except Exception as error:
        answer = {"version": 1, "error": "%s: %s" % (type(error).__name__, error)}
        _write(writer, greeting.frame(ancestors[0], context, answer, codec.dumps))
        os._exit(1)
    if told is None and engine_name == "python":
        told = _start_guard(reader)
    _write(writer, greeting.frame(ancestors[0], context, answer, codec.dumps))
    import threading  # noqa: F401  it takes the thread that imports it first for the main thread
    worker = Worker(engine_type, channel_type, engine_name, greet, reader, writer, output, told)
    if hasattr(gc, "freeze"):  # Python 3.7
        gc.freeze()
    gc.enable()  # who has called this has disabled it: nothing was garbage yet
    worker.run()


def _name_interpreter(executable):
    if executable and "(brood:" in sys.executable:  # of what argv[0] says
        sys.executable = executable
    base = getattr(sys, "_base_executable", None)
    if base:
        sys._base_executable = base.partition("(brood:")[0]
    sys.argv[:] = sys.argv[:1]


def _take_descriptors():
    """Puts the link out of the way. (its reader, its writer, [(name, where what is written to stdout or stderr is read)])"""
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    reader, writer = fcntl(0, F_DUPFD_CLOEXEC, FIRST), fcntl(1, F_DUPFD_CLOEXEC, FIRST)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    output = []
    for descriptor, name in (1, "stdout"), (2, "stderr"):
        read, write = os.pipe()
        os.dup2(write, descriptor)
        os.close(write)
        output.append((name, fcntl(read, F_DUPFD_CLOEXEC, FIRST)))
        os.close(read)
        stream = open(descriptor, "w", 1, "utf-8", "backslashreplace", closefd=False)  # each line goes as soon as it is complete
        setattr(sys, name, stream)
        setattr(sys, "__%s__" % name, stream)
    return reader, writer, output


def _write(writer, data):
    try:
        while data:
            data = data[os.write(writer, data):]
    except OSError:
        os._exit(1)


def _settle(greet):
    """What is to be in force before anything else runs. OSError."""
    folder = greet.get("chdir")
    if folder:
        if not os.path.isdir(folder):
            os.mkdir(folder)
        os.chdir(folder)
    if greet.get("nice"):
        os.nice(int(greet["nice"]))
    os.environ.update(greet.get("env") or {})


def _choose_engine(native):
    """(Engine, Channel, its name in GREET, what has dumps and loads)"""
    if native:
        try:
            from .native import Channel, Engine, module
            if Engine is not None:
                return Engine, Channel, "native", module
        except ImportError:
            pass
    from . import values
    from .channel import Channel
    from .engine import Engine
    return Engine, Channel, "python", values


def _start_guard(reader):
    """Forks the process that watches this one. There are no other threads yet."""
    told, tell = os.pipe()
    pid = os.getpid()
    if os.fork() == 0:
        try:
            from .guard import guard
            guard(pid, told, reader)
        finally:
            os._exit(1)
    os.close(told)
    return tell


class Worker:
    """What the threads of a remote share."""

    def __init__(self, engine_type, channel_type, engine_name, greet, reader, writer, output, told):
        self.greet = greet
        self.told = told
        self.pid = os.getpid()
        self.main = get_ident()
        self.leaving = ""  # "told" or "lost": no more tasks are begun
        self.service = None
        self.engine_name = engine_name
        name, heartbeat = greet.get("id") or "gateway", greet.get("heartbeat") or 0
        channels = make_channel_type(channel_type, name)
        self.engine = channels.gateway.engine = engine = engine_type(
            greet["context"], tuple(greet["ancestors"]), item=greet.get("item") or MAX_ITEM, window=greet.get("window") or WINDOW,
            channel_type=channels, name=name, heartbeat=heartbeat)
        if told is not None and hasattr(engine, "watch_writer"):
            engine.watch_writer = told
        self.importer = modules.install(engine, greet)
        self.tasks = Tasks(self)
        logs.install(engine, greet)
        for name, descriptor in output:
            engine.capture(descriptor, name)
        engine.set_spawner(self.serve)
        engine.add_link(engine.ancestors[0], reader, writer, name="master")

    def serve(self, queue):
        """A thread of the engine's: until nothing came for a while."""
        if queue == TASKS:
            try:
                self.tasks.help(IDLE)
            except KeyboardInterrupt:  # meant for what has ended just now
                pass
            return
        if self.service is None:
            from .service import Service
            self.service = Service(self)
        self.service.run(queue, IDLE)

    def run(self):
        """The main thread. Does not return."""
        while True:
            try:
                self.tasks.run(None)
                signal(SIGINT, lambda *_: None)  # it has been heard
                break
            except KeyboardInterrupt:  # nothing was running
                pass
        if os.getpid() != self.pid:  # a program has forked, and its child has come here
            self._end_program(False)
            os._exit(0)
        ordered = self.leaving == "told"
        try:
            self._end_program(ordered)
            if ordered:
                self.engine.drain(LEAVE_WITHIN)
                if self.service is not None:
                    self.service.end()
                self.engine.stop()
        finally:
            if ordered:
                self._dismiss_guard()
            elif self.told is None and os.getpgrp() == os.getpid():
                os.killpg(0, SIGKILL)  # with what was started here
            os._exit(0 if ordered else 1)

    def _dismiss_guard(self):
        """It ends without killing anything that was started here."""
        if self.told is not None:
            import struct
            try:
                os.write(self.told, struct.pack("<d", float("-inf")))
            except OSError:  # it is gone
                pass

    def _end_program(self, ordered):
        """What an interpreter does at its end for the program in it."""
        if ordered:
            self.tasks.join(LEAVE_WITHIN / 2)
        import atexit
        import threading
        for function in threading._shutdown, atexit._run_exitfuncs:
            try:
                function()
            except BaseException:
                sys.excepthook(*sys.exc_info())
        for stream in sys.stdout, sys.stderr:
            try:
                stream.flush()
            except Exception:
                pass
        for descriptor in 1, 2:
            os.dup2(0, descriptor)
