"""On a terminal a warm program behaves like one under python3.

Every test that can be is run against plain python3 as well, so that what it expects is what python3 does.
"""

import re
import signal
import subprocess
import termios

import pexpect
import pytest
from launcher import assert_no_program_is_left, read_line, stopped
from waiting import DEADLINE, Watched, process_state, wait_until

# --- keys ---------------------------------------------------------------------------------------


def test_ctrl_c_interrupts(launcher):
    terminal = launcher.terminal("-c", "import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)")
    terminal.expect("ready")
    terminal.send("\x03")
    terminal.expect("KeyboardInterrupt")
    assert terminal.wait() == -signal.SIGINT


def test_ctrl_c_that_is_caught_does_not_end_the_program(launcher):
    code = """
import time
for i in range(3):
    try:
        print('ready', i, flush=True)
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        print('caught', i, flush=True)
raise SystemExit(7)
"""
    terminal = launcher.terminal("-c", code)
    for i in range(3):
        terminal.expect(f"ready {i}")
        terminal.send("\x03")
        terminal.expect(f"caught {i}")
    assert terminal.wait() == 7


def test_ctrl_c_reaches_the_programs_child_processes(launcher):
    code = """
import subprocess
child = subprocess.Popen(['sh', '-c', 'trap "echo child interrupted; exit 3" INT; read go; echo ready; while :; do sleep 0.02; done'], stdin=subprocess.PIPE)
go = True
while child.returncode is None:
    try:
        if go:
            go = child.stdin.close()
        child.wait()
    except KeyboardInterrupt:
        pass
raise SystemExit(3)
"""
    terminal = launcher.terminal("-c", code)
    terminal.expect("ready")
    terminal.send("\x03")
    terminal.expect("child interrupted")
    assert terminal.wait() == 3


def test_ctrl_backslash_quits(launcher):
    terminal = launcher.terminal("-c", "import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)")
    terminal.expect("ready")
    terminal.send("\x1c")
    assert terminal.wait() == -signal.SIGQUIT


def test_ctrl_d_ends_the_input(launcher):
    terminal = launcher.terminal("-c", "import sys\nprint('ready', flush=True)\nprint([*sys.stdin])")
    terminal.expect("ready")
    terminal.send("one\ntwo\n\x04")
    terminal.expect(re.escape(r"['one\n', 'two\n']"))
    assert terminal.wait() == 0


def test_a_new_window_size_is_told(launcher):
    code = """
import os, signal, time
def show(*_):
    size = os.get_terminal_size()
    os.write(1, b'size %d %d\\n' % (size.columns, size.lines))
signal.signal(signal.SIGWINCH, show)
show()
while True:
    time.sleep(0.01)
"""
    terminal = launcher.terminal("-c", code, size=(20, 70))
    terminal.expect("size 70 20")
    terminal.resize(40, 132)
    terminal.expect("size 132 40")
    terminal.send("\x03")
    assert terminal.wait() == -signal.SIGINT


def test_hang_up_ends_the_program(launcher):
    terminal = launcher.terminal("-c", "import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(60)")
    with Watched(int(terminal.expect(r"pid (\d+)\r\n")[1])) as program:
        terminal.hang_up()
        assert program.ended()
    assert terminal.wait() == -signal.SIGHUP


def test_hang_up_can_be_handled(launcher, tmp_path):
    note = tmp_path / "note"
    code = f"""
import signal, time
def leave(*_):
    open({str(note)!r}, 'w').write('hung up')
    raise SystemExit(9)
signal.signal(signal.SIGHUP, leave)
print('ready', flush=True)
while True:
    time.sleep(0.01)
"""
    terminal = launcher.terminal("-c", code)
    terminal.expect("ready")
    terminal.hang_up()
    assert terminal.wait() in (9, 120)  # 120: what was printed could not be flushed to the terminal that is gone
    assert note.read_text() == "hung up"


# --- job control --------------------------------------------------------------------------------

TICKING = """
import time
try:
    print('begun', flush=True)
    while True:
        time.sleep(0.01)
except KeyboardInterrupt:
    print('interrupted', flush=True)
    raise SystemExit(5)
"""


