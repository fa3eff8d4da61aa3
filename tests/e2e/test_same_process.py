"""What a process inherits, and what its caller sees of it: descriptors, limits, signals, streams, the terminal."""

import ctypes
import os
import platform
import re
import signal
import socket
import struct
import subprocess

import pytest
from brood_fixture import BUILD, PYTHON, TIMEOUT, TRACE
from same import (
    TRACE_LINE,
    WRITE_PID,
    pid_runner,
    run_traced,
    same,
    same_program,
    shell_runner,
    strip_trace,
    terminal_runner,
    without_addresses,
)

STATE = """
import os, sys, resource, signal
print(oct(os.umask(0)), os.nice(0), os.sched_getscheduler(0), sorted(os.sched_getaffinity(0)), os.getcwd())
for name in sorted(vars(resource)):
    if name.startswith('RLIMIT_'): print(name, resource.getrlimit(getattr(resource, name)))
for number in sorted(signal.valid_signals()): print(number, signal.getsignal(number))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
import subprocess
print(subprocess.run(['sh', '-c', 'umask; ulimit -a; nice; grep -E "Sig(Ign|Blk)|Cpus_allowed:" /proc/self/status'],
    stdout=subprocess.PIPE).stdout.decode())
"""

INHERITED = {
    "umask_077": "umask 077",
    "umask_0": "umask 0",
    "nice_5": "renice -n 5 $$ > /dev/null",
    "files_64": "ulimit -n 300",
    "files_soft": "ulimit -S -n 400",
    "core": "ulimit -c 0",
    "core_soft": "ulimit -S -c 1000",
    "stack": "ulimit -S -s 4096",
    "stack_unlimited": "ulimit -S -s unlimited",
    "address_space": "ulimit -v 4000000",
    "data": "ulimit -d 4000000",
    "processor_time": "ulimit -t 100",
    "file_size": "ulimit -f 1000",
    "processes": "ulimit -u 5000",
    "locked": "ulimit -S -l 16",
    "ignored_signals": "trap '' INT QUIT TERM USR1",
    "ignored_hangup": "trap '' HUP",
    "ignored_child": "trap '' CHLD",
    "ignored_pipe": "trap '' PIPE",
    "one_processor": "taskset -p 1 $$ > /dev/null",
}


@pytest.mark.parametrize("name", INHERITED)
def test_inherited_state(shared_brood, tmp_path, name):
    same_program(shared_brood, tmp_path, STATE, runner=shell_runner(shared_brood, INHERITED[name] + '; exec "$@"'))


@pytest.mark.parametrize("limit", ["-n 20", "-Sn 64", "-n 256"])
def test_few_descriptors_allowed(shared_brood, tmp_path, limit):
    """Brood's own descriptor stands above what the program may open, and does not count."""
    same_program(shared_brood, tmp_path, STATE, runner=shell_runner(shared_brood, f'ulimit {limit}; exec "$@"'))


def test_too_few_descriptors_allowed(shared_brood, tmp_path):
    """Fewer than brood needs for itself: the plain interpreter runs."""
    same_program(shared_brood, tmp_path, STATE, runner=shell_runner(shared_brood, 'ulimit -n 4; exec "$@"'), cold="Too many open files")


@pytest.mark.parametrize("limit", ["-Sn 64", "-n 256"])
def test_the_daemon_has_few_descriptors(brood, tmp_path, limit):
    daemon = subprocess.run(["/bin/sh", "-c", f'ulimit {limit}; exec "$@"', "sh", str(BUILD / "bin/broodd"), "--background"], env=brood.environment)
    assert daemon.returncode == 0
    runner = shell_runner(brood, f'ulimit {limit}; exec "$@"')
    runner(["run", "--wait", "-c", "pass"], program=brood.brood, env=TRACE, cwd=tmp_path)
    same_program(brood, tmp_path, STATE, runner=runner)


def signal_runner(brood, before_exec):
    def run(arguments, **more):
        return brood.run(arguments, stdin_file=subprocess.DEVNULL, preexec_fn=before_exec, **more)

    return run


