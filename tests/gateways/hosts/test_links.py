"""What a relay promises, with plain sockets: here is the one end, and an echo or a sink is the other."""

import contextlib
import socket
import threading
import time

import execnet
import pytest

from .links import Relay, bits_per_second
from .processes import DEADLINE, orphans


class Peer:
    """Serves each connection by a function, in a thread; `ends` are what they returned."""

    def __init__(self, serve):
        self.serve = serve
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.ends = []
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                self.threads.append(threading.Thread(target=self.one, args=self.listener.accept()))
                self.threads[-1].start()

    def one(self, connection, _):
        with connection:
            connection.settimeout(DEADLINE)
            try:
                self.ends.append(self.serve(connection))
            except OSError as error:
                self.ends.append(error)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(DEADLINE)


def echo(connection):
    count = 0
    while data := connection.recv(2**16):
        connection.sendall(data)
        count += len(data)
    return count


def sink(connection):
    """How many bytes came, and how many seconds after the first the last one came."""
    count = len(connection.recv(2**16))
    start = time.monotonic()
    while data := connection.recv(2**20):
        count += len(data)
    return count, time.monotonic() - start


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), DEADLINE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def round_trip(connection):
    """Seconds for one byte."""
    start = time.monotonic()
    connection.sendall(b"?")
    assert connection.recv(1) == b"?"
    return time.monotonic() - start


@pytest.fixture
def echoed():
    """A relay to an echo, and a connection through it."""
    with orphans(), Peer(echo) as peer, Relay(peer.port) as relay, connect(relay.port) as connection:
        yield relay, connection


def test_bytes_and_ends_pass_unchanged():
    with Peer(echo) as peer, Relay(peer.port) as relay:
        data = bytes(range(256)) * 20000
        with connect(relay.port) as connection:
            sender = threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)))
            sender.start()
            back = b"".join(iter(lambda: connection.recv(2**16), b""))
            sender.join()
    assert back == data and peer.ends == [len(data)]


def test_a_delay_counts_in_both_directions(echoed):
    relay, connection = echoed
    relay.delay(40)
    assert all(0.08 <= round_trip(connection) < 1 for _ in range(3))
    relay.delay(0)
    assert min(round_trip(connection) for _ in range(10)) < 0.04


def test_turns_are_round_trips(echoed):
    relay, connection = echoed
    relay.delay(10)
    for trips in 0, 1, 5:
        relay.turns()
        for _ in range(trips):
            round_trip(connection)
        assert relay.turns() == trips and relay.turns() == 0


def test_a_delay_does_not_limit_how_much_passes():
    """20 MB with a window of one piece per 100 ms would take 32 s."""
    with Peer(sink) as peer, Relay(peer.port) as relay:
        relay.delay(100)
        start = time.monotonic()
        with connect(relay.port) as connection:
            connection.sendall(bytes(20_000_000))
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        assert time.monotonic() - start >= 0.2
    (count, seconds), = peer.ends
    assert count == 20_000_000 and seconds < 10


def test_bytes_do_not_wait_for_those_before_them(echoed):
    """Ten bytes, one every 10 ms, through a delay of 100 ms: each one arrives 200 ms after it was sent."""
    relay, connection = echoed
    relay.delay(100)
    start, sent, took = time.monotonic(), [], []
    for number in range(10):
        time.sleep(max(0, start + number * 0.01 - time.monotonic()))  # the load that is measured
        sent.append(time.monotonic())
        connection.sendall(b"?")
    for moment in sent:
        connection.recv(1)
        took.append(time.monotonic() - moment)
    assert all(0.2 <= seconds < 1 for seconds in took), took
    assert time.monotonic() - start < 1, "one after the other it would have been 2 s"


def test_a_rate_is_a_limit():
    with Peer(sink) as peer, Relay(peer.port) as relay:
        relay.rate("4mbit")
        with connect(relay.port) as connection:
            connection.sendall(bytes(500_000))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
    (count, seconds), = peer.ends
    assert count == 500_000 and 0.9 < seconds < 5
    assert [bits_per_second(text) for text in ("1mbit", "2.5kbit", "3gbit", "8bit")] == [1e6, 2500, 3e9, 8]


def test_a_cut_resets_both_ends():
    with Peer(echo) as peer, Relay(peer.port) as relay:
        with connect(relay.port) as connection, pytest.raises(ConnectionResetError):
            round_trip(connection)
            relay.cut()
            connection.recv(1)
        with pytest.raises(ConnectionError), connect(relay.port) as connection:
            round_trip(connection)
        relay.restore()
        with connect(relay.port) as connection:
            round_trip(connection)
    assert isinstance(peer.ends[0], ConnectionResetError) and peer.ends[1:] == [1]


def test_a_reset_passes():
    with Peer(lambda connection: connection.recv(1) and None) as peer, Relay(peer.port) as relay:
        with connect(relay.port) as connection, pytest.raises(ConnectionResetError):
            connection.sendall(bytes(100_000))
            while connection.recv(1):
                pass
            raise AssertionError("an end instead of a reset")


def test_a_black_hole_is_silent_and_loses_nothing(echoed):
    relay, connection = echoed
    round_trip(connection)
    relay.blackhole()
    connection.sendall(b"kept")
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    relay.restore()
    connection.settimeout(DEADLINE)
    assert connection.recv(4, socket.MSG_WAITALL) == b"kept"


def test_a_port_where_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Relay(port) as relay, pytest.raises(ConnectionError), connect(relay.port) as connection:
        round_trip(connection)


def test_execnet_over_a_delay_and_a_cut(sshd):
    with orphans(), Relay(sshd.port) as relay:
        group = execnet.Group()
        gateway = group.makegateway(sshd.login(alias="far", port=relay.port).spec("python=python3"))
        channel = gateway.remote_exec("for item in channel: channel.send(item)")
        relay.delay(30)
        start = time.monotonic()
        channel.send(1)
        assert channel.receive(DEADLINE) == 1 and 0.06 <= time.monotonic() - start < 2
        relay.cut()
        with pytest.raises(EOFError):
            channel.receive(DEADLINE)
        group.terminate(timeout=1)
