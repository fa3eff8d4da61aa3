"""Listens on a free port of the loopback interface, prints it, and carries connections to another port. Commands:
shape DELAY RATE (seconds, bytes per second), down, up, reset (all connections, and new ones until `up`), turns (how often it
was the server's turn to speak after the client had spoken, of all connections; counted from the last time this was asked).
usage: relay.py HOST PORT"""

import asyncio
import socket
import struct
import sys

from lane import Lane, Shape, obey, run


class Relay:
    def __init__(self, target):
        self.target = target
        self.shape = Shape()
        self.writers = set()
        self.refuses = False
        self.turns = 0
        self.spoke = False  # the client, after the server

    def down(self):
        self.shape.up.clear()

    def up(self):
        self.refuses = False
        self.shape.up.set()

    def reset(self):
        self.refuses = True
        for writer in self.writers:
            abort(writer)

    def take_turns(self):
        turns, self.turns, self.spoke = self.turns, 0, False
        return turns

    def hear(self, to_server):
        if self.spoke and not to_server:
            self.turns += 1
        self.spoke = to_server

    async def accepted(self, reader, writer):
        if self.refuses:
            abort(writer)
            return
        both = [writer]
        self.writers.add(writer)
        try:
            await self.shape.up.wait()
            far_reader, far_writer = await asyncio.open_connection(*self.target)
            both.append(far_writer)
            self.writers.add(far_writer)
            await asyncio.gather(self.carry(reader, far_writer, True), self.carry(far_reader, writer, False))
        except OSError:
            abort(writer)
        for each in both:
            self.writers.discard(each)
            each.close()

    async def carry(self, reader, writer, to_server):
        """One direction, until its end has arrived, or a reset."""
        lane = Lane(self.shape)
        feeding = asyncio.ensure_future(self.feed(reader, lane, to_server))
        async for data in lane.arrivals():
            await self.shape.up.wait()
            if data is None:
                abort(writer)
            elif data:
                try:
                    writer.write(data)
                    await writer.drain()
                    continue
                except ConnectionError:
                    pass  # the other direction gets to know as well, and tells
            else:
                writer.write_eof()
            break
        if data:
            feeding.cancel()

    async def feed(self, reader, lane, to_server):
        try:
            while data := await reader.read(self.shape.piece()):
                self.hear(to_server)
                lane.put(data)
                await lane.has_room.wait()
            lane.put(b"")
        except ConnectionError:
            lane.put(None)


def abort(writer):
    """Closes with a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main():
    relay = Relay(sys.argv[1:3])
    server = await asyncio.start_server(relay.accepted, "127.0.0.1", 0, backlog=100)
    print(server.sockets[0].getsockname()[1], flush=True)
    await obey({"shape": relay.shape.set, "down": relay.down, "up": relay.up, "reset": relay.reset, "turns": relay.take_turns})


run(main())
