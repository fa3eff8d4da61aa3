"""A file system of a process, as network mounts are: others write to it unseen, and it may be slow to answer."""

import contextlib
import os
import subprocess

import pytest
from waiting import wait_until


@contextlib.contextmanager
def mounted_by_process(behind, mount):
    """Shows the folder `behind` at `mount`, nothing cached; gives the process that serves it. Skips where there is no FUSE."""
    server = subprocess.Popen(["bindfs", "-f", "-o", "attr_timeout=0,entry_timeout=0", behind, mount], stderr=subprocess.PIPE)
    try:
        wait_until(lambda: os.path.ismount(mount) or server.poll() is not None, "the mount")
        if server.poll() is not None:
            pytest.skip(f"no FUSE here: {server.stderr.read().decode()}")
        yield server
    finally:
        subprocess.run(["umount", "--lazy", mount], check=False)
        server.wait(20)
        server.stderr.close()
