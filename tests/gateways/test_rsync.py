"""RSync over gateways to processes of this machine: what arrives, what is replaced, what is left alone."""

import os
import stat
import threading
import tracemalloc
from pathlib import Path

import pytest
from brood.gateways.rsync import RSync, RSyncError
from brood.gateways.rsync_remote import PIECE, PREFIX, remove
from rsync_fixture import Recorded, described, tree, write

# --- what arrives ----------------------------------------------------------------------------------


def test_a_tree(sync, source, dest):
    assert sync(source, dest) == ["a.txt", "d/b", "d/e/empty"]
    assert tree(dest) == tree(source)
    assert stat.S_IMODE(dest.stat().st_mode) == stat.S_IMODE(source.stat().st_mode)


def test_several_gateways_and_several_places_of_one(gateways, source, tmp_path):
    made, places = RSync(source, verbose=False), [tmp_path / name for name in "abc"]
    first = gateways()
    for gateway, place in zip((first, first, gateways()), places):
        made.add_target(gateway, str(place))
    made.send()
    assert [tree(place) for place in places] == [tree(source)] * 3


def test_a_relative_destination_is_in_the_gateways_directory(gateways, source, tmp_path):
    made = RSync(str(source) + "/", verbose=False)
    made.add_target(gateways(f"popen//chdir={tmp_path}"), "x/y")
    made.send()
    assert tree(tmp_path / "x/y") == tree(source)


def test_only_what_differs_is_sent(sync, source, dest):
    sync(source, dest)
    before = {name: os.lstat(dest / os.fsdecode(name)).st_ino for name in tree(dest)}
    assert sync(source, dest) == []
    write(source / "a.txt", b"hullo", 0o750, 1_600_000_001_000_000_000)  # the same size
    write(source / "d/new")
    assert sync(source, dest) == ["a.txt", "d/new"]
    assert tree(dest) == tree(source)
    unchanged = [name for name in before if name != b"a.txt"]
    assert all(os.lstat(dest / os.fsdecode(name)).st_ino == before[name] for name in unchanged)


def test_another_time_and_mode_need_no_contents(sync, source, dest):
    sync(source, dest)
    os.utime(source / "a.txt", ns=(5, 5))
    (source / "d/b").chmod(0o600)
    (source / "d").chmod(0o755)
    assert sync(source, dest) == []
    assert tree(dest) == tree(source)


def test_names_are_bytes(sync, tmp_path, dest):
    root = os.fsencode(tmp_path / "source")
    for name in (b"\xff\xfe", b"new\nline", "grün".encode(), b" ", b"-rf", b"a\\b"):
        os.makedirs(os.path.join(root, name, name))
        with open(os.path.join(root, name, b"file" + name), "wb") as file:
            file.write(name)
        os.symlink(b"file" + name, os.path.join(root, name, b"link" + name))
    sent = sync(os.fsdecode(root), dest)
    assert tree(dest) == tree(root) and len(sent) == 6
    "".join(sent).encode()  # can be printed


def test_verbose_prints_a_line_for_each_file(gateways, source, dest, capsys):
    gateway = gateways()
    for verbose in (True, False):
        write(source / "a.txt", b"%d" % verbose)
        made = RSync(source, verbose=verbose)
        made.add_target(gateway, dest)
        made.send()
    assert capsys.readouterr().out.splitlines() == [f"{gateway.id} <= {name}" for name in ("a.txt", "d/b", "d/e/empty")]


def test_a_deep_tree(sync, tmp_path, dest):
    """Deeper than the interpreter's recursion goes; most of the standard library cannot make or remove it."""
    deep = []
    for place in (tmp_path / "source", dest / "other"):
        place.mkdir(parents=True)
        deep.append(str(place))
        for _ in range(1200):
            deep[-1] += "/d"
            os.mkdir(deep[-1])
        Path(deep[-1], "file").touch()
    try:
        sync(tmp_path / "source", dest, delete=True)
        assert os.path.exists(f"{dest}/{os.path.relpath(deep[0], tmp_path / 'source')}/file")
        assert os.listdir(dest) == ["d"]
    finally:
        remove(tmp_path / "source")
        remove(dest)


def test_many_entries_in_one_directory(sync, tmp_path, dest):
    for number in range(2500):  # more than one item of the protocol has
        write(tmp_path / f"source/{number}", b"%d" % number)
    sync(tmp_path / "source", dest)
    assert tree(dest) == tree(tmp_path / "source")
    (dest / "extra").touch()
    assert sync(tmp_path / "source", dest, delete=True) == []
    assert tree(dest) == tree(tmp_path / "source")


