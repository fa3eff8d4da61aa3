"""Modules of the master on a remote: what is asked for, what is not, and what Python's own tools see of them."""

import textwrap
import threading

import pytest
from hosts.processes import DEADLINE, wait_until
from interpreters import INTERPRETERS
from remote_fixture import start_staged

from brood.gateways.core.errors import RemoteError


@pytest.fixture
def one(remotes):
    return remotes.start()


def names_asked(master):
    return [name for name, _ in master.asked]


def test_a_module_of_the_master(one):
    one.master.modules["mine"] = "def twice(x): return 2 * x"
    assert one.call("mine", "twice", 4) == 8
    assert one.evaluate("__import__('mine').__file__") == "master:/src/mine.py"
    assert names_asked(one.master) == ["mine"]


def test_what_is_here_comes_first(one):
    one.master.modules["json"] = "x = 1"
    assert one.evaluate("hasattr(__import__('json'), 'x')") is False
    assert one.master.asked == []


def test_what_came_along_is_kept_until_it_is_imported(one):
    one.master.modules.update({
        "pkg": {"source": "from . import a", "package": True, "children": ["a", "b"], "with": ["pkg.a", "pkg.b"]},
        "pkg.a": "from .b import y; x = y + 1",
        "pkg.b": "y = 1",
    })
    assert one.evaluate("import pkg.a, sys; channel.send((pkg.a.x, 'pkg.b' in sys.modules))") == (2, True)
    assert names_asked(one.master) == ["pkg"]


def test_the_master_is_told_what_is_here_of_a_package(one):
    one.master.modules.update({
        "pkg": {"source": "", "package": True, "children": ["a", "b"]}, "pkg.a": "", "pkg.b": "", "other": "",
    })
    one.execute("import other, pkg.a, pkg.b").waitclose(DEADLINE)
    assert [(name, sorted(have)) for name, have in one.master.asked] == [
        ("other", []), ("pkg", []), ("pkg.a", ["pkg"]), ("pkg.b", ["pkg", "pkg.a"])]


def test_a_list_of_children_avoids_questions(one):
    one.master.modules["pkg"] = {"source": "try:\n    from . import absent\nexcept ImportError:\n    absent = None",
                                 "package": True, "children": ["there"]}
    assert one.evaluate("__import__('pkg').absent") is None
    assert names_asked(one.master) == ["pkg"]


def test_a_question_is_asked_once(one):
    source = "for _ in range(3):\n try: import nowhere\n except ImportError: pass\nchannel.send(1)"
    assert one.evaluate(source) == 1
    assert names_asked(one.master) == ["nowhere"]


def test_the_standard_library_is_never_asked_for(one):
    assert one.evaluate("try: import winreg\nexcept ImportError as e: channel.send(str(e))") == "No module named 'winreg'"
    assert one.master.asked == []


def error_of_import(remote, name):
    with pytest.raises(RemoteError) as info:
        remote.execute(f"import {name}").waitclose(DEADLINE)
    return info.value.type, info.value.text


def test_texts_say_why(one):
    one.master.modules["binary"] = {"missing": "a binary extension on the master"}
    kind = "ModuleNotFoundError"
    assert error_of_import(one, "nowhere") == (kind, "No module named 'nowhere' (not found on the master either)")
    assert error_of_import(one, "binary") == (kind, "No module named 'binary' (a binary extension on the master)")
    assert one.evaluate("import importlib.util; channel.send(importlib.util.find_spec('nowhere'))") is None


def test_only_what_is_served_is_asked_for(remotes):
    remote = remotes.start(serve=["mine"])
    remotes.modules["mine"] = "x = 1"
    assert remote.evaluate("__import__('mine').x") == 1
    assert error_of_import(remote, "other")[1] == "No module named 'other'"
    assert names_asked(remotes) == ["mine"]


def test_a_namespace_package(one):
    one.master.modules.update({"ns": {"source": "", "package": True, "path": None, "children": ["part"]}, "ns.part": "x = 5"})
    assert one.evaluate("import ns.part; channel.send((ns.part.x, hasattr(ns, '__file__')))") == (5, False)


def test_a_namespace_package_that_is_here_in_part(one, tmp_path):
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns" / "here.py").write_text("x = 1")
    one.master.modules.update({"ns": {"source": "", "package": True, "path": None, "children": ["there"]}, "ns.there": "x = 2"})
    source = f"import sys; sys.path.append({str(tmp_path)!r}); import ns.here, ns.there; channel.send((ns.here.x, ns.there.x))"
    assert one.evaluate(source) == (1, 2)


def test_a_package_that_is_here_is_not_completed(one):
    one.master.modules["json.more"] = "x = 1"
    assert error_of_import(one, "json.more")[0] == "ModuleNotFoundError"
    assert one.master.asked == []


DATA = {
    "pkg": {"source": "", "package": True, "children": ["mod"]},
    "pkg.mod": "",
    "pkg:a.txt": {"data": b"text"},
    "pkg:sub/b.bin": {"data": b"\0\1"},
    "pkg:": {"data": b"__init__.py\na.txt\nmod.py\nsub/"},
    "pkg:sub/": {"data": b"b.bin"},
}