def test_blocked_signals(shared_brood, tmp_path):
    blocked = {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT}
    same_program(shared_brood, tmp_path, STATE,
                 runner=signal_runner(shared_brood, lambda: signal.pthread_sigmask(signal.SIG_BLOCK, blocked)))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the system call's number is that of x86-64")
@pytest.mark.parametrize("number", [32, 33])
def test_ignored_signals_that_glibc_hides(shared_brood, tmp_path, number):
    """sigaction() refuses them; some container runtimes hand them down ignored."""
    call = ctypes.CDLL(None).syscall
    action = struct.pack("PLPQ", int(signal.SIG_IGN), 0, 0, 0)  # the kernel's struct sigaction

    def ignore():
        assert call(13, number, action, None, 8) == 0  # rt_sigaction on x86-64

    expected = same_program(shared_brood, tmp_path, STATE, runner=signal_runner(shared_brood, ignore))
    ignored = re.search(rb"SigIgn:\t([0-9a-f]+)", expected.out)
    assert int(ignored[1], 16) >> (number - 1) & 1


def test_variables_twice_and_odd(shared_brood, tmp_path):
    """execve() takes any strings as environment."""
    program = tmp_path / "program.py"
    program.write_text("import os, subprocess\nprint(sorted(os.environb.items()))\n"
                       "print(sorted(subprocess.run(['cat', '/proc/self/environ'], stdout=-1).stdout.split(b'\\0')))\n"
                       "print(sorted(open('/proc/self/environ', 'rb').read().split(b'\\0')))\n")
    helper = tmp_path / "execute.py"
    helper.write_text(
        "import ctypes, sys, os\n"
        "items = [f'{k}={v}'.encode() for k, v in os.environ.items()] + [b'TWICE=1', b'TWICE=2', b'NO_EQUALS', "
        "b'=empty', b'E=', b'ODD=\\xff']\n"
        "argv = [a.encode() for a in sys.argv[1:]]\n"
        "make = lambda x: (ctypes.c_char_p * (len(x) + 1))(*x, None)\n"
        "ctypes.CDLL(None).execve(argv[0], make(argv), make(items))\n"
    )
    same(shared_brood, [program], cwd=tmp_path, runner=shell_runner(shared_brood, f'{PYTHON} -I {helper} "$@"'))


DESCRIPTORS = """
import os, fcntl, sys
for n in range(200):
    try:
        print(n, os.readlink(f'/proc/self/fd/{n}').split(':')[0], os.get_inheritable(n), fcntl.fcntl(n, fcntl.F_GETFL))
    except OSError: pass
"""


@pytest.mark.parametrize("line", [
    '"$@" 3< /dev/null',
    '"$@" 3< /dev/null 4> out 7<> inout 9>> out',
    '"$@" 150< /dev/null',
    '"$@" < /dev/null',
    '"$@" < program.py',
    '"$@" > out; cat out',
    'echo first > out; "$@" >> out; cat out',
    '"$@" 2>&1',
    '"$@" 0<> inout',
    '"$@" 3>&1 1>&2',
    '"$@" | cat',
    'cat program.py | "$@"',
])
def test_descriptors(shared_brood, tmp_path, line):
    same_program(shared_brood, tmp_path, DESCRIPTORS, runner=shell_runner(shared_brood, line))


def test_process_substitution(shared_brood, tmp_path):
    def runner(arguments, **more):
        return shell_runner(shared_brood, '"$@" <(echo text) >(cat) | sort')(arguments, shell=("/bin/bash", "-c"),
            **more)

    same_program(shared_brood, tmp_path,
                 "import sys\nprint(open(sys.argv[1]).read())\nopen(sys.argv[2], 'w').write('written\\n')",
                 runner=runner)


def test_two_hundred_descriptors(shared_brood, tmp_path):
    keep = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
    try:
        for fd in keep:
            os.set_inheritable(fd, True)
        program = "import os\nprint(sum(os.path.exists(f'/proc/self/fd/{n}') for n in range(3, 200)), os.dup(0) > 0)"
        same_program(shared_brood, tmp_path, program, close_fds=False)
    finally:
        for fd in keep:
            os.close(fd)


