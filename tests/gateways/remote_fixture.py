"""A master of a few lines, for tests of what runs on the other side: the engine in Python, and start()."""

import contextlib
import os
import threading
import zlib
from pathlib import Path

import pytest
from hosts.processes import DEADLINE, orphans, wait_until

from brood.gateways.core import kinds, start
from brood.gateways.core.engine import Engine

PACKAGE = Path(start.__file__).parent
SPEC = os.environ.get("BROOD_TEST_SPEC", "popen//engine=python")


class Remote:
    """One context, started by a Master."""

    def __init__(self, master, number, child):
        self.master, self.number, self.child = master, number, child
        self.pid = child.greet and child.greet["pid"]
        self.process = child.process

    def request(self, kind, value):
        return self.master.engine.request(self.number, kind, value)

    def execute(self, source, file=None, function=None, **kwargs):
        request = {"source": source, "name": "__channelexec__", "file": file, "function": function, "kwargs": kwargs}
        return self.request(kinds.EXEC, request)

    def evaluate(self, source):
        """What the source sends first; "channel.send(...)" around it, if it is an expression."""
        return self.execute(source if "channel" in source else f"channel.send({source})").receive(DEADLINE)

    def submit(self, module, function, *args, outer=None, deadline=None, with_context=False, **kwargs):
        return self.request(kinds.CALL, [module, outer, function, args, kwargs, deadline, with_context])

    def call(self, *words, **more):
        return self.submit(*words, **more).receive(DEADLINE)

    def status(self):
        return self.request(kinds.STATUS, None).receive(DEADLINE)

    def shut(self, seconds=3.0):
        self.master.engine.post(self.number, kinds.SHUTDOWN, seconds)


class Master:
    """Serves `modules`: {name: source, or a map of the protocol}, and keeps the records that come, in `records`."""

    def __init__(self):
        self.engine = Engine(0)
        self.modules = {}
        self.asked = []  # [name, names that the asker has]
        self.records = []  # (context, logger, level, text)
        self.gone = []  # (contexts, why)
        self.remotes = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def start(self, spec=SPEC, timeout=DEADLINE, **greet):
        number = len(self.remotes) + 1
        child = start.start(spec, {"context": number, "ancestors": [0], "id": f"gw{number - 1}", "level": 30, **greet}, timeout)
        self.engine.add_link(number, child.reader, child.writer, ahead=child.ahead)
        self.remotes.append(Remote(self, number, child))
        return self.remotes[-1]

    def lines(self, logger):
        return [text for _, name, _, text in self.records if name == logger]

    def wait_for_line(self, text, logger="stdout"):
        wait_until(lambda: text in self.lines(logger), f"the line {text!r}")

    def _serve(self):
        while (request := self.engine.next(kinds.SERVICE)) is not None:
            kind, peer, value, channel = request
            if kind == kinds.LOG:
                self.records.append((peer, *value))
            elif kind == kinds.GONE:
                self.gone.append(value)
            elif kind == kinds.MODULE:
                self.asked.append(value)
                with contextlib.suppress(OSError):  # nobody waits any more
                    channel.finish(self._answer(*value))

    def _answer(self, name, have):
        found = self.modules.get(name, {"missing": "not found on the master either"})
        together = found.get("with", []) if isinstance(found, dict) else []
        return [_record(name, found), *(_record(each, self.modules[each]) for each in together if each not in have)]

    def close(self):
        for remote in self.remotes:
            with contextlib.suppress(OSError):
                remote.shut()
        for remote in self.remotes:
            if remote.process is not None:
                assert remote.process.wait(DEADLINE) is not None
        self.engine.stop()
        self._thread.join(DEADLINE)


def _record(name, found):
    found = dict(found) if isinstance(found, dict) else {"source": found}
    found.pop("with", None)
    if "source" in found:
        source = found["source"]
        found["source"] = zlib.compress(source.encode() if isinstance(source, str) else source)
        package = found.setdefault("package", False)
        found.setdefault("path", "/src/" + name.replace(".", "/") + ("/__init__.py" if package else ".py"))
        found.setdefault("children", None)
    return {"name": name, "data": None, **found}


@pytest.fixture
def remotes():
    """A Master; the test fails if a process is left behind."""
    with orphans():
        master = Master()
        try:
            yield master
        finally:
            master.close()




@contextlib.contextmanager
def without_files():
    """What is started meanwhile gets the first stage, as if brood's files were not on this machine."""
    folder = start._folder
    start._folder = lambda: None
    try:
        yield
    finally:
        start._folder = folder


def start_staged(master, spec="popen", **greet):
    with without_files():
        return master.start(spec, **greet)
