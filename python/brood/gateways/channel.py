"""The master's channels, and which engine carries them."""

import os

from .core.errors import GatewayLost, RemoteError, TimeoutError


class Channel:
    """A stream of values to and from code on a gateway. Made by remote_exec() and newchannel() of a gateway. Any thread.

    send(item, timeout=None), receive(timeout=None), iteration, end(), close(error=None), isclosed(), waitclose(timeout=None) and
    setcallback(callback, endmarker) are those of the engine's class (core/engine.py); asend(), areceive() and `async for`
    are for asyncio.
    """

    RemoteError = RemoteError
    TimeoutError = TimeoutError
    _asyncio = None  # what waits in event loops

    def __getattr__(self, name):
        """`gateway`: the Gateway at the other end; None if it has left before this was asked for."""
        if name != "gateway":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.gateway = self.engine.group.gateway_of(self.peer)
        return self.gateway

    @property
    def id(self):
        return self.number

    def makefile(self, mode="w", proxyclose=False):
        """A file: each write() sends an item ("w"), or the items that come are read as one text ("r")."""
        from .core import channel_file
        return channel_file.make_file(self, mode, proxyclose)

    def reconfigure(self, py2str_as_py3str=True, py3str_as_py2str=False):
        """Accepted for execnet's sake: there is no Python 2 on the other side."""

    def next(self):
        return self.__next__()

    def _getremoteerror(self):
        """What ended the channel, if that was an error and nobody was told it yet, else None."""
        try:
            self.waitclose(0)
        except TimeoutError:
            return None
        except (RemoteError, GatewayLost) as error:
            return error
        return None

    def __repr__(self):
        return f"<Channel id={self.number} {'closed' if self.isclosed() else 'open'}>"

    async def areceive(self, timeout=None):
        """receive() for asyncio."""
        return await self._eventually(lambda: self.receive(0), False, timeout)

    async def asend(self, item, timeout=None):
        """send() for asyncio."""
        await self._eventually(lambda: self.send(item, 0), True, timeout)

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.areceive()
        except GatewayLost:
            raise
        except EOFError:
            raise StopAsyncIteration from None

    async def _eventually(self, attempt, writable, timeout):
        """attempt(), as soon as it does not raise TimeoutError."""
        if timeout is not None:
            import asyncio
            try:
                return await asyncio.wait_for(self._eventually(attempt, writable, None), timeout)
            except asyncio.TimeoutError:
                raise TimeoutError(f"not within {timeout} seconds") from None
        if self._asyncio is None:
            self._asyncio = {False: [], True: []}
        while True:
            try:
                return attempt()
            except TimeoutError:
                pass
            await self._change(writable)

    async def _change(self, writable):
        """Until something was received, or can be sent: more than one task may wait for that."""
        from asyncio import get_running_loop
        loop = get_running_loop()
        future = loop.create_future()
        waiting = self._asyncio[writable]
        waiting.append((loop, future))
        self.when(lambda _: _wake(waiting), writable)
        try:
            await future
        finally:
            if (loop, future) in waiting:
                waiting.remove((loop, future))


def _wake(waiting):
    while waiting:
        loop, future = waiting.pop()
        try:
            loop.call_soon_threadsafe(_done, future)
        except RuntimeError:  # that loop is closed
            pass


def _done(future):
    if not future.done():
        future.set_result(None)


def classes(engine=None):
    """(Engine, Channel) of masters. engine: "native" or "python"; None: `_brood` if it is there, unless BROOD_ENGINE=python. ImportError."""
    engine = engine or os.environ.get("BROOD_ENGINE")
    if engine != "python":
        try:
            from .core import native as core
            found = core.Engine is not None
        except ImportError:
            found = False
        if not found and engine == "native":
            raise ImportError("the engine in C++ cannot be loaded")
    if engine == "python" or not found:
        from .core import engine as core
    return type("Engine", (core.Engine,), {"group": None}), type("Channel", (Channel, core.Channel), {})
