"""Little programs as users of execnet write them: under brood.execnet they do what they do under execnet.

A program is a function of the module that it calls `execnet` and of a Group of it; what it returns is compared.
"""

import inspect
import os
import queue
import subprocess
import sys
import textwrap
import threading

import pytest

import brood.execnet

execnet = pytest.importorskip("execnet")
PROGRAMS = []


def program(function):
    PROGRAMS.append(function)
    return function


def outcome(function, *errors):
    """What it returns, or the name of the first of these classes that its exception is an instance of."""
    try:
        return function()
    except errors as error:
        return next(kind.__name__ for kind in errors if isinstance(error, kind))


# --- executing --------------------------------------------------------------------------------------------------------


def far_function(channel, a, b=2, *, c=3):
    import os
    channel.send((a, b, c, __name__, os.getpid() > 0))


def far_error(channel):
    channel.send("before")
    raise ValueError("far away")


def far_server(channel):
    for item in channel:
        if item == "stop":
            break
        channel.send(item + 1)
    channel.send("stopped")


@program
def texts(execnet, group):
    channel = group.makegateway().remote_exec("""
        import sys
        channel.send([__name__, sys.version_info[0]])
        for item in channel:
            channel.send(item * 2)
    """)
    yield channel.receive()
    channel.send(21)
    yield channel.receive(timeout=5)
    channel.send("ab")
    yield channel.receive()


@program
def functions(execnet, group):
    gateway = group.makegateway()
    yield gateway.remote_exec(far_function, a=1).receive()
    yield gateway.remote_exec(far_function, a=[1], b={"x": None}, c=b"").receive()
    channel = gateway.remote_exec(far_server)
    channel.send(1)
    channel.send("stop")
    yield list(channel)


@program
def modules(execnet, group):
    import module_for_execnet

    yield group.makegateway().remote_exec(module_for_execnet).receive()


@program
def refusals(execnet, group):
    gateway = group.makegateway()
    value = 1

    def closure(channel):
        return value

    def nothing():
        pass

    def another(chan):
        pass

    def uses_global(channel):
        return os.getpid()

    yield outcome(lambda: gateway.remote_exec("pass", a=1), TypeError)
    for function in closure, nothing, another, uses_global, lambda channel: 1:
        yield outcome(lambda function=function: gateway.remote_exec(function), ValueError)
    yield outcome(lambda: gateway.remote_exec("channel.send(1)").send(object()), execnet.dumps and Exception)


@program
def errors_in_the_middle(execnet, group):
    channel = group.makegateway().remote_exec(far_error)
    yield channel.receive()
    try:
        channel.receive()
    except channel.RemoteError as error:
        yield "ValueError: far away" in str(error), "in far_error" in error.formatted, os.path.basename(__file__) in str(error)
        yield f'line {inspect.getsourcelines(far_error)[1] + 2}, in far_error' in str(error)
    yield outcome(channel.receive, EOFError)
    yield channel.waitclose(), channel.isclosed()
    yield outcome(lambda: channel.send(1), OSError)


@program
def errors_by_waitclose(execnet, group):
    gateway = group.makegateway()
    for source in "1 / 0", "raise SystemExit(1)", "raise KeyboardInterrupt", "import no_such_module_at_all", "syntax error":
        channel = gateway.remote_exec(source)
        yield outcome(lambda: channel.waitclose(5), execnet.RemoteError)
        yield outcome(lambda: channel.waitclose(5), execnet.RemoteError), outcome(lambda: channel.receive(5), EOFError)
    yield outcome(lambda: gateway.remote_exec("raise EOFError").waitclose(5), execnet.RemoteError)


@program
def many_at_once(execnet, group):
    gateway = group.makegateway()
    channels = [gateway.remote_exec("channel.send(channel.receive() ** 2)") for _ in range(10)]
    for number, channel in reversed(list(enumerate(channels))):
        channel.send(number)
    yield [channel.receive(5) for channel in channels]


