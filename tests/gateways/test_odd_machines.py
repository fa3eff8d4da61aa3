"""Machines that are not as one would like them, each behind a real sshd: what a gateway can do, it can do there."""

import contextlib
import logging
import os
import re

import pytest
from group_fixture import wait_until
from hosts.fixtures import sshd  # noqa: F401
from hosts.processes import DEADLINE
from hosts.sshd import Sshd
from interpreters import INTERPRETERS

import brood

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MODULE = """\
import sys
WORD = "grüß"
def words():
    print(WORD)
    print(WORD, "on stderr", file=sys.stderr)
    return WORD, __file__
"""


@pytest.fixture
def check(group, tmp_path, monkeypatch, caplog):
    """A function that starts a gateway, has it do everything, and returns it."""
    caplog.set_level(logging.INFO)
    (tmp_path / "odd_module.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    def check(spec):
        gateway = group.makegateway(spec)
        name = gateway.id
        assert gateway.call(divmod, 7, 2) == (3, 1)
        file = f"master:{tmp_path}/odd_module.py"
        assert gateway.remote_exec("import odd_module\nchannel.send(odd_module.words())").receive(DEADLINE) == ("grüß", file)
        channel = gateway.remote_exec("import logging\nlogging.getLogger('there').warning('grüß')\nfor item in channel: channel.send(item)")
        for item in "grüß \U0001f40d", b"\xff\0\n", "x" * 3_000_000:
            channel.send(item)
            assert channel.receive(DEADLINE) == item
        expected = {(f"brood.{name}.stdout", "grüß"), (f"brood.{name}.stderr", "grüß on stderr"), (f"brood.{name}.there", "grüß")}
        wait_until(lambda: expected <= {(record.name, record.message) for record in caplog.records})
        with pytest.raises(brood.RemoteError, match="NameError"):
            gateway.remote_exec("grüß").waitclose(DEADLINE)
        behind = group.makegateway(f"popen//via={name}")
        assert behind.call(os.getppid) == gateway.greet["pid"]
        return gateway

    return check


@pytest.fixture
def machine(group):
    """Makes an sshd as it is told to, and returns its spec(); what the group has there is ended before."""
    with contextlib.ExitStack() as servers:
        yield lambda **options: servers.enter_context(Sshd(**options)).spec
        group.terminate(5)


@pytest.mark.parametrize("python", INTERPRETERS)
def test_every_python(check, sshd, python):  # noqa: F811
    """From 3.6 on."""
    assert check(sshd.spec(f"python={python}")).greet["executable"] == python


def test_a_login_that_talks(check, machine):
    check(machine(banner="Authorized use only", noise="welcome ü")())


@pytest.mark.parametrize("python", [INTERPRETERS[0], INTERPRETERS[-1]])
@pytest.mark.parametrize("variables", [ASCII, {**ASCII, "PYTHONIOENCODING": "utf-16"}, {"LANG": "xx_XX.ISO-8859-15", "PYTHONCOERCECLOCALE": "0"}],
                         ids=["C", "utf-16", "no such locale"])
def test_encodings(check, machine, python, variables):
    check(machine(environment=variables)(f"python={python}"))


@pytest.mark.parametrize("how", ["read_only", "no_tmp"])
def test_where_nothing_can_be_written(check, machine, how):
    """Read-only file systems, /tmp noexec as well; no /tmp at all."""
    gateway = check(machine(**{how: True})())
    for place in "/tmp/x", "/x", "/dev/shm/x":
        with pytest.raises(brood.RemoteError, match="Read-only file system|No such file or directory"):
            gateway.remote_exec(f"open({place!r}, 'w')").waitclose(DEADLINE)
        with pytest.raises(OSError, match=re.escape(place)):
            gateway.put(__file__, place)


def test_stdin_in_use(check, sshd):  # noqa: F811
    """Code and programs that read their standard input have nothing, and take nothing away from the link."""
    gateway = check(sshd.spec())
    source = """
import os, subprocess, sys
channel.send([os.read(0, 100), sys.stdin.read(), subprocess.check_output(["cat"])])
try:
    input()
except EOFError:
    channel.send("end of file")
sys.stdin.close()
os.close(0)
for item in channel:
    channel.send(item)
"""
    channel = gateway.remote_exec(source)
    for number in range(1000):  # on their way while the code reads
        channel.send(number)
    assert channel.receive(DEADLINE) == [b"", "", b""] and channel.receive(DEADLINE) == "end of file"
    assert [channel.receive(DEADLINE) for _ in range(1000)] == list(range(1000))
    assert gateway.call(abs, -1) == 1


@pytest.mark.parametrize("python, says", [
    ("no-such-python", "exit status 127: .*no-such-python: .*not found"),
    ("/no/such/python", "exit status 127: .*/no/such/python: No such file or directory"),
    ("/etc/passwd", "exit status 126: .*/etc/passwd: Permission denied"),
    ("/bin/cat", "exit status 1: /bin/cat: invalid option"),
    ("/bin/true", "exit status 0$"),
])
def test_no_python(group, sshd, python, says):  # noqa: F811
    """The text has what was tried, how it ended and what was said; through another gateway, too."""
    near = group.makegateway(f"{group.defaultspec}//id=near")
    for spec in sshd.spec(f"python={python}"), sshd.spec(f"python={python}//via=near"):
        with pytest.raises(brood.HostNotFound, match=f"ssh=node: ended before it said a word of brood's, {says}"):
            group.makegateway(spec)
    assert list(group) == [near]


def test_a_machine_without_python(group, machine):
    with pytest.raises(brood.HostNotFound, match="exit status 127: .*python3: .*not found"):
        group.makegateway(machine(environment={"PATH": "/no/such/folder"})())


def test_a_python_that_is_too_old(group, sshd, tmp_path):  # noqa: F811
    script = tmp_path / "python2"
    script.write_text("#!/bin/sh\necho 'SyntaxError: only named arguments may follow *expression' >&2\nexit 1\n")
    script.chmod(0o755)
    with pytest.raises(brood.HostNotFound, match=re.escape("exit status 1 (is it Python 3.6 or later?): SyntaxError")):
        group.makegateway(sshd.spec(f"python={script}"))
