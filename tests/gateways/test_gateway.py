"""One gateway: what is executed there, what it says of itself, files, its end."""

import os
import signal
import stat
import sys
import threading
import time

import pytest
from group_fixture import is_gone, wait_until

import brood

ANSWER = 42


# --- remote_exec ------------------------------------------------------------------------------------------------------


def with_values(channel, first, second=2):
    channel.send((first, second, __name__))


def raises(channel):
    def inner():
        raise ValueError("this is raised")

    inner()


def uses_a_global(channel):
    channel.send(ANSWER)


def uses_modules(channel):
    def deep():
        return os.getpid(), sys.argv

    channel.send(deep())


def makes_a_global(channel):
    global MADE_THERE
    MADE_THERE = 3
    channel.send(MADE_THERE)


def needs_a_default(channel, value=ANSWER):
    channel.send(value)


def another_name(chan):
    chan.send(1)


def nothing():
    pass


def test_texts_are_dedented(gateway):
    channel = gateway.remote_exec("""
        import sys
        if True:
            channel.send((1 + 1, __name__, sys.argv))
    """)
    value, name, _ = channel.receive(5)
    assert (value, name) == (2, "__channelexec__")
    with pytest.raises(EOFError):
        channel.receive(5)


def test_functions_and_their_arguments(gateway):
    assert gateway.remote_exec(with_values, first=1).receive(5) == (1, 2, "__channelexec__")
    assert gateway.remote_exec(with_values, first={"a": [None, b"x"]}, second=0.5).receive(5)[:2] == ({"a": [None, b"x"]}, 0.5)
    assert gateway.remote_exec(makes_a_global).receive(5) == 3


def with_an_assert(channel, value):
    assert value == 1
    channel.send(value)


def test_asserts_that_pytest_has_compiled_otherwise(gateway):
    assert any(name.startswith("@") for name in with_an_assert.__code__.co_names)
    assert gateway.remote_exec(with_an_assert, value=1).receive(5) == 1
    with pytest.raises(brood.RemoteError, match="assert value == 1\n(.*\n)?AssertionError"):
        gateway.remote_exec(with_an_assert, value=2).receive(5)