@program
def globals_are_not_shared(execnet, group):
    gateway = group.makegateway()
    gateway.remote_exec("here = 1; import sys; sys.there = 2").waitclose()
    yield gateway.remote_exec("import sys; channel.send(('here' in globals(), sys.there))").receive()


# --- channels ---------------------------------------------------------------------------------------------------------


@program
def values(execnet, group):
    channel = group.makegateway().remote_exec("for item in channel: channel.send(item); channel.send(type(item).__name__)")
    for value in (None, True, -5, 2**40, 2**100, 1.25, 1 + 2j, "text", "\u20ac", b"bytes", [1, [2, []]], (1, (2,)), {"a": {1: 2}},
                  {1, 2}, frozenset("ab"), "", (), {}, set()):
        channel.send(value)
        back = channel.receive()
        yield back, type(back).__name__, channel.receive()


@program
def values_that_are_none(execnet, group):
    channel = group.makegateway().remote_exec("for item in channel: channel.send(item)")
    for value in object(), [object()], lambda: 0, range(3), Exception("x"), type:
        yield outcome(lambda value=value: channel.send(value), execnet.DataFormatError)
    channel.send(1)
    yield channel.receive(5)


@program
def closing_here(execnet, group):
    channel = group.makegateway().remote_exec("channel.send(1)\ntry:\n    channel.receive()\nexcept EOFError:\n    pass")
    yield channel.receive(), channel.isclosed()
    channel.close()
    yield channel.isclosed(), outcome(lambda: channel.receive(1), EOFError), outcome(lambda: channel.send(1), OSError)
    yield channel.waitclose(1), channel.close()


@program
def closing_wakes_the_other_side(execnet, group):
    gateway = group.makegateway()
    other = gateway.newchannel()
    channel = gateway.remote_exec("""
        other = channel.receive()
        try:
            channel.receive()
        except EOFError:
            other.send("woken")
    """)
    channel.send(other)
    channel.close()
    yield other.receive(5)


@program
def closing_with_an_error(execnet, group):
    gateway = group.makegateway()
    other = gateway.newchannel()
    channel = gateway.remote_exec("other = channel.receive()\nother.close('broken')")
    channel.send(other)
    yield outcome(lambda: other.receive(5), execnet.RemoteError)
    yield outcome(lambda: other.receive(5), EOFError)


@program
def items_outlive_the_close(execnet, group):
    channel = group.makegateway().remote_exec("for number in range(5): channel.send(number)")
    channel.waitclose(5)
    yield channel.isclosed(), list(channel), outcome(channel.receive, EOFError)


@program
def time_outs(execnet, group):
    channel = group.makegateway().remote_exec("channel.receive()")
    yield outcome(lambda: channel.receive(timeout=0.05), channel.TimeoutError), outcome(lambda: channel.receive(0.01), OSError)
    yield outcome(lambda: channel.waitclose(timeout=0.05), channel.TimeoutError)
    yield channel.TimeoutError is execnet.TimeoutError, channel.RemoteError is execnet.RemoteError


@program
def new_channels(execnet, group):
    gateway = group.makegateway()
    channel = gateway.remote_exec("""
        numbers, texts = channel.receive()["both"]
        for number in numbers:
            texts.send(str(number))
        texts.close()
    """)
    numbers, texts = gateway.newchannel(), gateway.newchannel()
    channel.send({"both": [numbers, texts]})
    for number in range(3):
        numbers.send(number)
    yield texts.receive(5), texts.receive(5)
    numbers.close()
    yield texts.receive(5), outcome(lambda: texts.receive(5), EOFError)


@program
def channels_from_there(execnet, group):
    channel = group.makegateway().remote_exec("""
        own = channel.gateway.newchannel()
        channel.send(own)
        own.send(own.receive() + 1)
        channel.send(channel.gateway.id)
    """)
    own = channel.receive()
    own.send(1)
    yield own.receive(5), channel.receive(5)


