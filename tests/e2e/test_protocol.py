"""Launching by docs/protocol.md, with a client of its own: what brood's own client does not do, or only once in a long while."""

import contextlib
import os
import resource
import runpy
import socket
import struct
from pathlib import Path

import pytest
from waiting import DEADLINE, Watched

pytestmark = pytest.mark.core

VECTORS = runpy.run_path(str(Path(__file__).parents[1] / "vectors" / "make_vectors.py"))
field, frame = VECTORS["field"], VECTORS["frame"]
RUN, ACCEPTED, EXITED = 1, 2, 4
COMMAND = 1
LIMITS = 16


def run_frame(brood, code):
    """RUN of `python3 -c code`, with descriptors 0 to 2."""
    variables = b"".join(f"{name}={value}\0".encode() for name, value in brood.environment.items())
    limits = [struct.pack("<qq", *resource.getrlimit(number)) for number in range(LIMITS)]
    words = (b"python3", b"-c", code.encode())
    payload = field(1, COMMAND) + field(2, code.encode()) + b"".join(field(4, word) for word in words) + field(5, variables)
    return frame(RUN, payload + field(7, 0o22) + field(11, b"".join(limits)) + field(13, struct.pack("<3I", 0, 1, 2)))


def read_frame(connection):
    """Type and fields (tag -> bytes) of the next frame."""
    head = connection.recv(8, socket.MSG_WAITALL)
    length, kind, _ = struct.unpack("<IHH", head)
    payload = connection.recv(length, socket.MSG_WAITALL)
    fields = {}
    while payload:
        tag, _, size = struct.unpack_from("<HHI", payload)
        fields[tag] = payload[8 : 8 + size]
        payload = payload[8 + size :]
    return kind, fields


def number(value):
    return int.from_bytes(value, "little")


class Client:
    """Has its program's standard input and output as pipes."""

    def __init__(self, brood, code):
        with contextlib.ExitStack() as sent:
            self.connection, connection = socket.socketpair()
            sent.callback(connection.close)
            self.connection.settimeout(DEADLINE)
            self.request = socket.socket(socket.AF_UNIX)
            self.request.connect(str(next((brood.folder / "env").iterdir())))
            cwd = os.open(brood.work, os.O_PATH)
            stdin, self.stdin = os.pipe()
            self.stdout, stdout = os.pipe()
            for fd in (cwd, stdin, stdout):
                sent.callback(os.close, fd)
            descriptors = [cwd, connection.fileno(), stdin, stdout, stdout]
            socket.send_fds(self.request, [run_frame(brood, code)], descriptors)
        kind, fields = read_frame(self.connection)
        assert kind == ACCEPTED, (kind, fields)
        self.worker = Watched(number(fields[1]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.request.close()
        os.close(self.stdin)
        os.close(self.stdout)
        assert self.worker.ended(), "the program outlives its client"
        os.close(self.worker.fd)


def test_a_program_runs(brood):
    brood.warm_drop_in(["-c", "pass"])
    with Client(brood, "print(input()[::-1]); raise SystemExit(3)") as client:
        os.write(client.stdin, b"abc\n")
        kind, fields = read_frame(client.connection)
        assert (kind, number(fields[3]), number(fields[4])) == (EXITED, 0, 3)
        assert os.read(client.stdout, 100) == b"cba\n"


def test_the_receiver_is_woken_late(brood):
    """The kernel puts a message into the receiver's queue and wakes the receiver afterwards. A client that loses its
    processor in between wakes it when the program is running already, which must not look like the client's end."""
    brood.warm_drop_in(["-c", "pass"])
    with Client(brood, "print('begun', flush=True); input(); print('to the end')") as client:
        assert os.read(client.stdout, 100) == b"begun\n"
        with contextlib.suppress(BrokenPipeError):
            client.request.send(b"\0")
        os.write(client.stdin, b"\n")
        kind, fields = read_frame(client.connection)
        assert (kind, number(fields[3]), number(fields[4])) == (EXITED, 0, 0)
        assert os.read(client.stdout, 100) == b"to the end\n"


def test_the_client_hangs_up(brood):
    brood.warm_drop_in(["-c", "pass"])
    with Client(brood, "import time; time.sleep(1000)") as client:
        client.connection.close()
        assert client.worker.ended()


def test_a_request_without_its_descriptors_is_dropped(brood):
    brood.warm_drop_in(["-c", "pass"])
    for count in (0, 1, 4, 6):
        with socket.socket(socket.AF_UNIX) as request, open(os.devnull) as null:
            request.settimeout(DEADLINE)
            request.connect(str(next((brood.folder / "env").iterdir())))
            socket.send_fds(request, [run_frame(brood, "print('ran')")], [null.fileno()] * count)
            assert request.recv(100) == b""
    assert brood.warm_drop_in(["-c", "print('again')"]).out == b"again\n"
