"""With pipes, and when it is signalled, a warm program behaves like one under python3.

Every test that can be is run against plain python3 as well, so that what it expects is what python3 does.
"""

import os
import select
import signal
import subprocess

import pytest
from launcher import Launcher, assert_no_program_is_left, read_line, stopped
from waiting import DEADLINE, Watched, wait_until

# --- signals to the client ------------------------------------------------------------------------

FATAL = [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGQUIT, signal.SIGABRT, signal.SIGRTMIN]


@pytest.mark.parametrize("number", FATAL, ids=lambda number: signal.Signals(number).name)
def test_a_signal_ends_it(launcher, number):
    code = "import resource, time\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)"
    program = launcher.popen("-c", code)
    assert read_line(program.stdout) == b"ready\n"
    program.send_signal(number)
    assert program.wait(DEADLINE) == -number
    assert program.stdout.read() == b""


def test_a_signal_can_be_handled(launcher):
    code = """
import os, signal, time
def handle(number, _):
    os.write(1, signal.Signals(number).name.encode() + b'\\n')
    if number == signal.SIGTERM:
        raise SystemExit(4)
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGCONT, signal.SIGINT):
    signal.signal(number, handle)
os.write(1, b'ready\\n')
while True:
    time.sleep(0.01)
"""
    program = launcher.popen("-c", code)
    assert read_line(program.stdout) == b"ready\n"
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGCONT, signal.SIGINT, signal.SIGTERM):
        program.send_signal(number)
        assert read_line(program.stdout).decode() == number.name + "\n"
    assert program.wait(DEADLINE) == 4


def test_an_interrupt_by_kill_reaches_the_program_alone(launcher):
    code = """
import subprocess
child = subprocess.Popen(['sh', '-c', 'trap "echo child interrupted" INT; read go; echo ready; cat'], stdin=subprocess.PIPE)
try:
    child.stdin.write(b'go\\n')
    child.stdin.flush()
    child.wait()
except KeyboardInterrupt:
    child.stdin.close()
    child.wait()
    print('program interrupted', flush=True)
"""
    program = launcher.popen("-c", code)
    assert read_line(program.stdout) == b"ready\n"
    program.send_signal(signal.SIGINT)
    assert program.communicate(timeout=DEADLINE)[0] == b"program interrupted\n"
    assert program.returncode == 0


def test_ignored_signals_stay_ignored(launcher):
    status, out, _ = launcher.shell("trap '' TERM USR1; $PROGRAM -c 'import os, signal; os.kill(os.getpid(), signal.SIGUSR1);"
                                    " print(int(signal.getsignal(signal.SIGTERM)))'")
    assert (status, out) == (0, b"1\n")


def test_killing_the_client_kills_the_program(warm):
    program = warm.popen("-c", "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)")
    worker = int(read_line(program.stdout))
    assert worker != program.pid
    with Watched(worker) as watched:
        program.kill()
        assert program.wait(DEADLINE) == -signal.SIGKILL
        assert watched.ended()


def test_stopping_the_program_stops_the_client(warm):
    program = warm.popen("-c", "import os, sys\nprint(os.getpid(), flush=True)\nprint(sys.stdin.readline())", stdin=subprocess.PIPE)
    worker = int(read_line(program.stdout))
    for continued in (program.pid, worker, program.pid):
        os.kill(worker, signal.SIGSTOP)
        wait_until(lambda: stopped(program.pid), "the client to stop with its program")
        os.kill(continued, signal.SIGCONT)
        wait_until(lambda: not stopped(worker), "the program to go on")
        wait_until(lambda: not stopped(program.pid), "the client to go on")
    assert program.communicate(b"on\n", DEADLINE)[0] == b"on\n\n"
    assert program.returncode == 0


# --- pipes --------------------------------------------------------------------------------------


def both(warm_brood, text):
    """The outcome of a shell script with python3 and with brood."""
    outcomes = []
    for is_brood in (False, True):
        launcher = Launcher(warm_brood, is_brood)
        outcomes.append(launcher.shell(text))
    return outcomes


def test_head_takes_the_first_line(warm_brood):
    plain, warm = both(warm_brood, """$PROGRAM -c 'for i in range(1000000): print(i)' | head -1; echo "${PIPESTATUS[@]}" """)
    assert plain == warm
    assert plain[1].startswith(b"0\n") and b"BrokenPipeError" in plain[2]


