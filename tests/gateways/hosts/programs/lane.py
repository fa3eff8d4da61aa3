"""What is on its way in one direction of a path, and the commands that change the path. For the programs beside this file.

A command is a line on standard input; it is answered by a line, `ok` or what was asked for. The end of standard input ends
the program."""

import asyncio
import math
import selectors
import sys

SLACK = 2**18  # bytes that wait at the beginning of a path
WINDOW = 2**24  # bytes on the way at most, as a TCP with a large window has
SLICE = 0.005  # seconds: how long a piece keeps a path of limited rate busy


class Shape:
    """What a path does to all that passes, in both directions. While `up` is cleared, nothing shall arrive."""

    def __init__(self):
        self.delay = 0.0  # seconds
        self.rate = math.inf  # bytes per second
        self.up = asyncio.Event()
        self.up.set()

    def set(self, delay, rate):
        self.delay, self.rate = float(delay), float(rate)

    def piece(self):
        """How many bytes to take at once."""
        return int(min(2**16, max(1500, self.rate * SLICE)))

    def room(self):
        """How many bytes can wait and be on the way."""
        return SLACK + (min(self.rate * self.delay, WINDOW) if self.delay else 0)


class Lane:
    """Each item has a time of its own at which it arrives, so a delay alone does not limit how much arrives per second."""

    def __init__(self, shape):
        self.shape = shape
        self.items = asyncio.Queue()
        self.held = 0  # bytes
        self.free_at = 0.0  # when the last byte put in will have left
        self.has_room = asyncio.Event()
        self.has_room.set()

    def put(self, item):
        """`item`: bytes, or None, which ends the lane."""
        size = len(item or b"")
        self.free_at = max(self.free_at, asyncio.get_running_loop().time()) + size / self.shape.rate
        self.items.put_nowait((self.free_at + self.shape.delay, item))
        self.held += size
        if self.full():
            self.has_room.clear()

    def full(self):
        return self.held > self.shape.room()

    async def arrivals(self):
        """The items in the order of put(), each when its time has come."""
        loop = asyncio.get_running_loop()
        while True:
            due, item = await self.items.get()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            yield item
            self.held -= len(item or b"")
            if not self.full():
                self.has_room.set()


async def obey(commands):
    """Executes commands until standard input ends. `commands`: name -> function of the words behind it."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        name, *words = line.decode().split()
        answer = commands[name](*words)
        print("ok" if answer is None else answer, flush=True)


def run(main):
    """select(2) waits as long as it is told; epoll_wait(2) rounds up to milliseconds."""
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main)
