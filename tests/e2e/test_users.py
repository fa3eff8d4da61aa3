"""Two users never share anything, nor do processes of one user with different rights."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from brood_fixture import BUILD, PYTHON, TIMEOUT, TRACE
from waiting import zygotes

OTHER = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root")


@pytest.fixture
def other(brood):
    """Runs commands as another user, with a runtime directory of that user's own."""
    base = brood.base / "other"
    for name in ("", "run", "home", "work"):
        (base / name).mkdir(mode=0o700)
        os.chown(base / name, OTHER, OTHER)
    brood.base.chmod(0o711)
    # Installed where both can read it; the build may lie in a directory of root's.
    installed = brood.base / "installed"
    subprocess.run(["cmake", "--install", BUILD, "--prefix", installed], check=True, stdout=subprocess.DEVNULL, umask=0o022)
    brood.brood, brood.drop_in = str(installed / "bin/brood"), str(installed / "bin/brood-python")
    environment = {**brood.environment, "XDG_RUNTIME_DIR": str(base / "run"), "HOME": str(base / "home"), **TRACE}

    def run(*command):
        return subprocess.run(
            [*map(str, command)],
            env=environment,
            cwd=base / "work",
            user=OTHER,
            group=OTHER,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
        )

    run.base = base
    yield run
    run(brood.brood, "stop")


def open_to_all(brood):
    """What nobody should do: the way to root's sockets is open to everyone. brood itself would refuse it."""
    brood.runtime.chmod(0o755)
    brood.folder.chmod(0o755)
    (brood.folder / "env").chmod(0o755)
    for path in (brood.folder / "daemon.sock", *(brood.folder / "env").iterdir()):
        path.chmod(0o777)


def key_of(explained):
    for line in explained.decode().splitlines():
        words = line.split()
        if words[:1] == ["key"]:
            return words[1]
    raise AssertionError(explained)


CONNECT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
s.connect(sys.argv[1])
s.sendall(bytes.fromhex(sys.argv[2]))
print(len(s.recv(65536)))
"""


def test_another_user_has_an_environment_of_his_own(brood, other):
    brood.warm_drop_in(["-c", "pass"])
    done = other(brood.brood, "run", "--wait", "-c", "import os; print(os.getuid(), os.getgid(), os.getgroups())")
    assert done.stdout == b"65534 65534 []\n" and b"brood: warm" in done.stderr, done
    assert key_of(other(brood.brood, "explain", "-c", "pass").stdout) != key_of(brood.tool("explain", "-c", "pass").out)


def test_another_users_program_is_dropped_by_a_spare(brood, other):
    """A whole request of another user, sent to a spare of root's: its client finds it under the name it looks for."""
    brood.warm_drop_in(["-c", "pass"])
    open_to_all(brood)
    (served,) = (brood.folder / "env").iterdir()
    key = key_of(other(brood.brood, "explain", "-c", "pass").stdout)
    other(brood.brood, "run", "--wait", "-c", "pass")
    assert other(brood.brood, "stop").returncode == 0  # his daemon would clear the detour away
    shutil.rmtree(other.base / "run/brood", ignore_errors=True)
    for name in ("", "env", "failed", "resolved"):
        folder = other.base / "run/brood" / name
        folder.mkdir(mode=0o700)
        os.chown(folder, OTHER, OTHER)
    (other.base / "run/brood/env" / key).symlink_to(served)
    for _ in range(6):  # more than there are spares
        # A nice process starts no daemon, which would clear the way.
        done = other("nice", "-n", "1", brood.drop_in, "-c", "import os; print(os.getuid())")
        assert done.stdout == b"65534\n", done
        assert b"brood: cold: the spare left before it answered" in done.stderr or b"brood: cold: cannot send" in done.stderr, done
    # The same detour by root itself does arrive, so it was not the way that was wrong.
    detour = brood.base / "detour"
    (detour / "brood/env").mkdir(parents=True, mode=0o700)
    (detour / "brood").chmod(0o700)
    (detour / "brood/env" / served.name).symlink_to(served)
    assert not brood.trace(["-c", "pass"], env={"XDG_RUNTIME_DIR": str(detour)}).startswith("cold: no spare")
    brood.folder.chmod(0o700)
    assert brood.trace(["-c", "pass"], env={"XDG_RUNTIME_DIR": str(detour)}).startswith("warm")


def test_another_user_gets_nothing_from_the_daemon(brood, other):
    brood.warm_drop_in(["-c", "pass"])
    open_to_all(brood)
    command = b"\x81\xa7command\xa6status"
    frame = len(command).to_bytes(4, "little") + (19).to_bytes(2, "little") + (1).to_bytes(2, "little") + command
    # Root gets an answer, so the frame is right.
    path = str(brood.folder / "daemon.sock")
    assert int(brood.python(["-c", CONNECT, path, frame.hex()]).out) > 100
    done = other(PYTHON, "-c", CONNECT, path, frame.hex())
    assert done.stdout == b"0\n" or b"ConnectionResetError" in done.stderr or b"BrokenPipeError" in done.stderr, done
    brood.folder.chmod(0o700)
    assert brood.status()["daemon"]


# --- the runtime directory ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def nothing_runs(brood):
    """No daemon is started meanwhile."""
    yield
    assert brood.daemon_pid() is None


def make_wrong_owner(brood):
    brood.folder.mkdir(mode=0o700)
    os.chown(brood.folder, OTHER, OTHER)
    return "belongs to user 65534"


def make_wrong_mode(brood):
    brood.folder.mkdir()
    brood.folder.chmod(0o755)
    return "is open to others; chmod 0700"


def make_group_mode(brood):
    brood.folder.mkdir()
    brood.folder.chmod(0o710)
    return "is open to others; chmod 0700"


