"""Groups: names, starting, gateways behind gateways, and that everything ends."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from group_fixture import children, is_gone, wait_until

import brood
from brood.gateways import group as group_module

PYTHON_PATH = os.path.dirname(os.path.dirname(brood.__file__))


def run_program(text, *arguments, status=0, **more):
    """Runs a program that can import brood; its output."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(text), *arguments], env={**os.environ, "PYTHONPATH": PYTHON_PATH}, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    assert done.returncode == status, done.stderr
    return done.stdout


# --- names ------------------------------------------------------------------------------------------------------------


def test_ids_are_given_and_found(group):
    first, second = group.makegateway(), group.makegateway(f"{group.defaultspec}//id=named")
    assert [gateway.id for gateway in group] == ["gw0", "named"] and len(group) == 2
    assert group[0] is group["gw0"] is group[first] is first and group[-1] is second
    assert "named" in group and second in group and "gw1" not in group and 2 not in group
    with pytest.raises(KeyError):
        group["gw1"]
    with pytest.raises(IndexError):
        group[2]
    assert repr(group) == "<Group ['gw0', 'named']>"


def test_an_id_is_used_once(group):
    group.makegateway(f"{group.defaultspec}//id=one")
    with pytest.raises(ValueError, match="'one' already"):
        group.makegateway(f"{group.defaultspec}//id=one")
    assert len(group) == 1
    group["one"].exit()
    group.makegateway(f"{group.defaultspec}//id=one")


def test_ids_can_be_given_before_the_start(group):
    specs = [brood.XSpec(group.defaultspec), brood.XSpec(group.defaultspec)]
    for spec in specs:
        group.allocate_id(spec)
    assert [spec.id for spec in specs] == ["gw0", "gw1"]
    assert group.makegateway(specs[1]).id == "gw1" and group.makegateway(specs[0]).id == "gw0"
    assert group.makegateway().id == "gw2"


def test_what_may_be_served_is_checked():
    assert group_module.Group(serve="one").serve == ["one"] and group_module.Group(serve=("b", "a")).serve == ["a", "b"]
    with pytest.raises(ValueError, match="'a.b' is no name of a top-level module"):
        group_module.Group(serve=["a.b"])


def test_execution_models_are_accepted(group):
    group.set_execmodel("thread", "main_thread_only")
    assert group.execmodel == "thread"
    with pytest.raises(ValueError, match="eventlet"):
        group.set_execmodel("eventlet")


# --- starting ---------------------------------------------------------------------------------------------------------


def test_many_at_once(engine):
    with group_module.Group([group_module.Group.defaultspec] * 3) as group:
        assert [gateway.id for gateway in group] == ["gw0", "gw1", "gw2"]
        pids = group.remote_exec("import os; channel.send(os.getpid())").receive_each()
        assert len(set(pids)) == 3
    assert all(map(is_gone, pids)) and not group


def test_one_that_cannot_be_started_ends_the_others(engine):
    before = children()
    with pytest.raises(brood.HostNotFound, match="no_such_python"):
        group_module.Group([group_module.Group.defaultspec, "popen//python=/no_such_python"])
    assert children() <= before


def test_a_failed_start_leaves_nothing(group):
    with pytest.raises(brood.HostNotFound, match="no_such_python"):
        group.makegateway("popen//id=a//python=/no_such_python")
    assert not group
    assert group.makegateway(f"{group.defaultspec}//id=a").call(os.getpid)


@pytest.mark.parametrize("spec", ["nothing", "", "popen//via=none", "popen//nice=x", "popen//ssh=a"])
def test_specs_that_are_none(group, spec):
    with pytest.raises(ValueError):
        group.makegateway(spec)
    assert not group


def test_chdir_nice_and_env(group, tmp_path):
    gateway = group.makegateway(f"{group.defaultspec}//chdir={tmp_path}/new//nice=3//env:BROOD_TEST_A=1=2//env:BROOD_TEST_B=")
    assert gateway.call(os.getcwd) == f"{tmp_path}/new"
    assert gateway.call(os.nice, 0) == os.nice(0) + 3
    assert gateway.call(os.getenv, "BROOD_TEST_A") == "1=2" and gateway.call(os.getenv, "BROOD_TEST_B") == ""


def test_not_while_the_program_is_imported(group, monkeypatch):
    module = type(sys)("__mp_main__")
    module.__spec__ = type("Spec", (), {"_initializing": True})
    monkeypatch.setitem(sys.modules, "__mp_main__", module)
    with pytest.raises(RuntimeError, match="__main__"):
        group.makegateway()


