#!/usr/bin/env python3
"""A server for `socket=HOST:PORT` gateways: starts a fresh Python interpreter for each client. One file, nothing else.

    python3 socketserver.py [:PORT | HOST:PORT] [--token-file FILE] [--once]

Needs Python 3.6 or later and writes nothing to disk. Without a host it listens on this machine only (127.0.0.1), without a
port on 8888; port 0 takes a free one. It prints one line, "brood socketserver: listening on HOST:PORT". Ctrl-C or SIGTERM ends
it, and what it has started. With --once it serves one client and ends with that client's interpreter.

WHO CAN CONNECT CAN DO WHAT YOU CAN DO. So:
- an address that others can reach needs a token: a file with one line of at least 16 characters that only you can read, made by
      (umask 077; python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > FILE)
- without a token only your own user, or root, is let in (on Linux, which tells whose a local connection is).
The token does not cross the wire, everything else does, as it is: over networks that you do not trust, tunnel (ssh -L).

THE WIRE
1. Frames as in docs/protocol.md, section 5, of at most 8 KiB: the client's HELLO, and the server's, which offers "auth":
   ["SCRAM-SHA-256"] if there is a token. If there is none it names the client's "user", and nothing more is to be proved.
2. With a token AUTH, twice in each direction: SCRAM-SHA-256 (RFC 7677) for the user "token" with the token as password.
   What is wrong is answered by an ANSWER with request 0 and an error, and the end of the connection; a wrong proof 0.2 s later,
   twice as late after each further one from that address, at most 5 s. 10 s after it has connected a client that has come no
   further is dropped; 64 of them at once may be that far, others wait until there is room.
3. length:u32 (little-endian) and so many bytes of Python source, 1 to 4096, within 10 s.
4. The server executes `sys.executable -c SOURCE` in a session of its own, with the connection as its standard input and output,
   and closes its own copy. What is spoken from there on is the client's affair. Standard error is the server's.

Executed by a gateway's remote_exec it receives {"host", "token", "once"} (each may be None), sends the (host, port) where it
listens, and serves until the channel ends. What it has started then lives for as long as its clients stay connected.
"""

import argparse
import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

NAME = "brood socketserver"
DEFAULT_PORT = 8888
MIN_TOKEN = 16  # characters
PATIENCE = 10  # seconds for a client to authenticate, and again to send its source
MAX_STRANGERS = 64  # clients that have no interpreter yet
MAX_FRAME = 8192  # bytes of payload
MAX_SOURCE = 4096  # bytes: it becomes an argument of a command
FIRST_DELAY, MAX_DELAY = 0.2, 5  # seconds before a failed authentication is answered
FORGOTTEN = 600  # seconds after which an address's failures do not count any more
MAX_ADDRESSES = 4096  # whose failures are remembered
TERM_WITHIN, KILL_WITHIN = 3, 1  # seconds that interpreters have after SIGTERM and SIGKILL

HELLO, AUTH, ANSWER = 64, 65, 67
VERSION = 1
MECHANISM = "SCRAM-SHA-256"
ROUNDS = 8192
USER = "token"


class Refused(Exception):
    """The client gets this as an error: (code, text)."""


class Dropped(Exception):
    """The connection is closed without an answer."""


# --- frames ----------------------------------------------------------------------------------------


class Wire:
    """Exact reads and whole writes on a connection until a deadline; never reads further than what was asked for."""

    def __init__(self, connection):
        self.connection = connection
        self.end = time.monotonic() + PATIENCE

    def _hurry(self):
        left = self.end - time.monotonic()
        if left <= 0:
            raise Dropped("no answer within %s s" % PATIENCE)
        self.connection.settimeout(left)

    def receive(self, size):
        data = b""
        while len(data) < size:
            self._hurry()
            piece = self.connection.recv(size - len(data))
            if not piece:
                raise Dropped("the client has left")
            data += piece
        return data

    def receive_frame(self, kind):
        """The head of the next frame, a dict; Refused unless it is of that type."""
        length, got, version = struct.unpack("<IHH", self.receive(8))
        if version != VERSION or length > MAX_FRAME:
            raise Dropped("what the client speaks is not brood's protocol")
        payload = self.receive(length)
        if got != kind:
            code = "unauthorized" if kind == AUTH else "bad_request"
            raise Refused(code, "expected a frame of type %d, not %d" % (kind, got))
        try:
            size = struct.unpack_from("<I", payload)[0]
            head = json.loads(payload[4 : 4 + size].decode("utf-8"))
        except (struct.error, ValueError, RecursionError):
            raise Refused("bad_request", "the frame has no JSON head")
        if not isinstance(head, dict):
            raise Refused("bad_request", "the frame's head is no JSON object")
        return head

    def send_frame(self, kind, head):
        text = json.dumps(head).encode("ascii")
        self._hurry()
        self.connection.sendall(struct.pack("<IHHI", len(text) + 4, kind, VERSION, len(text)) + text)


