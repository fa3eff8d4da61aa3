"""A `brood serve` of a test's own, and a small HTTP client for it."""

import base64
import http.client
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
from dataclasses import dataclass, field

from brood_fixture import TIMEOUT
from waiting import DEADLINE, ended, wait_until

TOKEN = "the-token-of-the-tests-0123456789"


@dataclass
class Reply:
    status: int
    headers: dict  # names in lower case
    body: bytes
    json: object = field(default=None)


class Serve:
    """`brood serve` on a port that the system chooses. close() ends it and sees that nothing is left."""

    def __init__(self, brood, *options, listen="http:127.0.0.1:0"):
        self.brood = brood
        self.scratch = brood.base / "tmp"
        self.scratch.mkdir(exist_ok=True)
        self.files_before = self.files()
        self.session_pids = []
        reading, writing = os.pipe()
        try:
            self.process = subprocess.Popen(
                [brood.brood, "serve", "--listen", listen, "--ready-fd", str(writing), *map(str, options)],
                env={**brood.environment, "BROOD_TOKEN": TOKEN, "TMPDIR": str(self.scratch)},
                cwd=brood.work,
                stdin=subprocess.DEVNULL,
                pass_fds=[writing],
            )
        finally:
            os.close(writing)
        try:
            self.ready = self.read_ready(reading)
            self.host, port = re.findall(r"https?:(?://)?([^\s\"',/]+):(\d+)", self.ready)[-1]
            self.port = int(port)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            os.close(reading)

    def read_ready(self, fd):
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([fd], [], [], TIMEOUT)[0], "brood serve did not become ready"
            piece = os.read(fd, 4096)
            assert piece, f"brood serve ended with status {self.process.wait(TIMEOUT)}"
            line += piece
        return line.decode()

    # --- requests --------------------------------------------------------------------------------

    def ask(self, verb, path, body=None, *, token=TOKEN, headers=None):
        """One request. `body`: bytes as they are, anything else as JSON. `token`: None for nobody."""
        headers = dict(headers or {})
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            connection.request(verb, path, body, headers)
            answer = connection.getresponse()
            reply = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()
        if "json" in reply.headers.get("content-type", ""):
            reply.json = json.loads(reply.body)
        return reply

    def new(self, **more):
        """A new session that is ready; returns its id."""
        made = self.ask("POST", "/v1/sessions", more)
        assert made.status == 201, made
        session = made.json["id"]
        self.track(session, token=TOKEN)
        return session

    def run(self, session, code, *, token=TOKEN, **more):
        done = self.ask("POST", f"/v1/sessions/{session}/execute", {"code": code, "timeout": DEADLINE, **more}, token=token)
        assert done.status == 200, done
        return done.json

    def track(self, session, *, token):
        """close() sees that the session's process has ended."""
        done = self.run(session, "import os\nos.getpid()", token=token)
        self.session_pids.append(int(done["result"]["text/plain"]))

    def socket(self, session, query="", headers=None):
        headers = {"Authorization": f"Bearer {TOKEN}"} if headers is None else headers
        return WebSocket(self.host, self.port, f"/v1/sessions/{session}/stream{query}", headers)

    # --- the end ---------------------------------------------------------------------------------

    def files(self):
        """What the server may leave behind: everything below the runtime directory but the daemon's own and the lock, and temporary files."""
        found = set()
        for top in (self.brood.runtime, self.scratch):
            for folder, _, names in os.walk(top):
                found |= {os.path.join(folder, name) for name in names}
        daemon = str(self.brood.folder)
        kept = (f"{daemon}/env/", f"{daemon}/daemon", f"{daemon}/serve/serve.lock")
        return {path for path in found if not path.startswith(kept)}

    def close(self):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert status in (0, -signal.SIGTERM), f"brood serve ended with status {status}"
        wait_until(lambda: ended(*self.session_pids), "the end of the sessions")
        left = self.files() - self.files_before
        assert not left, left


class WebSocket:
    """A client of RFC 6455 with few words; text messages are JSON."""

    def __init__(self, host, port, path, headers):
        self.socket = socket.create_connection((host, port), TIMEOUT)
        self.unread = b""
        self.close_code = None
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Connection: Upgrade", "Upgrade: websocket"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode()]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self.unread:
            self.fill()
        header, _, self.unread = self.unread.partition(b"\r\n\r\n")
        self.status = int(header.split()[1])

    def fill(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError
        self.unread += piece

    def exactly(self, size):
        while len(self.unread) < size:
            self.fill()
        out, self.unread = self.unread[:size], self.unread[size:]
        return out

    def frame(self, kind, payload):
        size = len(payload)
        if size < 126:
            length = bytes([0x80 | size])
        else:
            length = struct.pack(">BH", 0x80 | 126, size) if size < 65536 else struct.pack(">BQ", 0x80 | 127, size)
        self.socket.sendall(bytes([0x80 | kind]) + length + b"\0\0\0\0" + payload)  # the mask changes nothing

    def say(self, **message):
        self.frame(1, json.dumps(message).encode())

    def next(self):
        """The next message; None when the server has closed (close_code says why)."""
        while True:
            kind, size = self.exactly(2)
            if size >= 126:
                size = int.from_bytes(self.exactly(2 if size == 126 else 8), "big")
            payload = self.exactly(size)
            if kind & 15 == 1:
                return json.loads(payload)
            if kind & 15 == 9:
                self.frame(10, payload)
            if kind & 15 == 8:
                self.close_code = int.from_bytes(payload[:2], "big")
                return None

    def until(self, wanted):
        """Reads up to the first message that `wanted` is true of; returns all of them."""
        read = []
        while True:
            message = self.next()
            assert message is not None, f"closed with {self.close_code} after {read}"
            read.append(message)
            if wanted(message):
                return read

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
