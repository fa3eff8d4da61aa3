"""Programs that are started beside this one, and their ends. Any thread."""
import os
import signal
import time
from _thread import allocate_lock, start_new_thread

IGNORE_INTERRUPTS = "trap '' INT; exec \"$@\""  # it is started from a terminal and keeps it, but Ctrl-C is not for it
REAP = 5.0  # seconds that a process has to end after its link has


class Process:
    """A child of this process. `status` is as subprocess.Popen.returncode, None while it runs."""

    def __init__(self, pid, leads):
        self.pid = pid
        self.status = None
        self._leads = leads  # a process group
        self._lock = allocate_lock()  # a pid must not be used after it was waited for

    def poll(self):
        """The status, or None. One that somebody else has waited for has the status 0."""
        with self._lock:
            if self.status is None:
                try:
                    self._end_group()
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:
                    pid, status = self.pid, 0
                if pid:
                    self.status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            return self.status

    def _end_group(self):
        """One that has not left in order takes its process group with it: now, as nobody else can have its number yet."""
        end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) if self._leads else None
        if end is not None and (end.si_code != os.CLD_EXITED or end.si_status != 0):
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except OSError:
                pass

    def wait(self, timeout=None):
        """The status, or None after so many seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        pause = 0.0005
        while self.poll() is None:
            left = pause if end is None else min(pause, end - time.monotonic())
            if left <= 0:
                return None
            time.sleep(left)
            pause = min(pause * 2, 0.02)
        return self.status

    def kill(self):
        """SIGKILL, to its process group if it leads one. Nothing if it may not be killed, or has ended."""
        with self._lock:
            if self.status is None:
                for kill in ([os.killpg] if self._leads else []) + [os.kill]:
                    try:
                        kill(self.pid, signal.SIGKILL)
                    except OSError:
                        pass

    def reap(self, seconds=REAP):
        """Waits for its end in the background; kills it if it does not come within so many seconds."""
        def run():
            if self.wait(seconds) is None:
                self.kill()
                self.wait()

        if self.poll() is None:
            start_new_thread(run, ())


def spawn(argv, executable, descriptors, leads):
    """Starts a program: a Process. `descriptors` become its 0, 1 and 2; `leads`: it leads a process group of its own.

    OSError if it cannot be executed (Python before 3.8: a message on its stderr, and status 127)."""
    if not hasattr(os, "posix_spawn"):
        return Process(_fork(argv, executable, descriptors), False)
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(descriptors)]
    defaults = [signal.SIGINT, signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)]
    group = {"setpgroup": 0} if leads else {}
    pid = os.posix_spawn(executable, argv, os.environ, file_actions=actions, setsigdef=defaults, setsigmask=[], **group)
    return Process(pid, leads)


def _fork(argv, executable, descriptors):
    pid = os.fork()
    if pid == 0:
        try:
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.execv(executable, argv)
        except BaseException as error:
            os.write(2, ("%s: %s\n" % (executable, error)).encode("utf-8", "replace"))
        finally:
            os._exit(127)
    return pid


def forward(descriptor):
    """Writes what comes from a descriptor to this process's stderr, in a thread. Owns it."""
    def run():
        try:
            while complain(os.read(descriptor, 8192)):
                pass
        except OSError:
            pass
        os.close(descriptor)

    os.set_blocking(descriptor, True)
    start_new_thread(run, ())


def complain(data):
    """Bytes to stderr, and back."""
    rest = data
    try:
        while rest:
            rest = rest[os.write(2, rest):]
    except OSError:
        pass
    return data


def find_program(name):
    """Its path, as a shell would find it; the name itself if it is not there."""
    if "/" in name:
        return name
    for folder in os.get_exec_path():
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return name


def tagged(python, master):
    """argv[0] for an interpreter that is executed as `python`, a path: it says who has started it.

    Its directory is where the interpreter looks for its library, or for the pyvenv.cfg of a virtual environment."""
    folder, name = os.path.split(python)
    if not name.startswith(("python", "pypy")):  # some other program, that executes one
        return python
    above = os.path.dirname(folder)
    if not any(os.path.exists(os.path.join(place, "pyvenv.cfg")) for place in (folder, above)):
        folder = os.path.dirname(os.path.realpath(python))
    return "%s(brood:%s)" % (os.path.join(folder, name), master)


def master_name():
    """user@host:pid of this process, in characters that no shell minds."""
    import pwd
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return clean("%s@%s:%d" % (user, os.uname()[1], os.getpid()))


def clean(master):
    return "".join(letter if letter.isalnum() and letter < "\x7f" or letter in "@.:_-" else "_" for letter in master) or "master"


