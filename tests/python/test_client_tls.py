"""Both clients over TLS, with a certificate made for the test."""

import asyncio
import ssl
import subprocess
import threading

import brood
import pytest
from fake_server import PATIENCE, FakeServer
from test_client import MIB, count


def flood(cell):
    for _ in range(128):
        cell.emit("stdout", bytes(65536))
    cell.done()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=DNS:localhost -keyout {folder}/key -out {folder}/cert"
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder


@pytest.fixture
def server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert", certificate / "key")
    made = FakeServer("tls:", user=None, passwords={"token": "t0ken"}, tls=context)
    made.cells.update(count=count, flood=flood)
    yield made
    made.close()


@pytest.fixture
def trust(certificate):
    return ssl.create_default_context(cafile=str(certificate / "cert"))


def test_blocking(server, trust):
    with brood.Client(server.address, token="t0ken", ssl_context=trust, timeout=PATIENCE) as client, client.new() as session:
        assert session.run("1+1").value == "2"
        assert sum(len(event.body) for event in session.stream("flood")) == 8 * MIB
        session.put("big", bytes(3 * MIB))
        assert session.get("big") == bytes(3 * MIB)


def test_threads_send_and_receive_at_the_same_time(server, trust):
    with brood.Client(server.address, token="t0ken", ssl_context=trust, timeout=PATIENCE) as client:
        right = []

        def work(number):
            with client.new() as session:
                for i in range(30):
                    session.put("f", bytes([number]) * 100_000)
                    right.append(session.get("f") == bytes([number]) * 100_000 and session.run(str(i)).value == str(i))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(right) == 120 and all(right)


def test_asyncio(server, trust):
    async def main():
        async with brood.AsyncClient(server.address, token="t0ken", ssl_context=trust) as client, await client.new() as session:
            assert (await session.run("1+1")).value == "2"
            got = 0
            async for event in session.stream("flood"):
                got += len(event.body)
            assert got == 8 * MIB

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_an_unknown_certificate_is_refused(server):
    with brood.Client(server.address, token="t0ken", timeout=PATIENCE) as client:
        with pytest.raises(brood.ConnectionLost, match="certificate.*BROOD_CAFILE"):
            client.sessions()

    async def main():
        async with brood.AsyncClient(server.address, token="t0ken") as client:
            await client.sessions()

    with pytest.raises(brood.ConnectionLost, match="certificate"):
        asyncio.run(main())
