"""Sessions in control groups (cgroup v2): whose a process is, what ends it, what bounds it."""

import contextlib
import errno
import os
import subprocess
from pathlib import Path

import pytest
from session_fixture import QUICK, run, serving, value
from waiting import ended, process_state, wait_until

# A process that nothing but its group tells to be the session's: another parent, group, session and folder.
ESCAPE = """
import os
told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        os.chdir("/")
        os.write(tell, b"%d" % os.getpid())
        os.execvp("sleep", ["sleep", "1000"])
    os._exit(0)
_ = os.wait()
int(os.read(told, 20))
"""


def mount_of_cgroups():
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options = line.split()[:4]
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(place)
    pytest.skip("there is no cgroup v2 file system here")


@pytest.fixture
def place(tmp_path):
    """A group of the test's own, which must be empty at the end."""
    made = mount_of_cgroups() / f"brood-test-{os.getpid()}-{tmp_path.name[:20]}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no group can be made here: {error}")
    yield made
    left = subgroups(made)
    with contextlib.suppress(OSError):
        (made / "cgroup.kill").write_text("1")
    wait_until(lambda: is_removed(made), "the end of all that was in the group")
    assert not left


def subgroups(place):
    return [path for path in place.iterdir() if path.is_dir()]


def is_removed(place):
    """With the groups in it; a process that has just been killed may still be in one."""
    try:
        for group in subgroups(place):
            if not is_removed(group):
                return False
        place.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def settings(place, more=""):
    return f'{QUICK}cgroup = "{place}"\n{more}'


def group_of(pid):
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


def controllers(place, *wanted):
    """Those of them that there are."""
    has = set(wanted) & set((place / "cgroup.controllers").read_text().split())
    return has or pytest.skip(f"cgroup v2 has no controller {' or '.join(wanted)} here (v1 may have it)")


def escaped(session):
    pid = int(value(session, ESCAPE))
    wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "a process that got away")
    return pid


def is_gone(pid):
    return process_state(pid) in ("", "Z")


def test_what_a_session_starts_is_in_its_group_and_ends_with_it(brood, place):
    with serving(brood, settings(place)) as server:
        with server.client.new() as session, server.client.new() as other:
            pid, others = escaped(session), escaped(other)
            assert group_of(pid) == f"/{place.name}/brood-{server.process.pid}/{session.id}"
            session.undo()
            wait_until(lambda: is_gone(pid), "the end of what the undone cell has started")
            pid = escaped(session)
            with session.fork() as branch:
                of_branch = escaped(branch)
                assert group_of(of_branch).endswith("/" + branch.id)
            wait_until(lambda: is_gone(of_branch), "the end of what the branch has started")
            assert not is_gone(pid) and not is_gone(others)
            session.remove()
            wait_until(lambda: is_gone(pid), "the end of what the session has started")
            assert not is_gone(others)
            assert value(other, "1") == "1"
        assert group_of(server.process.pid) == f"/{place.name}/brood-{server.process.pid}/server"
        wait_until(server.is_calm, "one session that was started ahead")

        def groups_of_folders():
            """The group of a session that has ended goes when the last process in it has."""
            groups = {group.name for group in subgroups(place / f"brood-{server.process.pid}")}
            return groups == {"server", *(folder.name for folder in server.folders())}

        wait_until(groups_of_folders, "the end of the other groups")
    assert ended(others)


def test_a_crash_ends_what_the_cell_has_started(brood, place):
    with serving(brood, settings(place)) as server, server.client.new() as session:
        kept = escaped(session)
        done = session.run(ESCAPE + "os.kill(os.getpid(), 11)", timeout=20)
        assert (done.status, done.undone) == ("crashed", True)
        wait_until(lambda: is_gone(kept), "the end of all that the dead worker has started")
        assert value(session, "1") == "1"


def test_processor_time_of_what_got_away_counts(brood, place):
    burn = ESCAPE.replace('os.execvp("sleep", ["sleep", "1000"])', "exec('while True: pass')")
    with serving(brood, settings(place, '[serve.limits]\ncpu = "1s"\n')) as server, server.client.new() as session:
        done = session.run(burn + "\nimport time; time.sleep(60)", timeout=60)
        assert (done.status, done.undone) == ("cpu", True), done


def test_the_own_group_when_the_server_is_alone_in_it(brood, place):
    enter = ["sh", "-c", f'echo $$ > {place}/cgroup.procs && exec "$@"', "sh"]
    with serving(brood, launcher=enter) as server, server.client.new() as session:
        assert group_of(int(value(session, "import os; os.getpid()"))) == f"/{place.name}/brood-{server.process.pid}/{session.id}"


def test_not_the_own_group_when_others_are_in_it(brood, place):
    with serving(brood) as server, server.client.new() as session:
        assert group_of(int(value(session, "import os; os.getpid()"))) == group_of(os.getpid())


def test_bounds(brood, place):
    """What the kernel can bound here."""
    has = controllers(place, "memory", "pids")
    limits = '[serve.limits]\nmemory = "100MiB"\nprocesses = 4\n'
    with serving(brood, settings(place, limits)) as server, server.client.new(checkpoints=3) as session:
        run(session, "1")
        group = place / f"brood-{server.process.pid}" / session.id
        if "memory" in has:
            assert int((group / "memory.max").read_text()) == 4 * (100 << 20)
        if "pids" in has:
            assert int((group / "pids.max").read_text()) == (4 + 4) * 16
            code = "import threading, time\nfor _ in range(1000): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()"
            done = session.run(code, timeout=60)
            assert done.error.name == "RuntimeError" and "start new thread" in done.error.value, done
        assert value(session, "2") == "2"


def test_memory_that_only_the_kernel_counts(brood, place):
    """Shared memory is nobody's own, so that the server's look at /proc does not see it."""
    controllers(place, "memory")
    with serving(brood, settings(place, '[serve.limits]\nmemory = "100MiB"\n')) as server, server.client.new(checkpoints=1) as session:
        run(session, "kept = 1")
        done = session.run("kept = 2\nimport mmap\nm = mmap.mmap(-1, 400 << 20)\nfor at in range(0, 400 << 20, 4096): m[at] = 1", timeout=60)
        assert (done.status, done.undone) == ("memory", True) and "control group" in done.why, done
        assert value(session, "kept") == "1"


def test_groups_of_a_server_that_was_killed_go_with_the_next(brood, place):
    with contextlib.suppress(AssertionError), serving(brood, settings(place)) as server:
        pid = escaped(server.client.new())
        server.process.kill()
        server.process.wait()
        raise AssertionError
    assert not is_gone(pid)
    with serving(brood, settings(place)) as server:
        wait_until(lambda: is_gone(pid), "the end of what the first one had")
        assert [one.name for one in place.iterdir() if one.is_dir()] == [f"brood-{server.process.pid}"]


@pytest.mark.parametrize("where, text", [("/nonexistent", "no folder of a cgroup v2 file system"), ("/tmp", "no folder of a cgroup v2 file system")])
def test_a_folder_that_is_no_group(brood, where, text):
    file = brood.work / "wrong.toml"
    file.write_text(f'[serve]\ncgroup = "{where}"\n')
    done = subprocess.run([brood.brood, "serve", "--config", file], env=brood.environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and where in done.stderr and text in done.stderr, done


def test_a_wrong_setting(brood):
    file = brood.work / "wrong.toml"
    file.write_text('[serve]\ncgroup = "yes"\n')
    done = subprocess.run([brood.brood, "serve", "--config", file], env=brood.environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "wrong.toml:2" in done.stderr and '"auto"' in done.stderr, done
