"""Many gateways at once, and a million items."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from group_fixture import is_gone, wait_until
from hosts.fixtures import sshd  # noqa: F401

MANY = 64
DEAF = """
import time
channel.send(None)
while True:
    try:
        time.sleep(100)
    except BaseException:
        pass
"""


@pytest.fixture
def many(group):
    """64 gateways that were started at the same time."""
    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(group.makegateway, [group.defaultspec] * MANY))


def test_many_gateways(group, many):
    """Each answers, all call at once, and all are gone soon: what is left of them here is for the fixture to find."""
    assert len(group) == MANY and {gateway.id for gateway in many} == {f"gw{number}" for number in range(MANY)}
    pids = [gateway.greet["pid"] for gateway in many]
    assert len(set(pids)) == MANY and [gateway.call(os.getpid) for gateway in many] == pids
    futures = [[gateway.call_async(divmod, number, 7) for number in range(20)] for gateway in many]
    assert [[future.result(20) for future in each] for each in futures] == [[divmod(number, 7) for number in range(20)]] * MANY
    channels = group.remote_exec("for item in channel: channel.send(item + 1)")
    for number in range(10):
        channels.send_each(number)
    received = channels.receive_each(withchannel=True)
    assert sorted(channel.gateway.context for channel, _ in received) == sorted(gateway.context for gateway in many)
    assert [item for _, item in received] == [1] * MANY
    begun = time.monotonic()
    group.terminate(10)
    assert time.monotonic() - begun < 10
    wait_until(lambda: all(map(is_gone, pids)))


def test_many_that_hang_are_ended_at_the_same_time(group, many):
    """One after the other they would take four minutes."""
    pids = [gateway.greet["pid"] for gateway in many]
    channels = group.remote_exec(DEAF)
    channels.receive_each()
    begun = time.monotonic()
    group.terminate()
    assert time.monotonic() - begun < 20
    wait_until(lambda: all(map(is_gone, pids)))


def soak(channel, seed, count):
    """Runs on both sides at once: sends `count` items of random bytes and receives as many, then compares checksums of both."""
    import random
    import threading
    import zlib

    def items():
        numbers = random.Random(seed)
        block = numbers.getrandbits(8 << 19).to_bytes(1 << 19, "little")
        choose = numbers.random
        for _ in range(count):
            size = int(choose() ** 4 * 300) * (1 if choose() < 0.9995 else 1000)  # 60 bytes, and now and then up to 300 KB
            begin = int(choose() * (1 << 17))
            yield block[begin : begin + size]

    def send():
        checksum = 0
        for item in items():
            channel.send(item)
            checksum = zlib.crc32(item, checksum ^ len(item))
        sent.append(checksum)

    sent, received = [], 0
    sender = threading.Thread(target=send)
    sender.start()
    for _ in range(count):
        item = channel.receive(30)
        received = zlib.crc32(item, received ^ len(item))
    sender.join()
    channel.send([sent[0], received])
    assert channel.receive(30) == [received, sent[0]]


def soak_with(gateway, items):
    """items: of both directions together."""
    begun = time.monotonic()
    channel = gateway.remote_exec(soak, seed=gateway.context, count=items // 2)
    soak(channel, 1000, items // 2)
    channel.waitclose(10)
    assert time.monotonic() - begun < 20
    return channel


def test_a_million_items(group, gateway):
    soak_with(gateway, 1_000_000)
    assert group.engine.stats()["dropped"] == 0


def test_many_items_over_ssh(group, sshd):  # noqa: F811
    soak_with(group.makegateway(sshd.spec()), 100_000)


def test_many_items_through_others(group):
    near = group.makegateway(f"{group.defaultspec}//id=near")
    group.makegateway(f"{group.defaultspec}//id=middle//via={near.id}")
    soak_with(group.makegateway(f"{group.defaultspec}//via=middle"), 100_000)


def test_many_items_from_many_at_once(group, many):
    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(soak_with, many, [4000] * MANY))