@program
def a_channel_comes_back(execnet, group):
    channel = group.makegateway().remote_exec("for item in channel: channel.send(item)")
    own = channel.gateway.newchannel()
    channel.send([own])
    yield channel.receive(5)[0] is own


# --- callbacks --------------------------------------------------------------------------------------------------------


@program
def callbacks(execnet, group):
    channel, items = group.makegateway().remote_exec("for number in range(100): channel.send(number)"), []
    channel.setcallback(items.append)
    channel.waitclose(5)
    yield items


@program
def callbacks_with_an_endmarker(execnet, group):
    gateway = group.makegateway()
    for source in "channel.send(1)", "channel.send(1); 1 / 0", "pass":
        channel, items = gateway.remote_exec(source), queue.Queue()
        channel.setcallback(items.put, endmarker="end")
        got = [items.get(timeout=5)]
        while got[-1] != "end":
            got.append(items.get(timeout=5))
        yield got, outcome(lambda: channel.waitclose(5), channel.RemoteError)
        yield outcome(lambda: channel.receive(0), OSError), outcome(lambda: channel.setcallback(items.put), OSError)


@program
def callbacks_on_what_waits(execnet, group):
    channel, items = group.makegateway().remote_exec("for number in range(3): channel.send(number)"), []
    channel.waitclose(5)
    done = threading.Event()
    channel.setcallback(lambda item: done.set() if item is None else items.append(item), endmarker=None)
    yield done.wait(5), items


@program
def callbacks_there(execnet, group):
    channel = group.makegateway().remote_exec("""
        import threading
        done = threading.Event()
        def got(item):
            if item is None:
                done.set()
            else:
                channel.send(item * 2)
        channel.setcallback(got)
        done.wait(5)
    """)
    channel.send(1)
    channel.send("x")
    yield channel.receive(5), channel.receive(5)
    channel.send(None)
    yield channel.waitclose(5)


@program
def as_xdist_does(execnet, group):
    """A controller that only has callbacks, and workers that take commands."""
    import module_for_workers

    events = queue.Queue()
    group.makegateway()
    group.makegateway()
    channels = []
    for gateway in group:
        channel = gateway.remote_exec(module_for_workers)
        channel.send(({"workerid": gateway.id}, ["-x"], {"option": None}, None))
        channel.setcallback(lambda item, id=gateway.id: events.put((id, item)), endmarker=-1)
        channels.append(channel)
    for channel in channels:
        channel.send(("runtests", {"indices": [1, 2]}))
        channel.send(("shutdown", {}))
    got = [events.get(timeout=10) for _ in range(10)]
    yield [[item for id, item in got if id == each] for each in ("gw0", "gw1")]
    yield [channel._getremoteerror() for channel in channels], [channel.isclosed() for channel in channels]
    group.terminate(10)
    yield len(group)


@program
def a_worker_that_dies(execnet, group):
    gateway, events = group.makegateway(), queue.Queue()
    channel = gateway.remote_exec("channel.send(1)\nchannel.receive()\nimport os\nos._exit(3)")
    channel.setcallback(events.put, endmarker="end")
    channel.send(None)
    yield events.get(timeout=5), events.get(timeout=5)
    gateway.join()
    yield gateway.hasreceiver(), outcome(lambda: gateway.remote_exec("pass"), OSError), len(group)
    gateway.exit()
    yield len(group)


# --- files ------------------------------------------------------------------------------------------------------------


@program
def files(execnet, group):
    gateway = group.makegateway()
    channel = gateway.remote_exec("""
        file = channel.makefile("w")
        print("first line", file=file)
        file.write("second\\nthird")
        file.flush()
        file.close()
    """)
    file = channel.makefile("r")
    yield file.readline(), file.read(3), file.readline(), file.readline(), file.read(1), file.isatty()
    yield outcome(lambda: channel.makefile("rw"), ValueError)


# --- groups and gateways ----------------------------------------------------------------------------------------------


