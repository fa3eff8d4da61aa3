"""A small server of docs/protocol.md, section 5, for the tests of the Python client: real sockets, a thread for each
connection, its own codec. What a cell does is in `cells`: code -> function(Cell). Sessions share one log each."""

import base64
import hashlib
import hmac
import itertools
import json
import select
import socket
import ssl
import struct
import threading

HELLO, AUTH, REQUEST, ANSWER, EVENT = 64, 65, 66, 67, 68
PATIENCE = 60  # seconds: a hang, not a measure of speed
OUTSTANDING = 64  # requests without an answer that a connection may have


class Problem(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.text = code, text


def frame(kind, head, body=b"", version=1):
    text = json.dumps(head).encode()
    return struct.pack("<IHHI", 4 + len(text) + len(body), kind, version, len(text)) + text + body


class Peer:
    """One client's connection."""

    def __init__(self, server, sock):
        self.server, self.socket = server, sock
        self.sending = threading.Lock()
        self.joined = set()
        self.outstanding = 0  # requests without an answer
        self.user = None

    def send(self, data):
        with self.sending:
            self.socket.sendall(data)

    def exactly(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.receive(count - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return bytes(data)

    def receive(self, count):
        if not self.server.tls:
            return self.socket.recv(count)
        while True:  # two threads must not be in one TLS object
            with self.sending:
                if self.socket.pending() or select.select([self.socket], [], [], 0)[0]:
                    return self.socket.recv(count)
            if not select.select([self.socket], [], [], PATIENCE)[0]:
                raise ConnectionError

    def read(self):
        length, kind, version = struct.unpack("<IHH", self.exactly(8))
        assert version == 1 and length <= 8 << 20
        payload = self.exactly(length)
        size = int.from_bytes(payload[:4], "little")
        return kind, json.loads(payload[4 : 4 + size]), payload[4 + size :]

    def answer(self, request, head, body=b""):
        with self.sending:
            self.outstanding -= 1
        self.send(frame(ANSWER, {"request": request, **head}, body))


class Session:
    def __init__(self, server, number):
        self.server, self.id = server, f"s{number}"
        self.name, self.ended = "", False
        self.log = []  # (seq, frame)
        self.lock = threading.Lock()
        self.cell = 0
        self.files = {}
        self.stdin = []
        self.input = threading.Semaphore(0)
        self.interrupted = threading.Event()

    def describe(self):
        return {"id": self.id, "name": self.name, "next_seq": len(self.log) + 1, "state": "idle", "cell": 0}

    def emit(self, kind, cell=0, body=b"", **members):
        with self.lock:
            seq = len(self.log) + 1
            data = frame(EVENT, {"session": self.id, "seq": seq, "type": kind, "cell": cell, **members}, body)
            self.log.append((seq, data))
            peers = [peer for peer in list(self.server.peers) if self.id in peer.joined]
        for peer in peers:
            try:
                peer.send(data)
            except OSError:
                peer.joined.discard(self.id)


class Cell:
    """What a function in `cells` gets."""

    def __init__(self, session, number, peer):
        self.session, self.number, self.peer = session, number, peer

    def emit(self, kind, body=b"", **members):
        self.session.emit(kind, self.number, body, **members)

    def done(self, status="ok", **members):
        self.emit("done", status=status, execution_count=self.number, ms=1.5, undone=False, why="", **members)


class FakeServer:
    def __init__(self, address, user="ada", passwords=None, tls=None, greeting=None):
        self.user = user  # who a client is by its socket; None: SCRAM is wanted
        self.passwords = passwords or {}
        self.tls, self.greeting = tls, greeting
        self.cells, self.sessions, self.peers, self.threads = {}, {}, [], []
        self.calls = []  # (method, head) as they came
        self.held = {}  # request name -> answers kept back, see method_hold
        self.held_now = threading.Semaphore(0)
        self.accepted = 0
        self.most_outstanding = 0  # over all connections
        self.numbers = itertools.count(1)
        kind, _, path = address.partition(":")
        if kind == "unix":
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.address = address
        else:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"{kind}:localhost:{self.listener.getsockname()[1]}"
        self.listener.listen(64)
        self.start(self.accept)

    def start(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()
        for session in self.sessions.values():
            session.interrupted.set()
            session.input.release()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread of the test server is stuck"

    def cut(self):
        """Ends all connections."""
        for peer in list(self.peers):
            try:
                peer.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.start(self.serve, sock)

    def serve(self, sock):
        peer = None
        try:
            sock.settimeout(PATIENCE)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            peer = Peer(self, sock)
            self.peers.append(peer)
            self.greet(peer)
            while True:
                self.handle(peer, *peer.read())
        except (OSError, ConnectionError, ssl.SSLError):
            pass
        finally:
            if peer in self.peers:
                self.peers.remove(peer)
            sock.close()

    # --- the beginning

    def greet(self, peer):
        kind, head, _ = peer.read()
        assert kind == HELLO and head["versions"] == [1] and head["client"]
        if self.greeting is not None:
            peer.send(self.greeting)
            return
        known = {"user": self.user, "role": "admin"} if self.user else {}
        peer.send(frame(HELLO, {"version": 1, "server": "fake", "auth": ["SCRAM-SHA-256"], "limits": {}, **known}))
        peer.user = self.user

    def authenticate(self, peer, head):
        first = head["data"]
        assert head["mechanism"] == "SCRAM-SHA-256" and first.startswith("n,,n=")
        bare = first[3:]
        name, _, nonce = bare[2:].partition(",r=")
        salt, nonce = b"salt of the test", nonce + "server"
        said = f"r={nonce},s={base64.b64encode(salt).decode()},i=4096"
        peer.send(frame(AUTH, {"data": said}))
        final = peer.read()[1]["data"]
        without, _, proof = final.rpartition(",p=")
        name = name.replace("=2C", ",").replace("=3D", "=")
        password = self.passwords.get(name, "")
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 4096)
        signed = f"{bare},{said},{without}".encode()
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        if bytes(a ^ b for a, b in zip(client_key, signature)) != base64.b64decode(proof) or not password:
            peer.answer(0, {"error": {"code": "unauthorized", "text": "authentication failed"}})
            raise ConnectionError
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        peer.user = name
        peer.send(frame(AUTH, {"data": f"v={base64.b64encode(server).decode()}", "user": name, "role": "user"}))

    # --- requests

    def handle(self, peer, kind, head, body):
        if kind == AUTH:
            self.authenticate(peer, head)
            return
        assert kind == REQUEST and peer.user
        number = head["request"]
        self.calls.append((head["method"], head))
        with peer.sending:
            peer.outstanding += 1
            self.most_outstanding = max(self.most_outstanding, peer.outstanding)
        try:
            if peer.outstanding > OUTSTANDING:
                raise Problem("limit", f"{OUTSTANDING} requests of this connection wait for their answers")
            answer = getattr(self, "method_" + head["method"])(peer, head, body)
            if answer is not None:
                head, body = answer if isinstance(answer, tuple) else (answer, b"")
                peer.answer(number, head, body)
        except Problem as problem:
            peer.answer(number, {"error": {"code": problem.code, "text": problem.text}})

    def find(self, head):
        session = self.sessions.get(head["session"])
        if session is None:
            raise Problem("not_found", f"there is no session {head['session']}")
        return session

    def make(self):
        session = Session(self, next(self.numbers))
        self.sessions[session.id] = session
        return session

    def method_environments(self, peer, head, body):
        return {"environments": [{"name": "math", "default": True, "state": "warm"}]}

    def method_sessions(self, peer, head, body):
        return {"sessions": [session.describe() for session in self.sessions.values()]}

    def method_new(self, peer, head, body):
        if head.get("env") == "broken":
            raise Problem("unavailable", "the preload of broken fails: no module named nowhere")
        session = self.make()
        session.name = head.get("name", "")
        return {"session": session.describe()}

    def method_info(self, peer, head, body):
        return {"session": self.find(head).describe()}

    def method_rename(self, peer, head, body):
        session = self.find(head)
        session.name = head["name"]
        return {"session": session.describe()}

    def method_remove(self, peer, head, body):
        session = self.sessions.pop(self.find(head).id)
        session.emit("ended", why="removed", exit_status=0)
        return {}

    def method_join(self, peer, head, body):
        session = self.find(head)
        with session.lock:
            kept = [data for seq, data in session.log if seq > head.get("after", 0)]
            peer.answer(head["request"], {"session": session.describe(), "next_seq": len(session.log) + 1})
            for data in kept:
                peer.send(data)
            peer.joined.add(session.id)

    def method_leave(self, peer, head, body):
        peer.joined.discard(head["session"])
        return {}

    def method_execute(self, peer, head, body):
        session = self.find(head)
        if head["code"] not in self.cells:
            raise Problem("limit", "64 cells wait already")
        session.cell += 1
        cell = Cell(session, session.cell, peer)
        peer.answer(head["request"], {"cell": session.cell})

        def run():
            try:
                session.emit("cell", cell.number, code=head["code"], execution_count=cell.number, by="ada")
                self.cells[head["code"]](cell)
            except OSError:
                pass

        self.start(run)

    def method_run(self, peer, head, body):
        session = self.find(head)
        if head["code"] == "hold":
            return self.method_hold(peer, {"name": session.id, **head}, body)
        session.cell += 1
        result = {"status": "ok", "stdout": "", "stderr": "", "result": None, "displays": [], "error": None, "cell": session.cell}
        try:
            result["result"] = {"text/plain": repr(eval(head["code"]))}
        except Exception as error:
            lines = ["Traceback (most recent call last):", f"{type(error).__name__}: {error}"]
            result.update(status="error", error={"name": type(error).__name__, "value": str(error), "traceback": lines})
        return {**result, "execution_count": session.cell, "ms": 0.1, "undone": False, "why": "", "truncated": False}

    def method_stdin(self, peer, head, body):
        session = self.find(head)
        session.stdin.append((body, head.get("eof", False)))
        session.input.release()
        return {}

    def method_message(self, peer, head, body):
        self.find(head).emit("message", body=b"echo " + body)
        return {}

    def method_interrupt(self, peer, head, body):
        self.find(head).interrupted.set()
        return {}

    def method_signal(self, peer, head, body):
        self.find(head)
        raise Problem("bad_request", f"there is no signal {head['signal']}")

    def method_undo(self, peer, head, body):
        raise Problem("busy", "a cell runs; interrupt it first")

    def method_fork(self, peer, head, body):
        self.find(head)
        return {"session": self.make().describe(), "us": 400}

    def method_checkpoints(self, peer, head, body):
        self.find(head)
        live = {"live": {"pss": 4096, "unique": 1024}} if head.get("memory") else {}
        return {"checkpoints": [{"checkpoint": 1, "execution_count": 1}], **live}

    def method_complete(self, peer, head, body):
        return {"matches": [{"text": "print", "type": "function"}], "start": 0, "end": head["cursor"]}

    def method_inspect(self, peer, head, body):
        return {"found": False, "data": {}, "signature": ""}

    def method_share(self, peer, head, body):
        return {"shares": {head["with"]: head["access"]}}

    def method_files(self, peer, head, body):
        files = self.find(head).files
        return {"files": [{"name": name, "type": "file", "size": len(data), "mtime": 0} for name, data in files.items()]}

    def method_put(self, peer, head, body):
        files = self.find(head).files
        assert len(body) <= 1 << 20
        kept = files.get(head["path"], b"") if head.get("offset") else b""
        assert len(kept) == head.get("offset", 0)
        files[head["path"]] = kept + body
        return {"size": len(kept) + len(body)}

    def method_get(self, peer, head, body):
        files = self.find(head).files
        if head["path"] not in files:
            raise Problem("not_found", f"there is no file {head['path']}")
        data, offset = files[head["path"]], head.get("offset", 0)
        piece = data[offset : offset + head["length"]]
        return {"size": len(data), "eof": offset + len(piece) == len(data)}, piece

    def method_delete(self, peer, head, body):
        self.find(head).files.pop(head["path"])
        return {}

    # --- not of the protocol: what tests need

    def method_hold(self, peer, head, body):
        """The answer is kept back until the test gives it with release()."""
        self.held[head["name"]] = lambda: peer.answer(head["request"], {"name": head["name"]})
        self.held_now.release()

    def release(self, name):
        self.held.pop(name)()

    def method_raw(self, peer, head, body):
        """Sends the body as it is instead of an answer, and with `cut` ends the connection."""
        peer.send(body)
        if head.get("cut"):
            raise ConnectionError


