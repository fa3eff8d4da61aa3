"""Being bound by permissions, also as root."""

import contextlib
import ctypes
import os

_IGNORE_PERMISSIONS = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_VERSION_3 = 0x20080522


@contextlib.contextmanager
def bound_by_permissions():
    """In this thread, and in those that it starts: root reads and writes only what its permission bits allow."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    assert libc.capget(header, held) == 0, os.strerror(ctypes.get_errno())
    effective = held[0]
    held[0] &= ~_IGNORE_PERMISSIONS
    assert libc.capset(header, held) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        held[0] = effective
        assert libc.capset(header, held) == 0, os.strerror(ctypes.get_errno())


def bound_python(folder, python):
    """The path of an interpreter whose processes are bound by permissions; a script in `folder`, if need be."""
    if os.geteuid() != 0:
        return python
    script = folder / "bound-python"
    script.write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-dac_override,-dac_read_search -- {python} "$@"\n')
    script.chmod(0o755)
    return script
