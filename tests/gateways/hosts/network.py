"""Several machines on one: network namespaces in a line, with an sshd in each, and links that can fail.

The machine's own network is not touched: all devices and addresses are within the namespaces."""

import contextlib
import functools
import subprocess
import sys

import pytest

from .links import PROGRAMS, Cable, RelayLink, Veth
from .namespace import Namespace
from .processes import DEADLINE
from .sshd import OWN, Sshd

# What makes links, the best first, and a command for a new namespace that fails where the kernel lacks something for it.
KINDS = {
    "netem": "ip link add name one type veth peer name two && tc qdisc add dev lo root netem delay 1ms",
    "tun": "ip tuntap add dev t mode tun",
    "relay": None,
}


@functools.cache
def is_possible(kind):
    """Whether links of this kind can be made here, by this user."""
    probe = KINDS[kind]
    return not probe or subprocess.run(["unshare", "--net", "sh", "-c", probe], capture_output=True).returncode == 0


class Host:
    """A machine with an sshd, and `link` to the one before it.

    name: its alias for ssh.  before: the Host from which it is reached; None: the test.  login: how, from there."""

    def __init__(self, name, before, link, sshd, login):
        self.name = name
        self.before = before
        self.link = link
        self.sshd = sshd
        self.login = login

    def spec(self, extra=""):
        """For a gateway that is started on the host before."""
        return self.login.spec(extra)

    def command(self, *words):
        """The words of a command that executes `words` on this host, started by the test and without ssh."""
        return ["env", f"{OWN}={self.sshd.mark}", *self.sshd.inside, *words]

    def ssh(self, *words):
        """The words of a command that executes `words` on this host by an ssh of the host before."""
        command = self.login.ssh(*words)
        return self.before.command(*command) if self.before else command

    def run(self, *words, **more):
        """The same, executed; returns a CompletedProcess with text. Fails after DEADLINE seconds."""
        return subprocess.run(self.ssh(*words), capture_output=True, text=True, timeout=DEADLINE, **more)

    def processes(self):
        """The pids of this machine, but for its sshd's own: empty when nobody has left anything there."""
        return self.sshd.processes()


class Hosts:
    """Makes hosts, and ends them in close(), which fails when processes were left there.

    kind: of KINDS; None: the best that is possible. With "relay" all are processes of one machine: only ssh feels the links."""

    def __init__(self, kind=None):
        self.kind = kind or next(filter(is_possible, KINDS))
        if not is_possible(self.kind):
            pytest.skip(f"no links of kind {self.kind} here")
        self.resources = contextlib.ExitStack()
        self.master = None  # the Namespace of the test's end of the link to the first host

    def make(self, *names, links=(), options=()):
        """Hosts in a line, each reached only from the one before it, the first from the test. Returns them.

        links: for each host, what is set for the link to it: {"delay": 20, "rate": "10mbit"}.
        options: more lines for the ssh_config of each: ["ServerAliveInterval 1"]."""
        add = self.add_process if self.kind == "relay" else self.add_namespace
        line = []
        for number, name in enumerate(names):
            host = add(name, number, line[-1] if line else None, options)
            line.append(host)
            for setting, value in (links[number] if number < len(links) else {}).items():
                getattr(host.link, setting)(value)
        return line

    def own(self, resource):
        self.resources.callback(resource.close)
        return resource

    def add_process(self, name, _, before, options):
        sshd = self.own(Sshd())
        link = self.own(RelayLink(sshd.port))
        return Host(name, before, link, sshd, sshd.login(alias=name, port=link.port, options=options))

    def add_namespace(self, name, number, before, options):
        if not before:
            self.master = self.own(Namespace())
        west, east = before.sshd.namespace if before else self.master, self.own(Namespace())
        link = self.own((Veth if self.kind == "netem" else Cable)(west, east))
        west.run(f"ip address add 192.0.2.{4 * number + 1}/30 dev east; ip link set east up")
        east.run(f"ip address add 192.0.2.{4 * number + 2}/30 dev west; ip link set west up")
        sshd = self.own(Sshd(namespace=east))
        # The test's own ssh is in no namespace, but its connection is in the first.
        connect = " ".join([*west.enter(), sys.executable, "-IS", f"{PROGRAMS}/connect.py", "%h", "%p"])
        proxy = [] if before else [f"ProxyCommand {connect}", "ProxyUseFdpass yes"]
        login = sshd.login(alias=name, address=f"192.0.2.{4 * number + 2}", options=[*proxy, *options])
        return Host(name, before, link, sshd, login)

    def close(self):
        self.resources.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
