"""brood.AsyncClient against the test server."""

import asyncio
import gc
import io
import os

import brood
import pytest
from fake_server import PATIENCE, FakeServer, frame
from test_client import MIB, asks, count, everything, flood, open_sockets


def run(server, function, **more):
    """Runs `await function(client)` in a loop of its own."""

    async def main():
        async with brood.AsyncClient(server.address, timeout=PATIENCE, **more) as client:
            return await asyncio.wait_for(function(client), PATIENCE)

    return asyncio.run(main())


def test_every_method_goes_where_it_should(server):
    async def use(client):
        assert (await client.environments())[0]["name"] == "math" and (await client.server())["user"] == "ada"
        async with await client.new("math", name="n", limits={"memory": 5}) as session:
            assert server.calls[-1][1]["limits"] == {"memory": 5}
            assert [s["id"] for s in await client.sessions()] == [session.id] and session.name == "n"
            assert (await session.rename("m"))["name"] == session.name == (await session.info())["name"]
            assert (await session.complete("pri"))["end"] == 3 and (await session.inspect("x"))["found"] is False
            assert await session.share("bob", "edit") == {"bob": "edit"}
            assert (await session.checkpoints(memory=True)).live["pss"] == 4096
            async with await session.fork() as branch:
                assert branch.id != session.id
            async with await client.session(session.id) as attached:
                assert (await attached.run("1+1")).check().value == "2"
            assert session.id in server.sessions
        assert server.sessions == {} and server.accepted == 1

    run(server, use)


def test_the_same_names_as_the_blocking_client():
    for plain, other in ((brood.Client, brood.AsyncClient), (brood.Session, brood.AsyncSession)):
        names = {name for name in vars(plain) if not name.startswith("_")}
        assert names == {name for name in vars(other) if not name.startswith("_")}


def test_errors(server, tmp_path):
    async def use(client):
        session = await client.new()
        for call, kind in (
            (client.session("nowhere"), brood.SessionNotFound),
            (session.undo(), brood.Busy),
            (session.signal("X"), brood.BadRequest),
            (session.stream("unknown").read(), brood.LimitExceeded),
            (session.get("missing"), brood.NotFound),
            (client.request("hold", {"name": "x"}, timeout=0.01), brood.Timeout),
        ):
            with pytest.raises(kind):
                await call
        with pytest.raises(brood.ConnectionLost, match="brood serve"):
            await brood.AsyncClient(f"unix:{tmp_path}/none").sessions()
        assert (await session.run("1")).value == "1"

    run(server, use)


def test_many_at_once(server):
    server.cells["count"] = count

    async def one(client, number):
        async with await client.new() as session:
            texts = [event.text async for event in session.stream("count") if event.type == "stdout"]
            values = [(await session.run(f"{number}+{i}")).value for i in range(20)]
            return texts == ["0\n", "1\n", "2\n"] and values == [str(number + i) for i in range(20)]

    async def use(client):
        assert all(await asyncio.gather(*(one(client, number) for number in range(10))))

    run(server, use)


def test_streams(server):
    server.cells.update(count=count)

    async def use(client):
        session = await client.new()
        for _ in range(2):
            events = [event async for event in session.stream("count")]
            assert [event.type for event in events] == ["cell", "stdout", "stdout", "stdout", "done"]
        assert server.accepted == 2
        async for _ in session.stream("count"):
            break
        assert (await session.run("1")).value == "1"
        async with session.events(after=5) as events:
            assert [(await events.read(PATIENCE)).seq for _ in range(5)] == [6, 7, 8, 9, 10]
        async with session.events(after=15) as events:
            with pytest.raises(brood.Timeout):
                await events.read(0.01)
            await session.remove()
            assert [event.type async for event in events] == ["ended"]

    run(server, use)


def test_a_slow_consumer(server):
    server.cells.update(flood=flood, count=count)

    async def use(client):
        session = await client.new()
        got = 0
        async with session.stream("flood") as events:
            await events.read()
            await session.interrupt()
            async with await client.new() as other:
                assert len([event async for event in other.stream("count")]) == 5
            assert server.sessions[session.id].sent < 16 * MIB
            async for event in events:
                got += len(event.body)
        assert got == 64 * MIB

    run(server, use)


