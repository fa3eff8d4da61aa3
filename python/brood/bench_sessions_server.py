"""What `brood bench sessions` measures: a `brood serve` of its own, its memory, and the ways to talk to it."""
import base64
import http.client
import json
import os
import re
import resource
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

PATIENCE = 120  # seconds: a hang, not a measure of speed
NAME = "bench"  # of the environment
FILES_OF_A_SESSION = 12  # descriptors of the server, with checkpoints

CONFIG = """default = "{name}"
[env.{name}]
python    = {python}
preload   = {preload}
variables = {{ MPLBACKEND = "Agg" }}
[serve]
folder = {folder}
max_sessions = {sessions}
max_sessions_per_user = {sessions}
"""


class BenchError(Exception):
    """Something that keeps the benchmark from going on; the text is for people."""


class Server:
    """A private `brood serve`. `with` ends it and removes its folder."""

    def __init__(self, brood, python, preload, sessions):
        self.folder = tempfile.mkdtemp(prefix="brood-bench-")
        self.token = secrets.token_urlsafe(24)
        self.process = None
        config = os.path.join(self.folder, "brood.toml")
        with open(config, "w") as file:
            file.write(CONFIG.format(name=NAME, python=json.dumps(python), preload=json.dumps(preload),
                                     folder=json.dumps(os.path.join(self.folder, "work")), sessions=sessions + 50))
        try:
            self._start(brood, config)
        except BaseException:
            self.close()
            raise

    def _start(self, brood, config):
        dropped = ("BROOD", "BROOD_TRACE", "BROOD_PYTHON", "BROOD_SERVER", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
        environment = {name: value for name, value in os.environ.items() if name not in dropped}
        environment.update(XDG_RUNTIME_DIR=self.folder, BROOD_TOKEN=self.token)
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [brood, "serve", "--config", config, "--config-dir", os.path.join(self.folder, "door"), "--listen", "http:127.0.0.1:0",
             "--ready-fd", str(writing)],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[writing], start_new_session=True,
        )
        os.close(writing)
        with open(reading) as ready:
            line = ready.readline() if select.select([reading], [], [], PATIENCE)[0] else ""
        found = re.search(r":(\d+)\s*$", line)
        if not found:
            raise BenchError("brood serve does not start; see its message above")
        self.port = int(found[1])
        self.address = f"unix:{self.folder}/brood/serve/sessions.sock"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self):
        """The server and everything below it."""
        parents = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
                except OSError:  # it has ended
                    continue
        below = {}
        for pid, parent in parents.items():
            below.setdefault(parent, []).append(pid)
        found = [self.process.pid]
        for pid in found:
            found += below.get(pid, ())
        return found

    def settled(self):
        """Waits until no process has come or gone for a second; returns them."""
        end = time.monotonic() + PATIENCE
        seen, since = None, 0
        while time.monotonic() < end:
            now = sorted(self.processes())
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > 1:
                return now
            time.sleep(0.1)
        raise BenchError(f"the server's processes still come and go after {PATIENCE} s")

    def memory(self):
        """(PSS, page tables) of all processes in bytes, once nothing changes any more."""
        pss = tables = 0
        for pid in self.settled():
            pss += kib(f"/proc/{pid}/smaps_rollup", "Pss:")
            tables += kib(f"/proc/{pid}/status", "VmPTE:")
        return 1024 * pss, 1024 * tables

    def resident(self):
        """Bytes of the server process alone."""
        return 1024 * kib(f"/proc/{self.process.pid}/status", "VmRSS:")


def kib(path, name):
    """A figure of a file in /proc; 0 when the process has ended."""
    try:
        with open(path) as file:
            for line in file:
                if line.startswith(name):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def most_sessions(wanted):
    """How many of them this machine's limits allow."""
    allowed = [wanted]
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files != resource.RLIM_INFINITY:
        allowed.append((files - 200) // FILES_OF_A_SESSION)
    processes = [resource.getrlimit(resource.RLIMIT_NPROC)[1]]
    for name in ("pid_max", "threads-max"):
        with open(f"/proc/sys/kernel/{name}") as file:
            processes.append(int(file.read()))
    least = min(number for number in processes if number != resource.RLIM_INFINITY)
    allowed.append((least - 1000) // 4)  # a session, its checkpoints, and room for others
    return max(1, min(allowed))


class Web:
    """One HTTP connection that stays open."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        self.headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}

    def ask(self, verb, path, members=None):
        body = None if members is None else json.dumps(members).encode()
        self.connection.request(verb, path, body, self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise BenchError(f"{verb} {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text) if text else None

    def close(self):
        self.connection.close()


class WebSocket:
    """A client of RFC 6455 with few words: text messages that are JSON."""

    def __init__(self, server, session):
        self.socket = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.requests = 0
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (f"GET /v1/sessions/{session}/stream HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Connection: Upgrade", "Upgrade: websocket",
                 "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", f"Authorization: Bearer {server.token}", "", "")
        self.socket.sendall("\r\n".join(lines).encode())
        status = self.file.readline()
        if b" 101 " not in status:
            raise BenchError(f"no WebSocket: {status.decode(errors='replace').strip()}")
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def send(self, kind, payload):
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + struct.pack(">H", size)
        self.socket.sendall(bytes([0x80 | kind]) + length + bytes(4) + payload)  # a mask of zeros changes nothing

    def receive(self):
        """The next message."""
        while True:
            kind, size = self.exactly(2)
            if size >= 126:
                size = int.from_bytes(self.exactly(2 if size == 126 else 8), "big")
            payload = self.exactly(size)
            if kind & 15 == 1:
                return json.loads(payload)
            if kind & 15 == 9:
                self.send(10, payload)
            if kind & 15 == 8:
                raise BenchError(f"the WebSocket was closed with {int.from_bytes(payload[:2], 'big')}")

    def exactly(self, size):
        data = self.file.read(size)
        if len(data) < size:
            raise BenchError("the WebSocket has ended")
        return data

    def run(self, code, checkpoint):
        """Runs a cell to its end; returns the text of its result."""
        self.requests += 1
        message = {"request": self.requests, "method": "execute", "code": code, "checkpoint": checkpoint}
        self.send(1, json.dumps(message).encode())
        cell = result = None
        while True:
            told = self.receive()
            if told.get("request") == self.requests:
                if "error" in told:
                    raise BenchError(f"execute over the WebSocket: {told['error']}")
                cell = told["cell"]
            elif cell is not None and told.get("cell") == cell:
                if told["type"] == "result":
                    result = told["data"].get("text/plain")
                elif told["type"] == "done":
                    return result

    def close(self):
        self.file.close()
        self.socket.close()
