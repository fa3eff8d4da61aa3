"""`brood serve` started in any way: with other options, in a network of its own, as somebody else."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
from pathlib import Path

import pytest
from brood_fixture import PYTHON, TIMEOUT
from serve_fixture import Serve
from waiting import DEADLINE, children, ended, wait_until


def descendants(pid):
    """All processes below this one."""
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


class Started:
    """A server that is ready. `options`: all of its command line but --ready-fd. `under`: words before it, such as nsenter's."""

    read_ready = Serve.read_ready

    def __init__(self, brood, *options, env=None, under=(), cwd=None):
        self.brood = brood
        self.watched = set()
        number = len(list(brood.base.glob("server-*.out")))
        self.out, self.err = brood.base / f"server-{number}.out", brood.base / f"server-{number}.err"
        reading, writing = os.pipe()
        try:
            with open(self.out, "wb") as out, open(self.err, "wb") as err:
                self.process = subprocess.Popen(
                    [*map(str, under), brood.brood, "serve", "--ready-fd", str(writing), *map(str, options)],
                    env={**brood.environment, **(env or {})},
                    cwd=cwd or brood.work,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    pass_fds=[writing],
                )
        finally:
            os.close(writing)
        try:
            self.ready = self.read_ready(reading)
            self.addresses = self.ready.split()
            self.after_ready = os.read(reading, 1)  # nobody else may hold it open
        except BaseException as error:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"not ready: {self.err.read_text()}") from error
        finally:
            os.close(reading)

    @property
    def pid(self):
        return self.process.pid

    def watch(self):
        """Remembers all processes that the server has now; they have to be gone when it is."""
        self.watched |= set(descendants(self.pid))
        return self.watched

    def kill(self, but=()):
        """The server is killed, and the end of what it had is waited for, `but` these."""
        self.watch()
        self.process.kill()
        self.process.wait()
        self.wait_for_all(but)

    def end(self, number=signal.SIGTERM):
        self.watch()
        self.process.send_signal(number)
        status = self.process.wait(DEADLINE)
        assert status == 0, f"brood serve ended with status {status}: {self.err.read_text()[-2000:]}"
        self.wait_for_all()

    def wait_for_all(self, but=()):
        wanted = self.watched.difference(but)
        try:
            wait_until(lambda: ended(*wanted), "the end of the server's processes")
        except AssertionError:
            left = [Path(f"/proc/{pid}/status").read_text() for pid in wanted if not ended(pid)]
            raise AssertionError(f"left behind: {left}") from None


@contextlib.contextmanager
def starting(brood):
    """A function that starts servers of one user. In the end those that still run are ended."""
    servers = []

    def start_one(*options, **more):
        servers.append(Started(brood, *options, **more))
        return servers[-1]

    try:
        yield start_one
        for server in servers:
            if server.process.poll() is None:
                server.end()
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()


def refused(brood, *options, under=(), **more):
    """A start that has to fail; returns its status and what it says."""
    program, *words = [*map(str, under), brood.brood, "serve", *options]
    done = brood.run(words, program=program, **more)
    assert done.out == b"", done
    return done.status, done.err.decode()


def ask(address, token, verb, path, body=None):
    """One request at `http:HOST:PORT` or `https:HOST:PORT`; returns the status and the answer."""
    kind, host, port = address.split(":")
    trusting = {"context": ssl._create_unverified_context()} if kind == "https" else {}
    make = http.client.HTTPSConnection if kind == "https" else http.client.HTTPConnection
    with contextlib.closing(make(host, int(port), timeout=TIMEOUT, **trusting)) as connection:
        return ask_on(connection, token, verb, path, body)


def ask_on(connection, token, verb, path, body=None):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(verb, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or "null")


# --- a network of its own ------------------------------------------------------------------------

OUTSIDE = "192.0.2.1"  # for documentation (RFC 5737): nobody has it, and it is no loopback address
SET_UP = f"ip link set lo up && ip address add {OUTSIDE}/32 dev lo && echo up && exec cat"

# argv: the address, then headers. Prints the status, and the headers in which a browser would be sent on.
GET = """
import http.client, sys
from urllib.parse import urlsplit
url = urlsplit(sys.argv[1])
c = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
c.request("GET", url.path + ("?" + url.query if url.query else ""), headers=dict(zip(sys.argv[2::2], sys.argv[3::2])))
a = c.getresponse()
print(a.status, a.getheader("Location"), (a.getheader("Set-Cookie") or "").partition(";")[0])
"""


class Network:
    """Only loopback, with the address OUTSIDE, too; all ports are free. A process holds it open."""

    def __init__(self):
        mine = [] if os.geteuid() == 0 else ["-U", "-r"]
        for program in ("unshare", "nsenter", "ip"):
            if not shutil.which(program):
                pytest.skip(f"there is no {program}")
        self.keeper = subprocess.Popen(
            ["unshare", *mine, "-n", "sh", "-c", SET_UP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        if self.keeper.stdout.readline() != b"up\n":
            reason = self.keeper.communicate(timeout=TIMEOUT)[1].decode()
            pytest.skip(f"no network namespace here: {reason}")
        self.under = ["nsenter", "-t", self.keeper.pid, "-n", *(["-U", "--preserve-credentials"] if mine else [])]

    def get(self, url, **headers):
        """Returns the status, where to go on, and the cookie."""
        words = [word for pair in headers.items() for word in pair]
        done = subprocess.run([*map(str, self.under), PYTHON, "-c", GET, url, *words], capture_output=True, timeout=TIMEOUT)
        assert done.returncode == 0, done
        status, where, cookie = done.stdout.decode().rstrip("\n").split(" ")
        return int(status), where, cookie

    def close(self):
        self.keeper.communicate(timeout=TIMEOUT)
