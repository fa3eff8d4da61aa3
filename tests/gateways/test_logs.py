"""Log records and output of remotes become records of loggers here."""

import io
import logging
import subprocess
import sys
import os

import pytest
from group_fixture import wait_until

import brood
from brood.gateways import logs


@pytest.fixture
def records(caplog):
    """Records of brood's loggers, as (logger, level, message)."""
    caplog.set_level(logging.DEBUG, "brood")

    def found():
        return [(record.name, record.levelno, record.getMessage()) for record in caplog.records if record.name.startswith("brood.")]

    return found


def test_records_come_with_name_level_and_message(records, group):
    gateway = group.makegateway()
    gateway.remote_exec("""
        import logging
        logging.getLogger("far.away").warning("warm %d", 3)
        logging.getLogger("far").debug("detail")
        logging.error("of the root")
    """).waitclose(5)
    expected = [("brood.gw0.far.away", 30, "warm 3"), ("brood.gw0.far", 10, "detail"), ("brood.gw0", 40, "of the root")]
    wait_until(lambda: records() == expected)


def test_output_comes_by_line(records, group):
    group.makegateway().remote_exec("""
        import os, sys
        print("one"); print("two", "three")
        sys.stderr.write("error\\n")
        os.write(1, b"low\\n")
        os.system("echo child; echo child too >&2")
        print("no end", end="", flush=True)
    """).waitclose(5)
    group.terminate(5)
    found = wait_until(lambda: len(records()) >= 7 and records())
    assert [message for name, _, message in found if name == "brood.gw0.stdout"] == ["one", "two three", "low", "child", "no end"]
    assert [message for name, _, message in found if name == "brood.gw0.stderr"] == ["error", "child too"]
    assert {level for _, level, _ in found} == {20}


def test_the_level_is_the_masters(caplog, group):
    caplog.set_level(logging.ERROR, "brood")
    code = "import logging; channel.send(logging.getLogger().getEffectiveLevel())"
    assert group.makegateway().remote_exec(code).receive(5) == logging.ERROR
    caplog.set_level(5, "brood.special")
    assert group.makegateway(f"{group.defaultspec}//id=special").remote_exec(code).receive(5) == 5


def test_records_of_one_behind_another(records, group):
    group.makegateway()
    group.makegateway(f"{group.defaultspec}//via=gw0").remote_exec("import logging; logging.info('from afar'); print('out')").waitclose(5)
    wait_until(lambda: set(records()) == {("brood.gw1", 20, "from afar"), ("brood.gw1.stdout", 20, "out")})


@pytest.fixture
def unconfigured():
    """No logger above has a handler, as in a program that does not log."""
    logger = logging.getLogger("brood")
    logger.propagate = False
    yield
    logger.propagate = True


def test_without_any_logging_output_goes_to_stderr(unconfigured, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    made = logs.Logs("plain")
    for value in ["stdout", 20, "seen"], ["stderr", 20, "seen, too\n"], ["other", 20, "not seen"]:
        made.record(value)
    assert sys.stderr.getvalue() == "seen\nseen, too\n"
    sys.stderr.close()
    made.record(["stdout", 20, "lost"])


def test_a_program_that_prints_far_away():
    done = subprocess.run([sys.executable, "-c", "import brood\nwith brood.Group(['popen']) as group: group[0].remote_exec('print(1)').waitclose()"],
                          env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(brood.__file__))}, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert (done.stdout, done.stderr) == ("", "1\n")


@pytest.mark.parametrize("value", [None, 5, [], ["a", 1], ["a", "1", "x"], [1, 1, "x"], ["a", 1, b"x"], ["a", 1, "x", 2]], ids=repr)
def test_what_is_no_record_is_dropped(records, value):
    logs.Logs("odd").record(value)
    assert records() == []


def test_the_names_of_one_context_are_bounded(records, monkeypatch):
    monkeypatch.setattr(logs, "MAX_NAMES", 3)
    made = logs.Logs("many")
    for number in range(5):
        made.record([f"name{number}", 30, "x"])
    made.record(["name0", 30, "y"])
    made.record(["line\nfeed", 30, "z"])
    made.record(["long" * 100, 30, "z"])
    assert [name for name, _, _ in records()] == [
        "brood.many.name0", "brood.many.name1", "brood.many.name2", "brood.many", "brood.many", "brood.many.name0", "brood.many", "brood.many"]


def test_a_message_is_no_format(records):
    logs.Logs("safe").record(["a", 30, "100 % {x} %s"])
    assert records() == [("brood.safe.a", 30, "100 % {x} %s")]


def test_a_handler_may_call_the_gateway_that_logs(group):
    """What handles records is no thread that answers anything else."""
    gateway, answers = None, []

    class Caller(logging.Handler):
        def emit(self, record):
            answers.append(gateway.call(os.getpid))

    handler, logger = Caller(), logging.getLogger("brood.gw0.calls")
    logger.addHandler(handler)
    try:
        gateway = group.makegateway()
        gateway.remote_exec("import logging; logging.getLogger('calls').error('x')").waitclose(5)
        wait_until(lambda: answers == [gateway.greet["pid"]])
    finally:
        logger.removeHandler(handler)
