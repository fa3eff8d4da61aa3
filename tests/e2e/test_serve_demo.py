"""`brood serve --demo`: the interpreter that it chooses."""

import os

import pytest
from serve_fixture import TOKEN
from serve_start import ask, refused, starting
from waiting import DEADLINE

OWN = {"BROOD_TOKEN": TOKEN}


@pytest.fixture
def start(brood):
    with starting(brood) as start_one:
        yield start_one


def result(address, session, code):
    status, done = ask(address, TOKEN, "POST", f"/v1/sessions/{session}/execute", {"code": code, "timeout": DEADLINE})
    assert status == 200, done
    return done["result"]["text/plain"]


# Stands for an interpreter that lacks modules: it says so, and is python3 otherwise.
LACKING = """#!/bin/sh
case $2 in *find_spec*) echo %s; exit;; esac
exec %s "$@"
"""


def lacking(folder, modules):
    folder.mkdir()
    (folder / "python3").write_text(LACKING % (modules, "/usr/bin/python3"))
    (folder / "python3").chmod(0o755)
    return folder / "python3"


def test_the_demo_passes_over_a_python_without_its_modules(brood, start):
    """As the first python3 in PATH often is: one of pyenv."""
    first = lacking(brood.base / "bin", "numpy")
    bare = {**OWN, "BROOD_PYTHON": "", "PATH": f"{first.parent}:{os.environ['PATH']}"}
    server = start("--demo", "--listen", "http:127.0.0.1:0", env=bare)
    (address,) = server.addresses
    status, made = ask(address, TOKEN, "POST", "/v1/sessions", {})
    assert status == 201, made
    session = made["id"]
    assert result(address, session, "import sys; sys.executable") == "'/usr/bin/python3'"
    assert result(address, session, "f = plot(lambda x: x^2, (-1, 1)); 2^5") == "32"


def test_a_demo_without_its_modules(brood):
    chosen = lacking(brood.base / "bin", "numpy matplotlib")
    said = (
        f"brood serve: --demo needs an interpreter with numpy, matplotlib: {chosen} has no numpy, matplotlib; on Debian: "
        "apt install python3-numpy python3-matplotlib, or name an interpreter that has them in BROOD_PYTHON\n"
    )
    assert refused(brood, "--demo", "--listen", "unix:here.sock", env={"BROOD_PYTHON": str(chosen)}) == (1, said)
    chosen.write_text("#!/bin/sh\nexit 3\n")
    text = refused(brood, "--demo", "--listen", "unix:here.sock", env={"BROOD_PYTHON": str(chosen)})[1]
    assert f": {chosen} cannot be asked; on Debian" in text
    assert not list(brood.work.iterdir())