def test_high_descriptor_number(shared_brood, tmp_path):
    """One where brood keeps its own."""
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        for number in (200, 201, 700, 701, 900):
            os.dup2(null, number)
            try:
                program = f"import os\nprint(os.readlink('/proc/self/fd/{number}'), os.get_inheritable({number}))"
                same_program(shared_brood, tmp_path, program, pass_fds=[number])
            finally:
                os.close(number)
    finally:
        os.close(null)


def test_an_inherited_socket_works(shared_brood, tmp_path):
    for _ in range(2):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            os.set_inheritable(theirs.fileno(), True)
            number = theirs.fileno()
            source = f"import socket\ns = socket.socket(fileno={number})\ns.sendall(b'got ' + s.recv(10))\n"
            (tmp_path / "program.py").write_text(source)
            ours.sendall(b"hello")
            _, trace = run_traced(shared_brood, [tmp_path / "program.py"], pass_fds=[number])
            assert ours.recv(20) == b"got hello"
    assert trace.startswith("warm")


STREAMS = """
import sys
def show(text):
    try: sys.__stderr__.write(text + '\\n')
    except Exception: pass
with open('seen', 'w') as file:
    for name in ('stdin', 'stdout', 'stderr'):
        stream = getattr(sys, name)
        print(name, stream, getattr(sys, '__' + name + '__') is stream, file=file)
        if stream is not None:
            print(stream.isatty(), stream.line_buffering, stream.encoding, stream.errors, stream.fileno(), file=file)
    import os
    print(os.open('/dev/null', os.O_RDONLY), os.open('/dev/null', os.O_RDONLY), file=file)
    for n in range(3):
        try: print(os.readlink(f'/proc/self/fd/{n}').split(':')[0], file=file)
        except OSError as error: print(error, file=file)
print('to stdout')
if sys.stdin:
    try: print(repr(sys.stdin.read()))
    except OSError as error: print(error)
raise SystemExit('to stderr')
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-",
                                    ">/dev/full", "2>/dev/full",
                                    "</dev/null >/dev/null 2>/dev/null", ">/dev/stderr"])
def test_closed_streams(shared_brood, tmp_path, closed):
    seen = []
    line = f'"$@" {closed}'
    run = pid_runner(shared_brood, line)

    def runner(arguments, **more):
        for name in ("seen", "own"):
            (tmp_path / name).unlink(missing_ok=True)
        done = run(arguments, **more)
        seen.append((tmp_path / "seen").read_text() if (tmp_path / "seen").exists() else None)
        return done

    same_program(shared_brood, tmp_path, WRITE_PID + STREAMS, runner=runner)
    assert seen[-1] == seen[0] is not None


def test_a_folder_as_standard_input(shared_brood, tmp_path):
    same_program(shared_brood, tmp_path, "print(1)", runner=shell_runner(shared_brood, '"$@" < .'), cold="",
                 normalise=without_addresses)


@pytest.mark.parametrize("options", [[], ["-u"]], ids=str)
def test_order_of_two_streams_on_one_pipe(shared_brood, tmp_path, options):
    program = ("import sys, os\nfor i in range(3):\n    print('out', i)\n    print('err', i, file=sys.stderr)\n"
               "    os.write(1, b'raw\\n')\n"
               "sys.stdout.write('part'); sys.stderr.write('part')\nsys.stdout.buffer.write(b'bytes')\n1 / 0")
    same_program(shared_brood, tmp_path, program, options=options, runner=shell_runner(shared_brood, '"$@" 2>&1'))
    same_program(shared_brood, tmp_path, program, options=options,
                 runner=shell_runner(shared_brood, '"$@" > out 2>&1; cat out'))
    same_program(shared_brood, tmp_path, program, options=options, runner=terminal_runner(shared_brood))
    same(shared_brood, ["-c", program], options=options, cwd=tmp_path, runner=shell_runner(shared_brood, '"$@" 2>&1'))
    same(shared_brood, ["-m", "program"], options=options, cwd=tmp_path, runner=shell_runner(shared_brood, '"$@" 2>&1'))
    same(shared_brood, ["-"], options=options, cwd=tmp_path,
         runner=shell_runner(shared_brood, '"$@" 2>&1 < program.py'))


def test_large_output(shared_brood, tmp_path):
    same_program(shared_brood, tmp_path, "import sys\nfor i in range(100000): print(i)\nsys.stderr.write('x' * 300000)")


def test_reader_that_leaves(shared_brood, tmp_path):
    """`| head -1`: python gets EPIPE, and says so when it cannot flush at its end."""
    line = '{ "$@"; echo "status $?" >&2; } | head -1'
    for program in ("for i in range(100000): print(i)", "print('a')\nimport time\ntime.sleep(0.1)\nprint('b' * 10)",
                    "import signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\nfor i in range(100000): print(i)"):
        same_program(shared_brood, tmp_path, program, runner=shell_runner(shared_brood, line))


def test_interrupt_is_not_lost_at_the_start(shared_brood, tmp_path):
    """Ctrl-C right after the start: either way the program ends of it, or had not begun."""
    path = tmp_path / "program.py"
    path.write_text("import os\nos.write(1, b'ready\\n')\nwhile True: pass")
    for _ in range(30):
        with subprocess.Popen([shared_brood.drop_in, path], env=shared_brood.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out) == (-signal.SIGINT, b"") and b"KeyboardInterrupt" in err


def test_core_limit_and_crash(shared_brood, tmp_path):
    line = 'ulimit -c 0; "$@"; echo "status $?"'
    for program in ("import os\nos.abort()", "import ctypes\nctypes.string_at(0)",
                    "import os\nos.kill(os.getpid(), 9)"):
        done = same_program(shared_brood, tmp_path, program, runner=shell_runner(shared_brood, line),
                            normalise=crash_text)
        assert b"status 1" in done.out


def crash_text(text):
    """The shell names the process that died by number."""
    return b"\n".join(line for line in text.split(b"\n") if b"Aborted" not in line and b"Killed" not in line
                      and b"fault" not in line)


# On a terminal.


def test_terminal(shared_brood, tmp_path):
    program = ("import os, sys, shutil, termios\n"
               "print([os.isatty(n) for n in range(3)], os.ttyname(0) == os.ttyname(1) == os.ttyname(2), "
               "sys.stdin.isatty(), sys.stdout.line_buffering, shutil.get_terminal_size(), len(termios.tcgetattr(0)))\n"
               "print(sys.stdin, sys.stdout, sys.stderr)\nname = input('name? ')\nprint('hello', name)\n"
               "import readline\n"
               "print(repr(input('with readline? ')))\n1 / 0")
    dialogue = [(b"name? ", b"J\xc3\xb6rg\n"), (b"with readline? ", b"abc\n")]
    same_program(shared_brood, tmp_path, program, runner=terminal_runner(shared_brood, dialogue))


def test_end_of_input_on_a_terminal(shared_brood, tmp_path):
    same_program(shared_brood, tmp_path, "input('? ')", runner=terminal_runner(shared_brood, [(b"? ", b"\x04")]))
    same_program(shared_brood, tmp_path, "import sys\nprint('?')\nprint(repr(sys.stdin.read()))",
                 runner=terminal_runner(shared_brood, [(b"?", b"a\nb\n\x04")]))


def test_debugger_on_a_terminal(shared_brood, tmp_path):
    dialogue = [(b"(Pdb) ", b"p x\n"), (b"(Pdb) ", b"n\n"), (b"(Pdb) ", b"c\n")]
    same_program(shared_brood, tmp_path, "x = 1\nbreakpoint()\nx = 2\nx = 3\nprint(x)",
                 runner=terminal_runner(shared_brood, dialogue))


def test_debugger_through_a_pipe(shared_brood, tmp_path):
    (tmp_path / "program.py").write_text("def f(x):\n    return x + 1\nprint(f(1))\nprint(f(2))\n")
    same(shared_brood, ["-m", "pdb", "program.py"], cwd=tmp_path, stdin=b"b f\nc\nw\np x\nr\nc\nc\nq\n")
    same(shared_brood, ["-m", "pdb", "-c", "continue", "program.py"], cwd=tmp_path, stdin=b"q\n")


def test_prompt(shared_brood, tmp_path):
    """The interactive prompt, with PYTHONSTARTUP and a history file, runs in an interpreter of its own."""
    (tmp_path / "startup.py").write_text("print('started')\nstarted = 1\n")
    env = {"PYTHONSTARTUP": str(tmp_path / "startup.py"), "TERM": "dumb"}
    history = shared_brood.home / ".python_history"
    dialogue = [(b">>> ", b"x = 5 + started\n"), (b">>> ", b"x\n"), (b">>> ", b"1/0\n"),
                (b">>> ", b"import sys; sys.exit(4)\n")]
    kept = []

    def runner(arguments, **more):
        history.unlink(missing_ok=True)
        done = terminal_runner(shared_brood, dialogue)(arguments, **more)
        kept.append(history.read_text() if history.exists() else None)
        return done

    same(shared_brood, [], runner=runner, env=env, cwd=tmp_path, cold="prompt")
    assert kept[-1] == kept[0]
    same(shared_brood, ["-i", "-c", "y = 1; print(y)"], runner=terminal_runner(shared_brood,
        [(b">>> ", b"y + 1\n"), (b">>> ", b"\x04")]),
         cwd=tmp_path, cold="-i")
    same(shared_brood, ["-c", "y = 1; print(y)"], runner=terminal_runner(shared_brood,
        [(b">>> ", b"y + 1\n"), (b">>> ", b"\x04")]),
         env={"PYTHONINSPECT": "1"}, cwd=tmp_path, cold="PYTHONINSPECT")


def test_output_to_a_terminal_input_from_a_pipe(shared_brood, tmp_path):
    program = ("import sys\nprint(sys.stdin.isatty(), sys.stdout.isatty(), sys.stdin.read())\n"
               "sys.stdout.write('no newline')")
    runner = terminal_runner(shared_brood)

    def piped(arguments, *, program=None, **more):
        return runner(["-c", 'echo text | "$@"', "sh", program or shared_brood.drop_in, *arguments],
                      program="/bin/sh", **more)

    same_program(shared_brood, tmp_path, program, runner=piped)


def test_prompt_from_a_pipe(shared_brood, tmp_path):
    same(shared_brood, ["-i"], stdin=b"x = 1\nprint(x)\nx +\n", cwd=tmp_path, cold="-i")
    same(shared_brood, ["-i", "-"], stdin=b"print(2)\n", cwd=tmp_path, cold="-i")


def test_a_program_that_leaves_a_daemon(shared_brood, tmp_path):
    """The caller is let go when the program ends, not when the daemon does; the daemon keeps running."""
    program = ("import os, sys\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
               "null = os.open('/dev/null', os.O_RDWR)\nfor n in range(3): os.dup2(null, n)\nos.closerange(3, 1024)\n"
               "open('fifo').read()\nopen('answer', 'w').write('daemon')\n")
    (tmp_path / "program.py").write_text(program)
    for which in (PYTHON, None):
        os.mkfifo(tmp_path / "fifo")
        os.mkfifo(tmp_path / "answer")
        if which:
            done = shared_brood.run(["program.py"], program=which, cwd=tmp_path)
        else:
            shared_brood.warm("-c", "pass", env=TRACE)
            done = shared_brood.run(["program.py"], cwd=tmp_path, env=TRACE)
            assert strip_trace(done.err)[1].startswith("warm")
        assert (done.status, TRACE_LINE.sub(b"", done.err)) == (0, b"")
        (tmp_path / "fifo").write_text("go")
        assert (tmp_path / "answer").read_text() == "daemon"
        (tmp_path / "fifo").unlink()
        (tmp_path / "answer").unlink()
