"""examples/gateways/socketserver.py as a process, and as a module; and raw sockets to talk to it."""

import contextlib
import importlib.util
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from brood import handshake, wire

SCRIPT = Path(__file__).resolve().parents[2] / "examples/gateways/socketserver.py"
DEADLINE = 20  # seconds: a hang, not a measure of speed
TOKEN = "a token of a test".replace(" ", "-")


def load():
    """The script as a module of its own, whose limits a test may change."""
    spec = importlib.util.spec_from_file_location("gateway_socketserver", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Process:
    """The script, started by hand. `address` is where it listens; ended with the `with` block."""

    def __init__(self, *arguments, python=sys.executable, **more):
        self.popen = subprocess.Popen([python, SCRIPT, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, **more)
        self.line = self.popen.stdout.readline()
        match = re.fullmatch(r"brood socketserver: listening on (.*):(\d+)\n", self.line)
        assert match, self.line + self.popen.stderr.read()
        self.address = match[1].strip("[]"), int(match[2])

    def children(self):
        return Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()

    def end(self, number=signal.SIGTERM):
        """Sends the signal and waits; returns status and what it has written to stderr."""
        self.popen.send_signal(number)
        return self.wait()

    def wait(self):
        out, err = self.popen.communicate(timeout=DEADLINE)
        assert out == ""
        return self.popen.returncode, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.end()


@contextlib.contextmanager
def in_this_process(module, token=None, listener=None):
    """A Server of `module` in a thread; gives its address."""
    server = module.Server(listener or module.listen("127.0.0.1", 0, token), token)
    address = server.listener.getsockname()[:2]
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield address
    finally:
        server.stop()
        thread.join(DEADLINE)
        server.end()
        assert not thread.is_alive()


class Client:
    """A raw connection. `traffic` is all that went over it, in both directions."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, DEADLINE)
        self.traffic = b""

    def send(self, data):
        self.traffic += data
        self.socket.sendall(data)

    def receive(self, size):
        """Exactly so many bytes, or less if the connection ends."""
        data = b""
        while len(data) < size and (piece := self._piece(size - len(data))):
            data += piece
        self.traffic += data
        return data

    def _piece(self, size):
        try:
            return self.socket.recv(size)
        except ConnectionResetError:  # an end with something left unread there
            return b""

    def rest(self):
        return self.receive(1 << 30)

    def receive_frame(self):
        """(type, head), or None at the end."""
        header = self.receive(8)
        if not header:
            return None
        length, kind, version = struct.unpack("<IHH", header)
        assert version == 1
        return kind, wire.decode_message(memoryview(self.receive(length)))[0]

    def frame(self, kind, head):
        self.send(wire.encode(kind, head))
        return self.receive_frame()

    def greet(self, token=None, user=None):
        """HELLO, and AUTH as brood's client does it. Returns the server's HELLO."""
        credentials = handshake.Credentials(user=user, password=token) if user else handshake.Credentials(token)
        steps = handshake.exchange(credentials)
        to_send = next(steps)
        while True:
            self.send(to_send)
            kind, head = self.receive_frame()
            try:
                to_send = steps.send((kind, head, b""))
            except StopIteration as done:
                return done.value

    def run(self, source, behind=b""):
        source = source.encode() if isinstance(source, str) else source
        self.send(struct.pack("<I", len(source)) + source + behind)
        return self

    def is_silent(self, seconds):
        """Whether nothing comes, no end either, for so long."""
        return not select.select([self.socket], [], [], seconds)[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def started(address, source, token=None, behind=b""):
    """A client whose interpreter runs `source`."""
    client = Client(address)
    client.greet(token)
    return client.run(source, behind)


def process_ended(pid):
    """Whether there is no such process, or a zombie that somebody else has to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextlib.contextmanager
def watched(pid):
    """Gives a function that waits for the end of that process, and tells whether it came."""
    fd = os.pidfd_open(int(pid))
    try:
        yield lambda seconds=DEADLINE: bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)
