"""A network namespace: devices, addresses and ports of its own. Root."""

import contextlib
import os
import select
import subprocess

from .processes import DEADLINE, all_pids


class Namespace:
    """Has a loopback interface, and no name: it lasts as long as the process that holds it, which ends with the tests."""

    def __init__(self):
        # Not every TCP copes with a delay that is changed under it: BBR goes by the shortest round trip of the last 10 s.
        script = "echo reno >/proc/sys/net/ipv4/tcp_congestion_control; ip link set lo up && echo up && exec cat"
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.path = f"/proc/{self.holder.pid}/ns/net"
        try:
            assert select.select([self.holder.stdout], [], [], DEADLINE)[0] and self.holder.stdout.readline() == b"up\n"
            self.inode = os.stat(self.path).st_ino
        except BaseException:
            self.close()
            raise

    def enter(self):
        """The words before a command that make it one of this network."""
        return ["nsenter", f"--net={self.path}", "--"]

    def run(self, script):
        subprocess.run([*self.enter(), "sh", "-ec", script], check=True, timeout=DEADLINE)

    def processes(self):
        """The pids of this network, but for the one that holds it."""
        found = set()
        for pid in all_pids():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/ns/net").st_ino == self.inode:
                    found.add(pid)
        return found - {self.holder.pid}

    def close(self):
        self.holder.kill()
        self.holder.wait(DEADLINE)
        self.holder.stdin.close()
        self.holder.stdout.close()