def test_sizes_around_a_piece(sync, tmp_path, dest):
    for size in (PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 5):
        write(tmp_path / f"source/{size}", os.urandom(size))
    sync(tmp_path / "source", dest)
    assert tree(dest) == tree(tmp_path / "source")


SLOW_DISK = """
import os, time

class Slow:
    def __init__(self, *args):
        self.file = open_fast(*args)
        self.close = self.file.close
    def write(self, data):
        time.sleep(0.005)
        return self.file.write(data)

open_fast, os.fdopen = os.fdopen, Slow
"""


def test_memory_is_bounded(sync, tmp_path, dest):
    """128 MiB to a disk that is slower than the connection: few of them are in memory, on both sides."""
    size = 128 << 20
    write(tmp_path / "source/large")
    os.truncate(tmp_path / "source/large", size)
    sync.gateway.remote_exec(SLOW_DISK).waitclose()
    peak = "import resource; channel.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    before = sync.gateway.remote_exec(peak).receive()
    tracemalloc.start()
    try:
        sync(tmp_path / "source", dest)
        here = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    there = (sync.gateway.remote_exec(peak).receive() - before) << 10
    assert (dest / "large").stat().st_size == size
    assert here < 24 << 20 and there < 24 << 20


def test_a_file_as_the_source(sync, source, tmp_path):
    assert sync(source / "a.txt", tmp_path / "x/copy") == ["a.txt"]
    assert described(tmp_path / "x/copy") == described(source / "a.txt")
    (tmp_path / "link").symlink_to(source / "a.txt")
    assert sync(tmp_path / "link", tmp_path / "x/copy") == []


# --- links -----------------------------------------------------------------------------------------


def test_links(sync, source, dest, tmp_path):
    links = {"rel": "a.txt", "d/up": "../a.txt", "d/out": "../../out", "dangling": "nowhere", "folder": "d", "abs": "/etc/passwd"}
    for name, target in links.items():
        (source / name).symlink_to(target)
    inside = {"in": "a.txt", "d/in": "d/b", "to": "d", "gone": "no such"}
    for name, target in inside.items():
        (source / name).symlink_to(source / target)
    (source / "root").symlink_to(source)
    others = {"beside": f"{source}-beside/x", "above": f"{source}/../x"}  # begin like the source, and are elsewhere
    for name, target in others.items():
        (source / name).symlink_to(target)
    sync(source, dest)
    assert {name: os.readlink(dest / name) for name in links} == links
    assert {name: os.readlink(dest / name) for name in inside} == {name: str(dest / target) for name, target in inside.items()}
    assert {name: os.readlink(dest / name) for name in others} == others
    assert os.readlink(dest / "root") == str(dest)

    (source / "rel").unlink()
    (source / "rel").symlink_to("d/b")
    inode = os.lstat(dest / "abs").st_ino
    sync(source, dest)
    assert os.readlink(dest / "rel") == "d/b" and os.lstat(dest / "abs").st_ino == inode


def test_the_source_may_be_named_by_a_link(sync, source, dest, tmp_path):
    (tmp_path / "name").symlink_to(source)
    (source / "one").symlink_to(tmp_path / "name/a.txt")
    (source / "two").symlink_to(source / "a.txt")
    sync(tmp_path / "name", dest)
    assert os.readlink(dest / "one") == os.readlink(dest / "two") == str(dest / "a.txt")


def test_nothing_is_written_through_a_link_at_the_target(sync, source, dest, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "b", b"mine")
    write(tmp_path / "file", b"mine")
    dest.mkdir(parents=True)
    (dest / "d").symlink_to(elsewhere)
    (dest / "a.txt").symlink_to(tmp_path / "file")
    sync(source, dest, delete=True)
    assert tree(dest) == tree(source)
    assert (elsewhere / "b").read_bytes() == b"mine" == (tmp_path / "file").read_bytes()


# --- what is replaced, removed, left ---------------------------------------------------------------


def test_kinds_replace_each_other(sync, source, dest):
    """A file is a directory, a directory a file, a link either, without delete=True, too."""
    sync(source, dest)
    for name in ("a.txt", "d/b"):
        (dest / name).unlink()
        write(dest / name / "in it/deeper")
    (dest / "d/e/empty").unlink()
    (dest / "d/e").rmdir()
    write(dest / "d/e")
    (dest / "nothing in it").rmdir()
    (dest / "nothing in it").symlink_to("/etc")
    (source / "link").symlink_to("a.txt")
    write(dest / "link/file")
    sync(source, dest)
    assert tree(dest) == tree(source)


