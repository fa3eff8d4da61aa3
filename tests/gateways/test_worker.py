"""What a remote does with what it is asked: source, calls, deadlines, output, logs."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from hosts.processes import DEADLINE, all_pids, ended, wait_until
from remote_fixture import start_staged

from brood.gateways.core.errors import GatewayLost, RemoteError


@pytest.fixture(params=["files", "stage"])
def remote(request, remotes):
    """Once from brood's files, once by way of the first stage."""
    return remotes.start() if request.param == "files" else start_staged(remotes)


@pytest.fixture
def one(remotes):
    return remotes.start()


def error_of(channel):
    with pytest.raises(RemoteError) as info:
        channel.receive(DEADLINE)
    return info.value


# --- source -------------------------------------------------------------------------------------------------------------


def test_source_sees_a_channel_and_its_end_ends_the_channel(remote):
    channel = remote.execute("channel.send(channel.receive() + 1)\nchannel.send(__name__)")
    channel.send(1)
    assert channel.receive(DEADLINE) == 2
    assert channel.receive(DEADLINE) == "__channelexec__"
    with pytest.raises(EOFError):
        channel.receive(DEADLINE)


def test_each_source_has_a_namespace_of_its_own(one):
    one.execute("x = 1").waitclose(DEADLINE)
    assert one.evaluate("'x' in globals()") is False


def test_a_function_gets_the_channel_and_keywords(one):
    channel = one.execute("def f(channel, a, b=2):\n    channel.send((a, b))\n", function="f", a=1)
    assert channel.receive(DEADLINE) == (1, 2)


def test_an_error_has_its_type_and_a_traceback_with_source_but_without_frames_of_brood(remote):
    error = error_of(remote.execute("def f():\n    raise ValueError('no')  # here\nf()"))
    assert (error.type, error.text) == ("ValueError", "no")
    assert "raise ValueError('no')  # here" in error.formatted
    assert "<remote exec>" in error.formatted and "line 3" in error.formatted
    assert "brood" not in error.formatted and "exec(" not in error.formatted


def test_a_traceback_names_the_file_and_its_lines(one):
    error = error_of(one.execute("\n\ndef f(channel):\n    1 / 0", file="/nowhere/mine.py", function="f"))
    assert 'File "/nowhere/mine.py", line 4, in f' in error.formatted and "1 / 0" in error.formatted


def test_source_that_is_no_python(one):
    assert error_of(one.execute("1 +")).type == "SyntaxError"


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
def test_what_ends_a_program_ends_the_channel_only(one, kind):
    assert error_of(one.execute(f"raise {kind}")).type == kind
    assert one.evaluate("1") == 1


def test_end_of_file_is_no_error(one):
    channel = one.execute("channel.receive()")
    channel.close()
    channel = one.execute("raise EOFError('enough')")
    with pytest.raises(EOFError):
        channel.receive(DEADLINE)


def test_a_keyboard_interrupt_is_told_as_in_execnet(one):
    assert error_of(one.execute("raise KeyboardInterrupt")).formatted == "keyboard-interrupted"


def test_many_run_at_once(one):
    channels = [one.execute("channel.send(channel.receive())") for _ in range(20)]
    for number, channel in reversed(list(enumerate(channels))):
        channel.send(number)
        assert channel.receive(DEADLINE) == number


def test_threads_that_are_not_needed_leave(one):
    one.execute("import brood_core.worker; brood_core.worker.IDLE = 0.05").waitclose(DEADLINE)
    threads = lambda: len(os.listdir(f"/proc/{one.pid}/task"))  # noqa: E731
    first = one.execute("channel.send(1); channel.receive()")  # has the main thread
    first.receive(DEADLINE)
    second = one.execute("channel.send(1); channel.receive()")
    second.receive(DEADLINE)
    busy = threads()
    for channel in first, second:
        channel.send(None)
        channel.waitclose(DEADLINE)
    wait_until(lambda: threads() < busy, "the end of the thread")


def test_the_first_task_has_the_main_thread(one):
    assert one.evaluate("import threading; channel.send(threading.current_thread() is threading.main_thread())") is True


def test_further_tasks_know_which_thread_is_the_main_one(one):
    held = one.execute("import _thread; channel.send(_thread.get_ident()); channel.receive()")
    main = held.receive(DEADLINE)
    assert one.evaluate("import threading; channel.send(threading.main_thread().ident)") == main
    held.close()