def test_a_socket_server_in_a_gateway(group):
    """The triangle: a local gateway serves a socket, and another gateway comes in there."""
    near = group.makegateway(f"{group.defaultspec}//id=near")
    far = group.makegateway("socket//installvia=near")
    assert far.call(os.getpid) not in (near.greet["pid"], os.getpid())
    assert far.remoteaddress.startswith("127.0.0.1:") and far.remote_exec("channel.send(channel.receive())").isclosed() is False
    with pytest.raises(ValueError, match="installvia=none"):
        group.makegateway("socket//installvia=none")
    pid = far.greet["pid"]
    far.exit()
    far.join(5)
    wait_until(lambda: is_gone(pid))
    wait_until(lambda: near.remote_status().numexecuting == 0)


# --- behind others ----------------------------------------------------------------------------------------------------


@pytest.fixture
def chain(group):
    """Three gateways, each behind the one before."""
    group.makegateway(f"{group.defaultspec}//id=a")
    group.makegateway(f"{group.defaultspec}//id=b//via=a")
    group.makegateway(f"{group.defaultspec}//id=c//via=b")
    return group


def test_a_chain(chain):
    pids = [gateway.call(os.getpid) for gateway in chain]
    assert len(set(pids)) == 3
    assert [gateway.call(os.getppid) for gateway in chain] == [os.getpid(), *pids[:2]]
    channel = chain["c"].remote_exec("for item in channel: channel.send(item * 2)")
    channel.send(21)
    assert channel.receive(5) == 42
    assert chain["c"].greet["pid"] == pids[2]
    chain.terminate(5)
    wait_until(lambda: all(map(is_gone, pids)))


def test_a_socket_behind_one(group, tmp_path):
    """The server is reached from the gateway that starts it; its token is read here."""
    near, other = group.makegateway(f"{group.defaultspec}//id=near"), group.makegateway(f"{group.defaultspec}//id=other")
    far = group.makegateway("socket//installvia=near//via=other")
    assert far.call(os.getppid) == near.greet["pid"] and far.via is other


def test_two_trees_at_once(chain):
    for name in "xyz":
        chain.makegateway(f"{chain.defaultspec}//via=b//id={name}")
    pids = chain.remote_exec("import os; channel.send(os.getpid())").receive_each()
    assert len(set(pids)) == 6


def test_the_middle_is_killed(chain):
    pids = {gateway.id: gateway.call(os.getpid) for gateway in chain}
    channel = chain["c"].remote_exec("channel.receive()")
    waiting = chain["c"].call_async(time.sleep, 60)
    os.kill(pids["b"], signal.SIGKILL)
    with pytest.raises(brood.GatewayLost, match="b"):
        channel.receive(10)
    with pytest.raises(brood.GatewayLost):
        waiting.result(10)
    wait_until(lambda: not chain["b"].hasreceiver() and not chain["c"].hasreceiver())
    with pytest.raises(brood.GatewayLost):
        chain["c"].remote_exec("pass")
    assert chain["a"].call(os.getpid) == pids["a"]
    wait_until(lambda: is_gone(pids["c"]))


def test_what_cannot_be_started_behind_one(chain):
    with pytest.raises(brood.HostNotFound, match="no_such_python"):
        chain.makegateway("popen//via=a//python=/no_such_python")
    assert len(chain) == 3
    assert chain.makegateway(f"{chain.defaultspec}//via=a").call(os.getpid)


def test_a_channel_between_two(chain):
    def sender(channel):
        other = channel.receive()
        other.send("over there")
        channel.send(other.receive())

    def echo(channel):
        other = channel.receive()
        other.send(other.receive().upper())

    one, other = chain.channel_pair("a", "c")
    first, second = chain["a"].remote_exec(sender), chain["c"].remote_exec(echo)
    first.send(one)
    second.send(other)
    assert first.receive(10) == "OVER THERE"
    with pytest.raises(ValueError, match="two gateways"):
        chain.channel_pair("a", "a")


def test_an_end_goes_to_its_own_gateway(chain):
    one, other = chain.channel_pair("a", "b")
    with pytest.raises(brood.DumpError):
        chain["a"].remote_exec("pass").send(other)


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["pass", "import time; time.sleep(100)", "while True: pass", "channel.receive()",
                                  "import threading; threading.Thread(target=threading.Event().wait).start()"])
def test_whatever_it_does_it_ends(group, code):
    gateway = group.makegateway()
    pid = gateway.call(os.getpid)
    channel = gateway.remote_exec(f"channel.send(0)\n{code}")
    channel.receive(5)
    begun = time.monotonic()
    group.terminate()
    assert time.monotonic() - begun < 7 and is_gone(pid)
    assert not gateway.hasreceiver() and not group
    with pytest.raises(brood.GatewayLost):
        gateway.remote_exec("pass")
    gateway.exit()
    gateway.join(0)