def test_sigpipe_by_default_when_asked_for(warm_brood):
    plain, warm = both(
        warm_brood,
        """$PROGRAM -c 'import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)
for i in range(1000000): print(i)' | head -1; echo "${PIPESTATUS[@]}" """,
    )
    assert plain == warm
    assert plain[1] == b"0\n141 0\n"


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(warm_brood, closed, tmp_path):
    """The lowest free numbers must stay free for the program, and brood's own must not be in their place."""
    outcomes = []
    for is_brood in (False, True):
        launcher = Launcher(warm_brood, is_brood)
        note = tmp_path / f"note-{is_brood}"
        code = (
            f"import os, sys; fd = os.open({str(note)!r}, os.O_WRONLY | os.O_CREAT);"
            " os.write(fd, repr((fd, sys.stdin is None, sys.stdout is None, sys.stderr is None)).encode());"
            " print('text'); sys.exit(6)"
        )
        # The trace goes nowhere when stderr is closed, so warmth is checked by the worker's parent.
        done = subprocess.run(
            ["bash", "-c", f'"$PROGRAM" -c "$CODE" {closed}'],
            env={**launcher.environment, "PROGRAM": launcher.program, "CODE": code},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        outcomes.append((done.returncode, done.stdout, note.read_text()))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == 6


def test_end_of_output_is_seen_when_the_program_closes_it(launcher):
    """A reader of the pipe goes on although the program still runs."""
    code = "import os, sys\nprint('all', flush=True)\nos.close(1)\nsys.stdin.read()\nos._exit(3)"
    program = launcher.popen("-c", code, stdin=subprocess.PIPE)
    assert read_line(program.stdout) == b"all\n"
    assert select.select([program.stdout], [], [], DEADLINE)[0], "the end of the output is not seen"
    assert program.stdout.read() == b""
    assert program.poll() is None
    program.stdin.close()
    assert program.wait(DEADLINE) == 3


def test_end_of_errors_is_seen_when_the_program_closes_them(launcher):
    program = launcher.popen("-c", "import os, sys\nos.close(2)\nsys.stdin.read()", stdin=subprocess.PIPE)
    text = b""
    while select.select([program.stderr], [], [], DEADLINE)[0]:
        piece = os.read(program.stderr.fileno(), 4096)
        if not piece:
            break
        text += piece
    else:
        pytest.fail("the end of stderr is not seen")
    assert program.poll() is None
    program.stdin.close()
    assert program.wait(DEADLINE) == 0


def test_a_writer_to_the_program_sees_that_it_reads_no_more(launcher):
    code = "import os, sys, time\nos.close(0)\nprint('closed', flush=True)\ntime.sleep(60)"
    program = launcher.popen("-c", code, stdin=subprocess.PIPE)
    assert read_line(program.stdout) == b"closed\n"

    def refused():
        try:
            os.write(program.stdin.fileno(), b"x")
        except BrokenPipeError:
            return True
        return False

    wait_until(refused, "the pipe to break")
    program.terminate()
    assert program.wait(DEADLINE) == -signal.SIGTERM


@pytest.mark.parametrize("how", ["subprocess", "fork"])
def test_a_child_that_outlives_the_program_holds_the_pipe(launcher, how):
    """The client ends with its program; the end of the output comes with the last holder of the pipe."""
    start = {
        "subprocess": "import subprocess\nchild = subprocess.Popen(['sleep', '60']).pid",
        "fork": "import os, time\nchild = os.fork()\nif not child:\n    time.sleep(60)\n    os._exit(0)",
    }[how]
    program = launcher.popen("-c", f"{start}\nprint(child, flush=True)\nimport os; os._exit(5)")
    child = int(read_line(program.stdout))
    try:
        assert program.wait(DEADLINE) == 5
        assert not select.select([program.stdout], [], [], 0)[0], "the end of the output came before its last holder's"
    finally:
        os.kill(child, signal.SIGKILL)
    assert program.stdout.read() == b""


def test_a_pipe_is_read_to_the_last_byte(launcher):
    program = launcher.popen("-c", "import os\nos.write(1, b'x' * 40000)\nos._exit(0)")
    assert program.wait(DEADLINE) == 0
    assert program.stdout.read() == b"x" * 40000


def test_output_arrives_as_it_is_written(launcher):
    code = "import sys\nfor line in sys.stdin:\n    print('out', line, end='', flush=True)\n    print('err', line, end='', file=sys.stderr)"
    program = launcher.popen("-c", code, stdin=subprocess.PIPE)
    if launcher.is_brood:
        assert read_line(program.stderr).startswith(b"brood: warm")
    for line in (b"one\n", b"two\n"):
        program.stdin.write(line)
        program.stdin.flush()
        assert read_line(program.stdout) == b"out " + line
        assert read_line(program.stderr) == b"err " + line
    program.stdin.close()
    assert program.wait(DEADLINE) == 0


def test_no_worker_is_left(warm_brood):
    assert_no_program_is_left(warm_brood)