def make_link(brood):
    target = brood.base / "elsewhere"
    target.mkdir(mode=0o700)
    brood.folder.symlink_to(target)
    return "is not a directory; remove it"


def make_file(brood):
    brood.folder.touch()
    return "is not a directory; remove it"


@pytest.mark.parametrize("make", [make_wrong_owner, make_wrong_mode, make_group_mode, make_link, make_file], ids=lambda make: make.__name__[5:])
def test_a_runtime_directory_that_is_not_ours(brood, make):
    message = make(brood)
    with nothing_runs(brood):
        done = brood.run(["-c", "print('ran')"])
        assert (done.status, done.out, done.err) == (0, b"ran\n", b"")
        assert message in brood.trace(["-c", "pass"])
        explained = brood.tool("explain", "-c", "pass")
        assert explained.out.startswith(b"cold: ") and message.encode() in explained.out
        waited = brood.tool("run", "--wait", "-c", "print('ran')", env=TRACE)
        assert (waited.status, waited.out) == (0, b"ran\n") and message.encode() in waited.err
        for command in (["status"], ["stop"], ["logs"], ["env", "warm"]):
            done = brood.tool(*command)
            assert done.status == 1 and message.encode() in done.err, (command, done)
        daemon = brood.run([], program=str(Path(brood.brood).parent / "broodd"))
        assert daemon.status == 1 and message.encode() in daemon.err


def test_a_warm_environment_in_a_directory_that_becomes_open(brood):
    brood.warm_drop_in(["-c", "pass"])
    brood.folder.chmod(0o755)
    assert "is open to others" in brood.trace(["-c", "pass"])
    brood.folder.chmod(0o700)
    assert brood.trace(["-c", "pass"]).startswith("warm")


# --- configuration files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["project", "user"])
@pytest.mark.parametrize("how", ["owner", "mode"])
def test_a_configuration_of_others_is_not_obeyed(brood, place, how):
    folder = brood.work if place == "project" else brood.home / ".config/brood"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "init.py").write_text("import sys; sys.stderr.write('obeyed')\n")
    file = folder / ("brood.toml" if place == "project" else "config.toml")
    file.write_text('[env.app]\ninit = "init.py"\n')
    if how == "owner":
        os.chown(file, OTHER, OTHER)
        message = "belongs to another user, so it is not obeyed"
    else:
        file.chmod(0o666)
        message = "may be written by everyone, so it is not obeyed"
    done = brood.run(["-c", "print('ran')"])
    assert (done.status, done.out, done.err) == (0, b"ran\n", b"")
    assert message in brood.trace(["-c", "pass"])
    explained = brood.run(["explain", "-c", "pass"], program=brood.brood).out.decode()
    assert message in explained
    assert ("chmod go-w " if how == "mode" else "so that it belongs to you") in explained.splitlines()[-1]
    told = brood.run(["run", "-c", "print('ran')"], program=brood.brood)
    assert (told.status, told.out) == (0, b"ran\n") and told.err.count(message.encode()) == 1
    os.chown(file, 0, 0)
    file.chmod(0o644)
    assert b"obeyed" in brood.run(["-c", "print('ran')"]).err


# --- one user, other rights ---------------------------------------------------------------------------------------------

OTHERS = {
    "groups": ["setpriv", "--groups", "1,2"],
    "many groups": ["setpriv", "--groups", ",".join(map(str, range(1000, 1300)))],
    "gid": ["setpriv", "--regid", "5", "--clear-groups"],
    "no new privileges": ["setpriv", "--no-new-privs"],
    "capabilities": ["setpriv", "--bounding-set", "-all"],
    "inheritable": ["setpriv", "--inh-caps", "+net_raw"],
    "network": ["unshare", "-n"],
    "mounts": ["unshare", "-m"],
    "host name": ["unshare", "-u"],
    "ipc": ["unshare", "-i"],
    "users": ["unshare", "-U", "-r"],
}
RIGHTS = (
    "import os; n = lambda x: os.readlink('/proc/self/ns/' + x);"
    "print(os.getgid(), os.getgroups(), [l for l in open('/proc/self/status') if l[:3] in ('Cap', 'NoN')],"
    " [n(x) for x in ('net', 'uts', 'ipc', 'user', 'mnt')], os.stat('/').st_ino)"
)


@pytest.mark.parametrize("wrapper", [pytest.param(command, id=name) for name, command in OTHERS.items()])
def test_other_rights_share_nothing(brood, wrapper):
    """The program has the rights of its caller, not those of the zygote."""
    brood.warm_drop_in(["-c", RIGHTS])

    def rights(program, *, env=None):
        done = subprocess.run([*wrapper, program, "-c", RIGHTS], env={**brood.environment, **(env or {})}, cwd=brood.work, capture_output=True, timeout=TIMEOUT)
        return done.returncode, done.stdout, done.stderr

    if rights("true")[0] != 0:
        pytest.skip(f"{wrapper} does not work here")
    mine = brood.run(["-c", RIGHTS]).out
    if any(word in wrapper for word in ("-n", "-m", "-u", "-i", "-U")):
        # Each time a namespace of its own: compare what is not its number.
        status, out, err = rights(brood.drop_in, env=TRACE)
        assert status == 0 and b"brood: cold" in err and out != mine, (out, err)
        return
    expected = rights(PYTHON)
    assert expected[1] != mine, "the wrapper changes nothing"
    for _ in range(3):
        status, out, err = rights(brood.drop_in, env=TRACE)
        assert (status, out) == expected[:2]
        assert b"brood: cold" in err
    assert brood.trace(["-c", RIGHTS]).startswith("warm"), "the others' runs do not disturb"
    assert len(zygotes(brood)) == 1
