"""Ctrl-C, typed at a real terminal, while a program sends and receives, waits for a call, or for a gateway to be started."""

import signal
import sys
import time
from pathlib import Path

import pexpect
import pytest
from group_fixture import wait_until
from hosts.links import Relay
from hosts.processes import DEADLINE, orphans

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os
import sys
import time

import brood


def sleep():
    print("in the middle")
    time.sleep(1000)


def call(group, gateway):
    gateway.call(sleep)


def start(group, gateway):
    group.makegateway(sys.argv[3])


def soak(group, gateway):
    '''Numbers go to and fro. What an interrupted send() or receive() was about is the only number that may be missing.'''
    echo = gateway.remote_exec("for item in channel: channel.send(item)")
    numbers, number = [], 0
    try:
        while True:
            number += 1
            echo.send((number, b"x" * (number % 5000)))
            if number > 500:
                numbers.append(echo.receive()[0])
            if number == 5000:
                print("in the middle", flush=True)
    finally:
        echo.send((number + 1, b""))
        echo.end()
        numbers += [item[0] for item in echo]
        assert numbers[-1] == number + 1 and all(0 < b - a < 3 for a, b in zip(numbers, numbers[1:])), numbers
        assert sum(b - a - 1 for a, b in zip(numbers, numbers[1:])) < 2, numbers


def main():
    with brood.Group() as group:
        gateway = group.makegateway(sys.argv[1])
        pid = gateway.call(os.getpid)
        work = globals()[sys.argv[2]]
        if "catch" not in sys.argv:
            work(group, gateway)
        for _ in range(2):
            try:
                work(group, gateway)
            except KeyboardInterrupt:
                print("caught", flush=True)
        assert gateway.call(os.getpid) == pid
        channel = gateway.remote_exec("channel.send(channel.receive() * 2)")
        channel.send(21)
        assert channel.receive(10) == 42
        if work is start:
            assert group.makegateway(sys.argv[3]).call(os.getppid)
        print("went on", len(group), flush=True)


if __name__ == "__main__":
    main()
"""


@pytest.fixture(params=["python", "native"])
def program(request, tmp_path, monkeypatch):
    """A function that starts the program above at a terminal."""
    monkeypatch.setenv("BROOD_ENGINE", request.param)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "python"))
    (tmp_path / "program.py").write_text(PROGRAM)
    spec = "popen//engine=python" if request.param == "python" else "popen"
    started = []

    def start(*words):
        started.append(pexpect.spawn(sys.executable, [str(tmp_path / "program.py"), spec, *words], timeout=DEADLINE))
        return started[-1]

    yield start
    for each in started:
        each.close(force=True)


@pytest.fixture
def slowly(sshd):
    """The spec of a machine that is 100 ms away, to be reached by ssh, and a function that waits for the n-th connection to it."""
    with Relay(sshd.port) as relay:
        relay.delay(100)
        spec = sshd.login(alias="slow", port=relay.port).spec()
        before = sshd.log().count("Connection from")
        yield spec, lambda number: wait_until(lambda: sshd.log().count("Connection from") >= before + number, DEADLINE)


def ended(child):
    """Seconds until the program has ended as Python does of Ctrl-C."""
    begun = time.monotonic()
    child.expect("KeyboardInterrupt")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.signalstatus == signal.SIGINT
    return time.monotonic() - begun


@pytest.mark.parametrize("work", ["soak", "call"])
def test_a_program_ends(program, work):
    with orphans():
        child = program(work)
        child.expect("in the middle")
        child.sendintr()
        assert ended(child) < 8


@pytest.mark.parametrize("work", ["soak", "call"])
def test_a_program_that_catches_it_goes_on(program, work):
    with orphans():
        child = program(work, "catch")
        for _ in range(2):
            child.expect("in the middle")
            child.sendintr()
            child.expect("caught")
        child.expect("went on 1")
        child.expect(pexpect.EOF)
        assert child.wait() == 0


def test_a_program_that_starts_a_gateway_ends(program, slowly):
    spec, wait_for = slowly
    with orphans():
        child = program("start", spec)
        wait_for(1)
        child.sendintr()
        assert ended(child) < 8


def test_a_program_that_starts_a_gateway_goes_on(program, slowly):
    spec, wait_for = slowly
    with orphans():
        child = program("start", spec, "catch")
        for number in 1, 2:
            wait_for(number)
            child.sendintr()
            child.expect("caught")
        child.expect("went on 2")
        child.expect(pexpect.EOF)
        assert child.wait() == 0
