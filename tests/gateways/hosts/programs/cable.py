"""Joins two network namespaces by a device in each, and prints `ready`. At a limited rate, packets that find no room are lost.
Commands: shape DELAY RATE (seconds, bytes per second), down, up.
usage: cable.py NAMESPACE DEVICE NAMESPACE DEVICE      as root; a namespace is a path such as /proc/1/ns/net"""

import asyncio
import contextlib
import ctypes
import fcntl
import math
import os
import struct
import sys

from lane import Lane, Shape, obey, run

CLONE_NEWNET = 0x40000000
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x1, 0x1000, 0x4000
LARGE_PACKETS = 0x1 | 0x2 | 0x4  # TUN_F_CSUM, _TSO4, _TSO6: up to 64 KiB of a stream at once; the header says how to divide it
AT_ONCE = 64  # packets, before the other direction gets its turn


def enter(namespace):
    with open(namespace) as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"enter {namespace}")


def open_device(namespace, name):
    """A descriptor that reads and writes the packets of a new device; it is gone when this process is."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    enter(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(device, TUNSETOFFLOAD, LARGE_PACKETS)
    enter(f"/proc/self/fd/{own}")
    os.close(own)
    return device


def take(device, lane):
    """Puts into the lane what has come to the device."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(AT_ONCE):
            packet = os.read(device, 2**17)
            overflows = lane.shape.rate < math.inf and lane.full()
            if lane.shape.up.is_set() and not overflows:
                lane.put(packet)


async def give(lane, device):
    async for packet in lane.arrivals():
        if lane.shape.up.is_set():
            with contextlib.suppress(OSError):  # an interface that is down
                os.write(device, packet)


async def main():
    shape = Shape()
    west, east = open_device(*sys.argv[1:3]), open_device(*sys.argv[3:5])
    loop = asyncio.get_running_loop()
    directions = []
    for source, target in ((west, east), (east, west)):
        lane = Lane(shape)
        loop.add_reader(source, take, source, lane)
        directions.append(asyncio.ensure_future(give(lane, target)))
    print("ready", flush=True)
    await obey({"shape": shape.set, "down": shape.up.clear, "up": shape.up.set})


run(main())