# --- calls --------------------------------------------------------------------------------------------------------------


def test_calls(remote):
    assert remote.call("os", "getpid") == remote.pid
    assert remote.call("os.path", "join", "a", "b") == "a/b"
    assert remote.call("builtins", "dict", a=1) == {"a": 1}


def test_methods_of_classes(one):
    assert one.call("builtins", "fromhex", "00ff", outer="bytes") == b"\0\xff"
    assert one.call("string", "Formatter.get_value", None, 0, ("x",), {}) == "x"
    one.execute("""
import sys
module = type(sys)("nested")
class Outer:
    class Inner:
        @staticmethod
        def double(x): return 2 * x
        @classmethod
        def name(cls): return cls.__qualname__
module.Outer = Outer
sys.modules["nested"] = module
""").waitclose(DEADLINE)
    assert one.call("nested", "double", 4, outer="Outer.Inner") == 8
    assert one.call("nested", "name", outer="Outer.Inner") == "Outer.Inner"


def test_a_function_that_was_replaced_is_called_next(one):
    assert one.call("os.path", "basename", "a/b") == "b"
    one.execute("import os; os.path.basename = lambda path: 'another'").waitclose(DEADLINE)
    assert one.call("os.path", "basename", "a/b") == "another"


def test_what_is_raised_by_a_call(one):
    error = error_of(one.submit("json", "loads", "{"))
    assert error.type == "json.decoder.JSONDecodeError"
    assert "json/__init__.py" in error.formatted and "brood" not in error.formatted
    assert error_of(one.submit("json", "nothing")).type == "AttributeError"
    assert error_of(one.submit("no_such_module", "f")).type == "ModuleNotFoundError"
    assert error_of(one.submit("builtins", "next", ())).type == "TypeError"
    assert error_of(one.submit("sys", "exit")).type == "SystemExit"
    assert one.call("os", "getpid") == one.pid


def test_end_of_file_in_a_call_is_an_error(one):
    one.execute("import os\ndef f(): raise EOFError('x')\nos.f = f").waitclose(DEADLINE)
    assert error_of(one.submit("os", "f")).type == "EOFError"


def test_a_result_that_cannot_be_sent(one):
    error = error_of(one.submit("builtins", "object"))
    assert error.type == "DumpError" and "object" in error.text


def test_a_call_with_context(one):
    one.execute("""
import os
def where(context, x):
    return x, context.name, context.number, context.ancestors, context.parent, context.left
os.where = where
""").waitclose(DEADLINE)
    assert one.call("os", "where", 5, with_context=True) == (5, "gw0", 1, (0,), 0, None)
    left = one.call("os", "where", 5, with_context=True, deadline=10)[-1]
    assert 5 < left <= 10


# --- deadlines ----------------------------------------------------------------------------------------------------------


def test_a_deadline_that_is_kept(one):
    for _ in range(100):
        assert one.call("os", "getpid", deadline=5) == one.pid


def test_a_deadline_ends_a_system_call_of_the_main_thread(one):
    begin = time.monotonic()
    error = error_of(one.submit("time", "sleep", 60, deadline=0.2))
    assert error.type == "DeadlineExceeded"
    assert 0.15 < time.monotonic() - begin < 5
    assert one.call("os", "getpid") == one.pid


LOOP = """
import os, time
def loop(seconds):
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            pass
    finally:
        os.cleaned = True
os.loop = loop
"""


def test_a_deadline_in_another_thread(one):
    one.execute(LOOP).waitclose(DEADLINE)
    held = one.execute("channel.receive()")  # has the main thread
    one.status()
    assert error_of(one.submit("os", "loop", 60, deadline=0.2)).type == "DeadlineExceeded"
    assert one.evaluate("__import__('os').cleaned") is True
    held.send(None)
    held.waitclose(DEADLINE)


def test_handlers_of_signals_stay(one):
    one.execute("import signal; signal.signal(signal.SIGALRM, lambda *_: None); signal.alarm(60)").waitclose(DEADLINE)
    assert error_of(one.submit("time", "sleep", 60, deadline=0.1)).type == "DeadlineExceeded"
    assert one.evaluate("__import__('signal').alarm(0)") > 50


