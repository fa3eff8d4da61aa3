"""What a cell's code becomes, and how it ends."""
import pytest


def texts(session):
    return [step.text for step in session]


def test_the_value_of_the_last_expression_is_the_result(run):
    session = run("1+1", "x = 5", "x", "x;", "x ; # no", "x\n'a;b'", "(x)\\\n ;", "", "# nothing", "x\nNone", "';'")
    assert texts(session) == ["2", None, "5", None, None, "'a;b'", None, None, None, None, "';'"]
    assert {step.status for step in session} == {"ok"}
    assert session[0].of("result")[0]["execution_count"] == 1
    assert session[0].done == {"cell": 1, "status": "ok"}


@pytest.mark.parametrize("cell", [" 1", "\t1", "1 1", "x := 1", "yield 1", "return 1", "*[1],", "1 = 1", "f(", "'a", "await 1 2", "\\", "\0"])
def test_one_line_is_judged_as_python_does(run, cell):
    """An expression of one line is compiled as such, and everything else as a file would be."""
    (step,) = run(cell)
    try:
        compile(cell, "<cell 1>", "exec")
    except (SyntaxError, ValueError) as error:
        assert (step.status, step.error["name"]) == ("error", type(error).__name__)
    else:
        assert step.status == "ok"


def test_the_newest_three_values_have_names(run):
    session = run("1", "2", "3", "None", "(_, __, ___)", "_ = 'mine'", "4", "_")
    assert texts(session) == ["1", "2", "3", None, "(3, 2, 1)", None, "4", "'mine'"]


def test_names_of_main(run):
    session = run("__name__", "def f(): pass", "f.__module__", "import __main__; __main__.f is f", "sorted(vars())")
    assert texts(session)[:4] == ["'__main__'", None, "'__main__'", "True"]
    assert not {"stub", "order", "session", "cells"} & set(eval(session[4].text))


def test_nothing_of_ours_is_below_a_cell(run):
    (step,) = run("import inspect\n[frame.filename for frame in inspect.stack() if frame.filename.startswith('<brood')]")
    assert step.text == "[]"


def test_future_imports_stay(run):
    session = run(
        "def f(a: nowhere): pass",
        "from __future__ import annotations\n1",
        "def f(a: nowhere): pass\nf.__annotations__",
        "(lambda: 0).__code__.co_flags & 0x1000000 != 0",
    )
    assert session[2].text == "{'a': 'nowhere'}"
    assert session[3].text == "True"


def test_sources_are_found(run):
    session = run("def f():\n    # why\n    return 1", "import inspect\ninspect.getsource(f)", "x = [", "inspect.getsource(f)")
    assert eval(session[1].text) == eval(session[3].text) == "def f():\n    # why\n    return 1\n"


@pytest.mark.parametrize("code", ["x = = 1", "def f(:", "'open", "(", "  x\ny", "return 1", "a\0b", "x = '\ud800"])
def test_what_does_not_compile_is_an_error(run, code):
    first, second = run(code, "1")
    assert first.status == "error"
    assert first.error["name"] in ("SyntaxError", "IndentationError", "ValueError", "UnicodeEncodeError")
    assert "<brood" not in first.traceback
    assert second.text == "1"


def test_a_syntax_error_shows_its_line(run):
    (step,) = run("1\nx = = 2")
    assert '  File "<cell 1>", line 2\n' in step.traceback and "x = = 2" in step.traceback
    assert "Traceback" not in step.traceback


@pytest.mark.parametrize(
    "code, hint", [("!ls -l", "subprocess"), ("%timeit x", "Python"), ("%%bash\nls", "Python"), ("print?", "help(")]
)
def test_what_other_shells_know_gets_a_hint(run, code, hint):
    (step,) = run(code)
    assert hint in step.error["value"]


def test_deep_code_does_not_end_the_loop(run):
    (step, after) = run("-" * 200_000 + "1", "1")
    assert step.status == "error" and after.text == "1"


def test_exit(run):
    session = run("exit(3)", "import sys\nsys.exit()", "sys.exit('why')", "raise SystemExit(-1)", "quit()", "sys.exit(True)")
    assert [step.done.get("exit_status") for step in session] == [3, 0, 1, 255, 0, 1]
    assert {step.status for step in session} == {"exit"}
    assert session.stderr == "why\n"
    assert not any(step.events for step in session)


def test_tracebacks_begin_with_the_cell(run):
    session = run("def f():\n    1/0", "f()")
    assert session[1].status == "error"
    lines = session[1].error["traceback"]
    assert lines[0] == "Traceback (most recent call last):\n"
    assert lines[1].startswith('  File "<cell 2>", line 1, in <module>\n    f()\n')
    assert lines[2].startswith('  File "<cell 1>", line 2, in f\n    1/0\n')
    assert lines[-1] == "ZeroDivisionError: division by zero\n"
    assert (session[1].error["name"], session[1].error["value"]) == ("ZeroDivisionError", "division by zero")