@pytest.fixture
def bash(launcher):
    """An interactive shell with job control; $PROGRAM is the interpreter, ticking.py a program."""
    (launcher.brood.work / "ticking.py").write_text(TICKING)
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        env={**launcher.environment, "PROGRAM": launcher.program, "PS1": "PROMPT> ", "PS2": "", "INPUTRC": "/dev/null"},
        cwd=str(launcher.brood.work),
        timeout=DEADLINE,
        echo=False,
        dimensions=(30, 200),
    )
    shell.expect("PROMPT> ")
    shell.is_brood = launcher.is_brood
    yield shell
    shell.sendeof()
    shell.close(force=True)


def command(shell, line):
    shell.sendline(line)


def begun(shell):
    """Waits for the program; returns its worker. The trace is written beside the program's own output, in any order."""
    if not shell.is_brood:
        return shell.expect("begun")
    trace = r"brood: warm: worker (\d+)\r\n"
    worker = None
    for _ in range(2):
        if shell.expect([trace, "begun"]) == 0:
            worker = int(shell.match[1])
    return worker


def test_ctrl_z_stops_and_fg_continues(bash):
    command(bash, "$PROGRAM ticking.py")
    begun(bash)
    for _ in range(3):
        bash.send("\x1a")
        bash.expect(r"\[1\]\+\s+Stopped")
        bash.expect("PROMPT> ")
        command(bash, "fg")
        bash.expect("PROGRAM ticking.py")
    bash.send("\x03")
    bash.expect("interrupted")
    bash.expect("PROMPT> ")
    command(bash, "echo status $?")
    bash.expect("status 5\r\n")


@pytest.mark.parametrize("launcher", ["brood"], indirect=True)
def test_the_program_itself_is_stopped_by_ctrl_z(bash):
    command(bash, "$PROGRAM ticking.py")
    worker = begun(bash)
    bash.send("\x1a")
    bash.expect("Stopped")
    assert stopped(worker)
    command(bash, "bg")
    wait_until(lambda: not stopped(worker), "the worker to go on in the background")
    command(bash, "kill %1; wait %1; echo status $?")
    bash.expect("status 143\r\n")
    wait_until(lambda: process_state(worker) == "", "the worker to end")


def test_a_program_that_handles_ctrl_z_goes_on(bash):
    code = (
        "import os, signal, time; seen = []; signal.signal(signal.SIGTSTP, lambda *_: seen.append(os.write(1, b'not now\\n')));"
        " os.write(1, b'begun\\n'); [time.sleep(0.01) for _ in range(1000) if not seen]; print('over')"
    )
    command(bash, f'$PROGRAM -c "{code}"')
    bash.expect("begun")
    bash.send("\x1a")
    bash.expect("not now")
    bash.expect("over")
    bash.expect("PROMPT> ")


def test_ctrl_c_ends_a_shells_loop(bash):
    """As the program died of the signal, bash stops the loop; had it ended with a status, bash would go on."""
    command(bash, "for i in 1 2 3; do $PROGRAM -c \"import time; print('turn', $i, flush=True); [time.sleep(0.01) for _ in range(6000)]\"; done; echo after")
    bash.expect("turn 1")
    bash.send("\x03")
    bash.expect("KeyboardInterrupt")
    bash.expect("PROMPT> ")
    assert b"turn 2" not in bash.before
    command(bash, "echo status $?")
    bash.expect("status 130\r\n")


def test_in_the_background_a_reader_of_the_terminal_is_stopped(bash):
    command(bash, "$PROGRAM -c \"print('got', input())\" &")
    if bash.is_brood:
        bash.expect("brood: cold: it runs in the background of a terminal")
    wait_until(lambda: (command(bash, "jobs"), bash.expect("PROMPT> "), b"Stopped" in bash.before)[2], "bash to see it stopped")
    command(bash, "fg")
    bash.expect("PROGRAM -c")
    command(bash, "hello")
    bash.expect("got hello")


def test_in_the_background_without_the_terminal_as_input(bash):
    command(bash, "$PROGRAM -c \"print('over')\" </dev/null & wait; echo status $?")
    bash.expect("over")
    bash.expect("status 0")