@pytest.mark.parametrize("body", [
    "__import__('re').match(r'(a+)+$', 'a' * 40 + 'b')",
    "(lambda f: f(f))(lambda f: [None for _ in iter(lambda: swallow(), 1)])",
])
def test_code_that_does_not_heed_its_deadline_is_ended(remote, body):
    remote.execute(f"""
import os, time
def swallow():
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass
def hang():
    {body}
os.hang = hang
""").waitclose(DEADLINE)
    begin = time.monotonic()
    with pytest.raises(GatewayLost):
        remote.submit("os", "hang", deadline=0.3).receive(DEADLINE)
    assert time.monotonic() - begin < 5
    assert remote.process.wait(DEADLINE) == -signal.SIGKILL


# --- output -------------------------------------------------------------------------------------------------------------


def test_output_comes_line_by_line(remote):
    channel = remote.execute("import os, sys\nprint('one')\nos.write(1, b'two\\nthree')\nprint('err', file=sys.stderr)\n"
                             "os.system('echo child; echo warns >&2')\nchannel.receive()")
    for line in "one", "two", "threechild":
        remote.master.wait_for_line(line)
    for line in "err", "warns":
        remote.master.wait_for_line(line, "stderr")
    channel.close()


def test_standard_input_is_empty(one):
    assert one.evaluate("__import__('sys').stdin.read()") == ""
    assert one.evaluate("__import__('os').readlink('/proc/self/fd/0')") == "/dev/null"


