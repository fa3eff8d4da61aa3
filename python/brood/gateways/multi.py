"""Many channels as one, and many gateways ended at once."""

import queue
import threading
import time

NO = object()  # no endmarker


class MultiChannel:
    """A sequence of channels, in the order given. Any thread."""

    def __init__(self, channels):
        self._channels = list(channels)
        self._queue = None
        self._lock = threading.Lock()  # of the making of the queue

    def __len__(self):
        return len(self._channels)

    def __iter__(self):
        return iter(self._channels)

    def __getitem__(self, index):
        return self._channels[index]

    def __contains__(self, channel):
        return channel in self._channels

    def send_each(self, item):
        """Sends it on every channel. Raises what the first send() that fails raises, after the others were tried."""
        _each(lambda channel: channel.send(item), self._channels)

    def receive_each(self, withchannel=False):
        """Waits for one item of every channel; a list of them, or of (channel, item), in the channels' order.

        Raises what receive() raises: EOFError where no item will come, RemoteError.
        """
        items = [channel.receive() for channel in self._channels]
        return list(zip(self._channels, items)) if withchannel else items

    def make_receive_queue(self, endmarker=NO):
        """A queue.Queue of (channel, item), as they come; (channel, endmarker) after the last of a channel, if one is given.

        The first call makes it, and takes the channels' callbacks; each further one returns the same.
        """
        with self._lock:
            if self._queue is None:
                self._queue = queue.Queue()
                for channel in self._channels:
                    _feed(channel, self._queue, endmarker)
        return self._queue

    def waitclose(self):
        """Waits until all are closed, then raises what the first waitclose() that failed has raised."""
        _each(lambda channel: channel.waitclose(), self._channels)


def _feed(channel, into, endmarker):
    def put(item):
        into.put((channel, item))

    if endmarker is NO:
        channel.setcallback(put)
    else:
        channel.setcallback(put, endmarker=endmarker)


def _each(action, channels):
    first = None
    for channel in channels:
        try:
            action(channel)
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


def terminate_all(pairs, timeout=None, after_kill=5.0):
    """Ends many things at once. `pairs` are (terminate, kill), callables without arguments; kill may be None.

    Calls every terminate() at the same time, in a thread of its own. For those that have not returned within `timeout`
    seconds (None: however long it takes) kill() is called, which shall make terminate() return. Comes back after at most
    timeout + after_kill seconds, with a list: for each pair None if it has ended, else the exception that terminate() or
    kill() has raised, or a TimeoutError. Raises none of them.

    Where no thread can be started (while CPython 3.12 exits, for one) there is only the kill(), in this thread.
    """
    ends = [_Job(terminate) for terminate, _ in pairs]
    _wait(ends, timeout)
    kills = [_Job(kill) if kill and not end.done() else None for end, (_, kill) in zip(ends, pairs)]
    for kill in kills:
        if kill and not kill.started:
            kill.run()
    _wait([*ends, *filter(None, kills)], after_kill)
    return [_outcome(end, kill) for end, kill in zip(ends, kills)]


class _Job:
    """A call in a thread that does not keep the interpreter from its end."""

    def __init__(self, function):
        self._function = function
        self._thread = threading.Thread(target=self.run, name="brood terminate", daemon=True)
        self._returned = False
        self.error = None
        try:
            self._thread.start()
            self.started = True
        except RuntimeError:
            self.started = False

    def run(self):
        try:
            self._function()
        except BaseException as error:  # nobody above it would take it
            self.error = error
        self._returned = True

    def wait(self, seconds):
        if self.started:
            self._thread.join(seconds)

    def done(self):
        return self._returned


def _wait(jobs, seconds):
    end = None if seconds is None else time.monotonic() + seconds
    for job in jobs:
        job.wait(None if end is None else max(0, end - time.monotonic()))


def _outcome(end, kill):
    if end.done():
        return end.error
    if kill and kill.done() and (kill.error or not end.started):
        return kill.error
    return TimeoutError("it has not ended" + (", though it was killed" if kill else ""))