# --- authentication --------------------------------------------------------------------------------


class Keys:
    """What a server needs to know of a token: SCRAM's keys, with a salt of its own."""

    def __init__(self, token):
        self.salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac("sha256", token.encode("utf-8"), self.salt, ROUNDS)
        self.stored = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
        self.server = _hmac(salted, b"Server Key")


class Scram:
    """The server's side of one exchange (RFC 5802), without channel binding: first(), then final(). They raise Refused."""

    def __init__(self, keys):
        self.keys = keys

    def first(self, text):
        header, self.bare = text[:3], text[3:]
        fields = _fields(self.bare)
        if header not in ("n,,", "y,,") or not fields.get("n") or not fields.get("r"):
            raise _wrong()
        self.binding = base64.b64encode(header.encode()).decode()
        self.user = fields["n"]
        self.nonce = fields["r"] + base64.b64encode(os.urandom(18)).decode()
        self.server_first = "r=%s,s=%s,i=%d" % (self.nonce, base64.b64encode(self.keys.salt).decode(), ROUNDS)
        return self.server_first

    def final(self, text):
        without_proof, _, proof = text.rpartition(",p=")
        fields = _fields(without_proof)
        signed = ",".join((self.bare, self.server_first, without_proof)).encode("utf-8")
        client_key = _xor(_base64(proof), _hmac(self.keys.stored, signed))
        right = hmac.compare_digest(hashlib.sha256(client_key).digest(), self.keys.stored)
        if not (right and self.user == USER and fields.get("r") == self.nonce and fields.get("c") == self.binding):
            raise _wrong()
        return "v=" + base64.b64encode(_hmac(self.keys.server, signed)).decode()


def _hmac(key, message):
    return hmac.new(key, message, "sha256").digest()


def _xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other))


def _wrong():
    return Refused("unauthorized", "authentication failed")


def _fields(text):
    fields = {}
    for part in text.split(","):
        letter, equals, value = part.partition("=")
        if len(letter) != 1 or not equals or letter in fields:
            raise _wrong()
        fields[letter] = value
    return fields


def _base64(text):
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise _wrong()