def test_a_stop_in_a_group_that_nobody_controls_is_ignored(launcher):
    """POSIX: SIGTSTP does not stop a process of an orphaned process group."""
    code = "import sys\nprint('ready', flush=True)\nprint(sys.stdin.readline(), flush=True)"
    program = launcher.popen("-c", code, stdin=subprocess.PIPE, start_new_session=True)
    assert read_line(program.stdout) == b"ready\n"
    program.send_signal(signal.SIGTSTP)
    program.send_signal(signal.SIGTSTP)
    program.stdin.write(b"go on\n")
    program.stdin.flush()
    assert read_line(program.stdout) == b"go on\n"
    assert program.wait(DEADLINE) == 0


# --- input on a terminal ----------------------------------------------------------------------------


def test_input_on_a_terminal(launcher):
    terminal = launcher.terminal("-c", "print('answer', repr(input('question? ')))")
    terminal.expect(r"question\? ")
    terminal.send("forty two\n")
    terminal.expect("answer 'forty two'")
    assert terminal.wait() == 0


def test_input_with_line_editing(launcher):
    terminal = launcher.terminal("-c", "import readline\nprint('answer', repr(input('question? ')))\nprint('answer', repr(input('again? ')))")
    terminal.expect(r"question\? ")
    terminal.send("helo\x02l\n")  # Ctrl-B: one to the left
    terminal.expect("answer 'hello'")
    terminal.expect(r"again\? ")
    terminal.send("\x10\n")  # Ctrl-P: the line before
    terminal.expect("answer 'hello'")
    assert terminal.wait() == 0


def test_input_interrupted(launcher):
    terminal = launcher.terminal("-c", "input('question? ')")
    terminal.expect(r"question\? ")
    terminal.send("half a line")

    def interrupted():
        """Python misses an interrupt between writing the prompt and reading, so it gets more than one chance."""
        terminal.send("\x03")
        try:
            return terminal.expect("KeyboardInterrupt", patience=0.5)
        except AssertionError:
            return None

    wait_until(interrupted, "the interrupt")
    assert terminal.wait() == -signal.SIGINT


def test_a_password_is_not_echoed(launcher):
    terminal = launcher.terminal("-c", "import getpass\nprint('got', getpass.getpass('Secret: ')[::-1])")
    terminal.expect("Secret: ")
    wait_until(lambda: not termios.tcgetattr(terminal.master)[3] & termios.ECHO, "the echo to be off")
    terminal.send("drowssap\n")
    terminal.expect("got password")
    assert b"drowssap" not in terminal.before
    assert terminal.wait() == 0
    assert termios.tcgetattr(terminal.master)[3] & termios.ECHO


SCRIPT = """def double(value):
    result = 2 * value
    return result


print('doubled', double(21))
"""


def test_pdb_on_a_terminal(launcher):
    (launcher.brood.work / "debugged.py").write_text(SCRIPT)
    terminal = launcher.terminal("-m", "pdb", "debugged.py")
    for line, answer in (("b 2", "Breakpoint 1 at"), ("c", r"result = 2 \* value"), ("p value + 1", "22"), ("n", "return result"), ("c", "doubled 42")):
        terminal.expect(r"\(Pdb\) ")
        terminal.send(line + "\n")
        terminal.expect(answer)
    terminal.expect(r"\(Pdb\) ")
    terminal.send("q\n")
    assert terminal.wait() == 0


def test_breakpoint_on_a_terminal(launcher):
    terminal = launcher.terminal("-c", "x = 41\nbreakpoint()\nprint('x is', x)")
    terminal.expect(r"\(Pdb\) ")
    terminal.send("x = x + 1\n")
    terminal.expect(r"\(Pdb\) ")
    terminal.send("c\n")
    terminal.expect("x is 42")
    assert terminal.wait() == 0


def test_streams_know_the_terminal(launcher):
    code = "import os, sys\nprint([s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)], sys.stdout.line_buffering, os.ttyname(0))"
    terminal = launcher.terminal("-c", code)
    terminal.expect(r"\[True, True, True\] True /dev/pts/\d+")
    assert terminal.wait() == 0


def test_no_worker_is_left(warm_brood):
    assert_no_program_is_left(warm_brood)
