"""`brood serve --listen gateway:HOST:PORT`: gateways that are forked from a server's warm environments."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from brood_fixture import PYTHON, TIMEOUT  # noqa: E402
from serve_gateways_fixture import CONFIG, HANGS, TOKEN, Raw, address_of, command_line, gateways_of, needs, python_path  # noqa: E402
from serve_start import ask, starting  # noqa: E402
from waiting import DEADLINE, Watched, children, ended, parent_of, wait_until  # noqa: E402

import brood as brood_package  # noqa: E402

BOUND = 5  # seconds: what an interpreter may take to end once its master has left


def see(channel):
    import os
    import sys

    channel.send(("heavy" in sys.modules, os.getpid(), os.getcwd(), sys.executable, "BROOD_TOKEN" in os.environ))


# --- what a gateway can do -----------------------------------------------------------------------------------------------


def test_a_gateway_is_a_fork_of_the_default_environment(engine, group, own_brood, serve):
    server = serve()
    gateway = group.makegateway(f"socket={address_of(server)}//id=far")
    warm, pid, folder, executable, told = gateway.remote_exec(see).receive(DEADLINE)
    assert (warm, folder, executable, told) == (True, str(own_brood.work), PYTHON, False)
    assert parent_of(parent_of(pid)) == server.pid and gateways_of(server) == [pid]
    assert gateway.greet["engine"] == "native" and gateway.greet["pid"] == pid
    with pytest.raises(brood_package.RemoteError, match="ZeroDivisionError"):
        gateway.remote_exec("1 / 0").receive(DEADLINE)
    echo = gateway.remote_exec("for item in channel: channel.send(item)")
    for item in (b"\0\xff" * 3_000_000, "text", None, [1, (2.5, True)], {"a": 10**30}):
        echo.send(item)
        assert echo.receive(DEADLINE) == item
    assert list(map(gateway.call, [os.getpid] * 3)) == [pid] * 3
    with Watched(pid) as process:
        gateway.exit()
        assert process.ended(1)


def test_what_a_spec_asks_for(engine, group, serve, tmp_path):
    address = address_of(serve())
    spec = f"socket={address}//chdir={tmp_path}//env:BROOD_X=1//nice=3"
    found = group.makegateway(spec).remote_exec("import os; channel.send((os.getcwd(), os.environ['BROOD_X'], os.nice(0)))").receive(DEADLINE)
    assert found == (str(tmp_path), "1", os.nice(0) + 3)
    gateway = group.makegateway(f"socket={address}//warm=light//engine=python")
    assert gateway.greet["engine"] == "python"
    assert gateway.remote_exec(see).receive(DEADLINE)[0] is False
    assert group.makegateway(f"socket={address}//warm").remote_exec(see).receive(DEADLINE)[0] is True
    with pytest.raises(brood_package.HostNotFound, match="the server refused: there is no environment none here"):
        group.makegateway(f"socket={address}//warm=none")
    assert len(group) == 3


def test_output_and_modules_go_to_the_master(group, serve, tmp_path, monkeypatch, caplog):
    (tmp_path / "only_here.py").write_text("def where():\n    import os\n    return os.getpid()\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    gateway = group.makegateway(f"socket={address_of(serve())}//id=far")
    with caplog.at_level("INFO"):
        assert gateway.call(only_here.where) == gateway.greet["pid"]
        gateway.remote_exec("import os; print('printed'); os.system('echo by a child >&2')").waitclose(DEADLINE)
        wait_until(lambda: {("brood.far.stdout", "printed"), ("brood.far.stderr", "by a child")} <= {(r.name, r.message) for r in caplog.records})
    del sys.modules["only_here"]


def test_many_at_once(engine, group, serve):
    """All 32 are there at the same time."""
    server = serve()
    made, barrier = [], threading.Barrier(32)

    def make():
        barrier.wait(DEADLINE)
        made.append(group.makegateway(f"socket={address_of(server)}"))

    threads = [threading.Thread(target=make) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(made) == 32 and len({gateway.greet["pid"] for gateway in made}) == 32
    channels = [gateway.remote_exec("for item in channel: channel.send(item ** 2)") for gateway in made]
    for number in range(20):
        for channel in channels:
            channel.send(number)
    assert [[channel.receive(DEADLINE) for _ in range(20)] for channel in channels] == [[number**2 for number in range(20)]] * 32
    assert len(gateways_of(server)) == 32
    group.terminate(TIMEOUT)
    wait_until(lambda: not gateways_of(server), "the end of the interpreters")


@needs("numpy", "pandas")
def test_numpy_and_pandas_are_there(engine, group, own_brood, serve):
    (own_brood.work / "brood.toml").write_text('[env.analysis]\npreload = ["numpy", "pandas"]\n')
    gateway = group.makegateway(f"socket={address_of(serve())}//warm=analysis")
    source = """
        import sys
        loaded = "numpy" in sys.modules and "pandas" in sys.modules
        import numpy, pandas
        channel.send((loaded, int(numpy.arange(10).sum()), float(pandas.DataFrame({"a": [1, 2, 3]}).a.mean()), numpy.random.random()))
    """
    loaded, total, mean, chance = gateway.remote_exec(source).receive(DEADLINE)
    assert (loaded, total, mean) == (True, 45, 2.0)
    other = group.makegateway(gateway.spec.__class__(str(gateway.spec)))
    assert other.remote_exec(source).receive(DEADLINE)[3] != chance


def test_what_is_edited_is_loaded_anew(group, own_brood, serve):
    address = address_of(serve())
    source = "import heavy; channel.send(heavy.value)"
    assert group.makegateway(f"socket={address}").remote_exec(source).receive(DEADLINE) == 1
    (own_brood.work / "heavy.py").write_text("value = 12345\n")
    assert group.makegateway(f"socket={address}").remote_exec(source).receive(DEADLINE) == 12345


def test_behind_another(engine, group, serve, tmp_path, monkeypatch):
    """The address is as the other one sees it; the token's file is read where the master is, and is nowhere else."""
    token = "it has // and = in it: " + TOKEN
    server = serve(env={"BROOD_TOKEN": token})
    (tmp_path / "token").write_text(token + "\n")
    (tmp_path / "there").mkdir()
    near = group.makegateway(f"{group.defaultspec}//id=near//chdir={tmp_path}/there")
    monkeypatch.chdir(tmp_path)
    far = group.makegateway(f"socket={address_of(server)}//token_file=token//via=near//warm=light")
    assert gateways_of(server) == [far.call(os.getpid)]
    assert token.encode() not in Path(f"/proc/{near.greet['pid']}/cmdline").read_bytes()
    with pytest.raises(brood_package.HostNotFound, match="asks for a token"):
        group.makegateway(f"socket={address_of(server)}//via=near")
    with pytest.raises(brood_package.HostNotFound, match="the token cannot be read"):
        group.makegateway(f"socket={address_of(server)}//token_file=no_such_file//via=near")
    assert len(group) == 2
    assert far.remote_exec(see).receive(DEADLINE)[0] is False and far.via is near
    below = group.makegateway(f"popen//via={far.id}")
    assert parent_of(below.call(os.getpid)) == far.greet["pid"]