def test_modules(gateway, tmp_path, monkeypatch):
    (tmp_path / "module_to_send.py").write_text("import os\nif __name__ == '__channelexec__':\n    channel.send(os.getpid())\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import module_to_send

    assert gateway.remote_exec(module_to_send).receive(5) == gateway.greet["pid"]


@pytest.mark.parametrize("what, error, text", [
    (lambda channel: channel.send(1), ValueError, "lambda"),
    (another_name, ValueError, "first argument of another_name.. must be `channel`"),
    (nothing, ValueError, "first argument"),
    (uses_a_global, ValueError, "ANSWER, which is not there"),
    (uses_modules, ValueError, "os and sys, which are not there"),
    (needs_a_default, ValueError, "ANSWER .in a decorator"),
    (print, TypeError, "plain function"),
    (str.upper, TypeError, "plain function"),
])
def test_what_cannot_be_executed_elsewhere(gateway, what, error, text):
    with pytest.raises(error, match=text):
        gateway.remote_exec(what)


def test_closures_cannot(gateway):
    value = 1

    def closure(channel):
        channel.send(value)

    with pytest.raises(ValueError, match="uses value of the function around it"):
        gateway.remote_exec(closure)


def test_keyword_arguments_are_for_functions(gateway):
    with pytest.raises(TypeError, match="keyword arguments .a."):
        gateway.remote_exec("pass", a=1)
    with pytest.raises(brood.DumpError):
        gateway.remote_exec(with_values, first=object())


def test_an_exception_has_the_lines_of_this_file(gateway):
    channel = gateway.remote_exec(raises)
    with pytest.raises(brood.RemoteError) as caught:
        channel.receive(5)
    line = raises.__code__.co_firstlineno + 2
    assert f'"{__file__}", line {line}, in inner' in str(caught.value)
    assert 'raise ValueError("this is raised")' in str(caught.value)
    assert (caught.value.type, caught.value.text) == ("ValueError", "this is raised")
    with pytest.raises(EOFError):
        channel.receive(5)


def test_syntax_errors_are_remote_ones(gateway):
    with pytest.raises(brood.RemoteError, match="SyntaxError"):
        gateway.remote_exec("1 +").waitclose(5)


def test_many_talk_at_once(gateway):
    channels = [gateway.remote_exec("channel.send(channel.receive() + 1)") for _ in range(20)]
    for number, channel in enumerate(channels):
        channel.send(number)
    assert [channel.receive(10) for channel in channels] == list(range(1, 21))


# --- asking -----------------------------------------------------------------------------------------------------------


def test_what_it_says_of_itself(gateway):
    info = gateway._rinfo()
    assert info.pid == gateway.greet["pid"] and info.platform == sys.platform and info.version_info[:2] == sys.version_info[:2]
    assert info.cwd == os.getcwd() and gateway._rinfo() is info and gateway._rinfo(update=True) is not info
    assert "pid=" in repr(info)
    assert gateway.remoteaddress is None and gateway.hasreceiver()
    gateway.reconfigure(py2str_as_py3str=False)
    gateway.remote_init_threads(2)


def test_status(gateway):
    channel = gateway.remote_exec("channel.send(1)\nchannel.receive()")
    channel.receive(5)
    status = gateway.remote_status()
    assert (status.numexecuting, status.execqsize, status.pid) == (1, 0, gateway.greet["pid"])
    channel.send(None)
    channel.waitclose(5)
    assert wait_until(lambda: gateway.remote_status().numexecuting == 0)


def test_status_of_one_that_hangs(gateway):
    gateway.remote_exec("channel.send(0)\nwhile True: pass").receive(5)
    assert gateway.remote_status().numexecuting == 1


# --- channels of one's own --------------------------------------------------------------------------------------------


def test_new_channels_go_over_channels(gateway):
    extra = gateway.newchannel()
    channel = gateway.remote_exec("other = channel.receive()\nother.send(channel.receive())\nother.close()")
    channel.send(extra)
    channel.send([1, 2])
    assert extra.receive(5) == [1, 2]
    with pytest.raises(EOFError):
        extra.receive(5)


def test_what_is_made_there_comes_here(gateway):
    channel = gateway.remote_exec("own = channel.gateway.newchannel()\nchannel.send({'own': own})\nchannel.send(own.receive())")
    own = channel.receive(5)["own"]
    own.send("hello")
    assert channel.receive(5) == "hello" and own.gateway is gateway


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_files_there_and_back(gateway, tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "here").write_bytes(data)
    (tmp_path / "here").chmod(0o640)
    gateway.put(tmp_path / "here", str(tmp_path / "there"))
    gateway.get(tmp_path / "there", tmp_path / "back")
    for name in "there", "back":
        assert (tmp_path / name).read_bytes() == data
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["back", "here", "there"]


def test_files_that_cannot_be_copied(gateway, tmp_path):
    (tmp_path / "here").write_bytes(b"x" * 3_000_000)
    os.mkfifo(tmp_path / "pipe")
    for use, name in [
        (lambda: gateway.put(tmp_path / "none", "x"), "none"),
        (lambda: gateway.put(tmp_path, "x"), "Is a directory"),
        (lambda: gateway.put(tmp_path / "here", tmp_path / "no" / "where"), "gw0:.*no/where"),
        (lambda: gateway.put(tmp_path / "here", tmp_path), "gw0:"),
        (lambda: gateway.get(tmp_path / "none", tmp_path / "x"), "gw0:.*none"),
        (lambda: gateway.get(tmp_path / "pipe", tmp_path / "x"), "Not a regular file.*gw0:.*pipe"),
        (lambda: gateway.get(tmp_path / "here", tmp_path / "no" / "where"), "where|No such file"),
        (lambda: gateway.get(tmp_path / "here", tmp_path), "directory"),
    ]:
        with pytest.raises(OSError, match=name):
            use()
    assert sorted(os.listdir(tmp_path)) == ["here", "pipe"]
    assert gateway.call(os.getpid)


def test_a_copy_that_is_cut_leaves_no_half_file(group, tmp_path):
    gateway = group.makegateway()
    (tmp_path / "here").write_bytes(b"x" * 200_000_000)
    pid = gateway.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    killer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(brood.GatewayLost):
        gateway.put(tmp_path / "here", tmp_path / "there")
    killer.join()
    assert not (tmp_path / "there").exists()


# --- the end ----------------------------------------------------------------------------------------------------------


def test_exit_and_join(group, gateway):
    pid = gateway.call(os.getpid)
    channel = gateway.remote_exec("channel.receive()")
    gateway.exit()
    assert len(group) == 0 and gateway not in group
    gateway.exit()
    gateway.join(5)
    assert not gateway.hasreceiver() and is_gone(pid)
    for use in (lambda: gateway.remote_exec("pass"), gateway.newchannel, lambda: gateway.call(os.getpid), gateway.remote_status):
        with pytest.raises(brood.GatewayLost):
            use()
    with pytest.raises((EOFError, OSError)):
        channel.receive(5)
    assert "not-receiving" in repr(gateway)


def test_it_dies(gateway):
    pid = gateway.call(os.getpid)
    channel = gateway.remote_exec("channel.send(1)\nimport os\nos.kill(os.getpid(), 9)")
    assert channel.receive(5) == 1
    with pytest.raises(brood.GatewayLost, match="gw0"):
        channel.receive(5)
    with pytest.raises(EOFError):
        channel.receive(5)
    gateway.join(5)
    assert is_gone(pid) and not gateway.hasreceiver()


def test_kill(gateway):
    pid = gateway.call(os.getpid)
    answer = gateway.call_async(time.sleep, 60)
    gateway.kill("had enough")
    with pytest.raises(brood.GatewayLost, match="had enough"):
        answer.result(5)
    wait_until(lambda: is_gone(pid))


def test_a_program_that_is_never_told_to_end():
    from test_group import run_program

    assert run_program("""
        import brood
        gateway = brood.makegateway()
        channel = gateway.remote_exec("for item in channel: channel.send(item)")
        del gateway, channel
        print("end")
    """) == "end\n"
