"""RSync when something fails, or changes meanwhile; and what it ships to other interpreters."""

import ast
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from brood.gateways import rsync, rsync_remote
from brood.gateways.rsync import RSync, RSyncError
from brood.gateways.rsync_remote import PIECE
from brood.gateways.rsync_source import Changed, Gone, SourceFile, Unreadable
from capabilities import bound_by_permissions
from interpreters import OLD_INTERPRETERS
from rsync_fixture import Recorded, tree, write

# --- what fails ------------------------------------------------------------------------------------


def test_a_fifo_is_refused_before_anything_is_sent(sync, source, dest):
    os.mkfifo(source / "d/pipe")
    with pytest.raises(ValueError, match="d/pipe' is a FIFO"):
        sync(source, dest)
    assert not dest.exists()


def test_a_directory_that_cannot_be_listed(sync, source, dest):
    sync(source, dest)
    (source / "d").chmod(0)
    with bound_by_permissions(), pytest.raises(PermissionError, match="a directory cannot be read: .*source/d'"):
        sync(source, dest, delete=True)
    (source / "d").chmod(0o755)
    assert tree(dest) == tree(source)


def test_an_unreadable_file_is_named_and_the_others_are_sent(sync, source, dest):
    write(source / "d/secret", b"secret", 0)
    write(dest / "d/secret", b"old")
    with bound_by_permissions(), pytest.raises(RSyncError, match="cannot read .*source/d/secret': Permission denied") as caught:
        sync(source, dest, delete=True)
    assert isinstance(caught.value, OSError)
    ((gateway, place, texts),) = caught.value.failures
    assert gateway is sync.gateway and place == dest and len(texts) == 1 and texts[0] in str(caught.value)
    assert (dest / "d/secret").read_bytes() == b"old"
    (source / "d/secret").unlink()
    (dest / "d/secret").unlink()
    assert tree(dest) == tree(source)  # no temporary file either


