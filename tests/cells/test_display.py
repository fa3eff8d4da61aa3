"""What a cell shows."""
import base64

import pytest

PNG = b"\x89PNG\r\n\x1a\n"


def test_rich_formats(run):
    code = """
class A:
    def __repr__(self): return "an A"
    def _repr_html_(self): return "<b>A</b>"
    def _repr_png_(self): return b"\\x89PNG"
    def _repr_json_(self): return {"a": [1, None]}
    def _repr_latex_(self): return "$a$", {"width": 3}
    def _repr_svg_(self): return None
A()
"""
    (step,) = run(code)
    (result,) = step.of("result")
    assert result["data"] == {
        "text/plain": "an A",
        "text/html": "<b>A</b>",
        "image/png": base64.b64encode(b"\x89PNG").decode(),
        "application/json": {"a": [1, None]},
        "text/latex": "$a$",
    }
    assert result["metadata"] == {"text/latex": {"width": 3}}


def test_a_bundle_goes_before_single_formats(run):
    code = """
class A:
    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": "bundle", "image/png": b"\\x89PNG", "text/plain": "short"}, {"text/html": {"m": 1}}
    def _repr_html_(self): return "method"
    def _repr_markdown_(self): return "*more*"
A()
"""
    (step,) = run(code)
    (result,) = step.of("result")
    assert result["data"] == {"text/html": "bundle", "image/png": "iVBORw==", "text/plain": "short", "text/markdown": "*more*"}
    assert result["metadata"] == {"text/html": {"m": 1}}


def test_classes_and_objects_that_answer_to_every_name(run):
    code = """
class A:
    def __getattr__(self, name): return lambda *a, **k: "anything"
    def __repr__(self): return "A"
    def _repr_html_(self): return "html"
display(A, A())
from unittest.mock import Mock
display(Mock())
"""
    (step,) = run(code)
    first, second, third = [set(event["data"]) for event in step.of("display")]
    assert (first, second, third) == ({"text/plain"}, {"text/plain", "text/html"}, {"text/plain"})


def test_formats_that_fail(run):
    code = """
class A:
    def __repr__(self): return "A"
    def _repr_html_(self): 1/0
    def _repr_png_(self): return 3
    def _repr_svg_(self): raise NotImplementedError
    def _repr_latex_(self): raise SystemExit
    def _repr_json_(self): return {"x": float("nan")}
A()
"""
    step, after = run(code, "1")
    assert step.status == "ok" and step.text == "A"
    assert set(step.of("result")[0]["data"]) == {"text/plain"}
    notices = " ".join(event["text"] for event in step.of("notice"))
    for text in ("_repr_html_ of A", "ZeroDivisionError", "_repr_png_", "int", "_repr_latex_", "application/json"):
        assert text in notices
    assert "_repr_svg_" not in notices and "<brood" not in notices
    assert after.text == "1"


@pytest.mark.parametrize("error", ["1/0", "raise KeyboardInterrupt", "raise SystemExit", "return 3", "self.__repr__()"])
def test_a_repr_that_fails(run, error):
    step, after = run(f"class A:\n    def __repr__(self): {error}\nA()", "1")
    assert step.status == ("interrupted" if "Interrupt" in error else "error")
    assert "<cell 1>" in step.traceback or error == "return 3"
    assert "<brood" not in step.traceback
    assert after.text == "1"


def test_an_endless_repr_can_be_interrupted(run):
    code = """
import signal
signal.setitimer(signal.ITIMER_REAL, 0.2)
signal.signal(signal.SIGALRM, lambda *a: signal.raise_signal(signal.SIGINT))
class A:
    def __repr__(self):
        while True: pass
A()
"""
    step, after = run(code, "1")
    assert step.status == "interrupted" and after.text == "1"


def test_long_texts_are_cut(run):
    step, html, after = run(
        "'x' * 100_000_000",
        "class H:\n    def _repr_html_(self): return 'x' * 5_000_000\n    def __repr__(self): return 'H'\nH()",
        "1",
    )
    assert 1_000_000 < len(step.text) < 1_000_200 and step.text.endswith(
        "... (100,000,002 characters; the first 1,000,000 are shown)"
    )
    assert set(html.of("result")[0]["data"]) == {"text/plain"}
    assert "text/html is not shown, it takes 5,000,002 bytes" in html.of("notice")[0]["text"]
    assert after.text == "1"


def test_what_escapes_into_many_bytes_stays_within_a_head(run):
    (step,) = run("'\\N{SNOWMAN}\\n' * 3_000_000 and display({'text/plain': '\\0' * 1_500_000}, raw=True)")
    assert step.status == "ok"
    assert "not shown" in step.of("notice")[0]["text"]