class Failures:
    """Of authentication, by address: how long the next one is held back. Any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.of = {}  # address -> (how many, when the last), that which failed longest ago first

    def add(self, address):
        """The delay in seconds."""
        with self.lock:
            count, when = self.of.pop(address, (0, 0))
            now = time.monotonic()
            count = count + 1 if now - when < FORGOTTEN else 1
            self.of[address] = (count, now)
            if len(self.of) > MAX_ADDRESSES:
                del self.of[next(iter(self.of))]
        return min(FIRST_DELAY * 2 ** min(count - 1, 10), MAX_DELAY)

    def forget(self, address):
        with self.lock:
            self.of.pop(address, None)


def owner_of_peer(connection):
    """The user id at the other end of a connection within this machine; None where Linux does not tell."""
    table = "/proc/net/tcp6" if connection.family == socket.AF_INET6 else "/proc/net/tcp"
    wanted = [_in_table(connection.getpeername()), _in_table(connection.getsockname())]
    for _ in range(3):  # a line may be missed while others come and go
        try:
            with open(table) as lines:
                for words in map(str.split, lines):
                    if words[1:3] == wanted and words[3] == "01":  # established: in other states it has lost its owner
                        return int(words[7])
        except (OSError, ValueError, IndexError):
            return None
    return None


def _in_table(address):
    host = address[0].partition("%")[0]
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    words = struct.unpack("=%dI" % (len(packed) // 4), packed)
    return "".join("%08X" % word for word in words) + ":%04X" % address[1]


# --- the server ------------------------------------------------------------------------------------


class Server:
    """serve() runs in one thread; each client has a thread, which becomes that of its interpreter. stop() from anywhere."""

    def __init__(self, listener, token=None, once=False):
        self.listener = listener
        self.keys = Keys(token) if token else None
        self.once = once
        self.failures = Failures()
        self.lock = threading.Lock()
        self.strangers = 0
        self.started = 0  # interpreters
        self.children = {}  # Popen -> an Event: it has ended
        self.stopped = self.ending = False
        self.woken, self.wake_up = socket.socketpair()
        self.wake_up.setblocking(False)

    def serve(self):
        """Until stop(); with `once` until the first client's interpreter has ended."""
        with self.listener:
            self.listener.setblocking(False)
            while not self.stopped and not (self.once and self.started):
                self._turn(accept=self.strangers < MAX_STRANGERS)
        while not self.stopped and self.once and self.children:
            self._turn(accept=False)

    def stop(self, *_):
        """Also a signal's handler."""
        self.stopped = True
        self._wake()

    def end(self):
        """Ends what was started, with its process groups."""
        with self.lock:
            self.stopped = self.ending = True
            children = dict(self.children)
        for child in children:
            _kill(child, signal.SIGTERM)
        end = time.monotonic() + TERM_WITHIN
        for ended in children.values():
            ended.wait(max(0, end - time.monotonic()))
        for child in children:  # also of one that has ended: its group may have others, and is its own until it is reaped
            _kill(child, signal.SIGKILL)
        end = time.monotonic() + KILL_WITHIN
        for child in children:
            try:
                child.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                log("process %d does not end" % child.pid)

    def _wake(self):
        try:
            self.wake_up.send(b"!")
        except OSError:
            pass  # it is awake, or all is over

    def _turn(self, accept):
        poll = select.poll()
        poll.register(self.woken, select.POLLIN)
        if accept:
            poll.register(self.listener, select.POLLIN)
        for fd, _ in poll.poll():
            if fd == self.woken.fileno():
                self.woken.recv(4096)
            else:
                self._accept()

    def _accept(self):
        try:
            connection, address = self.listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log("cannot accept: %s" % error)
            time.sleep(0.1)  # until there are descriptors again
            return
        with self.lock:
            self.strangers += 1
        try:
            threading.Thread(target=self._serve_one, args=(connection, address), daemon=True).start()
        except RuntimeError as error:
            log("cannot serve %s: %s" % (shown(address), error))
            connection.close()
            with self.lock:
                self.strangers -= 1

    def _serve_one(self, connection, address):
        child = None
        try:
            with connection:
                child = self._welcome(connection, address[0])
        except (Dropped, OSError, ValueError, subprocess.SubprocessError) as error:
            log("%s: %s" % (shown(address), error))
        finally:
            with self.lock:
                self.strangers -= 1
            self._wake()
        if child is not None:
            self._reap(child)

    def _welcome(self, connection, host):
        wire = Wire(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            self._greet(wire)
        except Refused as refused:
            code, text = refused.args
            if code == "unauthorized":
                time.sleep(self.failures.add(host))
            wire.end = time.monotonic() + 1
            wire.send_frame(ANSWER, {"request": 0, "error": {"code": code, "text": text}})
            raise Dropped(text)
        self.failures.forget(host)
        wire.end = time.monotonic() + PATIENCE
        size = struct.unpack("<I", wire.receive(4))[0]
        if not 1 <= size <= MAX_SOURCE:
            raise Dropped("a source of %d bytes, expected 1 to %d" % (size, MAX_SOURCE))
        return self._start(connection, wire.receive(size))

    def _greet(self, wire):
        versions = wire.receive_frame(HELLO).get("versions")
        if not isinstance(versions, list) or VERSION not in versions:
            raise Refused("bad_request", "this server speaks version %d of the protocol" % VERSION)
        hello = {"version": VERSION, "server": NAME, "auth": [MECHANISM] if self.keys else [],
                 "limits": {"frame": MAX_FRAME, "source": MAX_SOURCE}}
        if not self.keys:
            self._check_owner(wire.connection)
            hello.update(user="owner", role="user")
        wire.send_frame(HELLO, hello)
        if self.keys:
            self._authenticate(wire)

    def _check_owner(self, connection):
        owner = owner_of_peer(connection)
        if owner is None and sys.platform.startswith("linux"):
            raise Refused("forbidden", "the server cannot tell whose connection this is: start it with --token-file")
        if owner not in (None, 0, os.geteuid()):
            raise Refused("forbidden", "the server is another user's: it needs --token-file to let you in")

    def _authenticate(self, wire):
        scram = Scram(self.keys)
        head = wire.receive_frame(AUTH)
        if head.get("mechanism") != MECHANISM:
            raise Refused("unauthorized", "the only mechanism is %s" % MECHANISM)
        wire.send_frame(AUTH, {"data": scram.first(_data(head))})
        wire.send_frame(AUTH, {"data": scram.final(_data(wire.receive_frame(AUTH))), "user": USER, "role": "user"})

    def _start(self, connection, source):
        connection.settimeout(None)  # the interpreter has the same open file
        with self.lock:
            if self.stopped or (self.once and self.started):
                raise Dropped("too late")
            child = subprocess.Popen([sys.executable, "-c", source], stdin=connection, stdout=connection,
                                     start_new_session=True)
            self.children[child] = threading.Event()
            self.started += 1
        return child

    def _reap(self, child):
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with self.lock:
            self.children[child].set()
            if not self.ending:  # else end() needs its number a little longer
                child.wait()
                del self.children[child]
        self._wake()


def _data(head):
    data = head.get("data")
    if not isinstance(data, str):
        raise _wrong()
    return data


def _kill(child, number):
    try:
        os.killpg(child.pid, number)
    except OSError:
        pass


def log(text):
    try:
        sys.stderr.write("%s: %s\n" % (NAME, text))
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def shown(address):
    return ("[%s]:%d" if ":" in address[0] else "%s:%d") % address[:2]


# --- start -----------------------------------------------------------------------------------------


def parse_address(text):
    """(host, port) of [HOST]:PORT; an IPv6 address stands in brackets. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("%r is no address: an IPv6 address stands in brackets" % text)
    if not (colon and port.isdigit() and int(port) < 65536):
        raise ValueError("%r is no address: expected :PORT or HOST:PORT" % text)
    return host or "127.0.0.1", int(port)


def check_token(token):
    if len(token) < MIN_TOKEN or len(token.split()) != 1:
        raise ValueError("a token is at least %d characters without spaces" % MIN_TOKEN)
    token.encode("utf-8")  # ValueError for half a character
    return token


def read_token(path):
    """Raises OSError, ValueError."""
    with open(path, encoding="utf-8") as file:
        there = os.fstat(file.fileno())
        if stat.S_ISREG(there.st_mode) and there.st_mode & 0o077:
            raise ValueError("others can read or write %s: chmod 600 it" % path)
        return check_token(file.read(4096).strip())


def listen(host, port, token):
    """A listening socket. Raises ValueError if others can reach it and there is no token; OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if not token and not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
        raise ValueError("others can reach %s: that needs a token" % host)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def main():
    parser = argparse.ArgumentParser(description="Starts a Python interpreter for each client of a socket= gateway.")
    parser.add_argument("address", nargs="?", default=":%d" % DEFAULT_PORT, metavar=":PORT | HOST:PORT",
                        help="where to listen; default: this machine only, port %d; port 0: a free one" % DEFAULT_PORT)
    parser.add_argument("--token-file", metavar="FILE",
                        help="a token of at least %d characters: who has it is let in" % MIN_TOKEN)
    parser.add_argument("--once", action="store_true", help="serve one client, then end")
    options = parser.parse_args()
    doing = "read the token"
    try:
        host, port = parse_address(options.address)
        token = read_token(options.token_file) if options.token_file else None
        doing = "listen on " + options.address
        listener = listen(host, port, token)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.exit(1, "%s: cannot %s: %s\n" % (NAME, doing, error))
    server = Server(listener, token, options.once)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would hide the children's ends
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, server.stop)
    print("%s: listening on %s" % (NAME, shown(listener.getsockname())), flush=True)
    server.serve()
    server.end()


def serve_channel(channel):
    request = channel.receive()
    token = request.get("token")
    if token is not None:
        check_token(token)
    listener = listen(request.get("host") or "127.0.0.1", 0, token)
    server = Server(listener, token, bool(request.get("once")))
    threading.Thread(target=_stop_with, args=(channel, server), daemon=True).start()
    channel.send(listener.getsockname()[:2])
    server.serve()


def _stop_with(channel, server):
    try:
        channel.receive()
    except EOFError:
        pass
    server.stop()


def stand_back():
    """A program in this folder imports `socketserver`, and means the standard library's: it gets that one."""
    import importlib.machinery
    import importlib.util

    here = os.path.dirname(os.path.abspath(__file__))
    theirs = [place for place in sys.path if os.path.abspath(place) != here]
    spec = importlib.machinery.PathFinder.find_spec(__name__, theirs)
    sys.modules[__name__] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main()
elif __name__ == "__channelexec__":
    serve_channel(channel)  # noqa: F821
elif __name__ == "socketserver":
    stand_back()
