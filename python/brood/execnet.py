"""execnet's names, for programs that were written for it: ``import brood.execnet as execnet``.

What is behind them is brood's: remotes speak brood's protocol, and dumps() makes brood's values.
"""

from .gateways.channel import Channel  # noqa: F401
from .gateways.core.errors import DataFormatError, DumpError, HostNotFound, LoadError, RemoteError, TimeoutError
from .gateways.core.values import dumps, loads
from .gateways.gateway import Gateway
from .gateways.group import Group, default_group, makegateway
from .gateways.multi import MultiChannel
from .gateways.rsync import RSync
from .gateways.xspec import XSpec

__all__ = [
    "DataFormatError", "DumpError", "Gateway", "Group", "HostNotFound", "LoadError", "MultiChannel", "RSync", "RemoteError", "TimeoutError",
    "XSpec", "default_group", "dump", "dumps", "load", "loads", "makegateway", "set_execmodel",
]

PopenGateway = SshGateway = SocketGateway = Gateway
set_execmodel = default_group.set_execmodel


def dump(file, value):
    """Writes a value to a binary file, so that load() knows where it ends."""
    data = dumps(value)
    file.write(len(data).to_bytes(4, "little") + data)


def load(file):
    """The next value that dump() has written. LoadError: there is none, or it is cut off."""
    length = file.read(4)
    data = file.read(int.from_bytes(length, "little")) if len(length) == 4 else b""
    if len(length) < 4 or len(data) < int.from_bytes(length, "little"):
        raise LoadError("the file ends before the value does")
    return loads(data)


def __getattr__(name):
    if name == "__version__":  # of brood
        import brood
        return brood.__version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
