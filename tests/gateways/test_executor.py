"""The Executor: concurrent.futures over gateways."""

import concurrent.futures
import os
import signal
import sys
import threading
import time

import pytest
from group_fixture import is_gone, wait_until

import brood
from brood.gateways import group as group_module

MODULE = """
import os, time

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)
    return os.getpid()

def die():
    os._exit(1)

def die_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os._exit(1)
    return "alive"

def fail(number):
    if number == 3:
        raise ValueError(number)
    return number
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"worked_{os.path.basename(tmp_path).replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__(name)
    del sys.modules[name]


@pytest.fixture
def make(engine):
    made = []

    def executor(count=2, **options):
        made.append(brood.Executor([group_module.Group.defaultspec] * count, **options))
        return made[-1]

    yield executor
    for one in made:
        one.shutdown(cancel_futures=True)


def test_submit_and_map(make):
    with make() as executor:
        assert executor.submit(divmod, 7, 2).result(10) == (3, 1)
        assert executor.submit(int, "ff", base=16).result(10) == 255
        assert list(executor.map(pow, range(50), [2] * 50)) == [number**2 for number in range(50)]
        assert list(executor.map(pow, range(50), [2] * 50, chunksize=7)) == [number**2 for number in range(50)]
        pids = [gateway.greet["pid"] for gateway in executor.gateways]
    assert len(pids) == 2 and all(map(is_gone, pids))
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(len, "")


def test_all_gateways_work(make, module, tmp_path):
    executor = make(3, ahead=1)
    futures = [executor.submit(module.wait_for, str(tmp_path / "go")) for _ in range(3)]
    wait_until(lambda: all(future.running() for future in futures))
    waiting = executor.submit(len, "")
    (tmp_path / "go").touch()
    assert len({future.result(10) for future in futures}) == 3 and waiting.result(10) == 0


def test_what_waits_can_be_cancelled(make, module, tmp_path):
    executor = make(1, ahead=1)
    running = executor.submit(module.wait_for, str(tmp_path / "go"))
    waiting = [executor.submit(len, "") for _ in range(3)]
    assert waiting[0].cancel() and not running.cancel()
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting) and not running.done()
    (tmp_path / "go").touch()
    assert running.result(10)
    wait_until(lambda: is_gone(running.result()))


def test_errors(make, module):
    executor = make(1)
    with pytest.raises(brood.RemoteError, match="ValueError: 3"):
        executor.submit(module.fail, 3).result(10)
    with pytest.raises(brood.DumpError):
        executor.submit(len, object()).result(10)
    with pytest.raises(ValueError, match="lambda"):
        executor.submit(lambda: 0).result(10)
    for size in 1, 4:
        results = executor.map(module.fail, range(6), chunksize=size)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(brood.RemoteError, match="ValueError: 3"):
            next(results)
    assert executor.submit(len, "ab").result(10) == 2


def test_any_number_that_fail_at_once(make):
    executor = make(1)
    futures = [executor.submit(len, object()) for _ in range(3000)]
    assert all(isinstance(future.exception(10), brood.DumpError) for future in futures)
    results = executor.map(len, [object()] * 3000)
    with pytest.raises(brood.DumpError):
        next(results)
    assert executor.submit(len, "ab").result(10) == 2


def test_map_times_out(make, module, tmp_path):
    results = make(1).map(module.wait_for, [str(tmp_path / "go")] * 2, timeout=0.1)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    (tmp_path / "go").touch()


def test_a_lost_gateway_fails_only_its_own(make, module):
    executor = make(2, ahead=1)
    lost = executor.submit(module.die)
    with pytest.raises(brood.GatewayLost):
        lost.result(10)
    assert len({executor.submit(os.getpid).result(10) for _ in range(5)}) == 1
    with pytest.raises(brood.GatewayLost):
        executor.submit(module.die).result(10)
    wait_until(lambda: not executor.gateways)
    with pytest.raises(brood.GatewayLost, match="all gateways"):
        executor.submit(len, "")


def test_lost_work_is_repeated_if_wanted(make, module, tmp_path):
    executor = make(2, retry=True)
    assert executor.submit(module.die_once, str(tmp_path / "died")).result(10) == "alive"
    assert len(executor.gateways) == 1


def test_what_waits_when_the_last_is_lost(make, module, tmp_path):
    executor = make(1, ahead=1)
    running, waiting = executor.submit(module.wait_for, str(tmp_path / "go")), executor.submit(len, "")
    wait_until(running.running)
    os.kill(executor.gateways[0].greet["pid"], signal.SIGKILL)
    for future in running, waiting:
        with pytest.raises(brood.GatewayLost):
            future.result(10)


def test_gateways_that_exist_stay(group):
    gateway = group.makegateway()
    with brood.Executor([gateway]) as executor:
        assert executor.submit(os.getpid).result(10) == gateway.greet["pid"]
    assert gateway.hasreceiver() and gateway in group


@pytest.mark.parametrize("specs, count", [(2, 2), ("popen", 1), ("2*popen", 2), (["popen", "2*popen"], 3)])
def test_ways_to_say_how_many(specs, count):
    with brood.Executor(specs) as executor:
        assert len(executor.gateways) == count


def test_arguments_that_are_wrong():
    for arguments in {"specs": []}, {"specs": 0}, {"specs": 1, "ahead": 0}, {"specs": "nothing"}:
        with pytest.raises(ValueError):
            brood.Executor(**arguments)


def test_many_threads_submit(make):
    executor, results, failed = make(2), [], []

    def work():
        try:
            results.append(sum(executor.submit(len, "x" * number).result(20) for number in range(50)))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and results == [sum(range(50))] * 6


def test_work_is_taken_by_who_is_free(make, module, tmp_path):
    executor = make(2, ahead=1)
    blocked = executor.submit(module.wait_for, str(tmp_path / "go"))
    wait_until(blocked.running)
    begun = time.monotonic()
    assert sum(executor.map(len, ["ab"] * 100)) == 200
    assert not blocked.done() and time.monotonic() - begun < 10
    (tmp_path / "go").touch()
    blocked.result(10)
