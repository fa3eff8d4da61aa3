"""Addresses, credentials, and the exchange that begins a connection. No sockets: both clients drive it."""

import os
import platform

from brood import wire
from brood.errors import AuthenticationError, Error, ProtocolError, from_answer
from brood.gateways.core.scram import Scram, ScramError

MECHANISM = "SCRAM-SHA-256"


class Address:
    """`unix:PATH`, `tcp:HOST:PORT` or `tls:HOST:PORT`; an IPv6 address stands in brackets."""

    def __init__(self, text=None):
        self.text = text or os.environ.get("BROOD_SERVER") or default_address()
        self.kind, _, rest = self.text.partition(":")
        self.path, self.host, self.port = rest, None, None
        if self.kind in ("tcp", "tls"):
            host, _, port = rest.rpartition(":")
            self.host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
            if not (self.host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(f"{self.text!r} is no address: expected {self.kind}:HOST:PORT")
            self.port = int(port)
        elif self.kind != "unix" or not rest:
            raise ValueError(f"{self.text!r} is no address: expected unix:PATH, tcp:HOST:PORT or tls:HOST:PORT")

    def __str__(self):
        return self.text

    def unreachable(self, why):
        """The text for a connection that could not be made."""
        return f"no brood server at {self.text} ({why}): start one with `brood serve`, or say where it is with BROOD_SERVER"


def default_address():
    """Where `brood serve` listens for its own user (src/base/runtime_dir.h)."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    runtime = f"{base}/brood" if base.startswith("/") else f"/tmp/brood-{os.getuid()}"
    return f"unix:{runtime}/serve/sessions.sock"


class Credentials:
    """Who the client says it is. Without any it must be known by its Unix socket."""

    def __init__(self, token=None, user=None, password=None):
        if (user is None) != (password is None):
            raise ValueError("user and password go together")
        if token is not None and user is not None:
            raise ValueError("give either a token or a user and password")
        self.explicit = token is not None or user is not None
        if not self.explicit:
            token = os.environ.get("BROOD_TOKEN") or None
        self.user, self.password = (user, password) if token is None else ("token", token)
        self.keys = {}  # shared by the exchanges: scram.Scram

    def __repr__(self):
        return f"<credentials of {self.user or 'the socket'}>"


def exchange(credentials):
    """A generator: yields bytes to send, is sent the frame that answers, returns the server's HELLO with `user` and `role`."""
    text = f"brood's Python client, {platform.python_implementation()} {platform.python_version()}"
    head = _expect(wire.HELLO, (yield wire.encode(wire.HELLO, {"versions": [wire.VERSION], "client": text})))
    if head.get("version") != wire.VERSION:
        raise ProtocolError(f"the server chose version {head.get('version')!r} of the protocol, expected {wire.VERSION}")
    known = isinstance(head.get("user"), str) and head["user"] != ""
    if known and not credentials.explicit:
        return head
    if credentials.user is None:
        raise AuthenticationError("the server wants to know who you are: give token= (or BROOD_TOKEN), or user= and password=")
    if MECHANISM not in (head.get("auth") or ()):
        raise AuthenticationError(f"the server does not offer {MECHANISM}, the only way this client knows")
    try:
        last = yield from _scram(credentials)
    except ScramError as error:
        raise AuthenticationError(f"authentication failed: {error}") from None
    return {**head, "user": last.get("user"), "role": last.get("role")}


def _scram(credentials):
    scram = Scram(credentials.user, credentials.password, keys=credentials.keys)
    frame = yield wire.encode(wire.AUTH, {"mechanism": MECHANISM, "data": scram.first()})
    frame = yield wire.encode(wire.AUTH, {"data": scram.final(_data(_expect(wire.AUTH, frame)))})
    last = _expect(wire.AUTH, frame)
    scram.verify(_data(last))
    return last


def _data(head):
    data = head.get("data")
    if not isinstance(data, str):
        raise ProtocolError("the server's AUTH has no data")
    return data


def _expect(kind, frame):
    """The head of a frame of that type."""
    got, head, _ = frame
    if got == wire.ANSWER and isinstance(head.get("error"), dict):
        problem = from_answer(head["error"])
        if isinstance(problem, AuthenticationError):
            raise AuthenticationError(f"{problem.text}: check token= (or BROOD_TOKEN), or user= and password=") from None
        raise problem
    if got != kind:
        raise ProtocolError(f"the server sent a frame of type {got}, expected {kind}; is this brood's native port?")
    return head


def answer_of(frame, method):
    """(members, body) of an ANSWER to `method`; raises what its error says."""
    _, head, body = frame
    problem = head.get("error")  # in the result of `run` it is the cell's exception, or null: that has no code
    if isinstance(problem, dict) and "code" in problem:
        raise from_answer(problem, method)
    return {name: value for name, value in head.items() if name != "request"}, body


def member(head, name, kind):
    """A member of an answer, which must be there."""
    value = head.get(name)
    if not isinstance(value, kind):
        raise Error(f"the server's answer has no {name}; is it another version of brood?")
    return value