def test_a_stopped_process_is_killed(group):
    gateway = group.makegateway()
    pid = gateway.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    group.terminate(timeout=0.5)
    assert time.monotonic() - begun < 4
    wait_until(lambda: is_gone(pid))


def test_what_has_left_is_forgotten(group):
    stays = group.makegateway()
    for _ in range(3):
        gateway = group.makegateway()
        channel = gateway.remote_exec("pass")
        gateway.exit()
    wait_until(lambda: group.gateway_of(gateway.context) is None)
    assert group.gateway_of(stays.context) is stays and list(group) == [stays]
    assert channel.gateway is gateway and not gateway.hasreceiver()
    gateway.join(1)


def test_a_stopped_process_behind_another_is_killed(chain):
    pids = [gateway.call(os.getpid) for gateway in chain]
    os.kill(pids[2], signal.SIGSTOP)
    begun = time.monotonic()
    chain.terminate(timeout=1)
    assert time.monotonic() - begun < 6
    wait_until(lambda: all(map(is_gone, pids)))


STARTS = """
import os, subprocess
for session in False, True:
    channel.send(subprocess.Popen(["sleep", "100"], start_new_session=session).pid)
channel.receive()
"""


@pytest.mark.parametrize("way", ["kill", "SIGKILL"])
def test_what_was_started_there_ends_with_it(group, way):
    """Unless it has a session of its own."""
    gateway = group.makegateway()
    channel = gateway.remote_exec(STARTS)
    ends, stays = channel.receive(10), channel.receive(10)
    if way == "SIGKILL":
        os.kill(gateway.greet["pid"], signal.SIGKILL)
    else:
        getattr(gateway, way)()
    gateway.join(10)
    wait_until(lambda: is_gone(ends))
    assert not is_gone(stays)
    os.kill(stays, signal.SIGKILL)


def test_a_callback_may_terminate(group):
    """Its own thread is none of those that terminate() waits for."""
    done = []

    def end(item):
        begun = time.monotonic()
        group.terminate(5)
        done.append(time.monotonic() - begun)

    group.makegateway().remote_exec("channel.send(1)").setcallback(end)
    assert wait_until(lambda: done)[0] < 3 and not group


def test_a_group_goes_on_after_terminate(group):
    first = group.makegateway().call(os.getpid)
    group.terminate(5)
    group.terminate(5)
    assert group.makegateway().call(os.getpid) != first


def test_the_end_of_the_interpreter_ends_all():
    begun = time.monotonic()
    pids = run_program("""
        import os, brood
        group = brood.Group(["popen"] * 2)
        group.makegateway("popen//via=gw0")
        brood.makegateway().remote_exec("while True: pass")
        group[0].remote_exec("import time; time.sleep(100)")
        print(*[gateway.call(os.getpid) for gateway in group])
    """).split()
    assert len(pids) == 3 and all(is_gone(int(pid)) for pid in pids)
    assert time.monotonic() - begun < 20


def test_so_does_its_death():
    pid = int(run_program("""
        import os, signal, brood
        print(brood.makegateway().call(os.getpid), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """, status=-signal.SIGKILL))
    wait_until(lambda: is_gone(pid))


def test_the_child_of_a_fork_has_none_and_may_start_its_own():
    lines = run_program("""
        import os, brood
        gateway = brood.makegateway()
        channel = gateway.remote_exec("for item in channel: channel.send(item)")
        pid = gateway.call(os.getpid)
        child = os.fork()
        if child == 0:
            for use in (lambda: gateway.remote_exec("pass"), lambda: channel.send(1), lambda: gateway.call(os.getpid), gateway.exit):
                try:
                    print(use())
                except brood.GatewayLost as error:
                    print("lost")
            own = brood.makegateway()
            print(own.id, own.call(os.getpid) != pid, flush=True)
            raise SystemExit
        assert os.waitpid(child, 0)[1] == 0
        channel.send(7)
        print(channel.receive(), gateway.call(os.getpid) == pid)
    """).splitlines()
    assert lines == ["lost", "lost", "lost", "None", "gw1 True", "7 True"]


def test_a_forked_child_does_not_keep_a_gateway_alive():
    child, pid = map(int, run_program("""
        import os, signal, sys, brood
        pid = brood.makegateway().call(os.getpid)
        child = os.fork()
        if child == 0:
            for stream in 0, 1, 2:
                os.close(stream)
            signal.pause()
        print(child, pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """, status=-signal.SIGKILL).split())
    try:
        wait_until(lambda: is_gone(pid))
        assert not is_gone(child)
    finally:
        os.kill(child, signal.SIGKILL)
