"""A `brood serve` with a gateway: address, and raw clients for it."""

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from brood_fixture import PYTHON, TIMEOUT, Brood, clean_environment  # noqa: E402
from serve_start import starting  # noqa: E402
from waiting import children  # noqa: E402

from brood import wire  # noqa: E402
from brood.gateways.core import kinds  # noqa: E402
from brood.gateways.core.values import dumps  # noqa: E402

TOKEN = "the-token-of-these-tests"
CONFIG = 'default = "warm"\n[env.warm]\npreload = ["heavy"]\n[env.light]\n'
HANGS = {
    "computes": "while True: pass",
    "sleeps": "import time\ntime.sleep(1000)",
    "holds the interpreter": "import ctypes\nctypes.PyDLL(None).sleep(1000)",
    "takes no interrupt": "import time\nwhile True:\n    try: time.sleep(1000)\n    except BaseException: pass",
    "waits for a child": "import subprocess\nsubprocess.run(['sleep', '1000'])",
}
NO_GREETINGS = {
    "a browser": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "execnet": b"'import sys; print(1)'\n",
    "a long frame": struct.pack("<IHH", 8193, wire.HELLO, 1),
    "another version of frames": struct.pack("<IHH", 4, wire.HELLO, 2) + bytes(4),
    "no JSON": struct.pack("<IHHI", 7, wire.HELLO, 1, 3) + b"{x}",
    "a head beyond its frame": struct.pack("<IHHI", 6, wire.HELLO, 1, 3) + b"{}",
    "no head at all": struct.pack("<IHH", 0, wire.HELLO, 1),
    "deeply nested JSON": struct.pack("<IHHI", 4004, wire.HELLO, 1, 4000) + b"[" * 4000,
    "no object": struct.pack("<IHHI", 6, wire.HELLO, 1, 2) + b"[]",
    "no version that is known": wire.encode(wire.HELLO, {"versions": [7]}),
    "versions that are none": wire.encode(wire.HELLO, {"versions": {"1": 1}}),
    "a request first": wire.encode(wire.REQUEST, {"request": 1, "method": "gateway"}),
    "authentication first": wire.encode(wire.AUTH, {"mechanism": "SCRAM-SHA-256", "data": "n,,n=token,r=x"}),
    "zeros": bytes(100),
}


def needs(*modules):
    """A mark for tests that use modules of the interpreter that is kept warm."""
    code = ";".join(f"import {module}" for module in modules)
    there = subprocess.run([PYTHON, "-c", code], env=clean_environment(), capture_output=True, check=False).returncode == 0
    return pytest.mark.skipif(not there, reason=f"needs {' and '.join(modules)}")


@pytest.fixture
def own_brood():
    """A brood of this test's own, with the environments of CONFIG. Fails the test when it leaves a process behind."""
    made = Brood()
    (made.work / "heavy.py").write_text("value = 1\n")
    (made.work / "brood.toml").write_text(CONFIG)
    yield made
    made.close()


@pytest.fixture
def serve(own_brood):
    """Starts servers with a gateway: address; further options may follow."""
    with starting(own_brood) as start_one:
        yield lambda *options, **more: start_one("--listen", "gateway:127.0.0.1:0", *options, **more)


def address_of(server):
    """HOST:PORT of its first address."""
    kind, _, place = server.addresses[0].partition(":")
    assert kind == "gateway"
    return place


def gateways_of(server):
    """The processes below its zygotes that are gateways: they show their program's command line."""
    return [pid for zygote in children(server.pid) for pid in children(zygote) if b"serve: a gateway" in command_line(pid)]


def command_line(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def python_path():
    """For a process that is to be a master."""
    return str(Path(__file__).resolve().parents[2] / "python")


class Raw:
    """A connection to a server's gateway: address, spoken by hand."""

    def __init__(self, server):
        host, _, port = address_of(server).rpartition(":")
        self.socket = socket.create_connection((host, int(port)), TIMEOUT)

    def say(self, kind, **head):
        self.socket.sendall(wire.encode(kind, head))

    def hear(self):
        """(type, head) of the next frame; None at the end."""
        header = self._read(8)
        if len(header) < 8:
            return None
        length, kind, _ = struct.unpack("<IHH", header)
        payload = self._read(length)
        return kind, json.loads(payload[4 : 4 + struct.unpack_from("<I", payload)[0]])

    def _read(self, size):
        data = b""
        with contextlib.suppress(ConnectionError):
            while len(data) < size and (more := self.socket.recv(size - len(data))):
                data += more
        return data

    def rest(self):
        return self._read(1 << 30)

    def become_context(self):
        """All that a master says, at once. The process that has greeted."""
        self.say(wire.HELLO, versions=[1])
        self.say(wire.REQUEST, request=1, method="gateway")
        body = dumps({"versions": [1], "context": 1, "ancestors": [0], "id": "raw", "level": 30})
        self.socket.sendall(struct.pack("<IHHIII", 12 + len(body), kinds.GREET, 1, 1, 0, 0) + body)
        assert self.hear()[0] == wire.HELLO
        kind, answer = self.hear()
        assert kind == wire.ANSWER and answer["request"] == 1
        assert self._read(len(kinds.MARK)) == kinds.MARK
        self._read(1)
        return answer["pid"]

    def leave(self, how):
        """"exit": ends what it sends; "close": closes its socket, as the system does for a process that is killed."""
        if how == "exit":
            self.socket.shutdown(socket.SHUT_WR)
            return
        if how == "reset":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def nobody(program, *arguments):
    """Runs a Python program as a user that owns nothing here."""
    return subprocess.run([PYTHON, "-c", program, *arguments], user=65534, group=65534, extra_groups=[], capture_output=True,
                          timeout=TIMEOUT, env={"PATH": os.environ["PATH"], "PYTHONPATH": python_path()}, check=False)
