"""Calls: functions by name, futures, deadlines, contexts."""

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from group_fixture import is_gone, wait_until

import brood
from brood.gateways import calls, targets

MODULE = '''
import os, time
from brood import with_context

class Shape:
    sides = 4

    @staticmethod
    def area(a, b):
        return a * b

    @classmethod
    def count(cls):
        return cls.sides

    class Inner:
        @classmethod
        def name(cls):
            return cls.__qualname__

    def method(self):
        pass

class Triangle(Shape):
    sides = 3

def add(a, b=1, *more, **named):
    return a + b + sum(more), named

def fail(text):
    raise KeyError(text)

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)
    return path

def spin():
    while True:
        pass

@with_context
def who(context, *args):
    return context.name, list(context.ancestors), args

def bad():
    return object()

def decorated(function):
    def inner():
        return function()
    return inner

@decorated
def replaced():
    pass

shape = Shape()
short = lambda: 1
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that only this process can import by itself."""
    name = f"called_{os.path.basename(tmp_path).replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__(name)
    del sys.modules[name]


# --- what can be called -----------------------------------------------------------------------------------------------


def test_functions_of_all_kinds(gateway, module):
    assert gateway.call(os.getpid) == gateway.greet["pid"]
    assert gateway.call(len, "four") == 4
    assert gateway.call(module.add, 1, 2, 3, x=5) == (6, {"x": 5})
    assert gateway.call(module.Shape.area, 3, 4) == 12
    assert gateway.call(module.Shape.count) == 4 and gateway.call(module.Triangle.count) == 3
    assert gateway.call(module.Shape.Inner.name) == "Shape.Inner"
    assert gateway.call(dict.fromkeys, "ab", 1) == {"a": 1, "b": 1}
    assert gateway.call(list, "ab") == ["a", "b"]


def test_arguments_may_have_any_name(gateway, module):
    assert gateway.call(module.add, 1, function=2, self=3) == (2, {"function": 2, "self": 3})


def test_a_function_may_ask_for_its_context(group, module):
    assert group.makegateway().call(module.who, 1) == ("gw0", [0], (1,))
    assert group.makegateway(f"{group.defaultspec}//via=gw0").call(module.who) == ("gw1", [1, 0], ())


@pytest.mark.parametrize("choose, error, text", [
    (lambda module: module.short, ValueError, "a lambda"),
    (lambda module: module.shape.method, TypeError, "a method of an object, a Shape"),
    (lambda module: module.replaced, ValueError, "inner is defined inside of decorated"),
    (lambda module: "text".upper, TypeError, "a method of an object, a str"),
    (lambda module: 5, TypeError, "no function"),
    (lambda module: module.shape, TypeError, "no function"),
])
def test_what_cannot_be_called(gateway, module, choose, error, text):
    with pytest.raises(error, match=text):
        gateway.call(choose(module))


def test_a_function_that_was_replaced_is_not_confused(gateway, module):
    old, module.add = module.add, module.fail
    with pytest.raises(ValueError, match="add is something else by now"):
        gateway.call(old, 1)


def test_closures_are_named(gateway):
    def local():
        return 1

    with pytest.raises(ValueError, match="local is defined inside of test_closures_are_named"):
        gateway.call(local)


def test_values_that_cannot_be_sent(gateway, module):
    with pytest.raises(brood.DumpError):
        gateway.call(module.add, object())
    with pytest.raises(brood.RemoteError, match="object"):
        gateway.call(module.bad)
    assert gateway.call(module.add, 1) == (2, {})


def run_program(tmp_path, text, arguments=("program.py",)):
    (tmp_path / "program.py").write_text(textwrap.dedent(text))
    return subprocess.run([sys.executable, *arguments], cwd=tmp_path, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(brood.__file__))})


PROGRAM = """
    import os, brood, helper
    def mine(x):
        return helper.twice(x), __name__, os.getpid()
    if __name__ == "__main__":
        with brood.Group(["popen"]) as group:
            value, name, pid = group[0].call(mine, 21)
            print(value, name, pid != os.getpid())
"""


@pytest.mark.parametrize("arguments, name", [
    (["program.py"], "__mp_main__"), (["-m", "program"], "program"), (["-m", "folder"], "folder.__main__"),
])
def test_functions_of_the_program_itself(tmp_path, arguments, name):
    (tmp_path / "helper.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__init__.py").touch()
    (tmp_path / "folder" / "__main__.py").write_text(textwrap.dedent(PROGRAM))
    done = run_program(tmp_path, PROGRAM, arguments)
    assert done.stdout == f"42 {name} True\n", done.stderr


def test_a_program_without_a_guard(tmp_path):
    done = run_program(tmp_path, """
        import brood
        def mine():
            return 1
        brood.makegateway().call(mine)
    """)
    assert done.returncode == 1 and '__name__ == "__main__"' in done.stderr and done.stderr.count("Traceback") <= 2


def test_a_program_that_is_no_file(tmp_path):
    done = run_program(tmp_path, "", ["-c", "import brood\ndef mine(): pass\nbrood.makegateway().call(mine)"])
    assert "mine() is of __main__, which is no file here" in done.stderr


def test_targets_are_remembered():
    known = targets.Targets()
    assert known.of(os.getpid) == ("posix", None, "getpid", False) == known.of(os.getpid)
    assert known.of(threading.Thread.run) == ("threading", "Thread", "run", False)


# --- errors and deadlines ---------------------------------------------------------------------------------------------


def test_what_it_raises(gateway, module):
    with pytest.raises(brood.RemoteError) as caught:
        gateway.call(module.fail, "the key")
    assert (caught.value.type, caught.value.text) == ("KeyError", "'the key'")
    assert "raise KeyError(text)" in str(caught.value)
    with pytest.raises(brood.RemoteError, match="SystemExit"):
        gateway.call(sys.exit, 3)
    with pytest.raises(brood.RemoteError, match="TypeError"):
        gateway.call(module.add)
    assert gateway.call(os.getpid)


@pytest.mark.parametrize("run", ["call", "result", "add_done_callback"])
def test_a_deadline(gateway, module, run):
    begun = time.monotonic()
    if run == "call":
        with pytest.raises(brood.DeadlineExceeded):
            gateway.call(module.spin, deadline=0.3)
    else:
        future = gateway.call_async(module.spin, deadline=0.3)
        if run == "add_done_callback":
            future.add_done_callback(lambda _: None)
        with pytest.raises(brood.DeadlineExceeded):
            future.result()
    assert time.monotonic() - begun < 2
    assert gateway.call(os.getpid, deadline=5) == gateway.greet["pid"]


def test_a_deadline_that_is_kept(gateway, module):
    assert gateway.call(module.add, 1, deadline=20) == (2, {})
    assert gateway.call_async(module.add, 1, deadline=20).result() == (2, {})


def test_beyond_the_deadline_the_gateway_is_ended(gateway, module):
    pid = gateway.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    future, other = gateway.call_async(os.getpid, deadline=0.2), gateway.call_async(os.getpid)
    with pytest.raises(brood.DeadlineExceeded, match="0.2 seconds"):
        future.result()
    assert 1 < time.monotonic() - begun < 4
    with pytest.raises(brood.GatewayLost, match="deadline"):
        other.result(5)
    wait_until(lambda: is_gone(pid))


def test_an_answer_that_nobody_took_keeps_the_gateway(gateway):
    future = gateway.call_async(os.getpid, deadline=0.1)
    assert gateway.call(os.getpid)
    time.sleep(0.1 + calls.GRACE + 0.2)  # what is tested is that nothing happens
    assert gateway.hasreceiver() and future.result(0) == gateway.greet["pid"]


def test_a_lost_gateway(gateway, module):
    futures = [gateway.call_async(time.sleep, 60) for _ in range(3)]
    futures[0].add_done_callback(lambda _: None)
    os.kill(gateway.greet["pid"], signal.SIGKILL)
    for future in futures:
        with pytest.raises(brood.GatewayLost, match="gw0"):
            future.result(10)
    with pytest.raises(brood.GatewayLost):
        gateway.call(os.getpid)


# --- futures ----------------------------------------------------------------------------------------------------------


def test_pipelined(gateway):
    futures = [gateway.call_async(divmod, number, 7) for number in range(5000)]
    assert [future.result() for future in futures] == [divmod(number, 7) for number in range(5000)]


def test_more_than_may_be_unanswered(gateway):
    futures = [gateway.call_async(len, "") for _ in range(20000)]
    assert sum(future.result() for future in futures) == 0


def test_a_future_without_a_lock(gateway):
    future = gateway.call_async(len, "ab")
    assert future.result() == 2 == future.result(0) and future.exception() is None and future.done()
    assert "_condition" not in vars(future)


def test_time_outs(gateway, module, tmp_path):
    future = gateway.call_async(module.wait_for, str(tmp_path / "go"))
    for use in (future.result, future.exception):
        with pytest.raises(concurrent.futures.TimeoutError):
            use(0.01)
    assert not future.done() and not future.cancelled()
    (tmp_path / "go").touch()
    assert future.result(5) == str(tmp_path / "go")


def test_states(gateway, module, tmp_path):
    future = gateway.call_async(module.wait_for, str(tmp_path / "go"))
    assert not future.done()
    told = []
    future.add_done_callback(lambda done: told.append(done.result()))
    (tmp_path / "go").touch()
    wait_until(lambda: told == [str(tmp_path / "go")])
    assert future.done() and not future.cancelled() and not future.cancel() and "finished" in repr(future)
    future.add_done_callback(told.append)
    assert told[1] is future
    with pytest.raises(AttributeError):
        future.no_such_name


def test_waiting_for_many(gateway, module, tmp_path):
    slow = gateway.call_async(module.wait_for, str(tmp_path / "go"))
    fast = [gateway.call_async(len, "x" * number) for number in range(20)]
    done, waiting = concurrent.futures.wait([slow, *fast], timeout=10, return_when=concurrent.futures.FIRST_COMPLETED)
    assert slow in waiting and done
    (tmp_path / "go").touch()
    assert len(list(concurrent.futures.as_completed([slow, *fast], timeout=10))) == 21
    assert concurrent.futures.wait(fast).done == set(fast)


def test_many_threads_wait_for_one(gateway, module, tmp_path):
    future = gateway.call_async(module.wait_for, str(tmp_path / "go"))
    got, begun = [], threading.Barrier(9)

    def take():
        begun.wait()
        got.append(future.result(10))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    begun.wait()
    time.sleep(0.02)
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join()
    assert got == [str(tmp_path / "go")] * 8


def test_one_gives_up_while_another_waits(gateway, module, tmp_path):
    future = gateway.call_async(module.wait_for, str(tmp_path / "go"))
    first = threading.Thread(target=lambda: pytest.raises(concurrent.futures.TimeoutError, future.result, 0.2))
    first.start()
    got = []
    second = threading.Thread(target=lambda: got.append(future.result(10)))
    second.start()
    first.join()
    (tmp_path / "go").touch()
    second.join()
    assert got == [str(tmp_path / "go")]


def test_many_futures_many_threads(gateway):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda number: gateway.call(len, "x" * number), range(200))) == sum(range(200))


def test_cancelling(gateway, module, tmp_path):
    blocking = [gateway.call_async(module.wait_for, str(tmp_path / "go")) for _ in range(2)]
    future, told = gateway.call_async(len, ""), []
    wait_until(future.done)
    waiting = blocking[1]
    waiting.add_done_callback(told.append)
    assert waiting.cancel() and waiting.cancel() and waiting.cancelled() and told == [waiting]
    assert not future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        waiting.result(0)
    assert concurrent.futures.wait([waiting], timeout=5).done
    (tmp_path / "go").touch()
    assert blocking[0].result(5)


def test_cancelling_what_another_thread_waits_for(gateway, module, tmp_path):
    future = gateway.call_async(module.wait_for, str(tmp_path / "go"))
    caught = []

    def take():
        try:
            future.result(10)
        except concurrent.futures.CancelledError:
            caught.append(True)

    thread = threading.Thread(target=take)
    thread.start()
    wait_until(lambda: future._free is None)
    assert future.cancel()
    thread.join(10)
    (tmp_path / "go").touch()
    assert caught == [True]


def test_awaiting(gateway, module):
    async def main():
        assert await gateway.call_async(len, "abc") == 3
        assert await asyncio.gather(*(gateway.call_async(len, "x" * number) for number in range(50))) == list(range(50))
        with pytest.raises(brood.RemoteError, match="KeyError"):
            await gateway.call_async(module.fail, "x")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(gateway.call_async(time.sleep, 30), 0.05)
        taken = gateway.call_async(len, "a")
        assert taken.result(5) == 1 == await taken

    asyncio.run(main())


def test_an_abandoned_future_takes_nothing_along(gateway):
    for _ in range(100):
        gateway.call_async(os.getpid)
    assert gateway.call(os.getpid) == gateway.greet["pid"]
    wait_until(lambda: gateway.remote_status().numchannels <= 2)
