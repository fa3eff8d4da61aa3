"""Tables, figures and mathematics in sessions of environments that preload what they need, against the real server."""

import base64
import subprocess

import pytest
from brood_fixture import PYTHON, ROOT
from session_fixture import run, serving, value
from waiting import DEADLINE

MATH = ROOT / "examples/environments/math"
CONFIG = f"""
default = "science"
[env.science]
preload = ["numpy", "pandas", "matplotlib.pyplot"]
variables = {{ MPLBACKEND = "agg" }}
"""
PNG = b"\x89PNG\r\n\x1a\n"


def has(*modules):
    return subprocess.run([PYTHON, "-c", "import " + ", ".join(modules)], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not has("numpy", "pandas", "matplotlib"), reason="needs numpy, pandas and matplotlib")


@pytest.fixture(scope="module")
def server(shared_brood):
    text = (MATH / "brood.toml").read_text().replace('default = "math"', "").replace('"init.py"', f'"{MATH}/init.py"')
    paths = f'variables = {{ PYTHONPATH = "{MATH}", '
    config = CONFIG + text.replace("variables = {", paths)
    with serving(shared_brood, config, environments=("science", "math")) as made:
        yield made


@pytest.fixture
def science(server):
    with server.client.new("science") as made:
        yield made


@pytest.fixture
def math(server):
    with server.client.new("math") as made:
        yield made


def pictures(result):
    found = [base64.b64decode(one["image/png"]) for one in result.displays if "image/png" in one]
    assert all(picture.startswith(PNG) for picture in found)
    return found


def test_a_data_frame_is_a_table(science):
    data = run(science, "import pandas\npandas.DataFrame({'a': [1, 2], 'b': ['x', 'y']})").data
    assert "<table" in data["text/html"] and "<td>x</td>" in data["text/html"]
    assert data["text/plain"].split() == ["a", "b", "0", "1", "x", "1", "2", "y"]


def test_a_figure_shows_itself(science):
    run(science, "import matplotlib.pyplot as plt")
    assert len(pictures(run(science, "plt.plot([1, 2]);"))) == 1
    assert len(pictures(run(science, "plt.figure(); plt.plot([1]); plt.figure(); plt.plot([2]); None"))) == 2
    assert pictures(run(science, "x = 1")) == []
    done = run(science, "fig, ax = plt.subplots()\nfig")
    assert base64.b64decode(done.data["image/png"]).startswith(PNG) and pictures(done) == []


def test_a_figure_keeps_its_place(science):
    code = "import matplotlib.pyplot as plt\nprint('before')\nplt.plot([1]); plt.show()\nprint('after')"
    seen = [event.type for event in science.stream(code, timeout=DEADLINE) if event.type in ("stdout", "display")]
    assert seen == ["stdout", "display", "stdout"]


def test_random_numbers_of_numpy_are_the_same_after_undo(science):
    code = "import numpy\nnumpy.random.random(3).tolist(), rng.random()"
    run(science, "import numpy\nrng = numpy.random.default_rng()\nnumpy.random.random()")
    first = value(science, code)
    science.undo()
    assert value(science, code) == first


def test_a_branch_draws_too(science):
    run(science, "import matplotlib.pyplot as plt")
    with science.fork() as branch:
        assert len(pictures(run(branch, "plt.plot([1]);"))) == 1
    science.undo()
    assert len(pictures(run(science, "import matplotlib.pyplot as plt\nplt.plot([1]);"))) == 1


# --- the preparser of the math environment -------------------------------------------------------


def test_a_parabola(math):
    assert len(pictures(run(math, "plot(lambda x: x^2, (-1, 1))"))) == 1
    assert value(math, "2^10") == "1024"
    assert run(math, "print('2^10', 5 ^^ 1)").stdout == "2^10 4\n"


def test_errors_keep_their_lines(math):
    done = math.run("a = 2^3\nb = (1,\nif", timeout=DEADLINE)
    assert done.error.name == "SyntaxError" and ("line 2" in str(done.error) or "line 3" in str(done.error))
    done = math.run("a = 2^3\n\nb = a^2 +* 1", timeout=DEADLINE)
    assert done.error.name == "SyntaxError" and 'File "<cell 2>", line 3' in str(done.error)
    done = math.run("a = 2^3\n\n1 / (a - 2^3)", timeout=DEADLINE)
    assert done.error.name == "ZeroDivisionError" and 'File "<cell 3>", line 3' in str(done.error)


def test_undo_in_the_math_environment(math):
    run(math, "x = 3")
    assert value(math, "x^2") == "9"
    math.undo(2)
    assert "x" in value(math, "x^2")