@program
def groups(execnet, group):
    first, second = group.makegateway("popen"), group.makegateway("popen//id=two")
    third = group.makegateway(execnet.XSpec("popen"))
    yield [gateway.id for gateway in group], len(group), group["two"] is second, group[0] is first, group[-1] is third, group[second] is second
    yield "two" in group, "none" in group, first in group, outcome(lambda: group["none"], KeyError), outcome(lambda: group[7], IndexError)
    yield first.spec == execnet.XSpec("popen"), str(second.spec), first.hasreceiver()
    second.exit()
    yield [gateway.id for gateway in group], outcome(lambda: second.remote_exec("pass"), OSError)
    group.terminate(timeout=5)
    yield len(group), first.hasreceiver(), outcome(lambda: first.remote_exec("pass"), OSError)


@program
def multi_channels(execnet, group):
    for _ in range(3):
        group.makegateway()
    channels = group.remote_exec("channel.send(channel.receive() * 2)")
    channels.send_each(4)
    yield channels.receive_each(), len(channels), [channel.gateway.id for channel in channels]
    yield channels.waitclose()
    channels = group.remote_exec("channel.send(1)")
    into = channels.make_receive_queue(endmarker=None)
    yield sorted((channel.gateway.id, str(item)) for channel, item in (into.get(timeout=5) for _ in range(6)))
    channels = group.remote_exec("channel.send(2)")
    yield [(channel.gateway.id, item) for channel, item in channels.receive_each(withchannel=True)]
    yield outcome(group.remote_exec("1 / 0").waitclose, execnet.RemoteError)
    both = execnet.MultiChannel([channels[0], channels[2]])
    yield len(both), channels[0] in both, channels[1] in both


@program
def specs(execnet, group):
    gateway = group.makegateway("popen//chdir=new//nice=2//env:BROOD_A=5//id=it")
    channel = gateway.remote_exec("import os; channel.send((os.path.basename(os.getcwd()), os.environ['BROOD_A']))")
    yield channel.receive()
    spec = gateway.spec
    yield spec.popen, spec.chdir, spec.nice, spec.env, spec.id, spec.python, spec.ssh, spec.anything
    yield outcome(lambda: execnet.XSpec("popen//popen"), ValueError), outcome(lambda: execnet.XSpec("popen//_a=1"), AttributeError)
    yield outcome(lambda: group.makegateway("popen//python=/no/such/python"), OSError, execnet.HostNotFound) is not None


@program
def information(execnet, group):
    gateway = group.makegateway()
    info, status = gateway._rinfo(), gateway.remote_status()
    yield info.executable, info.version_info, info.platform, info.cwd, info.pid != os.getpid(), status.execmodel
    channel = gateway.remote_exec("channel.send(1); channel.receive()")
    channel.receive()
    yield gateway.remote_status().numexecuting
    channel.send(None)
    yield gateway.reconfigure(py2str_as_py3str=True), channel.reconfigure(py2str_as_py3str=True)


@program
def gateways_behind_gateways(execnet, group):
    group.makegateway("popen//id=near")
    group.makegateway("popen//via=near//id=far")
    yield group["far"].remote_exec("for item in channel: channel.send(item + 1)").send(1)
    channel = group["far"].remote_exec("channel.send(channel.receive() + 1)")
    channel.send(41)
    yield channel.receive(10)
    channel = group["far"].remote_exec("1 / 0")
    yield outcome(lambda: channel.receive(10), channel.RemoteError)


@program
def execution_models(execnet, group):
    group.set_execmodel("thread", "thread")
    yield outcome(lambda: group.set_execmodel("nonsense"), ValueError)


@program
def serialising(execnet, group):
    for value in [1, "two", (3.0, None)], {"a": {b"b"}}, 2**70:
        yield execnet.loads(execnet.dumps(value)) == value
    yield outcome(lambda: execnet.dumps(object()), execnet.DataFormatError), outcome(lambda: execnet.loads(b"\xc1"), execnet.DataFormatError)
    import io

    file = io.BytesIO()
    execnet.dump(file, [1, 2])
    file.seek(0)
    yield execnet.load(file)


