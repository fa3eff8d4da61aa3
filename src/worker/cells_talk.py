"""How a cell talks with its clients: input(), getpass(), brood.messages, and the module `brood` that every session
can import. A part of the cell loop (cells.py)."""
import sys

import builtins
import io
from _collections import deque
from _thread import get_ident

MESSAGE = 51
INTERRUPT = 54
kMessageLimit = (8 << 20) - 1024  # bytes of one message; a frame has 8 MiB
kQueueLimit = 64 << 20  # bytes of messages that wait to be received; what comes then is lost, with a notice

kept = deque()  # frames that receive() read but that are for C++
queued = deque()  # messages that wait
queued_bytes = 0
real_input = builtins.input
kForked = "this process was forked by a cell, and only the one that the cell began in talks with clients"
asked = False  # the clients have been asked for the line that is being read
wrapped = {}  # module name -> what is done to it when it has been imported

# --- input ---------------------------------------------------------------------------------------


def input(prompt="", /):
    """Read a line from the client, without its newline; the client shows the prompt."""
    return read_line(prompt, False, real_input)


def read_line(prompt, password, otherwise):
    global asked
    stream = sys.stdin
    if stream is None or stream is not cells.session.streams.get("stdin"):
        return otherwise(prompt)
    if not cells.speaks():
        raise EOFError(f"there is nobody to read from: {kForked}")
    ask_clients(str(prompt), password)
    asked = True
    try:
        line = stream.readline()
    finally:
        asked = False
    if not line:
        raise EOFError("EOF when reading a line")
    return line[:-1] if line.endswith("\n") else line


def ask_clients(prompt, password):
    cells.send_event("input", prompt=cells.shortened(prompt, 10_000), password=password)


class Stdin(io.FileIO):
    """Standard input. Who reads it when there is nothing asks the clients, as input() does."""

    read = io.RawIOBase.read
    readall = io.RawIOBase.readall

    def readinto(self, buffer):
        if cells.session.running and not asked and cells.speaks() and not self.ready():
            ask_clients("", False)
        return io.FileIO.readinto(self, buffer)

    def ready(self):
        descriptors = cells_own.poll()
        descriptors.register(self.fileno(), cells_own.POLLIN)
        return descriptors.poll(0)


def adapt_getpass(module):
    real = module.getpass

    def getpass(prompt="Password: ", stream=None, **options):
        """Ask the client for a password, which is not shown."""
        return read_line(prompt, True, lambda text: real(text, stream, **options))

    getpass.__module__ = "getpass"
    module.getpass = getpass


# --- messages ------------------------------------------------------------------------------------


def queue(body):
    global queued_bytes
    if queued_bytes + len(body) > kQueueLimit:
        cells.notice(f"a message of {len(body):,} bytes was lost: {queued_bytes:,} bytes wait already, call "
                     "brood.messages.receive() to take them")
        return
    queued_bytes += len(body) + 64
    queued.append(body)


def take():
    global queued_bytes
    body = queued.popleft()
    queued_bytes -= len(body) + 64
    return body


def send(data):
    """Send a message, text or bytes, to all clients of this session."""
    if isinstance(data, str):
        data = data.encode("utf-8", "replace")
    data = bytes(memoryview(data))
    if len(data) > kMessageLimit:
        raise ValueError(f"a message can have {kMessageLimit:,} bytes, this one has {len(data):,}")
    if not cells.speaks():
        raise RuntimeError(f"the message cannot be sent: {kForked}")
    cells.flush()
    cells.session.send(MESSAGE, "{}", data, True)


def receive(timeout=None):
    """Wait for a message from a client, at most `timeout` seconds (then TimeoutError); bytes."""
    session = cells.session
    if queued:
        return take()
    if not cells.speaks():
        raise RuntimeError(f"no message will come: {kForked}")
    if not session.running or get_ident() != session.thread:
        raise RuntimeError("brood.messages.receive() waits only in the thread that runs the cell; elsewhere it takes "
                           "what has come already")
    end = None if timeout is None else now() + timeout
    while True:
        frame = session.receive() if end is None else session.receive(max(0.0, end - now()))
        if frame is None:
            raise TimeoutError(f"no message came within {timeout} seconds")
        if frame[0] == MESSAGE:
            return frame[2]
        kept.append(frame)


def receive_text(timeout=None):
    """As receive(), decoded as UTF-8."""
    return receive(timeout).decode("utf-8", "replace")


def was_interrupted():
    """Whether the cell was, before it ran: its signal came to nothing, but a frame was sent before that."""
    found = False
    try:
        while frame := cells.session.receive(0.0):
            if frame[0] == INTERRUPT:
                found |= cells_own.decoded(frame[1]).get("cell") == cells.session.cell.get("cell")
            elif frame[0] == MESSAGE:
                queue(frame[2])
            else:
                kept.append(frame)
    except EOFError:
        pass  # the server has left: C++ comes across it, too
    return found


def now():
    import time

    return time.monotonic()


# --- the module brood ----------------------------------------------------------------------------


def messages_module():
    module = cells_own.modules.get("brood.messages")
    if module is None:
        module = type(sys)("brood.messages", "Messages between a session's code and its clients, apart from stdin.")
        module.__dict__.update(send=send, receive=receive, receive_text=receive_text, __package__="brood")
        cells_own.modules["brood.messages"] = module
    return module


def adapt_brood(module):
    """The package of brood's own, when it is installed, or the one below."""
    module.messages = messages_module()
    module.display = cells_display.display


class BroodFinder:
    """Last on sys.meta_path: `import brood` works where brood's own package is not installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "brood":
            return None
        spec = type(sys.__spec__)("brood", BroodFinder, is_package=True)
        spec.submodule_search_locations = []
        return spec

    @staticmethod
    def create_module(spec):
        return type(sys)("brood", "The session that this code runs in: display(), and messages to its clients.")

    @staticmethod
    def exec_module(module):
        pass


# --- after an import -----------------------------------------------------------------------------


def when_imported(name, adapt):
    """Calls adapt(module): now if it is imported already, else at the end of its import."""
    module = cells_own.modules.get(name)
    if module is not None:
        attempt(adapt, module)
    else:
        wrapped[name] = adapt


def attempt(adapt, module):
    try:
        adapt(module)
    except Exception as error:
        cells.notice(f"{module.__name__} could not be adapted to the session: {cells.one_line(error)}")


class AdaptingFinder:
    """First on sys.meta_path: lets the others find the modules in `wrapped`, and adapts them once they are executed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in wrapped:
            return None
        for finder in list(sys.meta_path):
            if finder is AdaptingFinder or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = AdaptingLoader(spec.loader)
                return spec
        return None


class AdaptingLoader:
    """Stands for the module's own loader until that is through."""

    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        adapt = wrapped.pop(module.__spec__.name, None)
        if adapt is not None:
            attempt(adapt, module)

    def __getattr__(self, name):
        return getattr(self.loader, name)


def install():
    """begin_session()."""
    builtins.input = input
    input.__module__ = "builtins"
    messages_module()
    sys.meta_path.insert(0, AdaptingFinder)
    sys.meta_path.append(BroodFinder)
    when_imported("getpass", adapt_getpass)
    when_imported("brood", adapt_brood)


def after_fork():
    """In a copy: what the other one has received is its own."""
    kept.clear()
