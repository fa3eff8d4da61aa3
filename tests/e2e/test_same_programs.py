"""Every program of same_programs.py, as a script: what it prints, leaves behind and returns is what python gives."""

import re

import pytest
from same import same_program, without_addresses
from same_programs import PROGRAMS

# What is no source text is left to python.
COLD = {
    name: "does not compile"
    for name in (
        "future_unknown",
        "indentation_error",
        "return_outside",
        "syntax_error",
        "tab_error",
        "unterminated",
        "unterminated_string",
    )
}
NORMALISE = {
    "unittest": lambda text: re.sub(rb"[\d.]+s\b", b"", text),
    "fork_in_thread": lambda text: re.sub(rb"pid=\d+", b"pid", text),
    "doctest": lambda text: re.sub(rb"[\d.]+s\b", b"", text),
}


def files_left(folder):
    """Everything that the program wrote, and takes it away."""
    left = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != "program.py":
            left[path.name] = path.read_bytes()
            path.unlink()
    return left


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(shared_brood, tmp_path, name):
    left = []

    def runner(arguments, **more):
        done = shared_brood.run(arguments, stdin=b"typed\n", **more)
        left.append(files_left(tmp_path))
        return done

    normalise = NORMALISE.get(name, without_addresses)
    same_program(shared_brood, tmp_path, PROGRAMS[name], ["a"], runner=runner, normalise=normalise, cold=COLD.get(name))
    assert left[-1] == left[0]
