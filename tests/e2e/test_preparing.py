"""A zygote that is still being prepared: it ends with the daemon, and preparing comes to an end."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from waiting import Watched, wait_until, zygotes

pytestmark = pytest.mark.core

ENDS = {
    "stop": lambda brood: brood.run(["stop"], program=brood.brood),
    "terminated": lambda brood: os.kill(brood.daemon_pid(), signal.SIGTERM),
    "killed": lambda brood: os.kill(brood.daemon_pid(), signal.SIGKILL),
}


def start(brood, *arguments):
    return subprocess.Popen(
        [brood.brood, "run", "--wait", *arguments], env=brood.environment, cwd=brood.work, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.mark.parametrize("end", ENDS)
def test_an_init_file_that_loops_for_ever_ends_with_the_daemon(brood, end):
    """Also one that keeps every signal but SIGKILL away."""
    init, there = brood.work / "init.py", brood.work / "there"
    init.write_text("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                    f"open({str(there)!r}, 'w').close()\nwhile True: pass\n")
    waiting = start(brood, "--init", str(init), "-c", "pass")
    wait_until(there.exists, "the init file")
    (zygote,) = zygotes(brood)
    waiting.kill()
    waiting.wait()
    with Watched(zygote) as watched:
        ENDS[end](brood)
        assert watched.ended(), f"zygote {zygote} survives"


def test_a_program_outlives_the_daemon(brood):
    """What ends a zygote that is being prepared does not end one that serves."""
    program = start(brood, "-c", "print('up', flush=True); print(input())")
    assert program.stdout.readline() == b"up\n"
    os.kill(brood.daemon_pid(), signal.SIGKILL)
    out, _ = program.communicate(b"still here\n")
    assert out == b"still here\n"


@pytest.mark.parametrize("name", ["x", "./x", ""])
def test_a_launcher_that_is_no_path(brood, name):
    """__PYVENV_LAUNCHER__ becomes sys.executable."""
    brood.warm("-c", "pass", env={"__PYVENV_LAUNCHER__": name})


@pytest.mark.parametrize("variables", [{"PYTHONMALLOC": "debug"}, {"PYTHONMALLOC": "malloc"}, {"PYTHONDEVMODE": "1"}], ids=str)
def test_other_allocators_are_not_filled_up(brood, variables):
    """Filling holes until a new pool begins has an end only where there are pools: with others it took hundreds of MiB."""
    brood.warm("-c", "pass", env=variables)
    (zygote,) = zygotes(brood)
    (line,) = [line for line in Path(f"/proc/{zygote}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    assert int(line.split()[1]) < 100 << 10  # KiB
