"""More requests at once than a server takes on one connection: they take turns, in both clients."""

import asyncio
import threading

import brood
import pytest
from brood.turns import Turns
from fake_server import OUTSTANDING, PATIENCE

MANY = 150  # requests at once


def start(work, arguments):
    threads = [threading.Thread(target=work, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    return threads


def release_all(server, count):
    for _ in range(count):
        assert server.held_now.acquire(timeout=PATIENCE)
        server.release(next(iter(server.held)))


def test_turns():
    turns = Turns()
    asked = [turns.ask(number, "run") for number in range(100)]
    long = asked.count(True)
    assert asked == [True] * long + [False] * (100 - long), "in their order"
    short = [turns.ask(number, "interrupt") for number in range(100, 200)].count(True)
    assert 0 < short and long + short < OUTSTANDING
    assert turns.done(0) == [100 + short], "the short ones before the long ones"
    assert turns.done(150) == [], "one that waited has stopped"
    for number in range(100, 200):
        turns.done(number)
    assert turns.done(1) == [long + 1] and turns.done(2) == [long + 2]
    assert turns.done(12345) == []


def test_many_threads(server):
    got = []
    with brood.Client(server.address, timeout=PATIENCE) as client:
        threads = start(lambda number: got.append(client.call("hold", name=str(number))["name"]), range(MANY))
        release_all(server, MANY)
        for thread in threads:
            thread.join(PATIENCE)
    assert sorted(got, key=int) == [str(number) for number in range(MANY)]
    assert server.most_outstanding <= OUTSTANDING and server.accepted == 1


def test_cells_leave_places_for_an_interrupt(server):
    with brood.Client(server.address, timeout=PATIENCE) as client:
        sessions = [client.new() for _ in range(MANY)]
        threads = start(lambda session: session.run("hold"), sessions)
        for _ in range(40):
            assert server.held_now.acquire(timeout=PATIENCE)
        for session in sessions:
            session.interrupt()
        for name in list(server.held)[:40]:
            server.release(name)
        release_all(server, MANY - 40)
        for thread in threads:
            thread.join(PATIENCE)
        for session in sessions:
            session.remove()
    assert server.sessions == {} and server.most_outstanding <= OUTSTANDING


def test_what_nobody_waits_for_keeps_its_place_until_it_is_answered(server):
    with brood.Client(server.address, timeout=PATIENCE) as client:
        for number in range(Turns.PLACES):
            with pytest.raises(brood.Timeout):
                client.request("hold", {"name": str(number)}, timeout=0.001)
        with pytest.raises(brood.Timeout):
            client.request("sessions", {}, timeout=0.01)
        for _ in range(Turns.PLACES):
            assert server.held_now.acquire(timeout=PATIENCE)
        threads = start(lambda _: client.sessions(), [0])  # nobody else reads the answers
        server.release("7")
        threads[0].join(PATIENCE)
        assert not threads[0].is_alive()


def test_waiting_for_a_turn_ends_with_the_client(server):
    client, caught = brood.Client(server.address, timeout=PATIENCE), []

    def work(number):
        try:
            client.call("hold", name=str(number))
        except brood.ConnectionLost as error:
            caught.append(error)

    threads = start(work, range(MANY))
    for _ in range(Turns.PLACES):
        assert server.held_now.acquire(timeout=PATIENCE)
    client.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(caught) == MANY


# --- asyncio -----------------------------------------------------------------------------------------------------------


def run(server, function):
    async def main():
        async with brood.AsyncClient(server.address, timeout=PATIENCE) as client:
            return await asyncio.wait_for(function(client), PATIENCE)

    return asyncio.run(main())


async def held(server, count):
    for _ in range(count):
        assert await asyncio.to_thread(server.held_now.acquire, timeout=PATIENCE)


def test_many_tasks(server):
    async def use(client):
        tasks = [asyncio.ensure_future(client.call("hold", name=str(number))) for number in range(MANY)]
        await asyncio.to_thread(release_all, server, MANY)
        assert [answer["name"] for answer in await asyncio.gather(*tasks)] == [str(number) for number in range(MANY)]

    run(server, use)
    assert server.most_outstanding <= OUTSTANDING and server.accepted == 1


def test_tasks_with_cells_leave_places_for_an_interrupt(server):
    async def use(client):
        sessions = [await client.new() for _ in range(MANY)]
        tasks = [asyncio.ensure_future(session.run("hold")) for session in sessions]
        await held(server, 40)
        for session in sessions:
            await session.interrupt()
        for task in tasks:
            task.cancel()
        assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))
        await asyncio.gather(*(session.remove() for session in sessions))
        assert server.sessions == {}

    run(server, use)
    assert server.most_outstanding <= OUTSTANDING


def test_what_no_task_waits_for_keeps_its_place_until_it_is_answered(server):
    async def use(client):
        for number in range(Turns.PLACES):
            with pytest.raises(brood.Timeout):
                await client.request("hold", {"name": str(number)}, timeout=0.001)
        with pytest.raises(brood.Timeout):
            await client.request("sessions", {}, timeout=0.01)
        await held(server, Turns.PLACES)
        waiting = asyncio.ensure_future(client.sessions())
        server.release("7")
        assert await waiting == []

    run(server, use)
