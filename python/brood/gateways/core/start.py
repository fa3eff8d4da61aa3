"""Starting a context: from a spec to a link on which both sides have said GREET. Any thread."""
import os
import select
import sys
import time

from . import greeting, stage
from .errors import DataFormatError, HostNotFound
from .process import IGNORE_INTERRUPTS, clean, complain, find_program, forward, master_name, spawn, tagged
from .values import dumps, loads

__all__ = ["Child", "master_name", "parse", "start"]

MAX_STDERR = 64 << 10  # bytes that are kept of what a program says before the mark
LINGER = 1.0  # seconds for the last words of a program that has closed the link

# Runs in a local interpreter; the words behind it: where this package is, the interpreter's path, "python" for that engine. A zygote
# has loaded the modules before and put them out of sight of all other programs (src/zygote/preload.py).
BOOT = """\
import codecs
import gc
import sys
gc.disable()
try:
    loaded = codecs.lookup_error("brood.gateways")()
except LookupError:
    loaded = {}
if not loaded or loaded["brood_core"].__path__ != [sys.argv[1]]:
    loaded = {"brood_core": type(sys)("brood_core")}
    loaded["brood_core"].__path__ = [sys.argv[1]]
sys.modules.update(loaded)
from brood_core.worker import main
main(executable=sys.argv[2], native=sys.argv[3] != "python")
"""


class Child:
    """A context that has answered. The descriptors are the caller's from now on.

    reader, writer  the link;  ahead: bytes that came behind GREET;  greet: the child's
    process         a Process, or None for what was reached over a socket
    where           text for messages;  heartbeat: seconds, for Engine.add_link
    """

    def __init__(self, where, process, reader, writer, stderr):
        self.where, self.process, self.reader, self.writer, self.stderr = where, process, reader, writer, stderr
        self.ahead = b""
        self.greet = None
        self.heartbeat = 0

    def close(self):
        for descriptor in {self.reader, self.writer, self.stderr} - {None}:
            os.close(descriptor)
        if self.process is not None:
            self.process.kill()
            self.process.reap()


def start(spec, greet, timeout=60.0):
    """Starts the context that `spec` describes and exchanges GREET with it: a Child.

    spec    an XSpec, a dict with the same keys, or the text of one. chdir, nice and env are taken from `greet`, not from here
    greet   docs/protocol.md, "GREET"; ancestors[0] is the context that this process is
    Raises HostNotFound, with what the programs on the way have said, also after `timeout` seconds; ValueError for a spec.
    """
    keys = parse(spec) if isinstance(spec, str) else spec if isinstance(spec, dict) else vars(spec)
    greet = dict(greet, versions=[1])
    master = greet["master"] = clean(greet.get("master") or master_name())
    end = time.monotonic() + timeout
    child, first = _reach(keys, master, end)
    try:
        _exchange(child, first + greeting.frame(greet["context"], greet["ancestors"][0], greet, dumps), end, timeout)
    except BaseException:
        child.close()
        raise
    child.heartbeat = greet.get("heartbeat") or 0
    if child.stderr is not None:
        forward(child.stderr)
    return child


def parse(text):
    """The keys of a spec that was checked before, as a dict: `ssh=host//python=python3//env:A=b`."""
    keys = {"env": {}}
    for part in text.split("//"):
        key, equals, value = part.partition("=")
        if key.startswith("env:"):
            keys["env"][key[4:]] = value
        else:
            keys[key] = value if equals else True
    return keys


# --- ways to an interpreter -----------------------------------------------------------------------------------------


def _reach(keys, master, end):
    """(Child without a greeting, what to send first)"""
    python = _words(keys["python"]) if keys.get("python") else None
    if keys.get("ssh") or keys.get("vagrant_ssh"):
        return _through(_ssh(keys, python, master)), stage.payload()
    if keys.get("sudo"):
        words = ["sudo", "-u", keys["sudo"], "--"] + (python or [sys.executable]) + ["-c", stage.STAGE, master]
        return _through(("sudo=" + keys["sudo"], words)), stage.payload()
    if keys.get("socket"):
        return _dial(keys, master, end)
    if keys.get("warm"):
        return _warm(keys, python, master), b""
    if keys.get("popen"):
        return _popen(keys, python or [sys.executable], master)
    raise ValueError("the spec does not say how to reach an interpreter")


def _ssh(keys, python, master):
    config = ["-F", keys["ssh_config"]] if keys.get("ssh_config") else []
    remote = "%s -c '%s' %s" % (keys.get("python") or "python3", stage.STAGE, master)
    if keys.get("ssh"):
        return "ssh=" + keys["ssh"], ["ssh"] + config + _words(keys["ssh"]) + [remote]
    return "vagrant_ssh=" + keys["vagrant_ssh"], ["vagrant", "ssh", keys["vagrant_ssh"], "--"] + config + [remote]


def _through(where_and_words):
    where, words = where_and_words
    shell = "/bin/sh"
    return _start_program(where, [shell, "-c", IGNORE_INTERRUPTS, "sh"] + words, shell, leads=False)


def _dial(keys, master, end):
    from .dial import dial

    source = 'import sys;sys.argv.append("%s");%s' % (master, stage.STAGE)
    connection, is_context = dial(keys, source, end)
    reader = connection.detach()
    return Child("socket=" + keys["socket"], None, reader, reader, None), b"" if is_context else stage.payload()


def _popen(keys, python, master):
    program = find_program(python[0])
    flags = python[1:] + (["-B"] if keys.get("dont_write_bytecode") else [])
    folder = _folder()
    if folder is None:
        words, first = ["-c", stage.STAGE, master], stage.payload()
    else:
        words, first = ["-c", BOOT, folder, program, keys.get("engine") or ""], b""
    argv = [program if folder is None else tagged(program, master)] + flags + words
    return _start_program("popen", argv, program, leads=True), first


