"""A master's channels: items, ends, errors, callbacks, files, values, flow."""

import gc
import threading
import time
import weakref

import pytest
from group_fixture import wait_until

import brood

ECHO = "for item in channel: channel.send(item)"


@pytest.fixture
def echo(gateway):
    return gateway.remote_exec(ECHO)


@pytest.mark.parametrize("value", [
    None, True, False, 0, -1, 2**63 - 1, -2**63, 2**64, -2**200, 1.5, float("inf"), 3 + 4j, "", "text", "\udc80", b"", b"bytes", [], [1, [2]],
    (), (1, (2, "x")), {}, {"a": 1, (1, 2): None}, set(), {1, 2}, frozenset([1]), [{"deep": ({1}, b"\0" * 1000)}],
], ids=repr)
def test_values(echo, value):
    echo.send(value)
    back = echo.receive(5)
    assert back == value and type(back) is type(value)


def test_values_that_are_copied_as_bytes(echo):
    echo.send(bytearray(b"ab"))
    echo.send(memoryview(b"cd"))
    assert [echo.receive(5), echo.receive(5)] == [b"ab", b"cd"]


def test_values_that_cannot_be_sent(echo):
    class Own(dict):
        pass

    for value in object(), Own(), [1, {"a": Exception()}], lambda: 0, range(3):
        with pytest.raises(brood.DumpError):
            echo.send(value)
    loop = []
    loop.append(loop)
    with pytest.raises(brood.DumpError):
        echo.send(loop)
    echo.send("still there")
    assert echo.receive(5) == "still there"


