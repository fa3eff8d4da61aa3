"""Group: gateways that are started, addressed and ended together. `default_group` is that of makegateway()."""

import atexit
import functools
import os
import sys
import threading
import time

from . import calls
from .channel import classes
from .core import start
from .core.errors import HostNotFound, RemoteError, TimeoutError
from .core.kinds import CALLBACKS, GONE, LEAVE_WITHIN, LOG, MAX_ITEM, MODULE, OPEN, ROOT, ROUTE, SERVICE, START, WINDOW
from .gateway import Gateway
from .lanes import Lane, complain
from .logs import Logs
from .multi import MultiChannel
from .xspec import XSpec

HEARTBEAT = 15  # seconds between PINGs to other machines
_START_WITHIN = 60.0  # seconds
_HEAR_OUT = 1.0  # seconds for the last log records of gateways that have left
_POLL = 0.02  # seconds
_IDLE = 5.0  # seconds after which a thread for callbacks leaves
_PASSED_ON = ("popen", "ssh", "vagrant_ssh", "ssh_config", "socket", "sudo", "warm", "python", "dont_write_bytecode", "engine")
Engine, Channel = classes()
_live = set()  # groups that have an engine


class Group:
    """Gateways, in the order of their start. Any thread.

    xspecs: what to start at once. serve: top-level names of the modules that remotes may ask for ("__main__": the program itself);
    None: every one but the standard library; []: none. Gateways are ended by terminate(), by leaving `with`, and at the
    interpreter's exit. The child of a fork() has none.
    """

    defaultspec = "popen"

    def __init__(self, xspecs=(), execmodel="thread", *, serve=None):
        self.set_execmodel(execmodel)
        self.serve = None if serve is None else _names(serve)
        self._modules = None
        self._context = ROOT  # the last number that was given
        self._pair = 0  # the same for channels between two remotes
        self._automatic = 0
        self._forget()
        try:
            self._make_all(list(xspecs))
        except BaseException:
            self.terminate(LEAVE_WITHIN)
            raise

    def _forget(self):
        """As if no gateway had ever been there."""
        self._lock = threading.RLock()
        self._gateways = []
        self._leaving = []
        self._by_context = {}
        self._names = set()  # being started
        self.engine = None
        self._at_exit = False
        self._served = threading.Condition()
        self._serving = set()  # threads
        self.deadlines = calls.Deadlines()
        self.reaper = Lane("brood-reaper", sys.maxsize)

    def cut(self):
        """In the child of a fork(): the gateways are the parent's."""
        for gateway in self._by_context.values():
            gateway.cut()
        self._forget()

    # --- a container --------------------------------------------------------------------------------------------------

    def __getitem__(self, key):
        """By position, id, or itself. IndexError, KeyError."""
        with self._lock:
            if isinstance(key, int):
                return self._gateways[key]
            for gateway in self._gateways:
                if gateway is key or gateway.id == key:
                    return gateway
        raise KeyError(key)

    def __contains__(self, key):
        try:
            self[key]
        except LookupError:
            return False
        return True

    def __len__(self):
        return len(self._gateways)

    def __iter__(self):
        return iter(list(self._gateways))

    def __repr__(self):
        return f"<Group {[gateway.id for gateway in self]}>"

    # --- starting -----------------------------------------------------------------------------------------------------

    def allocate_id(self, spec):
        """Gives the spec an id, gw0, gw1, ..., if it has none. ValueError if that one is taken."""
        with self._lock:
            if spec.id is None:
                name = f"gw{self._automatic}"
                self._automatic += 1
                self._refuse_taken(name)
                spec.id = name

    def _refuse_taken(self, name):
        if name in self or name in self._names:
            raise ValueError(f"there is a gateway of id {name!r} already: an id is used once in a group")

    def makegateway(self, spec=None):
        """Starts an interpreter and returns its Gateway; `spec`: a text or an XSpec, default: `defaultspec`.

        HostNotFound: it could not be reached, and why. ValueError: the spec or its id cannot be used.
        """
        module = sys.modules.get("__mp_main__")
        if module is not None and getattr(getattr(module, "__spec__", None), "_initializing", False):
            raise RuntimeError('a gateway is started while this program is imported by one: guard it with if __name__ == "__main__":')
        spec = self.defaultspec if spec is None else spec
        spec = spec if isinstance(spec, XSpec) else XSpec(spec)
        with self._lock:
            self.allocate_id(spec)
            self._refuse_taken(spec.id)
            via = self._parent(spec)
            self._names.add(spec.id)
            self._start_engine()
            self._context += 1
            gateway = Gateway(self, spec, self._context, via)
            self._by_context[gateway.context] = gateway
        try:
            self._start_behind(gateway) if via else self._start(gateway)
            with self._lock:
                self._gateways.append(gateway)
        except BaseException:
            del self._by_context[gateway.context]
            raise
        finally:
            self._names.discard(spec.id)
        return gateway

    def _parent(self, spec):
        return self._named(spec.via, "via") if spec.via else None

    def _named(self, name, key):
        if name not in self:
            raise ValueError(f"{key}={name}: this group has no gateway of that id; it has {[gateway.id for gateway in self]}")
        return self[name]

    def _start(self, gateway):
        greet = self._greet(gateway)
        link = start.start(self._located(gateway), greet, timeout=_START_WITHIN)
        try:
            self.engine.add_link(gateway.context, link.reader, link.writer, ahead=link.ahead, name=gateway.id, heartbeat=greet["heartbeat"])
        except BaseException:  # the group was terminated meanwhile
            link.close()
            raise
        gateway.started(link.greet, link.process)

    def _start_behind(self, gateway):
        spec, greet, path = self._located(gateway), self._greet(gateway), _path(gateway.via)
        value = {"context": gateway.context, "spec": _passed_on(spec), "greet": greet, "token": _token(spec)}
        self.engine.add_route(gateway.context, path[0].context)
        for above, below in zip(path, path[1:]):
            self.engine.post(above.context, ROUTE, (gateway.context, below.context))
        try:
            answer = self.engine.request(gateway.via.context, START, value).receive(_START_WITHIN + LEAVE_WITHIN)
        except (RemoteError, TimeoutError) as error:
            self.engine.lose(gateway.context, str(error))
            raise HostNotFound(f"{gateway.spec} from {gateway.via.id}: {getattr(error, 'text', '') or error}") from None
        gateway.started(answer, None)

    def _greet(self, gateway):
        spec = gateway.spec
        return {
            "versions": [1], "context": gateway.context, "ancestors": [*(above.context for above in reversed(_path(gateway.via))), ROOT],
            "id": spec.id, "level": Logs(spec.id).level(), "heartbeat": 0 if spec.popen or spec.sudo else HEARTBEAT,
            "item": MAX_ITEM, "window": WINDOW, "master": start.master_name(), "chdir": spec.chdir or None,
            "nice": int(spec.nice) if spec.nice else None, "env": dict(spec.env) or None, "serve": self.serve,
        }

    def _located(self, gateway):
        """What start() shall reach."""
        spec = gateway.spec
        if spec.installvia:
            from .installed import install
            spec, gateway.server = install(self._named(spec.installvia, "installvia"))
        gateway.address = spec.ssh or spec.vagrant_ssh or spec.socket
        return spec

    def _start_engine(self):
        if self.engine is None:
            self.engine = Engine(ROOT, channel_type=Channel)
            self.engine.group = self
            self.engine.set_spawner(functools.partial(self._serve, self.engine))
            _live.add(self)

    def _make_all(self, specs):
        if len(specs) < 2 or any("via=" in str(spec) for spec in specs):
            for spec in specs:
                self.makegateway(spec)
            return
        specs = [spec if isinstance(spec, XSpec) else XSpec(spec) for spec in specs]
        for spec in specs:
            self.allocate_id(spec)
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(min(8, len(specs))) as pool:
            made = list(pool.map(self.makegateway, specs))
        self._gateways.sort(key=made.index)

    # --- using --------------------------------------------------------------------------------------------------------

    def remote_exec(self, source, **kwargs):
        """remote_exec() on every gateway; a MultiChannel."""
        return MultiChannel([gateway.remote_exec(source, **kwargs) for gateway in self])

    def channel_pair(self, first, second):
        """The two ends of a channel between two gateways, to be sent to them: to `first` the first, to `second` the other."""
        from .core.kinds import End

        one, other = self[first], self[second]
        if one is other:
            raise ValueError(f"a channel is between two gateways, not from {one.id} to itself")
        with self._lock:
            self._pair += 2
            number = self._pair - 1  # odd: never one that an ancestor opens
        self.engine.post(one.context, OPEN, (other.context, number))
        self.engine.post(other.context, OPEN, (one.context, number))
        return End(other.context, number, one.context), End(one.context, number, other.context)

    @property
    def modules(self):
        """What answers questions for modules."""
        if self._modules is None:
            from .serve import Modules
            self._modules = Modules(self.serve)
        return self._modules

    def gateway_of(self, context):
        """The Gateway of that number, or None."""
        return self._by_context.get(context)

    def set_execmodel(self, execmodel, remote_execmodel=None):
        """Accepted for execnet's sake: "thread" is what there is, "main_thread_only" is taken for it."""
        for model in (execmodel, remote_execmodel):
            if model not in (None, "thread", "main_thread_only"):
                raise ValueError(f"the execution model is 'thread', not {model!r}")

    execmodel = remote_execmodel = property(lambda self: "thread")

    # --- what gateways ask --------------------------------------------------------------------------------------------

    def _serve(self, engine, queue):
        """A thread of the engine's, one for each queue, as long as there is something in it."""
        handle = self._call_back if queue == CALLBACKS else self._answer
        me = threading.get_ident()
        with self._served:
            self._serving.add(me)
        try:
            while (request := engine.next(queue, _IDLE)) is not None:
                try:
                    handle(*request)
                except Exception:
                    complain()
        finally:
            with self._served:
                self._serving.discard(me)
                self._served.notify_all()

    def _answer(self, kind, peer, value, channel):
        gateway = self._by_context.get(peer)
        if kind == GONE:
            for context in value[0]:
                if context in self._by_context:
                    self._by_context[context].ended()
        elif kind == LOG and gateway:
            gateway.logged(value)
        elif kind == MODULE and gateway:
            gateway.asked(value, channel)
        elif channel is not None:
            channel.close("this is not answered here")

    @staticmethod
    def _call_back(kind, peer, value, channel):
        function, argument = value
        function(argument)

    # --- the end ------------------------------------------------------------------------------------------------------

    def remove(self, gateway):
        """A gateway's, when it leaves."""
        with self._lock:
            if gateway in self._gateways:
                self._gateways.remove(gateway)
                self._leaving.append(gateway)

    def forget(self, gateway):
        """A gateway's, when it has left."""
        with self._lock:
            if gateway in self._leaving:
                self._leaving.remove(gateway)
                self._by_context.pop(gateway.context, None)

    def terminate(self, timeout=None):
        """Ends all gateways, those that others are reached through last, and waits until they are gone.

        Who is there after `timeout` seconds is killed; each leaves by itself within 4 seconds.
        """
        if self.engine is None:
            return
        end = time.monotonic() + (timeout if timeout is not None else LEAVE_WITHIN + 2)
        with self._lock:
            every = [*self._gateways, *self._leaving]
        for depth in sorted({len(_path(gateway)) for gateway in every}, reverse=True):
            level = [gateway for gateway in every if len(_path(gateway)) == depth]
            for gateway in level:
                gateway.exit()
            for gateway in level:
                gateway.join(max(0, end - time.monotonic()))
        for gateway in every:
            if gateway.is_there():
                gateway.kill(f"gateway {gateway.id} has not left in time: it was killed")
                gateway.join(1.0)
        end = time.monotonic() + _HEAR_OUT
        for gateway in every:
            gateway.hear_out(max(0, end - time.monotonic()))
        self._stop_engine(every)

    def wait(self, event, seconds):
        """Until that is set by what comes from gateways; False after the time."""
        if not self._at_exit:
            return event.wait(seconds)
        end = time.monotonic() + seconds
        while not event.is_set() and time.monotonic() < end:  # no thread may be there for it, nor be started
            request = self.engine.next(SERVICE, _POLL)
            if request is not None:
                self._answer(*request)
        return event.is_set()

    def terminate_at_exit(self):
        """The interpreter is about to end."""
        self._at_exit = True
        self.terminate(LEAVE_WITHIN)

    def _stop_engine(self, ended):
        with self._lock:
            for gateway in ended:
                self._by_context.pop(gateway.context, None)
            self._leaving = [gateway for gateway in self._leaving if gateway not in ended]
            if self._by_context or self._names or self.engine is None:
                return
            engine, self.engine = self.engine, None
            _live.discard(self)
        self.deadlines.clear()
        engine.stop()
        with self._served:  # a thread of the engine's must not be in it when the interpreter ends
            self._served.wait_for(lambda: not self._serving - {threading.get_ident()}, _HEAR_OUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.terminate()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        from asyncio import get_running_loop
        await get_running_loop().run_in_executor(None, self.terminate)

    async def amakegateway(self, spec=None):
        """makegateway() for asyncio."""
        from asyncio import get_running_loop
        return await get_running_loop().run_in_executor(None, self.makegateway, spec)


def _names(serve):
    names = sorted({serve} if isinstance(serve, str) else set(serve))
    for name in names:
        if not name.isidentifier():
            raise ValueError(f"serve: {name!r} is no name of a top-level module")
    return names


def _path(gateway):
    """From the child of the root down to this gateway."""
    path = []
    while gateway is not None:
        path.insert(0, gateway)
        gateway = gateway.via
    return path


def _token(spec):
    """The secret for a socket= that another gateway connects to; its file is of this machine. HostNotFound."""
    if not spec.token_file:
        return spec.token
    from .core.dial import read_token
    return read_token(vars(spec))


def _passed_on(spec):
    """The text of a spec for START: what says how to start it, as its attributes are now. Not the token, which is no part of a text."""
    values = [(key, getattr(spec, key)) for key in _PASSED_ON]
    return "//".join(key if value is True else f"{key}={value}" for key, value in values if value is not None)


def _terminate_all():
    for group in list(_live):
        group.terminate_at_exit()


def _after_fork():
    calls.after_fork()
    for group in list(_live):
        group.cut()
    _live.clear()


atexit.register(_terminate_all)
os.register_at_fork(after_in_child=_after_fork)
default_group = Group()
makegateway = default_group.makegateway
