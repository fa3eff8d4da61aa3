"""Sessions under load while processes are killed and connections cut: nothing is lost, nothing is left."""

import contextlib
import os
import random
import signal
import threading
import time

import pytest
from session_fixture import package, processes_in, serving, value
from waiting import children, wait_until

SECONDS = float(os.environ.get("BROOD_FAULT_SECONDS", "60"))
SESSIONS, THREADS = 20, 4
PATIENCE = 60  # seconds: a hang, not a measure of speed
COUNT = "import time\ntime.sleep(0.01)\ncounter = globals().get('counter', 0) + 1\ncounter"


class Counter:
    """A session whose cells count, what its counter must be, and what it is after each of its cells."""

    def __init__(self, client):
        self.lock = threading.Lock()  # for what changes the session
        self.session = client.new(checkpoints=8, idle_timeout=0, no_clients_timeout=0)
        self.after = {}  # cell -> the counter after it
        self.expected = 0
        self.seen = self.session.info()["next_seq"] - 1
        done = self.session.run(COUNT, timeout=PATIENCE)
        assert done.value == "1", done
        self.catch_up()

    def catch_up(self):
        """Takes the newest events into account; the session is idle afterwards. An acknowledged result is one with a
        `done` that is ok; `undone` takes back those from its checkpoint on. Whether there was one."""
        undone = False
        with self.session.events(after=self.seen) as events:
            target = self.settled()
            while self.seen < target:
                event = events.read(PATIENCE)
                assert event is not None and event.type not in ("ended", "dropped"), event
                self.seen = event.seq
                self.take(event)
                undone |= event.type == "undone"
        return undone

    def settled(self):
        """Waits until the session is idle; the number of its newest event then."""
        end = time.monotonic() + PATIENCE
        while (told := self.session.info())["state"] != "idle" or told["queued"]:
            assert told["state"] != "ended", self.session
            assert time.monotonic() < end, told
            time.sleep(0.005)
        return told["next_seq"] - 1

    def take(self, event):
        if event.type == "result":
            assert int(event.data["text/plain"]) == self.expected + 1, (event, self.after)
            self.expected += 1
            self.after[event.cell] = self.expected
        elif event.type == "done":
            assert event.status in ("ok", "crashed", "cancelled"), event
            assert event.status != "crashed" or event.undone, event
        elif event.type == "undone":
            gone = [cell for cell in self.after if cell >= event.checkpoint]
            assert event.why == "undo" or len(gone) <= 1, (event, gone)
            for cell in gone:
                del self.after[cell]
            self.expected = self.after[max(self.after)] if self.after else 0

    def check(self):
        """The counter is what the acknowledged cells imply. The end of the worker that was killed last may be told
        only after the session was seen idle: then once more."""
        self.catch_up()
        for _ in range(2):
            done = self.session.run("print(globals().get('counter', 0))", timeout=PATIENCE)
            if not self.catch_up():
                break
        assert (done.status, done.stdout) == ("ok", f"{self.expected}\n"), (done, self.after)


class Storm:
    def __init__(self, server):
        self.server = server
        self.counters = [Counter(server.client) for _ in range(SESSIONS)]
        self.stop = threading.Event()
        self.failures = []
        self.done = dict.fromkeys(("cells", "kills", "zygotes", "cuts", "undos", "branches"), 0)

    def run(self):
        workers = [threading.Thread(target=self.guarded, args=(self.client, number)) for number in range(THREADS)]
        workers += [threading.Thread(target=self.guarded, args=(work, 100)) for work in (self.killer, self.cutter)]
        for worker in workers:
            worker.start()
        self.stop.wait(SECONDS)
        self.stop.set()
        for worker in workers:
            worker.join(PATIENCE)
            assert not worker.is_alive()
        assert not self.failures, (self.failures[0], self.ends())

    def ends(self):
        """Why sessions have ended that should not have."""
        ended = [counter.session for counter in self.counters if counter.session.info()["state"] == "ended"]
        return [[event.head for event in session.events() if event.type in ("checkpoint", "undone", "done", "ended")][-6:] for session in ended]

    def guarded(self, work, seed):
        try:
            work(random.Random(seed))
        except BaseException as error:
            self.failures.append(error)
            self.stop.set()
            raise

    def client(self, dice):
        """Cells, undo and branches, on one session at a time."""
        with package.Client(self.server.address, timeout=PATIENCE) as client:
            while not self.stop.is_set():
                counter = dice.choice(self.counters)
                if not counter.lock.acquire(blocking=False):
                    continue
                try:
                    self.one(client.session(counter.session.id), dice.random())
                finally:
                    counter.lock.release()

    def one(self, session, chance):
        if chance < 0.8:
            done = session.run(COUNT, timeout=PATIENCE)
            assert done.status in ("ok", "crashed"), done
            self.done["cells"] += 1
        elif chance < 0.9:
            with contextlib.suppress(package.NotFound, package.Busy, package.EnvironmentUnavailable):
                session.undo()
                self.done["undos"] += 1
        else:
            with contextlib.suppress(package.EnvironmentUnavailable, package.Busy, package.LimitExceeded):
                with session.fork() as branch:
                    self.done["branches"] += 1
                    branch.run("counter", timeout=PATIENCE)

    def killer(self, dice):
        """SIGKILL to live workers, idle or busy, and now and then to the zygote."""
        while not self.stop.wait(0.05):
            if dice.random() < 0.05:
                for pid in self.zygotes():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    self.done["zygotes"] += 1
                continue
            session = dice.choice(self.counters).session
            with contextlib.suppress(package.Error):
                session.signal("KILL")
                self.done["kills"] += 1

    def zygotes(self):
        """Not a process of a session, branches included: one that has just begun has no checkpoint to go back to."""
        sessions = set(processes_in("/brood/sessions/"))
        return [pid for pid in children(self.server.process.pid) if pid not in sessions and children(pid)][:1]

    def cutter(self, dice):
        """Clients that join, ask for something and are gone in the middle of it."""
        while not self.stop.wait(0.03):
            client = package.Client(self.server.address, timeout=PATIENCE)
            events = dice.choice(self.counters).session
            with contextlib.suppress(package.Error):
                stream = client.session(events.id).events(after=0)
                if dice.random() < 0.5:
                    stream.read(1)
            client.close()
            self.done["cuts"] += 1


@pytest.mark.long
def test_nothing_is_lost_and_nothing_is_left(brood):
    with serving(brood, "[serve]\nno_clients_timeout = \"0\"\n") as server:
        storm = Storm(server)
        storm.run()
        assert all(storm.done.values()), storm.done
        for counter in storm.counters:
            counter.check()
        with server.client.new() as another:  # the environment is there, or is made again
            assert value(another, "6 * 7") == "42"
        wait_until(lambda: server.client.environments()[0]["state"] == "warm", "a warm environment")
