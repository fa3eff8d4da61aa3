"""What a remote answers beside its tasks: STATUS, MODULE, START, SHUTDOWN, and the end of links; and the calls of callbacks."""
import os
import sys
from _thread import start_new_thread
from time import sleep

from .kinds import CALLBACKS, GONE, LEAVE_WITHIN, MODULE, SHUTDOWN, START, STATUS
from .tasks import describe

SETTLE = 0.25  # seconds that tasks have to end when their channels are closed, before they are interrupted


class Service:
    """Two threads at most run it, one for each queue; what may take long gets a thread of its own."""

    def __init__(self, worker):
        self._worker = worker
        self._engine = worker.engine
        self._children = {}  # context -> its Process
        self._left = []  # Processes whose link has ended
        self._handlers = {STATUS: self._status, MODULE: self._module, START: self._start, SHUTDOWN: self._shut, GONE: self._gone}

    def run(self, queue, idle):
        while True:
            request = self._engine.next(queue, idle)
            if request is None:
                return
            kind, peer, value, channel = request
            try:
                if queue == CALLBACKS:
                    function, argument = value
                    function(argument)
                elif kind in self._handlers:
                    self._handlers[kind](peer, value, channel)
            except BaseException as error:
                _answer_error(channel, error)
            request = value = channel = None

    @staticmethod
    def _in_thread(function, value=None, channel=None):
        def run():
            try:
                function(value, channel)
            except BaseException as error:
                _answer_error(channel, error)

        start_new_thread(run, ())

    def _status(self, peer, value, channel):
        stats = self._engine.stats()
        channel.finish({
            "executing": self._worker.tasks.busy(),
            "queued": stats.get("tasks", 0),
            "channels": stats["channels"],
            "pid": os.getpid(),
            "python": "%d.%d.%d" % sys.version_info[:3],
            "engine": self._worker.engine_name,
            "threads": len(sys._current_frames()),
        })

    def _module(self, peer, value, channel):
        if self._worker.importer.has(value[0]):
            self._serve(value, channel)
        else:
            self._in_thread(self._serve, value, channel)

    def _serve(self, value, channel):
        channel.finish(self._worker.importer.serve(*value))

    def _start(self, peer, value, channel):
        self._in_thread(self._start_child, value, channel)

    def _start_child(self, value, channel):
        from .start import parse, start

        greet = value["greet"]
        child = start(dict(parse(value["spec"]), token=value.get("token")), greet)
        self._children[value["context"]] = child.process
        self._engine.add_link(value["context"], child.reader, child.writer, ahead=child.ahead, name=greet.get("id") or "",
                              heartbeat=child.heartbeat)
        channel.finish(child.greet)

    def _gone(self, peer, value, channel):
        contexts, _ = value
        for context in contexts:
            process = self._children.pop(context, None)
            if process is not None:
                self._left = [other for other in self._left if other.poll() is None] + [process]
                process.reap(0.0 if peer in self._engine.ancestors else LEAVE_WITHIN + 1)
        if self._engine.ancestors[0] in contexts and not self._worker.leaving:
            self._worker.leaving = "lost"
            self._worker.tasks.interrupt()

    def end(self):
        """At the end of this process: what is of no more use does not outlive it, such as an ssh whose connection is silent."""
        for process in self._left:
            process.kill()

    def _shut(self, peer, value, channel):
        self._in_thread(self._end_tasks)

    def _end_tasks(self, value, channel):
        worker = self._worker
        worker.leaving = worker.leaving or "told"
        worker.tasks.release()
        worker.tasks.join(SETTLE)
        worker.tasks.interrupt()
        while worker.tasks.is_waiting():  # an interrupt is lost if it comes while something is finalised
            sleep(0.02)
            worker.tasks.wake()


def _answer_error(channel, error):
    if channel is None:
        sys.excepthook(type(error), error, error.__traceback__)
        return
    try:
        channel.close(describe(error))
    except OSError:
        pass
