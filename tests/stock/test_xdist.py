"""pytest-xdist as Debian has it, with `--tx 4*popen//python=brood-python`: the results of plain xdist, by warm workers."""

import re
import xml.etree.ElementTree as tree

import pytest
from brood_fixture import PYTHON, Brood
from stock import ATTEMPTS, has, needs_pandas
from waiting import zygotes

pytestmark = [needs_pandas, pytest.mark.skipif(not has("xdist"), reason="needs pytest-xdist")]

CONFTEST = """
import os
import pytest

@pytest.fixture(scope="session")
def number(worker_id):
    return int(worker_id.removeprefix("gw"))

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    worker = getattr(session.config, "workerinput", None)
    if worker:
        parent = session.config.rootpath / "parents" / worker["workerid"]
        parent.write_text(str(os.getppid()))
"""

TESTS = """
import os, subprocess, sys, threading, warnings
from pathlib import Path
import pandas
import pytest
from helper import double

@pytest.mark.parametrize("n", range(12))
def test_frames(n):
    frame = pandas.DataFrame({"a": range(n), "b": ["x"] * n})
    assert frame.a.sum() == n * (n - 1) // 2

def test_that_fails():
    left = {"a": [1, 2, 3], "b": double(2)}
    assert left == {"a": [1, 2, 4], "b": 4}

def test_frames_that_differ():
    pandas.testing.assert_frame_equal(pandas.DataFrame({"a": [1]}), pandas.DataFrame({"a": [2]}))

def test_an_error(no_such_fixture):
    pass

@pytest.mark.skip(reason="not now")
def test_skipped():
    pass

@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    assert False

def test_where(request):
    assert Path.cwd() == request.config.rootpath and Path(__file__).parent == Path.cwd()
    assert Path(sys.executable).name in ("python3", "brood-python")

def test_capture(capfd):
    print("to the test")
    assert capfd.readouterr().out == "to the test\\n"
    os.write(1, b"to the descriptor\\n")
    assert capfd.readouterr().out == "to the descriptor\\n"

def test_output_is_shown():
    print("printed")
    subprocess.run(["echo", "by a child"], check=True)
    assert not "printed"

def test_children(tmp_path):
    (tmp_path / "file").write_text("content")
    command = [sys.executable, "-c", "print(open('file').read())"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout == b"content\\n"

def test_threads(monkeypatch):
    monkeypatch.setenv("SEEN", "yes")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(os.environ["SEEN"]))
    thread.start()
    thread.join()
    assert seen == ["yes"]

def test_a_worker(number, worker_id):
    assert 0 <= number < 100 and os.environ["PYTEST_XDIST_WORKER"] == worker_id

def test_a_warning():
    warnings.warn("a warning", stacklevel=1)
"""

CRASH = """
import os

def test_that_takes_its_worker_along():
    os._exit(3)
"""


@pytest.fixture(scope="module")
def suite():
    """A brood, and in its working folder tests and an environment for them."""
    brood = Brood()
    brood.environment = {name: value for name, value in brood.environment.items() if not name.startswith("PYTEST")}
    work = brood.work
    (work / "parents").mkdir()
    (work / "conftest.py").write_text(CONFTEST)
    (work / "helper.py").write_text("def double(n):\n    return 2 * n\n")
    (work / "init.py").write_text(f"__import__('sys').executable = {brood.drop_in!r}\n")
    for number in range(3):
        (work / f"test_part_{number}.py").write_text(TESTS)
    (work / "test_crash.py").write_text(CRASH)
    yield brood
    brood.close()


def use_environment(suite, text):
    (suite.work / "brood.toml").write_text(f"[env.tests]\n{text}\n")
    suite.warm_drop_in(["-u", "-c", "pass"])


def report(case):
    """What became of a test, without what differs from run to run."""
    found = [(child.tag, child.get("message"), child.text) for child in case if child.tag != "properties"]
    text = re.sub(r"\bgw\d+\b", "GW", repr(found))
    return re.sub(r"-- Python \S+ \S*/(python3|brood-python)\b", "-- Python", re.sub(r"0x[0-9a-f]{6,}", "0xADDRESS", text))


def results(suite, program, *words):
    """(What became of each test, the last line, the parents of the workers)"""
    folder = suite.work / "parents"
    for old in folder.iterdir():
        old.unlink()
    done = suite.run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=report.xml", *words], program=program)
    assert done.status == 1, done
    cases = tree.parse(suite.work / "report.xml").iter("testcase")
    found = {(case.get("classname"), case.get("name")): report(case) for case in cases}
    last = re.sub(r" in [\d.]+s.*", "", done.out.decode().splitlines()[-1])
    return found, last, {int(file.read_text()) for file in folder.iterdir()}


def warm_results(suite, program, *words):
    for _ in range(ATTEMPTS):  # one that answers too late runs cold
        found, last, parents = results(suite, program, *words)
        if parents and parents <= set(zygotes(suite)):
            return found, last
    raise AssertionError(f"never all warm: {parents}")


def plain_results(suite, *words):
    found, last, parents = results(suite, PYTHON, "-d", "--tx", "4*popen", *words)
    assert parents.isdisjoint(zygotes(suite))
    return found, last


TX = ["-d", "--tx", f"4*popen//python={Brood.drop_in}"]


@pytest.mark.parametrize("preload", ["[]", '["pandas", "pytest"]'])
def test_warm_workers(suite, preload):
    use_environment(suite, f"preload = {preload}")
    plain = plain_results(suite)
    assert warm_results(suite, PYTHON, *TX) == plain
    found, last = plain
    assert len(found) == 3 * 24 + 1 and "crashed while running" in found["test_crash", "test_that_takes_its_worker_along"]
    assert last == "10 failed, 54 passed, 3 skipped, 3 xfailed, 3 warnings, 3 errors"


def test_n(suite):
    """`-n 4` starts sys.executable, which the init file says is brood-python: master and workers are warm."""
    use_environment(suite, 'preload = ["pandas", "pytest"]\ninit = "init.py"')
    plain = plain_results(suite)
    assert warm_results(suite, suite.drop_in, "-n", "4") == plain
