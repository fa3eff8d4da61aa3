"""The same programs under every other CPython of this machine: one extension module serves them all.

Skipped where there is no other, as on a bare Debian.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from brood_fixture import PYTHON, Brood, clean_environment
from same import same, same_program, shell_runner, without_addresses
from same_programs import PROGRAMS
from test_same_programs import COLD, NORMALISE
from test_same_start import SHOW

OLDEST = (3, 9)


def version_of(python):
    done = subprocess.run([python, "-I", "-c", "import sys; print(sys.implementation.name, *sys.version_info[:2])"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean_environment(), check=False)
    match = re.fullmatch(rb"cpython (\d+) (\d+)\n", done.stdout)
    return tuple(map(int, match.groups())) if match else None


def other_interpreters():
    """Version -> path, for pyenv's and the system's, without the one that the other tests use."""
    places = [*Path.home().glob(".pyenv/versions/*/bin/python3"), *Path("/usr/bin").glob("python3.[0-9]*"),
              *Path("/usr/local/bin").glob("python3.[0-9]*")]
    found = {}
    for place in sorted(places):
        if not re.search(r"config|-dbg", place.name) and (version := version_of(place)) and version >= OLDEST:
            found.setdefault(version, str(place))
    found.pop(version_of(PYTHON), None)
    return found


INTERPRETERS = other_interpreters()

# What python itself does in one way or another, or what needs more than these interpreters were built with.
LEFT_OUT = {"hashlib", "sqlite", "shelve", "subinterpreter"}
# docs/differences.md
DIFFERENT = {"exit_huge": (3, 12), "exit_object_that_raises": (3, 12), "thread_starts_thread": (3, 12)}


@pytest.fixture(scope="module", params=[pytest.param(version, id="%d.%d" % version) for version in sorted(INTERPRETERS)])
def versioned(request):
    private = Brood()
    private.version = request.param
    private.interpreter = INTERPRETERS[request.param]
    private.environment["BROOD_PYTHON"] = private.interpreter
    private.python = lambda arguments, **more: private.run(arguments, program=private.interpreter, **more)
    yield private
    private.close()


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in LEFT_OUT])
def test_program(versioned, tmp_path, name):
    source = PROGRAMS[name]
    if versioned.version >= DIFFERENT.get(name, (4,)):
        pytest.skip("see docs/differences.md")
    done = versioned.python(["-c", "import ast, sys; ast.parse(sys.stdin.read())"], stdin=source.encode())
    cold = COLD.get(name) or ("does not compile" if done.status else None)
    same_program(versioned, tmp_path, source, ["a"], stdin=b"typed\n", cold=cold,
                 normalise=NORMALISE.get(name, without_addresses))


WAYS = {
    "command": ["-c", SHOW + "def f():\n    1 / 0\nf()", "a"],
    "command_empty": ["-c", ""],
    "script": ["script.py", "a"],
    "script_dot": ["./script.py"],
    "module": ["-m", "script", "a"],
    "module_missing": ["-m", "missing"],
    "package": ["-m", "bundle"],
    "folder": ["bundle", "a"],
    "current_folder": ["."],
    "dash": ["-", "a"],
    "nothing": [],
}


@pytest.mark.parametrize("way", WAYS)
def test_way(versioned, tmp_path, way):
    (tmp_path / "script.py").write_text(SHOW + "1 / 0\n")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/__init__.py").write_text("")
    (tmp_path / "bundle/__main__.py").write_text(SHOW)
    same(versioned, WAYS[way], cwd=tmp_path, stdin=SHOW.encode() + b"def f():\n    1 / 0\nf()\n")


@pytest.mark.parametrize("options", [["-O"], ["-I"], ["-X", "dev"], ["-W", "error"], ["-S"], ["-u"]], ids=" ".join)
def test_option(versioned, tmp_path, options):
    program = "import sys\nprint(sys.flags, sys.warnoptions, sys._xoptions, sys.path, sys.stdout)\nassert 0"
    same_program(versioned, tmp_path, program, options=options)


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_broken_program_on_standard_input(versioned, tmp_path, kind):
    (tmp_path / "program").write_text("print('x'\nif" if versioned.version >= (3, 10) else "print('x'))\n")
    line = {"pipe": 'cat program | "$@"', "file": '"$@" < program'}[kind]
    same(versioned, [], runner=shell_runner(versioned, line), python=versioned.interpreter, cwd=tmp_path,
         cold="does not compile" if kind == "file" else None)


def test_the_interpreters_are_of_different_versions():
    assert version_of(PYTHON) not in INTERPRETERS
    assert all(os.access(path, os.X_OK) for path in INTERPRETERS.values())