def test_chained_exceptions(run):
    (step,) = run("try:\n    1/0\nexcept ArithmeticError as e:\n    raise KeyError('k') from e")
    assert "direct cause" in step.traceback and step.traceback.index("ZeroDivision") < step.traceback.index("KeyError")


def test_notes_and_groups(run):
    code = """
import sys
if sys.version_info >= (3, 11):
    e = ExceptionGroup('several', [ValueError('one'), KeyError('two')])
    e.add_note('a note')
    raise e
raise ValueError('several one two a note')
"""
    (step,) = run(code)
    for text in ("several", "one", "two", "a note"):
        assert text in step.traceback


def test_the_last_exception_is_kept_for_debuggers(run):
    session = run("1/0", "import sys, traceback\ntraceback.extract_tb(sys.last_traceback)[0].filename")
    assert session[1].text == "'<cell 1>'"


def test_an_excepthook_of_the_users(run):
    session = run(
        "import sys\ndef hook(kind, error, trace): print('hook saw', kind.__name__)\nsys.excepthook = hook",
        "1/0",
        "def hook(*arguments): raise KeyError('hook')\nsys.excepthook = hook",
        "1/0",
    )
    assert session.stdout == "hook saw ZeroDivisionError\n"
    assert session[1].error["traceback"] == [] and session[1].error["name"] == "ZeroDivisionError"
    assert "Error in sys.excepthook" in session[3].traceback and "ZeroDivisionError" in session[3].traceback


def test_exceptions_that_cannot_be_shown(run):
    code = "class E(Exception):\n    def __str__(self): raise ValueError\nraise E"
    huge = "raise ValueError('x' * 50_000_000)"
    deep = "def f(): f()\nf()"
    first, second, third, fourth = run(code, huge, deep, "1")
    assert first.error["name"] == "E" and first.status == "error"
    assert len(second.error["value"]) < 300_000 and "50,000,000" in second.error["value"]
    assert len(second.traceback) < 300_000
    assert third.error["name"] == "RecursionError" and len(third.traceback) < 5000
    assert fourth.text == "1"


def test_half_surrogates_reach_the_client_as_python_shows_them(run):
    session = run("raise ValueError('\\udc80')", "class A:\n    def __repr__(self): return '\\udc80'\nA()")
    assert session[0].error["value"] == session[1].text == r"\udc80"


def test_a_preparser(run, tmp_path):
    (tmp_path / "prep.py").write_text("def prepare(source):\n    if 'fail' in source: raise KeyError(source)\n"
                                      "    return source.replace('ten', '10') if 'none' not in source else None\n")
    session = run("ten + 1", "fail", "none", "ten", setup={"preparser": "prep:prepare"},
                  environment={"PYTHONPATH": str(tmp_path)})
    assert [step.text for step in session] == ["11", None, None, "10"]
    assert session[1].error["name"] == "KeyError" and "prep.py" in session[1].traceback
    assert "preparser must return text" in session[2].error["value"]
    assert not session.begin.events


def test_a_preparser_that_is_not_there(run):
    session = run("1", setup={"preparser": "nowhere:prepare"})
    assert "nowhere" in session.begin.of("notice")[0]["text"]
    assert session[0].text == "1"


def test_practising_leaves_no_trace(run):
    check = """
import linecache, sys
answer["cells"] = [name for name in linecache.cache if name.startswith("<cell")]
answer["last"] = hasattr(sys, "last_type")
answer["names"] = sorted(stub.main)
"""
    plain, practised = run({"python": check}), run({"python": check}, practised=True)
    assert practised[0].answer == plain[0].answer
    assert practised[0].answer["cells"] == [] and not practised[0].answer["last"]
    assert practised.stdout == "" and not practised.begin.events


def test_limits(run):
    code = """
import resource
[resource.getrlimit(getattr(resource, "RLIMIT_" + name))[0] for name in ("NOFILE", "FSIZE", "DATA")]
"""
    limits = {"memory": 300 << 20, "file_size": 1000, "open_files": 50}
    session = run(code, "b = bytearray(400 << 20)", "b = bytearray(1 << 20)",
                  "with open('f', 'wb', 0) as f: f.write(b'x' * 2000); f.write(b'x')", setup={"limits": limits})
    files, size, memory = eval(session[0].text)
    assert (files, size) == (50, 1000) and 300 << 20 <= memory < 600 << 20
    assert session[1].error["name"] == "MemoryError"
    assert session[2].status == "ok"
    assert session[3].error["name"] == "OSError"