@pytest.mark.parametrize("delete", [False, True])
def test_what_the_source_does_not_have(sync, source, dest, delete):
    sync(source, dest)
    write(dest / "other/deep/file", mode=0o400)
    (dest / "other/deep").chmod(0o500)
    (dest / "other/link").symlink_to("/etc/passwd")
    write(dest / "d/extra")
    extra = {b"other", b"other/deep", b"other/deep/file", b"other/link", b"d/extra"}
    sync(source, dest, delete=delete)
    assert set(tree(dest)) - set(tree(source)) == (set() if delete else extra)
    if not delete:
        (dest / "other/deep").chmod(0o700)


def test_directories_that_nobody_may_write_to(sync, source, dest):
    for mode in (0o555, 0o500, *([0o600] if os.geteuid() == 0 else [])):  # a source that only root can read
        write(source / "d" / f"for {mode}")
        (source / "d/e").chmod(mode)
        (source / "d").chmod(mode)
        sync(source, dest, delete=True)
        assert tree(dest) == tree(source)
        (source / "d").chmod(0o700)


def test_a_filter(sync, source, dest):
    asked = []

    class Filtered(Recorded):
        def filter(self, path):
            asked.append(path)
            return not path.endswith("/d")

    write(dest / "d/old")
    assert sync(source, dest, Filtered) == ["a.txt"]
    assert (dest / "d/old").exists()
    assert sorted(asked) == [str(source / name) for name in ("a.txt", "d", "nothing in it")]
    sync(source, dest, Filtered, delete=True)
    assert set(tree(dest)) == {b"a.txt", b"nothing in it"}


def test_a_directory_is_not_replaced_by_a_source_that_is_a_file(sync, source, dest):
    write(dest / "precious")
    with pytest.raises(RSyncError, match="it is a directory, and the source is a file"):
        sync(source / "a.txt", dest, delete=True)
    assert (dest / "precious").exists()
    with pytest.raises(RSyncError, match="it is no directory, and the source is one"):
        sync(source, dest / "precious")
    assert (dest / "precious").read_bytes() == b"x"


def test_temporary_files_of_others_are_left_alone_for_an_hour(sync, source, dest):
    temporary = dest / (PREFIX.decode() + "1")
    write(temporary)  # with the time of the file that it shall be
    sync(source, dest, delete=True)
    assert temporary.exists()
    sync.gateway.remote_exec("import time; now = time.time; time.time = lambda: now() + 3700").waitclose()
    sync(source, dest, delete=True)
    assert tree(dest) == tree(source)


def test_two_at_once_to_one_place(gateways, source, dest):
    for number in range(200):
        write(source / f"d/{number}", os.urandom(1000))
    made = RSync(source, verbose=False)
    for _ in range(3):
        made.add_target(gateways(), dest, delete=True)
    made.send()
    assert tree(dest) == tree(source)


# --- callbacks, use --------------------------------------------------------------------------------


def test_callbacks_run_where_send_was_called(gateways, source, dest):
    threads, finished = set(), []
    made = RSync(source, lambda *told: (threads.add(threading.current_thread()), told_all.append(told)), verbose=False)
    told_all = []
    made.add_target(gateways(), dest, finishedcallback=lambda: finished.append(threading.current_thread()))
    made.send()
    assert threads == {threading.current_thread()} == set(finished)
    assert [told[:2] for told in told_all] == [("list", 15), ("ack", 5), ("ack", 10), ("ack", 0)]
    assert all(hasattr(told[2], "setcallback") for told in told_all)


def test_targets_are_for_one_send(gateways, source, dest):
    made = RSync(source, verbose=False)
    with pytest.raises(OSError, match="there is no target"):
        made.send()
    assert made.send(raises=False) is None
    made.add_target(gateways(), dest)
    made.send()
    with pytest.raises(OSError, match="there is no target"):
        made.send()


def test_wrong_use(gateways, source, dest, tmp_path):
    gateway = gateways()
    with pytest.raises(ValueError, match="destdir is empty"):
        RSync(source).add_target(gateway, "")
    with pytest.raises(TypeError):
        RSync(source).add_target(gateway, dest, remove=True)
    made = RSync(tmp_path / "no such")
    made.add_target(gateway, dest)
    with pytest.raises(FileNotFoundError, match="no such"):
        made.send()
    assert not dest.exists()
