"""What gateways and channels raise, on both sides. Names of execnet's published API where there is one."""
from .twin import twin


class RemoteError(Exception):
    """Code on the other side raised. `formatted`: the traceback there, text; `type` and `text` of the exception there."""

    def __init__(self, formatted, type="", text=""):
        super().__init__(formatted)
        self.formatted = formatted
        self.type = type
        self.text = text

    def __str__(self):
        return self.formatted

    def warn(self):
        """Writes it to stderr: nobody was there to receive it."""
        import sys
        sys.stderr.write("Warning: unhandled %r\n" % (self,))


class TimeoutError(TimeoutError):
    """Nothing came in time. Also the builtin of that name."""


class DeadlineExceeded(TimeoutError):
    """A call did not end within its deadline."""


class DataFormatError(Exception):
    """Base of what values raise."""


class DumpError(DataFormatError):
    """This object cannot be sent; the text says which and where."""


class LoadError(DataFormatError):
    """These bytes are no value."""


class GatewayLost(OSError, EOFError):
    """A link on the way to that context has ended; the text names it."""


class HostNotFound(Exception):
    """The machine or the interpreter there could not be reached; the text has what ssh or the system said."""


if twin(__name__) is not None:
    globals().update({name: value for name, value in vars(twin(__name__)).items() if isinstance(value, type)})
