"""Gateways to an interpreter that has none of brood's files: over ssh, and behind it."""

import os
import sys

import pytest
from group_fixture import wait_until
from hosts.fixtures import hosts, sshd  # noqa: F401

import brood


@pytest.fixture
def far(group, sshd):  # noqa: F811
    return group.makegateway(sshd.spec("id=far"))


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "pack_for_ssh").mkdir()
    (tmp_path / "pack_for_ssh" / "__init__.py").write_text("")
    (tmp_path / "pack_for_ssh" / "low.py").write_text("LOW = 20\n")
    (tmp_path / "pack_for_ssh" / "words.txt").write_text("words")
    (tmp_path / "pack_for_ssh" / "high.py").write_text(
        "import pkgutil\nfrom .low import LOW\nfrom brood import with_context\n"
        "def add(more):\n    return LOW + more, pkgutil.get_data('pack_for_ssh', 'words.txt')\n"
        "@with_context\ndef who(context):\n    return context.name, context.ancestors\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import pack_for_ssh.high

    yield pack_for_ssh.high
    for name in [name for name in sys.modules if name.startswith("pack_for_ssh")]:
        del sys.modules[name]


def test_code_and_files_go_there(far, module, tmp_path):
    assert far.greet["engine"] == "python" and far.remoteaddress
    assert far.call(module.add, 1) == (21, b"words")
    assert far.call(module.who) == ("far", (0,))
    far.put(__file__, tmp_path / "copy.py")
    assert (tmp_path / "copy.py").read_bytes() == open(__file__, "rb").read()
    with pytest.raises(brood.RemoteError, match="No module named 'no_such_module_here' .not found on the master either"):
        far.remote_exec("import no_such_module_here").waitclose(10)


def test_another_behind_it(group, far, module, tmp_path):
    behind = group.makegateway("popen//via=far//id=behind")
    assert behind.call(module.add, 2) == (22, b"words")
    assert behind.call(os.getppid) == far.call(os.getpid)
    assert behind.call(module.who) == ("behind", (1, 0))


def test_only_what_is_served(sshd, module, engine):  # noqa: F811
    from brood.gateways import group as group_module

    with group_module.Group(serve=["brood"]) as group:
        far = group.makegateway(sshd.spec())
        with pytest.raises(brood.RemoteError, match="No module named 'pack_for_ssh'"):
            far.call(module.add, 1)


def test_the_connection_is_killed(far):
    waiting = far.call_async(__import__("time").sleep, 60)
    far.kill("enough")
    with pytest.raises(brood.GatewayLost, match="enough"):
        waiting.result(5)
    wait_until(lambda: not far.is_there())
