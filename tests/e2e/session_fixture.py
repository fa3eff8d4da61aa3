"""A `brood serve` for tests of sessions, which sees at its end that nothing is left of them."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from brood_fixture import ROOT, TIMEOUT
from serve_fixture import Serve
from waiting import DEADLINE, children, ended, process_state, wait_until

sys.path.insert(0, str(ROOT / "python"))

import brood as package  # noqa: E402  (`brood` is a fixture)

QUICK = '[serve]\ninterrupt_grace = "3s"\n'
USER, PASSWORD = "ann", "the password of ann"


class SessionDaemon:
    """`config`: a brood.toml. `tcp`: also listens on a port, for USER, who is no admin. `launcher`: words before the command.
    `ahead`: sessions of each environment that the server starts before they are wanted."""

    read_ready = Serve.read_ready

    def __init__(self, brood, config=QUICK, *, tcp=False, environments=(), launcher=(), ahead=1):
        self.brood = brood
        self.ahead = ahead
        self.address = f"unix:{brood.base}/sessions.sock"
        self.log = brood.base / "serve.log"
        self.file = brood.work / "brood.toml"
        self.file.write_text(config)
        words = ["--listen", self.address, *(["--listen", "tcp:127.0.0.1:0"] if tcp else [])]
        if tcp:
            made = brood.tool("user", "add", USER, "--password-stdin", stdin=PASSWORD.encode() + b"\n")
            assert made.status == 0, made
        reading, writing = os.pipe()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*launcher, brood.brood, "serve", "--config", str(self.file), *words, "--ready-fd", str(writing)],
                env=brood.environment,
                cwd=brood.work,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
            )
        os.close(writing)
        try:
            ready = self.read_ready(reading)
            self.tcp = (re.findall(r"tcp:\S+", ready) or [None])[0]
            self.client = package.Client(self.address, timeout=TIMEOUT)
            self.warm(environments)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            os.close(reading)

    def warm(self, environments):
        """Has every environment prepared, and remembers what the server has then."""
        environments = environments or (None,)
        for name in environments:
            self.client.new(name).remove()
        self.started_ahead = self.ahead * len(environments)
        self.before = None
        wait_until(self.is_calm, "an idle server")

    def is_calm(self):
        now = self.belongings()
        waiting = sum(environment["sessions_ahead"] for environment in self.client.environments())
        same = self.before == now and not self.sessions() and waiting == len(self.folders()) == self.started_ahead
        self.before = now
        if not same:
            time.sleep(0.05)  # two looks that find the same
        return same

    # --- what it has -----------------------------------------------------------------------------

    def sessions(self):
        return [one["id"] for one in self.client.sessions()]

    def descriptors(self):
        """Of the server: kind -> number."""
        kinds = {}
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                kind = re.sub(r"\[\d+\]|:\d+|(?<=/sessions/serve/).+", "", os.readlink(entry))
                kinds[kind] = kinds.get(kind, 0) + 1
        return kinds

    def processes(self):
        """Children of the server that run: the zygotes, and copies of sessions."""
        return [pid for pid in children(self.process.pid) if process_state(pid) not in ("", "Z")]

    def zombies(self):
        return [pid for pid in children(self.process.pid) if process_state(pid) == "Z"]

    def belongings(self):
        return self.descriptors(), len(self.processes())

    def folders(self):
        """The working directories of sessions."""
        return sorted((self.brood.home / ".cache/brood/sessions").glob("serve*/*"))

    # --- the end ---------------------------------------------------------------------------------

    def remove_sessions(self):
        for session in self.sessions():
            with contextlib.suppress(package.Error):
                self.client.call("remove", session=session)

    def assert_nothing_left(self):
        """Without sessions the server has what it had in the beginning."""
        self.client.close()  # with the connections of its streams
        self.client = package.Client(self.address, timeout=TIMEOUT)
        self.remove_sessions()

        def like_before():
            return self.belongings() == self.before and len(self.folders()) == self.started_ahead and not self.zombies()

        try:
            wait_until(like_before, "the end of what belonged to sessions")
        except AssertionError:
            raise AssertionError(
                f"left: {self.belongings()}, zombies {self.zombies()}, {self.folders()}; at first: {self.before}; {self.log.read_text()[-2000:]}"
            ) from None

    def close(self):
        try:
            if self.process.poll() is None:
                self.assert_nothing_left()
        finally:
            self.client.close()
            mine = [self.process.pid, *children(self.process.pid)]
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            try:
                status = self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        assert status == 0, f"brood serve ended with status {status}: {self.log.read_text()[-2000:]}"
        wait_until(lambda: ended(*mine), "the end of the server's processes")
        assert not self.folders()
        assert not list(self.brood.base.glob("**/*.sock"))


@contextlib.contextmanager
def serving(brood, config=QUICK, **more):
    daemon = SessionDaemon(brood, config, **more)
    try:
        yield daemon
    except BaseException:
        daemon.process.kill()
        daemon.process.wait()
        raise
    daemon.close()


def run(session, code, **more):
    """A cell that ends well; returns its Result."""
    done = session.run(code, timeout=DEADLINE, **more)
    assert done.status == "ok", done
    return done


def value(session, code):
    return run(session, code).value


def pid_of(session):
    return int(value(session, "import os; os.getpid()"))


def worker_of(session):
    """The session's live process, found without a cell: a frozen copy has no control socket (descriptor 190)."""
    for pid in session_processes(session):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/190").startswith("socket:"):
                return pid
    raise AssertionError(f"{session} has no worker")


def measured(session):
    """Its checkpoints with their memory, once it is known of each copy which process it is."""
    def told():
        kept = session.checkpoints(memory=True)
        return kept if all("pss" in one for one in kept) else None

    return wait_until(told, "the memory of all checkpoints")


def session_processes(session):
    """The processes that have the session's folder as their working directory, or one below."""
    return processes_in(session.id)


def processes_in(name):
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and name in os.readlink(entry / "cwd"):
                found.append(int(entry.name))
    return found


def stream_of(session):
    """A joined client, from now on."""
    return session.events(after=session.info()["next_seq"] - 1)


def until(events, kind, **members):
    """Reads up to the first event of that kind; returns all that was read."""
    seen = []
    while True:
        event = events.read(DEADLINE)
        assert event is not None, f"the stream ended after {seen}"
        seen.append(event)
        if event.type == kind and all(event.head.get(name) == wanted for name, wanted in members.items()):
            return seen


def types(events):
    return [event.type for event in events]
