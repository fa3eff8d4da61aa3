"""Links with faults: what is on its way arrives late, slowly, or not at all."""

import math
import select
import subprocess
import sys
from pathlib import Path

from .processes import DEADLINE

PROGRAMS = Path(__file__).parent / "programs"
BITS = {"gbit": 10**9, "mbit": 10**6, "kbit": 10**3, "bit": 1}


class Link:
    """A path for bytes in both directions. As made: no delay, no limit, not cut."""

    milliseconds = 0.0
    bits = None

    def delay(self, milliseconds):
        """Everything arrives that much later, in each direction; a round trip takes twice as long."""
        self.milliseconds = milliseconds
        self.shape()

    def rate(self, text):
        """At most so many bits per second in each direction: "1mbit", "500kbit"; None for no limit."""
        self.bits = text and bits_per_second(text)
        self.shape()

    def shape(self):
        """Makes it so."""
        raise NotImplementedError

    def cut(self):
        """Nothing arrives any more, and nobody is told."""
        raise NotImplementedError

    def restore(self):
        raise NotImplementedError

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def bits_per_second(text):
    unit = next(unit for unit in BITS if text.endswith(unit))
    return float(text[: -len(unit)]) * BITS[unit]


class LinkProgram(Link):
    """A link that a program beside this file makes; it ends with this process at the latest.

    inside: words before the command that enter a network namespace.  ready: the line that it prints when it works."""

    def __init__(self, program, *words, inside=()):
        command = [*inside, sys.executable, "-s", str(PROGRAMS / program), *map(str, words)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.ready = self.answer()
        except BaseException:
            self.close()
            raise

    def answer(self):
        assert select.select([self.process.stdout], [], [], DEADLINE)[0], f"no answer: {self.process.args}"
        line = self.process.stdout.readline().decode().strip()
        assert line, f"it has ended: {self.process.args}"
        return line

    def tell(self, command):
        """Returns when it is in force."""
        assert self.ask(command) == "ok"

    def ask(self, command):
        """The line that answers it."""
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self.answer()

    def shape(self):
        self.tell(f"shape {self.milliseconds / 1000} {(self.bits or math.inf) / 8}")

    def cut(self):
        self.tell("down")

    def restore(self):
        self.tell("up")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.stdout.close()


class Relay(LinkProgram):
    """Carries connections from `port`, a free one of the loopback interface, to another port. Root is not needed.

    It sees streams and no packets: while it is a black hole, a connection can still be made, but nothing passes."""

    def __init__(self, port, host="127.0.0.1"):
        super().__init__("relay.py", host, port)
        self.port = int(self.ready)

    def blackhole(self):
        """Nothing arrives any more, and nobody is told; what is sent meanwhile arrives after restore()."""
        self.tell("down")

    def cut(self):
        """Resets all connections, and new ones until restore(). What was on its way is lost."""
        self.tell("reset")

    def turns(self):
        """Since this was asked last: how often the other port has spoken after who connects to `port` had spoken.

        With a delay that is long beside what both sides take to answer, these are round trips."""
        return int(self.ask("turns"))


class RelayLink(Relay):
    """A relay that behaves as a cable: what is cut is silent."""

    cut = Relay.blackhole


class Cable(LinkProgram):
    """Joins two namespaces as a cable does: all packets of any protocol. Devices "east" in `west` and "west" in `east`."""

    def __init__(self, west, east):
        super().__init__("cable.py", west.path, "east", east.path, "west")


class Veth(Link):
    """The same within the kernel, where that has netem."""

    is_cut = False

    def __init__(self, west, east):
        west.run(f"ip link add name east type veth peer name west netns {east.holder.pid}")
        self.ends = ((west, "east"), (east, "west"))
        self.shape()

    def shape(self):
        netem = f"delay {self.milliseconds}ms rate {self.bits or 0:.0f}bit loss {100 if self.is_cut else 0}% limit 100000"
        for namespace, device in self.ends:
            namespace.run(f"tc qdisc replace dev {device} root netem {netem}")

    def cut(self):
        self.is_cut = True
        self.shape()

    def restore(self):
        self.is_cut = False
        self.shape()
