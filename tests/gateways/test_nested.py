"""A remote is a master, too: brood imported there, from its own files or over the link, beside the copy that runs the remote."""

import os
import sys

import pytest

import brood

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(brood.__file__)))

WORK = """
import brood
with brood.Group() as group:
    gateway = group.makegateway()
    inner = gateway.remote_exec("channel.send(channel.receive() + 1)")
    inner.send(1)
    channel.send(inner.receive(10))
    try:
        inner.receive(10)
    except EOFError:
        channel.send("eof")
    try:
        gateway.remote_exec("1 / 0").receive(10)
    except brood.RemoteError as error:
        channel.send(error.type)
    try:
        channel.receive(0.01)
    except channel.TimeoutError as error:
        channel.send(isinstance(error, brood.TimeoutError))
    try:
        channel.send(object())
    except brood.DumpError:
        channel.send("refused")
    one, two = group.makegateway(), group.makegateway()
    ends = group.channel_pair(one, two)
    first = one.remote_exec("channel.receive().send('through')")
    second = two.remote_exec("channel.send(channel.receive().receive(10))")
    first.send(ends[0])
    second.send(ends[1])
    channel.send(second.receive(10))
"""


@pytest.mark.parametrize("engine", ["", "//engine=python"], ids=["native", "python"])
@pytest.mark.parametrize("installed", [True, False], ids=["files", "link"])
def test_a_group_in_a_remote(installed, engine):
    with brood.Group() as group:
        gateway = group.makegateway(f"popen//python={sys.executable}{engine}")
        if installed:
            gateway.remote_exec("import sys\nsys.path.insert(0, channel.receive())").send(PACKAGE)
        channel = gateway.remote_exec(WORK)
        assert [channel.receive(20) for _ in range(6)] == [2, "eof", "ZeroDivisionError", True, "refused", "through"]
        channel.waitclose(20)