def test_containers_are_broken_into_lines(run):
    short, long, text = run("[1, 2]", "{'key%d' % i: list(range(5)) for i in range(10)}", "['word ' * 40]")
    assert short.text == "[1, 2]"
    assert long.text.count("\n") == 9 and eval(long.text) == {f"key{i}": list(range(5)) for i in range(10)}
    assert text.text == repr(["word " * 40])


def test_display(run):
    session = run(
        "display(1, 'two')",
        "h = display(3, display_id=True)\nh.update(4)\nh.display(5)",
        "display(6, display_id='mine', metadata={'text/plain': {'a': 1}})",
        "display({'text/html': '<i>', 'image/png': b'\\x89PNG'}, raw=True)",
        "display(1, update=True)",
        "import brood; brood.display is display",
    )
    assert [event["data"]["text/plain"] for event in session[0].of("display")] == ["1", "'two'"]
    three, four, five = session[1].of("display")
    assert three["display_id"] == four["display_id"] == five["display_id"] != ""
    assert [event["update"] for event in (three, four, five)] == [False, True, False]
    (six,) = session[2].of("display")
    assert six["display_id"] == "mine" and six["metadata"] == {"text/plain": {"a": 1}}
    assert session[2].text == "<DisplayHandle display_id=mine>"
    assert session[3].of("display")[0]["data"] == {"text/html": "<i>", "image/png": "iVBORw=="}
    assert session[4].error["name"] == "TypeError"
    assert session[5].text == "True"


def test_a_displayhook_of_the_users(run):
    session = run("import sys\nkept = sys.displayhook\nsys.displayhook = lambda v: print('shown', v)", "5", "None",
                  "sys.displayhook = kept", "6", "kept(7)")
    assert session.stdout == "shown 5\nshown None\n"
    assert [step.text for step in session] == [None, None, None, None, "6", "7"]


def test_pandas_frames(run, needs):
    needs("pandas")
    (step,) = run("import pandas\npandas.DataFrame({'a': [1, 2]})")
    data = step.of("result")[0]["data"]
    assert "<table" in data["text/html"] and "a" in data["text/plain"]


def pictures(step):
    return [base64.b64decode(event["data"]["image/png"]) for event in step.of("display")]


def test_figures(run, needs):
    needs("matplotlib")
    session = run(
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.figure();",
        "plt.get_fignums()",
        "plt.plot([1])\nplt.show()\nprint('shown')",
        "f = plt.figure()\nf",
        "plt.plot([1])\n1/0",
        "import matplotlib\nmatplotlib.get_backend().lower(), plt.isinteractive()",
    )
    assert len(pictures(session[0])) == 2 and all(each.startswith(PNG) for each in pictures(session[0]))
    assert session[1].text == "[]"
    assert len(pictures(session[2])) == 1 and session.stderr == ""
    assert "image/png" in session[3].of("result")[0]["data"] and not session[3].of("display")
    assert session[4].status == "error" and len(pictures(session[4])) == 1
    assert session[5].text == "('agg', False)"


def test_pyplot_may_be_loaded_before_the_session_begins(run, tmp_path, needs):
    needs("matplotlib")
    (tmp_path / "sitecustomize.py").write_text("import matplotlib\nmatplotlib.use('svg')\nimport matplotlib.pyplot as p\np.ion()\n")
    (step,) = run("import matplotlib.pyplot as p\np.plot([1])\np.show()\np.isinteractive(), p.get_backend().lower()",
                  environment={"PYTHONPATH": str(tmp_path)})
    assert step.text == "(False, 'agg')" and len(pictures(step)) == 1


IPYTHON = {  # where IPython has its functions, and how they call each other
    "__init__.py": "",
    "core/__init__.py": "",
    "core/display_functions.py": """
def display(*objs, **options): raise RuntimeError("no shell")
def publish_display_data(data, metadata=None, **options): raise RuntimeError("no shell")
def update_display(obj, *, display_id=None, **options): display(obj, display_id=display_id, update=True, **options)
""",
    "core/display.py": "class HTML:\n    def __init__(self, data): self.data = data\n    def _repr_html_(self): return self.data\n",
    "display.py": "from IPython.core.display_functions import *\nfrom IPython.core.display import *\n",
}


def test_ipythons_functions_show_things_here(run, tmp_path):
    for name, text in IPYTHON.items():
        file = tmp_path / "IPython" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    code = """
from IPython.display import HTML, display, update_display, publish_display_data
display(HTML("<b>x</b>"))
h = display(1, display_id="i")
update_display(2, display_id="i")
publish_display_data({"text/plain": "raw"}, transient={"display_id": "j"})
"""
    (step,) = run(code, environment={"PYTHONPATH": str(tmp_path)})
    assert step.status == "ok", step.events
    first, second, third, fourth = step.of("display")
    assert first["data"]["text/html"] == "<b>x</b>"
    assert third["update"] and third["display_id"] == "i" == second["display_id"]
    assert fourth["data"] == {"text/plain": "raw"} and fourth["display_id"] == "j"
