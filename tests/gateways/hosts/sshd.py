"""A real sshd on a port of its own, with keys made for the run, and what a client needs to log in there."""

import contextlib
import fcntl
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from .processes import DEADLINE, MARK, carrying, command_name, descendants, end_all, ended, wait_until

SSHD = "/usr/sbin/sshd"
ENDS_WITH_THE_TESTS = ["setpriv", "--pdeathsig", "TERM", "--"]
OWN = "BROOD_TEST_SSHD"  # a variable of every process that this sshd has started

SERVER = """\
ListenAddress {address}
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile {folder}/sshd.pid
StrictModes no
UsePAM {pam}
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitTTY no
PermitUserRC no
PrintLastLog no
X11Forwarding no
MaxStartups 1000
MaxSessions 1000
LogLevel VERBOSE
AcceptEnv {mark} LANG LC_*
SetEnv {environment}
"""

CLIENT = """\
Host {alias}
  {options}
  HostName {address}
  Port {port}
  User {user}
  HostKeyAlias host
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ControlMaster no
  ControlPath none
  LogLevel ERROR
  SendEnv {mark}
"""

# A login whose commands cannot write to any file system; /tmp cannot execute programs either.
READ_ONLY = """\
awk '{ print $5 }' /proc/self/mountinfo | while read -r place; do
  mount -o remount,bind,ro "$(printf %b "$place")" || exit 97
done || exit
mount --bind /tmp /tmp && mount -o remount,bind,ro,noexec /tmp && cd / || exit 97
exec "$@"
"""

# A login to a system that has no /tmp, nor any other directory for files that come and go, and can be read only.
NO_TMP = """\
mount -t tmpfs -o mode=755 tmpfs /mnt && cd /mnt || exit 97
for place in /*; do
  case $place in /tmp | /mnt | /var | /home | /root | /run) continue ;; esac
  if [ -L "$place" ]; then cp -P "$place" ".$place"; continue; fi
  [ -d "$place" ] || continue
  mkdir ".$place" && mount --bind "$place" ".$place" && mount -o remount,bind,ro ".$place" || exit 97
done
mount -o remount,ro /mnt || exit 97
exec chroot /mnt "$@"
"""


@dataclass
class Login:
    """What ssh needs to get somewhere: `ssh -F config alias`."""

    alias: str
    config: Path

    def spec(self, extra=""):
        """For a gateway. `extra`: more keys, as "python=python3//id=one"."""
        return f"ssh={self.alias}//ssh_config={self.config}" + (f"//{extra}" if extra else "")

    def ssh(self, *words):
        """The words of a command that executes `words` there."""
        return ["ssh", "-F", str(self.config), self.alias, shlex.join(words)]

    def run(self, *words, **more):
        """Executes `words` there; returns a CompletedProcess with text. Fails after DEADLINE seconds."""
        return subprocess.run(self.ssh(*words), capture_output=True, text=True, timeout=DEADLINE, **more)