def test_output_of_any_characters(one):
    one.execute("import os\nprint('gr\\xfc\\xdf \\udc80')\nos.write(1, b'\\xff\\n')").waitclose(DEADLINE)
    one.master.wait_for_line("grüß \\udc80")
    one.master.wait_for_line("\ufffd")


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "utf-16"}, {"PYTHONUTF8": "0", "LANG": "C"}])
def test_odd_encodings(remotes, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    remote = start_staged(remotes)
    remote.execute("print('gr\\xfc\\xdf')").waitclose(DEADLINE)
    remotes.wait_for_line("grüß")


def test_children_do_not_hold_the_link(one):
    source = "import os; channel.send(sorted(map(int, os.popen('ls /proc/self/fd').read().split())))"
    assert max(one.evaluate(source)) < 20  # no descriptor of the link, which begin at 100


# --- logs ---------------------------------------------------------------------------------------------------------------


def test_records_are_forwarded_with_the_level_of_the_master(remotes):
    remote = remotes.start(level=20)
    remote.execute("""
import logging
log = logging.getLogger("some.where")
log.debug("no")
log.info("%s!", "yes")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
""").waitclose(DEADLINE)
    wait_until(lambda: len(remotes.records) == 2, "two records")
    assert remotes.records[0] == (1, "some.where", 20, "yes!")
    _, name, level, text = remotes.records[1]
    assert (name, level) == ("some.where", 40) and text.startswith("failed\nTraceback") and "ZeroDivisionError" in text


def test_logging_is_imported_only_by_those_who_log(one):
    assert one.evaluate("'logging' in __import__('sys').modules") is False


def test_a_record_about_a_record_does_not_recurse(remotes):
    remote = remotes.start(level=10)
    remote.execute("""
import logging
class Talks:
    def __str__(self):
        logging.warning("from inside")
        return "text"
logging.warning("%s", Talks())
""").waitclose(DEADLINE)
    wait_until(lambda: remotes.records, "a record")
    assert [record[1:] for record in remotes.records] == [("root", 30, "text")]


def test_an_imported_logging_module_is_complete(one):
    source = "import logging as m; channel.send((m.__spec__.loader is m.__loader__, type(m.__loader__).__name__))"
    assert one.evaluate(source) == (True, "SourceFileLoader")
    assert one.evaluate("[type(f).__name__ for f in __import__('sys').meta_path].count('AfterImport')") == 0


# --- state and end ------------------------------------------------------------------------------------------------------


def test_status(one):
    held = one.execute("channel.receive()")
    wait_until(lambda: one.status()["executing"] == 1, "the task")
    status = one.status()
    assert status["pid"] == one.pid and status["engine"] == one.child.greet["engine"] and status["python"].count(".") == 2
    assert status["channels"] >= 1 and status["threads"] >= 2
    held.close()
    wait_until(lambda: one.status()["executing"] == 0, "the end of the task")


def test_an_orderly_end_sends_what_is_left(remote):
    remote.execute("""
import atexit, os, sys
atexit.register(print, "at exit")
sys.stdout.write("incomplete ")
sys.stdout.flush()
os.write(2, b"half a line")
""").waitclose(DEADLINE)
    remote.shut()
    assert remote.process.wait(DEADLINE) == 0
    remote.master.wait_for_line("incomplete at exit")
    remote.master.wait_for_line("half a line", "stderr")


def test_an_orderly_end_interrupts_what_runs(remote):
    remote.execute("""
import time
try:
    channel.send(1)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
""").receive(DEADLINE)
    begin = time.monotonic()
    remote.shut()
    assert remote.process.wait(DEADLINE) == 0
    assert time.monotonic() - begin < 3
    remote.master.wait_for_line("interrupted")


def test_an_orderly_end_of_what_waits_for_items(one):
    one.execute("channel.send(1)\nfor item in channel: pass\nprint('no more')").receive(DEADLINE)
    one.shut()
    assert one.process.wait(DEADLINE) == 0
    one.master.wait_for_line("no more")


def test_an_orderly_end_of_what_ignores_it_is_a_kill(one):
    one.execute("import signal, time\nsignal.signal(2, signal.SIG_IGN)\nchannel.send(1)\nwhile 1: time.sleep(1)").receive(DEADLINE)
    begin = time.monotonic()
    one.shut(1.0)
    assert one.process.wait(DEADLINE) == -signal.SIGKILL
    assert time.monotonic() - begin < 3


def test_an_orderly_end_leaves_other_programs_alone(remote):
    pid = remote.evaluate("from subprocess import Popen; channel.send(Popen(['sleep', '60'], stdin=-3, stdout=-3, stderr=-3).pid)")
    try:
        remote.shut()
        assert remote.process.wait(DEADLINE) == 0
        assert not ended(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_an_interrupt_from_outside_is_the_programs(one):
    channel = one.execute("import time\nchannel.send(1)\ntime.sleep(60)")
    channel.receive(DEADLINE)
    os.kill(one.pid, signal.SIGINT)
    assert error_of(channel).type == "KeyboardInterrupt"
    assert one.call("os", "getpid") == one.pid
    os.kill(one.pid, signal.SIGINT)  # nothing runs; what comes at that moment may be lost by it
    with contextlib.suppress(EOFError):
        one.call("os", "getpid")
    assert one.call("os", "getpid") == one.pid


def test_it_has_a_process_group_of_its_own(remote):
    assert os.getpgid(remote.pid) == remote.pid


# --- the end of the link --------------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys, time
sys.path[:0] = {path!r}
from remote_fixture import Master, start_staged
master = Master()
remote = {start}
remote.execute({source!r}).receive(10)
print(remote.pid, flush=True)
time.sleep(60)
"""

HANGS = {
    "idle": "channel.send(1)",
    "sleeps": "import time\nchannel.send(1)\ntime.sleep(60)",
    "holds the interpreter": "import re\nchannel.send(1)\nre.match(r'(a+)+$', 'a' * 40 + 'b')",
    "ignores signals": "import signal as s, time\nfor n in 2, 15: s.signal(n, s.SIG_IGN)\nchannel.send(1)\nwhile 1: time.sleep(1)",
    "swallows interrupts": "import time\nchannel.send(1)\nwhile 1:\n try: time.sleep(1)\n except BaseException: pass",
    "has children": "import subprocess\nsubprocess.Popen(['sleep', '60'], close_fds=False)\nchannel.send(1)",
    "has forked": "import os, time\nif os.fork() == 0:\n time.sleep(60)\n os._exit(0)\nchannel.send(1)\ntime.sleep(60)",
}


@pytest.mark.parametrize("start", ["master.start()", "start_staged(master)"])
@pytest.mark.parametrize("source", HANGS.values(), ids=HANGS)
def test_when_the_master_is_killed_nothing_is_left(remotes, start, source):
    program = PROGRAM.format(path=sys.path, start=start, source=source)
    master = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    with master.stdout:
        pid = int(master.stdout.readline())
        assert _group(pid)
        master.kill()
        master.wait()
        begin = time.monotonic()
        wait_until(lambda: ended(pid, *_group(pid)), "the end of the remote's process group")
        assert time.monotonic() - begin < 5


def _group(leader):
    """The processes of a group."""
    found = []
    for pid in all_pids():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == leader:
                found.append(pid)
    return found
