"""asyncio: channels, calls and groups, without a thread per channel."""

import asyncio
import os
import threading

import pytest
from group_fixture import is_gone

import brood
from brood.gateways import group as group_module

ECHO = "for item in channel: channel.send(item)"


def test_items_there_and_back(gateway):
    async def main():
        channel = gateway.remote_exec(ECHO)
        await channel.asend([1, "two"])
        assert await channel.areceive() == [1, "two"]
        with pytest.raises(channel.TimeoutError):
            await channel.areceive(timeout=0.05)
        channel.close()
        with pytest.raises(EOFError):
            await channel.areceive()

    asyncio.run(main())


def test_iteration_and_errors(gateway):
    async def main():
        assert [item async for item in gateway.remote_exec("for number in range(500): channel.send(number)")] == list(range(500))
        with pytest.raises(brood.RemoteError, match="ZeroDivisionError"):
            async for _ in gateway.remote_exec("channel.send(1); 1 / 0"):
                pass
        with pytest.raises(brood.GatewayLost):
            async for _ in gateway.remote_exec("channel.send(1)\nimport os\nos._exit(1)"):
                pass

    asyncio.run(main())


def test_many_channels_and_no_thread_for_each(gateway):
    async def talk(number):
        channel = gateway.remote_exec("channel.send(channel.receive())")
        await asyncio.sleep(0)
        await channel.asend(number)
        return await channel.areceive(20)

    async def main():
        before = threading.active_count()
        waiting = [gateway.newchannel() for _ in range(200)]
        tasks = [asyncio.ensure_future(channel.areceive()) for channel in waiting]
        assert await asyncio.gather(*map(talk, range(20))) == list(range(20))
        assert threading.active_count() <= before + 3
        for channel in waiting:
            channel.close()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(error, EOFError) for error in ended)

    asyncio.run(main())


def test_sending_waits_without_blocking_the_loop(gateway):
    async def main():
        channel = gateway.remote_exec("channel.receive(); go = channel.gateway.newchannel(); channel.send(go); go.receive()\n"
                                      "while 1: channel.send(len(channel.receive()))")
        channel.send(None)
        go, sent = await channel.areceive(5), []

        async def fill():
            for _ in range(30):
                await channel.asend(b"x" * 1_000_000)
                sent.append(1)

        task = asyncio.ensure_future(fill())
        await asyncio.sleep(0.3)
        assert 4 <= len(sent) <= 12 and not task.done()
        with pytest.raises(channel.TimeoutError):
            await channel.asend(b"x", timeout=0.05)
        go.send(None)
        assert [await channel.areceive(10) for _ in range(30)] == [1_000_000] * 30
        await task

    asyncio.run(main())


def test_two_tasks_on_one_channel(gateway):
    async def main():
        channel = gateway.remote_exec(ECHO)
        first, second = (asyncio.ensure_future(channel.areceive()) for _ in range(2))
        await asyncio.sleep(0)
        await channel.asend("a")
        await channel.asend("b")
        assert {await first, await second} == {"a", "b"}

    asyncio.run(main())


def test_a_task_that_is_cancelled_takes_nothing(gateway):
    async def main():
        channel = gateway.remote_exec(ECHO)
        task = asyncio.ensure_future(channel.areceive())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await channel.asend(1)
        assert await channel.areceive(5) == 1

    asyncio.run(main())


def test_a_loop_that_is_over(gateway):
    channel = gateway.remote_exec(ECHO)

    async def give_up():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(channel.areceive(), 0.05)

    async def take():
        await channel.asend(2)
        return await channel.areceive(5)

    asyncio.run(give_up())
    assert asyncio.run(take()) == 2


def test_groups(engine):
    async def main():
        async with group_module.Group() as group:
            first, second = await asyncio.gather(group.amakegateway(), group.amakegateway())
            assert {gateway.id for gateway in group} == {"gw0", "gw1"}
            pids = await asyncio.gather(first.call_async(os.getpid), second.call_async(os.getpid))
        assert len(set(pids)) == 2 and all(map(is_gone, pids)) and not group

    asyncio.run(main())


def test_a_call_that_is_cancelled(gateway):
    async def main():
        task = asyncio.ensure_future(_await(gateway.call_async(__import__("time").sleep, 30)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await gateway.call_async(len, "ab") == 2

    asyncio.run(main())


async def _await(future):
    return await future