def test_run_with_callbacks(server):
    server.cells.update(everything=everything, asks=asks)

    async def use(client):
        session = await client.new()
        out, shown = [], []

        async def answer(prompt):
            return prompt

        async def show(event):
            shown.append(event.data["text/plain"])

        done = await session.run("everything", on_stdout=out.append, on_display=show)
        assert "".join(out) == done.stdout == "grün\ufffd\n" and shown == ["one", "two"] and done.error.name == "E"
        await session.run("asks", input=answer)
        assert server.sessions[session.id].stdin == [(b"name? \n", False), (b"age? \n", False)]

    run(server, use)


def test_cancelling_interrupts_the_cell(server):
    async def use(client):
        session = await client.new()
        own = server.sessions[session.id]
        server.cells["waits"] = lambda cell: own.interrupted.wait(PATIENCE) and cell.done("interrupted")
        begun = asyncio.Event()
        task = asyncio.ensure_future(session.run("waits", on_stdout=lambda text: None, on_display=lambda event: begun.set()))
        async with session.events() as events:
            assert (await events.read(PATIENCE)).type == "cell"
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await events.read(PATIENCE)).status == "interrupted"

    run(server, use)


def test_messages_and_files(server, tmp_path):
    async def use(client):
        session = await client.new()
        for i in range(3):
            await session.send(b"%d" % i)
        assert [await session.receive(PATIENCE) for _ in range(3)] == [b"echo 0", b"echo 1", b"echo 2"]
        with pytest.raises(brood.Timeout):
            await session.receive(0.01)
        big = os.urandom(2 * MIB + 5)
        (tmp_path / "local").write_bytes(big)
        assert await session.put("big", tmp_path / "local") == len(big) == await session.upload("also", io.BytesIO(big))
        assert await session.get("also") == big
        assert await session.download("big", tmp_path / "copy") == len(big) and (tmp_path / "copy").read_bytes() == big
        assert len(await session.files()) == 2
        await session.delete("big")
        await session.stdin("x", eof=True)
        assert server.sessions[session.id].stdin == [(b"x", True)]

    run(server, use)


def test_connections_that_are_cut(server):
    server.cells["cut"] = lambda cell: cell.peer.server.cut()
    whole = frame(67, {"request": 1})

    async def use(client):
        session = await client.new()
        for part in (0, 7, 11, len(whole) - 1):
            with pytest.raises(brood.ConnectionLost):
                await client.request("raw", {"cut": True}, whole[:part])
        with pytest.raises(brood.ConnectionLost):
            await session.run("cut", on_stdout=print)
        with pytest.raises(brood.ProtocolError):
            await client.request("raw", {}, frame(67, [1]))
        with pytest.raises(brood.ConnectionLost):
            await client.request("raw", {}, frame(67, {"request": 0, "error": {"code": "internal", "text": "x"}}))
        assert (await session.run("1")).value == "1"

    run(server, use)


def test_credentials():
    server = FakeServer("tcp:", user=None, passwords={"token": "t0ken"})
    server.cells["count"] = count

    async def use(client):
        async with await client.new() as session:
            return len([event async for event in session.stream("count")])

    try:
        assert run(server, use, token="t0ken") == 5
        with pytest.raises(brood.AuthenticationError):
            run(server, use, token="wrong")
        with pytest.raises(brood.AuthenticationError):
            run(server, use)
    finally:
        server.close()


def test_closing_leaves_nothing(server):
    server.cells["count"] = count
    before = open_sockets()

    async def use(client):
        async with await client.new() as session:
            await session.stream("count").read()
            task = asyncio.ensure_future(client.request("hold", {"name": "x"}))
            await asyncio.get_running_loop().run_in_executor(None, server.held_now.acquire)
        await client.close()
        with pytest.raises(brood.ConnectionLost):
            await task
        with pytest.raises(brood.ConnectionLost, match="closed"):
            await client.sessions()

    run(server, use)
    gc.collect()
    for thread in server.threads[1:]:
        thread.join(PATIENCE)
    assert open_sockets() <= before