def test_long_values(echo):
    for size in 1 << 20, (1 << 20) + 1, 9 << 20, 40 << 20:
        data = bytes(range(256)) * (size // 256) + b"x"
        echo.send(data)
        assert echo.receive(30) == data


def test_a_closed_one(echo):
    assert not echo.isclosed() and "open" in repr(echo)
    echo.close()
    assert echo.isclosed() and "closed" in repr(echo)
    with pytest.raises(OSError, match="closed"):
        echo.send(1)
    with pytest.raises(EOFError):
        echo.receive(1)
    echo.waitclose(1)
    echo.close()


def test_items_that_were_sent_before_the_close_arrive(gateway):
    channel = gateway.remote_exec("for number in range(3): channel.send(number)")
    channel.waitclose(5)
    assert channel.isclosed() and list(channel) == [0, 1, 2]
    with pytest.raises(EOFError):
        channel.receive(0)


def test_half_closed(gateway):
    channel = gateway.remote_exec("channel.send(sum(channel))")
    for number in range(10):
        channel.send(number)
    channel.end()
    with pytest.raises(OSError):
        channel.send(1)
    assert channel.receive(5) == 45
    channel.waitclose(5)


def test_time_outs(echo):
    for use in echo.receive, echo.waitclose:
        begun = time.monotonic()
        with pytest.raises(echo.TimeoutError):
            use(timeout=0.1)
        assert 0.1 <= time.monotonic() - begun < 1
        with pytest.raises(OSError):
            use(0)


@pytest.mark.parametrize("order", [["receive", "receive", "waitclose"], ["waitclose", "waitclose", "receive"]])
def test_an_error_is_raised_once(gateway, order):
    channel = gateway.remote_exec("1 / 0")
    outcomes = []
    for use in order:
        try:
            outcomes.append(getattr(channel, use)(timeout=5))
        except (channel.RemoteError, EOFError) as error:
            outcomes.append(type(error).__name__)
    assert outcomes == (["RemoteError", "EOFError", None] if order[0] == "receive" else ["RemoteError", None, "EOFError"])


def test_errors_come_after_the_items(gateway):
    channel = gateway.remote_exec("channel.send(1); channel.send(2); raise ValueError('three')")
    assert [channel.receive(5), channel.receive(5)] == [1, 2]
    with pytest.raises(brood.RemoteError, match="ValueError: three"):
        channel.receive(5)


def test_errors_that_are_sent_by_hand(gateway):
    channel = gateway.remote_exec("""
        try:
            channel.receive()
        except Exception as error:
            raise RuntimeError('it said: ' + str(error))
    """)
    channel.close("enough")
    with pytest.raises(EOFError):
        channel.receive(5)


def test_the_error_that_nobody_got(gateway):
    channel, ends = gateway.remote_exec("channel.send(1); raise ValueError"), []
    channel.setcallback(lambda item: ends.append(channel._getremoteerror()) if item is None else None, endmarker=None)
    assert isinstance(wait_until(lambda: ends)[0], brood.RemoteError)
    assert channel._getremoteerror() is None
    assert gateway.remote_exec("channel.receive()")._getremoteerror() is None


# --- callbacks --------------------------------------------------------------------------------------------------------


def test_callbacks_have_had_all_when_waitclose_returns(gateway):
    channel, items = gateway.remote_exec("for number in range(1000): channel.send(number)"), []
    channel.setcallback(items.append, endmarker="end")
    channel.waitclose(10)
    assert items == [*range(1000), "end"]


def test_callbacks_get_what_waits(gateway):
    channel, items = gateway.remote_exec("for number in range(10): channel.send(number)"), []
    channel.waitclose(5)
    channel.setcallback(items.append)
    wait_until(lambda: items == list(range(10)))
    with pytest.raises(OSError):
        channel.receive(0)
    with pytest.raises(OSError):
        channel.setcallback(items.append)


def test_callbacks_may_use_channels(gateway, echo):
    other, items = gateway.remote_exec(ECHO), []

    def doubled(item):
        other.send(item * 2)
        items.append(other.receive(5))

    echo.setcallback(doubled)
    for number in range(5):
        echo.send(number)
    wait_until(lambda: items == [0, 2, 4, 6, 8])


def test_a_callback_that_raises_does_not_stop_the_others(gateway, monkeypatch):
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    broken, items = gateway.remote_exec("channel.send(1)"), []
    broken.setcallback(lambda item: 1 / 0)
    whole = gateway.remote_exec("channel.send(2)")
    whole.setcallback(items.append)
    wait_until(lambda: items == [2] and raised)
    assert raised[0].exc_type is ZeroDivisionError


def test_callbacks_on_a_lost_gateway(gateway):
    channel, items = gateway.remote_exec("channel.send(1)\nchannel.receive()\nimport os\nos._exit(1)"), []
    channel.setcallback(items.append, endmarker="end")
    channel.send(None)
    wait_until(lambda: items == [1, "end"])


def test_a_callback_keeps_working_without_the_channel(gateway):
    items = []
    gateway.remote_exec("channel.send(1)").setcallback(items.append, endmarker="end")
    gc.collect()
    wait_until(lambda: items == [1, "end"])


# --- files ------------------------------------------------------------------------------------------------------------


def test_writing_to_a_file(gateway):
    channel = gateway.remote_exec("""
        file = channel.makefile("r")
        channel.send((file.read(4), file.readline(), file.readline(), file.read(), file.read(1)))
    """)
    file = channel.makefile("w")
    file.writelines(["abc", "defg\n", "h\nrest"])
    print("and print", end="", file=file)
    file.flush()
    file.close()
    assert file.closed and not channel.isclosed() and not file.isatty()
    channel.end()
    assert channel.receive(5) == ("abcd", "efg\n", "h\n", "restand print", "")


def test_reading_from_a_file(gateway):
    channel = gateway.remote_exec("with channel.makefile('w', proxyclose=True) as file: print('one', 'two', sep='\\n', file=file)")
    with channel.makefile("r") as file:
        assert list(file) == ["one\n", "two\n"]
    with pytest.raises(ValueError, match="'rb' is not available"):
        channel.makefile("rb")


def test_a_file_of_bytes(gateway):
    file = gateway.remote_exec("channel.send(b'a\\nb'); channel.send(b'c')").makefile("r")
    assert (file.readline(), file.read()) == (b"a\n", b"bc")


# --- flow and memory --------------------------------------------------------------------------------------------------


def test_sending_waits_for_who_is_slow(gateway):
    channel = gateway.remote_exec("channel.receive(); go = channel.gateway.newchannel(); channel.send(go); go.receive()\n"
                                  "while 1: channel.send(len(channel.receive()))")
    channel.send(None)
    go, sent = channel.receive(5), 0
    with pytest.raises(channel.TimeoutError):
        while True:
            channel.send(b"x" * 1_000_000, timeout=0.2)
            sent += 1
    assert 4 <= sent <= 12
    go.send(None)
    assert [channel.receive(5) for _ in range(sent)] == [1_000_000] * sent
    channel.send(b"y", timeout=5)


def test_receiving_is_not_more_than_the_window(gateway):
    channel = gateway.remote_exec("import time\nsent = 0\nwhile sent < 100:\n    channel.send(b'x' * 1_000_000)\n    sent += 1")
    wait_until(lambda: channel.engine.stats()["bytes_in"] > 7_000_000)
    assert gateway.remote_status().numexecuting == 1
    assert channel.engine.stats()["bytes_in"] < 20_000_000
    assert sum(len(item) for item in channel) == 100_000_000


def test_a_channel_that_nobody_has_is_closed_there(gateway):
    channel = gateway.remote_exec("try:\n    channel.receive()\nfinally:\n    pass")
    reference = weakref.ref(channel)
    wait_until(lambda: gateway.remote_status().numexecuting == 1)
    del channel
    gc.collect()
    assert reference() is None
    wait_until(lambda: gateway.remote_status().numexecuting == 0)


def test_which_gateway(group):
    for gateway in group.makegateway(), group.makegateway():
        channel = gateway.remote_exec(ECHO)
        assert channel.gateway is gateway and isinstance(channel, brood.Channel) and channel.id == channel.number
        channel.reconfigure(py2str_as_py3str=False)
    with pytest.raises(brood.DumpError):
        group[0].remote_exec(ECHO).send(channel)