@pytest.mark.parametrize("python", INTERPRETERS)
def test_data_files(remotes, python):
    remote = start_staged(remotes, f"popen//python={python}")
    remotes.modules.update(DATA)
    assert remote.evaluate("__import__('pkgutil').get_data('pkg', 'a.txt')") == b"text"
    assert remote.evaluate("__import__('pkgutil').get_data('pkg.mod', 'sub/b.bin')") == b"\0\1"
    source = "import pkgutil\ntry: pkgutil.get_data('pkg', 'none')\nexcept OSError as e: channel.send(type(e).__name__)"
    assert remote.evaluate(source) == "FileNotFoundError"
    if remote.evaluate("__import__('sys').version_info[:2]") < (3, 7):
        return
    assert remote.evaluate("from importlib import resources; channel.send(resources.read_text('pkg', 'a.txt'))") == "text"
    assert remote.evaluate("from importlib import resources; channel.send(resources.is_resource('pkg', 'sub'))") is False
    if remote.evaluate("__import__('sys').version_info[:2]") < (3, 10):
        return  # files() of 3.9 knows directories and zip files only
    source = """
from importlib import resources
files = resources.files('pkg')
with resources.as_file(files / 'a.txt') as path:
    copy = path.read_bytes()
names = sorted(each.name for each in files.iterdir())
channel.send((names, (files / 'sub' / 'b.bin').read_bytes(), files.joinpath('sub').is_dir(),
              (files / 'a.txt').is_file(), (files / 'none').is_file(), (files / 'a.txt').open().read(), copy))
"""
    assert remote.evaluate(source) == (["__init__.py", "a.txt", "mod.py", "sub"], b"\0\1", True, True, False, "text", b"text")


def test_sources_are_found_by_tools(one):
    source = "# -*- coding: latin-1 -*-\ndef f():\n    return '\xe9'\n\ndef g():\n    raise ValueError(f())\n"
    one.master.modules["mine"] = source.encode("latin-1")
    assert one.evaluate("import inspect, mine; channel.send(inspect.getsource(mine.f))") == "def f():\n    return '\xe9'\n"
    assert one.evaluate("import linecache, mine; channel.send(linecache.getline(mine.__file__, 2, vars(mine)))") == "def f():\n"
    with pytest.raises(RemoteError) as info:
        one.call("mine", "g")
    assert 'File "master:/src/mine.py", line 6, in g' in info.value.formatted and "raise ValueError(f())" in info.value.formatted


MAIN = """
import sys
calls = []
class Tool:
    def name(): return __name__
def add(a, b): return a + b
if __name__ == "__main__":
    raise SystemExit("not here")
"""


def test_the_main_script(one):
    one.master.modules["__main__"] = {"source": MAIN, "path": "/src/script.py"}
    assert one.call("__main__", "add", 1, 2) == 3
    assert one.call("__main__", "name", outer="Tool") == "__mp_main__"
    assert one.evaluate("__import__('__mp_main__').add(2, 3)") == 5
    assert names_asked(one.master) == ["__main__"]


def test_a_main_script_that_cannot_be_had(one):
    one.master.modules["__main__"] = {"missing": "it has no guard"}
    with pytest.raises(RemoteError) as info:
        one.call("__main__", "add", 1, 2)
    assert info.value.type == "ImportError" and "it has no guard" in info.value.text


def test_threads_that_import_crosswise(one):
    one.master.modules.update({
        "gate": "import threading; both = threading.Barrier(2)",
        "left": "import gate; gate.both.wait(20); import right; x = 1",
        "right": "import gate; gate.both.wait(20); import left; y = 1",
    })
    source = textwrap.dedent("""
        import threading
        done = []
        def run(name):
            __import__(name)
            done.append(name)
        threads = [threading.Thread(target=run, args=(name,)) for name in ("left", "right")]
        for thread in threads: thread.start()
        for thread in threads: thread.join(10)
        channel.send(sorted(done))
    """)
    assert one.evaluate(source) == ["left", "right"]


def test_threads_that_import_the_same(one):
    one.master.modules["mine"] = "x = 1"
    channels = [one.execute("import mine; channel.send(mine.x)") for _ in range(2)]
    assert [channel.receive(DEADLINE) for channel in channels] == [1, 1]
    assert names_asked(one.master) == ["mine"]


@pytest.fixture
def silent(remotes):
    """A remote whose master does not answer before the test ends."""
    held, answer = threading.Event(), remotes._answer
    remotes._answer = lambda *_: (held.wait(DEADLINE), answer(*_))[1]
    yield remotes.start()
    held.set()


def test_a_question_under_way_keeps_nobody_else_from_importing(silent):
    silent.execute("import nowhere")
    assert silent.evaluate("__import__('colorsys').__name__") == "colorsys"


def test_a_question_under_way_is_interrupted_at_the_end(silent):
    silent.execute("import nowhere")
    wait_until(lambda: silent.master.asked, "the question")
    silent.shut()
    assert silent.process.wait(DEADLINE) == 0
