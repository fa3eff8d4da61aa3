"""Trees, and an RSync from one to another: for the tests of RSync."""

import os
import stat
import sys
import threading

import pytest
from brood.gateways import rsync
from brood.gateways.rsync import RSync
from brood.gateways.rsync_source import SourceFile
from capabilities import bound_python


def tree(path):
    """{name: what it is} of everything below `path`: what two equal trees have in common."""
    root = os.fsencode(path)
    return {os.path.relpath(place, root): described(place) for place in walk(root)}


def walk(root):
    for folder, folders, files in os.walk(root):
        yield from (os.path.join(folder, name) for name in folders + files)


def described(place):
    there = os.lstat(place)
    if stat.S_ISLNK(there.st_mode):
        return "link", os.readlink(place)
    if stat.S_ISDIR(there.st_mode):
        return "directory", stat.S_IMODE(there.st_mode)
    with open(place, "rb") as file:
        return "file", file.read(), stat.S_IMODE(there.st_mode), there.st_mtime_ns


def write(path, data=b"x", mode=0o644, mtime=1_600_000_000_123_456_789):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    os.utime(path, ns=(mtime, mtime))


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    write(root / "a.txt", b"hello", 0o750)
    write(root / "d/b", b"b" * 10)
    write(root / "d/e/empty", b"")
    (root / "nothing in it").mkdir(mode=0o711)
    return root


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "not/yet/there"


class Recorded(RSync):
    """Collects what it tells."""

    def __init__(self, sourcedir):
        self.sent, self.events = [], []
        super().__init__(sourcedir, callback=lambda event, size, channel: self.events.append((event, size)), verbose=False)

    def _report_send_file(self, gateway, modified_rel_path):
        self.sent.append(modified_rel_path)


@pytest.fixture
def sync(gateways, tmp_path):
    """sync(source, dest): one RSync to one gateway; returns the names of the files whose contents were sent."""
    gateway = gateways(f"popen//python={bound_python(tmp_path, sys.executable)}")

    def run(source, dest, kind=Recorded, **options):
        made = kind(source)
        made.add_target(gateway, dest, **options)
        made.send()
        return made.sent

    run.gateway = gateway
    return run


@pytest.fixture
def meddle(monkeypatch):
    """meddle(name, at, action): action() is called when that file is read for the at-th time, over all targets and attempts."""
    lock = threading.Lock()

    def arrange(name, at, action, ever_after=False):
        count = 0

        class Meddled(SourceFile):
            def read(self):
                nonlocal count
                with lock:
                    if self._place.endswith(b"/" + name.encode()):
                        count += 1
                        if count == at or (ever_after and count > at):
                            action()
                return super().read()

        monkeypatch.setattr(rsync, "SourceFile", Meddled)

    return arrange