class Sshd:
    """Listens on a free port of 127.0.0.1 as soon as it is made. Lets the user of this process in.

    namespace: listens on port 22 of all addresses there.  environment: variables of all that it starts.
    banner: text that the client gets on stderr.  noise: a line on stdout, and one on stderr, before each command's own output.
    read_only: commands see every file system read-only, and /tmp noexec as well (root).  no_tmp: they see no /tmp (root)."""

    def __init__(self, *, namespace=None, environment=None, banner="", noise="", read_only=False, no_tmp=False):
        mounts = NO_TMP if no_tmp else READ_ONLY if read_only else ""
        skip_if_impossible(mounts)
        self.grace = 5.0  # seconds
        self.mark = uuid.uuid4().hex
        self.namespace = namespace
        self.inside = namespace.enter() if namespace else []
        self.address = "0.0.0.0" if namespace else "127.0.0.1"
        self.resources = contextlib.ExitStack()
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="brood-sshd-"))
            self.resources.callback(shutil.rmtree, self.folder)
            self.resources.enter_context(privilege_separation())
            (self.folder / "home").mkdir()
            self.make_keys()
            variables = {"HOME": self.folder / "home", OWN: self.mark, **(environment or {})}
            quoted = " ".join(f'"{name}={value}"' for name, value in variables.items())
            self.start(quoted, self.login_options(banner, noise, mounts))
            self.resources.callback(self.end)
        except BaseException:
            self.resources.close()
            raise
        self.login_here = self.login()

    def make_keys(self):
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.folder / name], check=True)
        (self.folder / "known_hosts").write_text("host " + (self.folder / "host_key.pub").read_text())

    def login_options(self, banner, noise, mounts):
        """Lines for the sshd_config that make a login unusual."""
        options = ""
        if banner:
            (self.folder / "banner").write_text(banner + "\n")
            options += f"Banner {self.folder}/banner\n"
        if noise or mounts:
            options += f"ForceCommand {self.write_shell(noise, mounts)}\n"
        return options

    def write_shell(self, noise, mounts):
        """A script that is executed instead of each command, and executes it in the end."""
        lines = ["#!/bin/sh"]
        if noise:
            lines += [f"echo {shlex.quote(noise)}", f"echo {shlex.quote(noise)} >&2"]
        inner = '/bin/sh -c "$SSH_ORIGINAL_COMMAND"'
        if mounts:
            (self.folder / "mounts").write_text(mounts)
            inner = f"unshare --mount /bin/sh {self.folder}/mounts {inner}"
        shell = self.folder / "shell"
        shell.write_text("\n".join([*lines, f"exec {inner}", ""]))
        shell.chmod(0o755)
        return shell

    def start(self, environment, options):
        """A free port may be taken by another meanwhile: then another one is tried."""
        for _ in range(5):
            self.port = 22 if self.namespace else free_port()
            place = {"folder": self.folder, "address": self.address, "port": self.port}
            pam = "no" if os.getuid() == 0 else "yes"  # others cannot see for themselves whether an account is locked
            config = SERVER.format(**place, pam=pam, mark=MARK, environment=environment)
            (self.folder / "sshd_config").write_text(config + options)
            command = [*self.inside, *ENDS_WITH_THE_TESTS, SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
            with open(self.folder / "log", "wb") as log:
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
            if self.listens():
                return
        raise AssertionError(f"sshd ended with status {self.process.returncode}: {self.log()}")

    def listens(self):
        """Waits for that; false if sshd has ended instead. It says so after listen(2), and only of a port that is its own."""
        try:
            wait_until(lambda: "Server listening" in self.log() or self.process.poll() is not None, "sshd")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self.process.poll() is None

    def log(self):
        """What sshd has said so far."""
        return (self.folder / "log").read_text(errors="replace")

    def login(self, *, alias="node", address=None, port=None, options=()):
        """How to log in by way of another address, such as a relay's. `options`: more lines for the ssh_config, which prevail.

        An alias has one ssh_config: asked for again, it is written anew."""
        user = pwd.getpwuid(os.getuid()).pw_name
        place = {"alias": alias, "address": address or self.address, "port": port or self.port}
        lines = "\n  ".join(options)  # before the others: ssh takes what comes first
        config = self.folder / f"{alias}.config"
        config.write_text(CLIENT.format(**place, options=lines, user=user, folder=self.folder, mark=MARK))
        return Login(alias, config)

    @property
    def config(self):
        return self.login_here.config

    def spec(self, extra=""):
        return self.login_here.spec(extra)

    def run(self, *words, **more):
        return self.login_here.run(*words, **more)

    def connections(self):
        """The pids of sshd's own processes, but for the one that listens."""
        return {pid for pid in descendants(self.process.pid) if command_name(pid).startswith("sshd")}

    def processes(self):
        """The pids of all that it has started, wherever that has gone since, and of all in its namespace, but for sshd's own."""
        pids = descendants(self.process.pid) | carrying(OWN, self.mark)
        if self.namespace:
            pids |= self.namespace.processes() - {self.process.pid}
        return pids - self.connections()

    def end(self):
        """What it has started is expected to end by itself, within `grace`: what does not is killed and fails the test.

        A connection is not: where a link is cut, sshd cannot know that the client has gone."""
        left = end_all(self.processes, self.grace)
        connections = self.connections()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE)
        end_all(lambda: {pid for pid in connections if not ended(pid)}, 0)
        assert not left, f"left behind by connections to sshd: {left}"

    def close(self):
        self.resources.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def skip_if_impossible(mounts):
    if not os.access(SSHD, os.X_OK):
        pytest.skip(f"no {SSHD}: tools/install_deps.sh test")
    if os.getuid() == 0 and locked("root"):
        pytest.skip("the account root is locked; sshd lets nobody in there without PAM")
    if mounts and subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no mount namespaces for this user")


def locked(user):
    entries = (line.split(":") for line in Path("/etc/shadow").read_text().splitlines())
    return any(name == user and password.startswith("!") for name, password, *_ in entries)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def privilege_separation(folder=Path("/run/sshd")):
    """The empty directory that an sshd of root needs, made if it is missing, for as long as a test process uses it.

    The mode 0700 says that tests have made it (the system's has 0755); a lock on it says that one uses it."""
    if os.getuid() != 0:
        yield
        return
    lock = hold(folder)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_mode & 0o777 == 0o700:
                folder.rmdir()
        os.close(lock)


def hold(folder):
    """A descriptor of `folder` with a shared lock, while it is there under its name."""
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if folder.stat().st_ino == os.fstat(lock).st_ino:
                return lock
            os.close(lock)