def _warm(keys, python, master):
    """An interpreter that `brood run` hands out."""
    folder = _folder()
    if folder is None:
        raise HostNotFound("warm: brood's own files are not on this machine, only the part that was sent here")
    program = _brood(folder)
    if "/" not in program:
        raise HostNotFound("warm: the command brood is neither beside this package nor in PATH; install brood, or use popen")
    name = keys["warm"]
    words = [program, "run"] + (["--env", name] if name is not True else []) + (["--python"] + python[:1] if python else [])
    return _start_program("warm", words + ["-c", BOOT, os.path.realpath(folder), "", keys.get("engine") or ""], program, leads=True)


def _brood(folder):
    for _ in range(6):  # PREFIX/lib/brood/python/brood/gateways/core, or python/brood/gateways/core in a build tree
        folder = os.path.dirname(folder)
        candidate = os.path.join(folder, "bin", "brood")
        if os.access(candidate, os.X_OK):
            return candidate
    return find_program("brood")


def _folder():
    """Where the files of this package are; None if it came over a link."""
    package = stage.files()
    return None if hasattr(package, "SOURCES") else os.path.abspath(package.__path__[0])


def _words(text):
    if not any(letter in text for letter in " '\"\\\t"):
        return [text]
    import shlex
    return shlex.split(text)


def _start_program(where, argv, executable, leads):
    stderr, complaints = os.pipe()
    if leads:  # it is on this machine: one socket takes several times as many bytes per second as two pipes
        from _socket import socketpair
        (reader, stdin) = (writer, stdout) = [end.detach() for end in socketpair()]
    else:
        (stdin, writer), (reader, stdout) = os.pipe(), os.pipe()
    try:
        process = spawn(argv, executable, (stdin, stdout, complaints), leads)
    except OSError as error:
        for descriptor in {writer, reader, stderr}:
            os.close(descriptor)
        raise HostNotFound("%s: cannot execute %s: %s" % (where, executable, error.strerror)) from None
    finally:
        for descriptor in {stdin, stdout, complaints}:
            os.close(descriptor)
    return Child(where, process, reader, writer, stderr)


# --- the greeting ---------------------------------------------------------------------------------------------------


def _exchange(child, data, end, timeout):
    """Sends `data` and reads until the child's GREET is complete; what is said on stderr meanwhile is kept for the error."""
    for descriptor in {child.reader, child.writer, child.stderr} - {None}:
        os.set_blocking(descriptor, False)
    poll = select.poll()
    poll.register(child.writer, select.POLLOUT)
    if child.stderr is not None:
        poll.register(child.stderr, select.POLLIN)
    poll.register(child.reader, select.POLLIN | select.POLLOUT if child.reader == child.writer else select.POLLIN)
    incoming, said = greeting.Incoming(loads), _Said(child)
    while True:
        if data:
            data = _send(child.writer, data)
            if not data:
                poll.unregister(child.writer)
                poll.register(child.reader, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(max(0, end - time.monotonic()) * 1000)]
        if child.stderr in ready and not said.read():
            poll.unregister(child.stderr)
            said.close()
        if child.reader in ready:
            try:
                greet = incoming.feed(_receive(child.reader))
            except EOFError:
                raise HostNotFound(_why(child, said, incoming, "ended before it said a word of brood's")) from None
            except (greeting.BadGreeting, DataFormatError) as error:
                raise HostNotFound(_why(child, said, incoming, str(error))) from None
            if greet is not None:
                break
        if time.monotonic() >= end:
            raise HostNotFound(_why(child, said, incoming, "no answer within %g seconds" % timeout))
    if "error" in greet:
        raise HostNotFound("%s: %s" % (child.where, greet["error"]))
    child.greet, child.ahead = greet, incoming.ahead
    if child.stderr is not None and not said.read():
        said.close()
    complain(said.text)


def _send(writer, data):
    """What is left. An end of the link is seen by reading."""
    try:
        return data[os.write(writer, data[: 256 << 10]):]
    except BlockingIOError:
        return data
    except OSError:
        return b""


def _receive(reader):
    try:
        data = os.read(reader, 64 << 10)
    except BlockingIOError:
        return b""
    except OSError:
        raise EOFError from None
    if not data:
        raise EOFError
    return data


class _Said:
    """What came on stderr."""

    def __init__(self, child):
        self._child = child
        self.text = b""

    def read(self):
        """Takes what is there. False: nothing more will come."""
        while True:
            try:
                data = os.read(self._child.stderr, 8192)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self.text = (self.text + data)[:MAX_STDERR]

    def close(self):
        os.close(self._child.stderr)
        self._child.stderr = None


def _why(child, said, incoming, text):
    """The text of HostNotFound; waits a little for the program's last words and its status."""
    end = time.monotonic() + LINGER
    status = None
    while child.process is not None and time.monotonic() < end:
        status = child.process.wait(0.01)
        if child.stderr is None or not said.read():
            status = child.process.wait(max(0, end - time.monotonic()))
            break
        if status is not None:
            break
    if status is not None:
        text += ", exit status %d" % status if status >= 0 else ", killed by signal %d" % -status
    words = b"\n".join(part.strip() for part in (incoming.banner, said.text) if part.strip()).decode("utf-8", "replace")
    if "SyntaxError" in words:
        text += " (is it Python 3.6 or later?)"
    return "%s: %s%s" % (child.where, text, ": " + words if words else "")