def test_a_target_where_nothing_may_be_written(sync, source, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    finished = []
    with pytest.raises(RSyncError, match="cannot write .*locked/x': Permission denied"):
        sync(source, tmp_path / "locked/x", finishedcallback=lambda: finished.append(1))
    with pytest.raises(RSyncError, match="cannot write .*source/a.txt/x': Not a directory"):
        sync(source, source / "a.txt/x")
    assert not finished


def test_files_that_do_not_fit_are_named_and_the_others_are_sent(sync, source, dest, meddle):
    """The target's process may write files of at most 100 KiB."""
    in_vain = []
    meddle("large", 32, lambda: in_vain.append(1))
    sync.gateway.remote_exec("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (102400, -1))").waitclose()
    write(source / "d/large", bytes(64 * PIECE))
    write(source / "d/medium", bytes(200_000))
    write(dest / "d/large", b"old")
    with pytest.raises(RSyncError) as caught:
        sync(source, dest)
    assert [text for _, _, texts in caught.value.failures for text in texts] == [
        f"cannot write '{dest}/d/{name}': File too large" for name in ("large", "medium")]
    assert (dest / "d/large").read_bytes() == b"old" and not in_vain
    write(source / "d/large", b"old", mtime=os.stat(dest / "d/large").st_mtime_ns)
    (source / "d/medium").unlink()
    assert tree(dest) == tree(source)


def test_only_the_first_problems_are_told(sync, tmp_path, dest):
    for number in range(30):
        write(tmp_path / f"source/{number:02}", b"x", 0)
    with bound_by_permissions(), pytest.raises(RSyncError, match="and 20 more") as caught:
        sync(tmp_path / "source", dest)
    assert len(str(caught.value).splitlines()) == 12


def test_a_target_that_dies_does_not_disturb_the_others(gateways, source, tmp_path, meddle):
    write(source / "large", os.urandom(16 * PIECE))
    members, made = [gateways() for _ in range(3)], RSync(source, verbose=False)
    finished = []
    for gateway in members:
        made.add_target(gateway, tmp_path / gateway.id, finishedcallback=lambda gateway=gateway: finished.append(gateway))
    victim = members[1].remote_exec("import os; channel.send(os.getpid())").receive()
    meddle("large", 4, lambda: os.kill(victim, signal.SIGKILL))
    name = members[1].id
    with pytest.raises(RSyncError, match=rf"could not be brought to 1 of 3 targets.*\n  {name}: .*/{name}'") as caught:
        made.send()
    assert [failure[0] for failure in caught.value.failures] == [members[1]]
    assert set(finished) == {members[0], members[2]}
    for gateway in finished:
        assert tree(tmp_path / gateway.id) == tree(source)
    assert not (tmp_path / members[1].id / "large").exists()


def test_a_gateway_that_is_gone_already(gateways, source, dest):
    gone, made = gateways(), RSync(source, verbose=False)
    made.add_target(gone, dest / "1")
    made.add_target(gateways(), dest / "2")
    gone.exit()
    gone.join(timeout=20)
    with pytest.raises(RSyncError, match="1 of 2 targets"):
        made.send()
    assert tree(dest / "2") == tree(source)


def test_send_can_be_left(sync, source, dest):
    """By an exception of a callback, as by Ctrl-C: the threads end, and so does what they run at the target."""
    write(source / "large", os.urandom(64 * PIECE))

    class Left(Recorded):
        def _report_send_file(self, gateway, modified_rel_path):
            if modified_rel_path == "large":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(source, dest, Left)
    assert not [thread for thread in threading.enumerate() if thread.name == "brood rsync"]
    sync(source, dest, delete=True)
    assert tree(dest) == tree(source)


def test_send_can_be_left_when_a_gateway_hangs(gateways, source, dest, monkeypatch):
    write(source / "large", os.urandom(64 * PIECE))
    gateway = gateways()
    pid = gateway.remote_exec("import os; channel.send(os.getpid())").receive()

    class Hung(Recorded):
        def _report_send_file(self, gateway, modified_rel_path):
            os.kill(pid, signal.SIGSTOP)
            raise KeyboardInterrupt

    monkeypatch.setattr(rsync, "_PARTING", 0.5)
    made = Hung(source)
    made.add_target(gateway, dest)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            made.send()
        assert time.monotonic() - start < 10
    finally:
        os.kill(pid, signal.SIGCONT)


# --- a source that changes -------------------------------------------------------------------------


@pytest.mark.parametrize("new", [b"n" * (3 * PIECE), b"n" * (5 * PIECE), b"new", b""], ids=["same", "longer", "short", "empty"])
def test_a_file_that_changes_once_while_it_is_read(sync, source, dest, meddle, new):
    write(source / "f", os.urandom(3 * PIECE))
    meddle("f", 2, lambda: (source / "f").write_bytes(new))
    assert sync(source, dest).count("f") == 1
    assert (dest / "f").read_bytes() == new and tree(dest) == tree(source)


def test_a_file_that_changes_all_the_time(sync, source, dest, meddle):
    write(source / "f", os.urandom(3 * PIECE))
    write(dest / "f", b"old")
    meddle("f", 2, lambda: os.utime(source / "f"), ever_after=True)
    with pytest.raises(RSyncError, match="source/f' changes all the time"):
        sync(source, dest)
    assert (dest / "f").read_bytes() == b"old"
    write(source / "f", b"old", mtime=os.stat(dest / "f").st_mtime_ns)
    assert tree(dest) == tree(source)


def test_a_file_that_is_replaced_while_it_is_read(sync, source, dest, meddle):
    old, new = os.urandom(3 * PIECE), os.urandom(3 * PIECE)
    write(source / "f", old)
    write(source.parent / "f", new, mtime=5)
    meddle("f", 2, lambda: (source.parent / "f").rename(source / "f"))
    sync(source, dest)
    assert (dest / "f").read_bytes() == old
    meddle("", 0, None)
    sync(source, dest)
    assert (dest / "f").read_bytes() == new


def test_what_changes_after_it_was_listed(sync, source, dest):
    """The listing is of one moment, files are read later."""
    for name in ("grows", "goes", "d/turns", "link"):
        write(source / name, b"old")
        write(dest / name, b"older")

    def change():
        write(source / "grows", b"longer than before")
        (source / "goes").unlink()
        (source / "link").unlink()
        (source / "link").symlink_to("/etc/passwd")

    class Changing(Recorded):
        def filter(self, path):
            if path.endswith("/d/turns"):  # the directory above was listed
                change()
            return True

    with pytest.raises(RSyncError, match="cannot read .*source/link'") as caught:
        sync(source, dest, Changing, delete=True)
    assert len(caught.value.failures[0][2]) == 1
    assert (dest / "link").read_bytes() == b"older"
    assert (dest / "grows").read_bytes() == b"longer than before"
    assert "goes" not in os.listdir(dest)
    sync(source, dest, delete=True)
    assert tree(dest) == tree(source)


def test_source_files(tmp_path):
    place = os.fsencode(tmp_path / "f")
    with pytest.raises(Gone):
        SourceFile(place)
    write(tmp_path / "f", b"x" * (PIECE + 1))
    with SourceFile(place) as file:
        assert len(file.read()) == PIECE
        os.utime(place)
        with pytest.raises(Changed):
            file.read()
    for kind in (os.mkfifo, os.mkdir, lambda place: os.symlink("/etc/passwd", place)):
        odd = place + b"odd"
        kind(odd)
        with pytest.raises(Unreadable, match="fodd'"):
            SourceFile(odd)
        (os.rmdir if os.path.isdir(odd) else os.unlink)(odd)


# --- other interpreters ----------------------------------------------------------------------------


def test_what_is_shipped_is_python_3_6_and_ascii():
    source = Path(rsync_remote.__file__).read_bytes()
    ast.parse(source, feature_version=(3, 6))
    assert source.isascii()


@pytest.mark.parametrize("python", OLD_INTERPRETERS)
def test_a_target_with_another_python(gateways, source, dest, python):
    write(source / "large", os.urandom(2 * PIECE))
    (source / "link").symlink_to(source / "d")
    gateway = gateways(f"popen//python={python}")
    for content in (b"a", b"b"):
        write(source / "same size", content, mtime=ord(content))
        made = RSync(source, verbose=False)
        made.add_target(gateway, dest, delete=True)
        made.send()
    (source / "link").unlink()
    (dest / "link").unlink()
    assert tree(dest) == tree(source)