@program
def copying(execnet, group):
    os.mkdir("source")
    with open("source/file.txt", "w") as file:
        file.write("text")
    finished = []
    for syncing in execnet.RSync("source"), execnet.RSync("source", verbose=False):
        for name in "one", "two":
            syncing.add_target(group.makegateway(), os.path.abspath(name), finishedcallback=lambda: finished.append(1), delete=True)
        syncing.send()
    yield sorted(os.listdir("one")), open("two/file.txt").read(), len(finished)


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_the_same(function, engine, tmp_path, monkeypatch):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "module_for_execnet.py").write_text("if __name__ == '__channelexec__':\n    channel.send(__name__)\n")
    (tmp_path / "modules" / "module_for_workers.py").write_text(textwrap.dedent(WORKER))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    results = []
    for module, group_of in (execnet, execnet.Group), (brood.execnet, brood.execnet.Group):
        place = tmp_path / module.__name__
        place.mkdir()
        monkeypatch.chdir(place)
        group = group_of()
        try:
            results.append([str(value).replace(module.__name__, "NAME") for value in function(module, group)])
        finally:
            group.terminate(timeout=5)
    assert results[1] == results[0]


WORKER = """
    import threading

    def take(channel, name):
        while True:
            command, arguments = channel.receive()
            channel.send((name + " " + command, arguments))
            if command == "shutdown":
                return

    if __name__ == "__channelexec__":
        channel = channel
        given, args, options, path = channel.receive()
        channel.send(("ready", dict(given, args=args, options=options, path=path)))
        take(channel, given["workerid"])
        channel.send(("finished", {"main": threading.current_thread() is threading.main_thread()}))
"""


XDIST_TESTS = """
    import os, pytest

    @pytest.mark.parametrize("number", range(20))
    def test_numbers(number, tmp_path, worker_id):
        assert number != 7 and os.environ["PYTEST_XDIST_WORKER"] == worker_id

    @pytest.mark.skip
    def test_skipped():
        pass

    def test_no_fixture(nothing):
        pass

    def test_that_kills():
        os._exit(3)
"""
XDIST = """
    import sys
    if len(sys.argv) > 2:
        import brood.execnet
        sys.modules["execnet"] = sys.modules["execnet.gateway_base"] = brood.execnet
    import pytest
    sys.exit(pytest.main(["-n2", "-rA", "-p", "no:cacheprovider", sys.argv[1]]))
"""


def test_xdist_runs_over_it(tmp_path):
    pytest.importorskip("xdist")
    (tmp_path / "test_of_xdist.py").write_text(textwrap.dedent(XDIST_TESTS))
    outcomes = []
    for arguments in [], ["brood"]:
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(XDIST), "test_of_xdist.py", *arguments], cwd=tmp_path, timeout=120,
                              env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(brood.__file__))},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        outcomes.append(sorted(line for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "SKIPPED", "ERROR"))))
        assert done.returncode == 1 and "crashed while running 'test_of_xdist.py::test_that_kills'" in done.stdout, done.stdout
    assert outcomes[0] == outcomes[1] and len(outcomes[0]) == 23


def test_the_names_are_there():
    documented = {"makegateway", "Group", "XSpec", "HostNotFound", "MultiChannel", "RSync", "RemoteError", "TimeoutError", "DataFormatError",
                  "default_group", "set_execmodel", "dumps", "loads", "dump", "load"}
    for name in documented:
        assert hasattr(execnet, name) and getattr(brood.execnet, name) is not None
    assert brood.execnet.makegateway.__self__ is brood.execnet.default_group


def test_its_version_is_broods(monkeypatch):
    monkeypatch.setattr(brood, "_run", lambda *_: "brood 1.2.3\n")
    assert brood.execnet.__version__ == "1.2.3"