# --- limits --------------------------------------------------------------------------------------------------------------


def test_so_many_at_the_same_time(engine, group, own_brood, serve):
    (own_brood.work / "brood.toml").write_text(CONFIG + "[serve]\nmax_gateways = 2\n")
    server = serve()
    spec = f"socket={address_of(server)}"
    first, _ = group.makegateway(spec), group.makegateway(spec)
    with pytest.raises(brood_package.HostNotFound, match=r"the server refused: there are 2 gateways at this address, .*max_gateways"):
        group.makegateway(spec)
    assert len(gateways_of(server)) == 2
    first.exit()
    first.join(DEADLINE)
    end = time.monotonic() + DEADLINE
    while len(group) < 2 and time.monotonic() < end:  # the server hears of that end a moment later
        with contextlib.suppress(brood_package.HostNotFound):
            assert group.makegateway(spec).call(os.getpid) in gateways_of(server)
    assert len(group) == len(gateways_of(server)) == 2


def test_limits_of_the_environment(group, own_brood, serve):
    (own_brood.work / "brood.toml").write_text('[env.small.limits]\nmemory = "64MiB"\nopen_files = 300\nfile_size = "1MiB"\n')
    gateway = group.makegateway(f"socket={address_of(serve())}")
    source = "import resource; channel.send([resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_FSIZE)])"
    assert gateway.remote_exec(source).receive(DEADLINE) == [(300, 300), (1 << 20, 1 << 20)]
    with pytest.raises(brood_package.RemoteError, match="MemoryError"):
        gateway.remote_exec("bytearray(200 << 20)").receive(DEADLINE)
    assert gateway.remote_exec("channel.send(len(bytearray(20 << 20)))").receive(DEADLINE) == 20 << 20


