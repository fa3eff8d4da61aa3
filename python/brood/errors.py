"""What the clients raise. Texts say what to do; `code` is the protocol's name of the problem (docs/protocol.md, 5)."""

from brood import BroodError


class Error(BroodError):
    """Base of everything that brood.Client and brood.AsyncClient raise."""

    code = "internal"

    def __init__(self, text="", code=None):
        super().__init__(text)
        self.text = text
        if code is not None:
            self.code = code

    def __str__(self):
        return self.text


class ConnectionLost(Error, ConnectionError):
    """There is no server, or the connection ended. The next call connects again; whether the one that failed was
    carried out is not known."""


class ProtocolError(ConnectionLost):
    """What answers does not speak brood's protocol, version 1."""


class AuthenticationError(Error):
    """The server does not know this token, or this user and password."""

    code = "unauthorized"


class Forbidden(Error, PermissionError):
    """The session is shared with this user, but not for that."""

    code = "forbidden"


class BadRequest(Error, ValueError):
    """An argument is not what the server expects."""

    code = "bad_request"


class NotFound(Error, LookupError):
    """There is no such file, checkpoint, user or session."""

    code = "not_found"


class SessionNotFound(NotFound):
    """There is no session with this id, or it is another user's and not shared."""


class Busy(Error):
    """A cell runs: wait for it, or interrupt() it."""

    code = "busy"


class SessionEnded(Error):
    """The session is over; make another one with Client.new()."""

    code = "ended"


class LimitExceeded(Error):
    """A number of sessions, a size or the queue of cells is at its limit."""

    code = "limit"


class EnvironmentUnavailable(Error):
    """The environment cannot be had; the text says why."""

    code = "unavailable"


class Timeout(Error, TimeoutError):
    """No answer in time. (A cell that ran out of its time is no exception: its Result has the status "timeout".)"""

    code = "timeout"


class CellError(Error):
    """Result.check() of a cell that failed. The text has the remote traceback; `result` is the Result."""

    code = "cell"

    def __init__(self, text="", result=None):
        super().__init__(text)
        self.result = result


_BY_CODE = {
    kind.code: kind
    for kind in (AuthenticationError, Forbidden, BadRequest, NotFound, Busy, SessionEnded, LimitExceeded, EnvironmentUnavailable, Timeout)
}
# Methods that look for something else than the session, too.
_FINDS_MORE = frozenset(("files", "put", "get", "delete", "undo", "fork", "share", "new"))


def from_answer(problem, method=""):
    """The exception for the `error` (a dict) of an ANSWER to `method`."""
    code, text = str(problem.get("code", "internal")), str(problem.get("text", ""))
    kind = _BY_CODE.get(code, Error)
    if kind is NotFound and method not in _FINDS_MORE:
        kind = SessionNotFound
    return kind(text or code, code)
