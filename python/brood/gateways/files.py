"""Files to and from a gateway: in pieces, under a temporary name until they are complete."""

import os
import stat
import tempfile

_PIECE = 512 << 10  # bytes


def put(gateway, local, remote):
    """OSError names the file that it is about: the local one, or ID:path."""
    with open(local, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(f"{local} is no regular file")
        channel = gateway.remote_exec(_receive_there, path=remote, mode=stat.S_IMODE(about.st_mode))
        _check(gateway, remote, channel.receive())
        try:
            for piece in iter(lambda: file.read(_PIECE), b""):
                channel.send(piece)
            channel.send(None)
        except OSError:
            if not channel.isclosed() or not gateway.hasreceiver():
                raise
    _check(gateway, remote, channel.receive())  # why, if it was closed from there


def get(gateway, remote, local):
    """OSError as put()."""
    channel = gateway.remote_exec(_send_from_there, path=remote)
    mode = _check(gateway, remote, channel.receive())
    descriptor, temporary = tempfile.mkstemp(prefix=".brood-", dir=os.path.dirname(os.path.abspath(local)))
    try:
        with open(descriptor, "wb") as file:
            while True:
                piece = channel.receive()
                if not isinstance(piece, bytes):
                    break
                file.write(piece)
        _check(gateway, remote, piece)
        os.chmod(temporary, mode)
        os.replace(temporary, local)
    except BaseException:
        os.unlink(temporary)
        raise


def _check(gateway, path, answer):
    """What the remote function says: (errno, text) of an error, or a value."""
    if isinstance(answer, tuple):
        raise OSError(answer[0], answer[1], f"{gateway.id}:{path}")
    return answer


def _receive_there(channel, path, mode):
    import os
    import tempfile
    temporary = None
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(21, "Is a directory")
        descriptor, temporary = tempfile.mkstemp(prefix=".brood-", dir=os.path.dirname(os.path.abspath(path)))
        channel.send(None)
        with open(descriptor, "wb") as file:
            for piece in iter(channel.receive, None):
                file.write(piece)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
        temporary = None
        channel.send(None)
    except EOFError:
        raise
    except OSError as error:
        channel.send((error.errno, error.strerror or str(error)))
    finally:
        if temporary is not None:
            os.unlink(temporary)


def _send_from_there(channel, path):
    import os
    import stat
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise OSError(22, "Not a regular file")
            channel.send(stat.S_IMODE(mode))
            for piece in iter(lambda: file.read(512 << 10), b""):
                channel.send(piece)
            channel.send(None)
    except OSError as error:
        channel.send((error.errno, error.strerror or str(error)))