def test_the_environment_fails(group, own_brood, serve):
    (own_brood.work / "brood.toml").write_text('[env.broken]\npreload = ["no_such_module"]\n')
    server = serve()
    with pytest.raises(brood_package.HostNotFound, match="(?s)the server refused: the environment cannot be had.*no_such_module"):
        group.makegateway(f"socket={address_of(server)}")
    assert "no gateway: the environment cannot be had" in server.err.read_text()


def test_several_addresses_and_what_is_counted(group, serve):
    server = serve("--listen", "gateway:localhost:0", "--listen", "http:127.0.0.1:0", env={"BROOD_TOKEN": TOKEN})
    first, second, web = server.addresses
    assert first.startswith("gateway:127.0.0.1:") and second.startswith("gateway:localhost:")
    assert server.out.read_text().splitlines()[:2] == [first, second]
    for address in (first, second, second):
        group.makegateway(f"socket={address.partition(':')[2]}//token={TOKEN}").call(os.getpid)

    def counted():
        kind, host, port = web.split(":")
        with socket.create_connection((host, int(port)), TIMEOUT) as client:
            client.sendall(f"GET /metrics HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    lines = counted().splitlines()
    assert f'brood_gateways{{address="{first}"}} 1' in lines and f'brood_gateways{{address="{second}"}} 2' in lines
    group.terminate(DEADLINE)
    wait_until(lambda: f'brood_gateways{{address="{second}"}} 0' in counted().splitlines(), "the count of those that are there")
    assert f'brood_gateways_total{{address="{second}"}} 2' in counted().splitlines()
    assert ask(web, TOKEN, "GET", "/v1/sessions")[0] == 200


@pytest.mark.parametrize("gateways", [True, False])
def test_zygotes_have_loaded_what_gateways_run(own_brood, gateways):
    """Where the server has an address for them. Its sessions are forked from the same environments."""
    with starting(own_brood) as start:
        more = ["--listen", "gateway:127.0.0.1:0"] if gateways else []
        web = start("--listen", "http:127.0.0.1:0", *more, env={"BROOD_TOKEN": TOKEN}).addresses[0]
        status, made = ask(web, TOKEN, "POST", "/v1/sessions", {})
        assert status == 201, made
        code = textwrap.dedent("""\
            import codecs, sys
            try:
                loaded = codecs.lookup_error("brood.gateways")()
            except LookupError:
                loaded = ()
            "heavy" in sys.modules, "brood_core.worker" in loaded, "brood_core" in sys.modules""")
        status, done = ask(web, TOKEN, "POST", f"/v1/sessions/{made['id']}/execute", {"code": code})
        assert (status, done["result"]["text/plain"]) == (200, str((True, gateways, False)))


# --- the end -------------------------------------------------------------------------------------------------------------

MASTER = """
import sys, os
import brood
group = brood.Group()
for number, code in enumerate(eval(sys.argv[2])):
    gateway = group.makegateway(f"socket={sys.argv[1]}")
    channel = gateway.remote_exec("channel.send(None)\\n" + code)
    channel.receive(20)
print("here", flush=True)
sys.stdin.read()
"""


def test_the_master_is_killed(serve):
    server = serve()
    master = subprocess.Popen([sys.executable, "-c", MASTER, address_of(server), repr(list(HANGS.values()))], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": python_path()})
    with contextlib.ExitStack() as stack:
        assert master.stdout.readline() == b"here\n"
        pids = gateways_of(server)
        assert len(pids) == len(HANGS)
        watched = [stack.enter_context(Watched(pid)) for pid in pids]
        others = wait_until(lambda: [child for pid in pids for child in children(pid)], "the child")
        master.kill()
        end = time.monotonic() + BOUND
        master.communicate(timeout=DEADLINE)
        assert all(process.ended(max(0, end - time.monotonic())) for process in watched)
        wait_until(lambda: ended(*others), "the end of the child")
    assert gateways_of(server) == []


@pytest.mark.parametrize("how", ["exit", "close", "reset"])
def test_the_link_breaks(serve, how):
    """A link on which nothing orderly was said."""
    server = serve()
    with Raw(server) as client, Watched(client.become_context()) as process:
        client.leave(how)
        assert process.ended(BOUND)
    wait_until(lambda: not gateways_of(server), "the end of the interpreter")


def test_code_that_hangs_is_ended_with_the_group(engine, group, serve):
    server = serve()
    for code in HANGS.values():
        group.makegateway(f"socket={address_of(server)}").remote_exec("channel.send(None)\n" + code).receive(DEADLINE)
    with contextlib.ExitStack() as stack:
        watched = [stack.enter_context(Watched(pid)) for pid in gateways_of(server)]
        assert len(watched) == len(HANGS)
        end = time.monotonic() + BOUND + 1  # the order to leave has its own second
        group.terminate(BOUND)
        assert all(process.ended(max(0, end - time.monotonic())) for process in watched)
    wait_until(lambda: not gateways_of(server), "the end of the interpreters")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends(engine, group, serve, number):
    server = serve()
    spec = f"socket={address_of(server)}"
    codes = {"sleeps": spec, "takes no interrupt": spec + "//engine=python", "waits for a child": spec}
    channels = [group.makegateway(spec).remote_exec("channel.send(None)\n" + HANGS[name]) for name, spec in codes.items()]
    for channel in channels:
        channel.receive(DEADLINE)
    with contextlib.ExitStack() as stack:
        watched = [stack.enter_context(Watched(pid)) for pid in gateways_of(server)]
        assert len(watched) == 3
        sleeper = wait_until(lambda: [pid for one in watched for pid in children(one.pid) if b"sleep" in command_line(pid)], "the child")
        if number == signal.SIGTERM:
            server.end()
        else:
            server.kill(but=sleeper)
        assert all(one.ended(BOUND) for one in watched)
        for channel in channels:
            with pytest.raises(brood_package.GatewayLost):
                channel.receive(DEADLINE)
        for pid in sleeper if number == signal.SIGKILL else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # nobody is there any more who would


def test_the_server_is_stopped_while_gateways_start(engine, group, serve):
    """Each client gets a gateway or is told that there is none; the fixtures count what is left."""
    server = serve()
    spec, made, refused = f"socket={address_of(server)}", [], []
    group.makegateway(spec)
    enough = threading.Event()

    def make():
        for _ in range(20):
            try:
                made.append(group.makegateway(spec))
            except brood_package.HostNotFound as error:
                refused.append(str(error))
                return
            if len(made) >= 10:
                enough.set()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert enough.wait(TIMEOUT)
    server.end()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(refused) == 8 and all(text.startswith(spec) for text in refused)
    for gateway in made:
        wait_until(lambda gateway=gateway: not gateway.hasreceiver(), "the loss of the gateway")
