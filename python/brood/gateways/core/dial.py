"""The way to an interpreter that a socket server starts or forks (docs/protocol.md, section 8, "Servers")."""
import json
import os
import socket
import struct
import time

from .errors import HostNotFound
from .scram import Scram, ScramError

HELLO, AUTH, REQUEST, ANSWER = 64, 65, 66, 67
MAX_FRAME = 8 << 10  # bytes
MECHANISM = "SCRAM-SHA-256"
_keys = {}  # of the last token: deriving them takes milliseconds


def dial(keys, source, end):
    """(a blocking socket to an interpreter, whether it is a context already). Until `end` (monotonic clock). HostNotFound.

    keys    of the spec: socket, token or token_file, warm, engine
    source  what an interpreter executes that is none yet
    """
    address, token = keys["socket"], read_token(keys)
    where = "socket=%s" % address
    connection = None
    try:
        connection = socket.create_connection(split(address), max(0.01, end - time.monotonic()))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = _Wire(connection, end)
        warm = _greet(wire, token).get("gateway") == "warm"
        if warm:
            _wish(wire, keys)
        elif keys.get("warm"):
            raise ValueError("what answers there has no warm environments, as brood serve --listen gateway:HOST:PORT has")
        else:
            data = source.encode("ascii")
            connection.sendall(struct.pack("<I", len(data)) + data)
        connection.setblocking(True)
        return connection, warm
    except (OSError, ScramError, ValueError) as error:
        if connection is not None:
            connection.close()
        raise HostNotFound("%s: %s" % (where, error)) from None


def split(address):
    """(host, port) of HOST:PORT, [IPV6]:PORT or :PORT."""
    host, _, port = address.rpartition(":")
    return host.strip("[]") or "localhost", int(port)


def read_token(keys):
    """The token of a spec: its `token`, or the first line of its `token_file`. HostNotFound."""
    if not keys.get("token_file"):
        return keys.get("token")
    try:
        with open(os.path.expanduser(keys["token_file"]), encoding="utf-8") as file:
            token = file.readline().strip()
    except (OSError, ValueError) as error:
        raise HostNotFound("the token cannot be read: %s" % error) from None
    if not token:
        raise HostNotFound("there is no token in the first line of %s" % keys["token_file"])
    return token


class _Wire:
    """Frames whose payload is a JSON head."""

    def __init__(self, connection, end):
        self._connection, self._end = connection, end

    def send(self, kind, head):
        text = json.dumps(head).encode("ascii")
        self._hurry()
        self._connection.sendall(struct.pack("<IHHI", len(text) + 4, kind, 1, len(text)) + text)

    def receive(self, kind):
        """The head of the next frame, which is of that kind. OSError, with the error that came instead."""
        length, got, version = struct.unpack("<IHH", self._read(8))
        if version != 1 or not 4 <= length <= MAX_FRAME:
            raise ValueError("what answers there is no socketserver of brood's")
        payload = self._read(length)
        size = struct.unpack_from("<I", payload)[0]
        head = json.loads(payload[4 : 4 + size].decode())
        if got == ANSWER and isinstance(head, dict) and isinstance(head.get("error"), dict):
            raise ValueError("the server refused: %s" % head["error"].get("text"))
        if got != kind or not isinstance(head, dict):
            raise ValueError("the server sent a frame of type %d, expected %d" % (got, kind))
        return head

    def _read(self, size):
        data = b""
        while len(data) < size:
            self._hurry()
            more = self._connection.recv(size - len(data))
            if not more:
                raise ConnectionError("the server has closed the connection")
            data += more
        return data

    def _hurry(self):
        self._connection.settimeout(max(0.01, self._end - time.monotonic()))


def _wish(wire, keys):
    """Has a fork of a warm environment become a context."""
    head = {"request": 1, "method": "gateway"}
    if keys.get("warm") and keys["warm"] is not True:
        head["env"] = keys["warm"]
    if keys.get("engine"):
        head["engine"] = keys["engine"]
    wire.send(REQUEST, head)
    wire.receive(ANSWER)


def _greet(wire, token):
    """The server's HELLO."""
    wire.send(HELLO, {"versions": [1], "client": "brood gateways"})
    hello = wire.receive(HELLO)
    if hello.get("user"):
        return hello
    if MECHANISM not in hello.get("auth", ()):
        raise ValueError("the server offers no authentication that is known here")
    if not token:
        raise ValueError("the server asks for a token: add token_file=PATH to the spec")
    scram = Scram("token", token, keys=_keys)
    wire.send(AUTH, {"mechanism": MECHANISM, "data": scram.first()})
    wire.send(AUTH, {"data": scram.final(str(wire.receive(AUTH).get("data")))})
    scram.verify(str(wire.receive(AUTH).get("data")))
    return hello
