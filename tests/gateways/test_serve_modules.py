"""What the master sends when a remote asks for a module: found without an import, in batches, never more than an import here would find."""

import os
import sys
import textwrap
import zipfile
import zlib

import pytest

from brood.gateways import scan, serve


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory in sys.path, and a function that writes files into it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**files):
        for name, text in files.items():
            path = tmp_path / (name.replace("__in__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    write.path = tmp_path
    return write


def ask(name, cached=(), sent=None, allowed=None):
    return serve.Modules(allowed).answer(name, list(cached), set() if sent is None else sent)


def source(entry):
    return zlib.decompress(entry["source"]).decode()


def names(answer):
    return [entry["name"] for entry in answer]


def test_a_module_is_its_source_and_nothing_is_imported(place):
    place(alone="raise SystemExit('imported')\n")
    (entry,) = ask("alone")
    assert source(entry) == "raise SystemExit('imported')\n"
    assert (entry["package"], entry["path"], entry["children"], entry["data"]) == (False, str(place.path / "alone.py"), None, None)
    assert "alone" not in sys.modules


def test_what_it_imports_comes_along(place):
    place(tree__in____init__="import tree.low\n", tree__in__low="from . import side\nfrom .deep import leaf\n", tree__in__side="",
          tree__in__deep__in____init__="", tree__in__deep__in__leaf="import first, os, pytest\n", first="", tree__in__other="")
    assert sorted(names(ask("tree"))) == ["first", "tree", "tree.deep", "tree.deep.leaf", "tree.low", "tree.side"]


def test_nothing_is_sent_twice(place):
    place(one="import two\nimport three\n", two="", three="import two\n")
    sent = set()
    assert names(ask("one", cached=["two"], sent=sent)) == ["one", "three"]
    assert names(ask("three", sent=sent)) == ["three", "two"]


def test_the_rest_of_a_package_comes_when_its_imports_did_not_lead_there(place):
    """One module alone is a coincidence, a second one is not; neither is one beside those that imports have led to."""
    place(wide__in____init__="", wide__in__a="", wide__in__b="", wide__in__c="import other\n", wide__in__sub__in____init__="", wide__in__sub__in__x="",
          wide__in__sub__in__deep__in__y="", other="", led__in____init__="from . import a\n", led__in__a="", led__in__b="", led__in__c="")
    sent = set()
    assert names(ask("wide", sent=sent)) == ["wide"]
    assert names(ask("wide.sub.x", sent=sent)) == ["wide.sub.x"]
    assert names(ask("wide.b", sent=sent)) == ["wide.b", "wide.a", "wide.c", "wide.sub", "other", "wide.sub.deep", "wide.sub.deep.y"]
    assert names(ask("wide.b", cached=["wide", "wide.a", "wide.sub"])) == ["wide.b", "wide.c", "other"]
    assert names(ask("led", sent=sent)) == ["led", "led.a"]
    assert names(ask("led.c", sent=sent)) == ["led.c", "led.b"]


def test_the_rest_of_a_package_has_bounds(place, monkeypatch):
    place(wide__in____init__="", **{f"wide__in__m{number}": f"DATA = {os.urandom(300)}" for number in range(20)})
    monkeypatch.setattr(serve, "MAX_GUESS_BYTES", 2000)
    sent = {"wide", "wide.m0"}
    for name in "wide.m7", "wide.m9":
        assert name not in sent and 2000 < sum(len(entry["source"]) for entry in ask(name, sent=sent)[1:]) < 3500


def test_of_site_packages_only_the_same_package(place):
    place(mine="import pytest, _pytest.config\n")
    assert names(ask("mine")) == ["mine"]
    batch = names(ask("pytest"))
    assert batch == ["pytest"]


def test_packages_say_their_children(place):
    place(pack__in____init__="raise SystemExit\n", pack__in__one="", pack__in__sub__in____init__="", pack__in__space__in__leaf="")
    (place.path / "pack" / "fast.abi3.so").write_bytes(b"")
    (place.path / "pack" / "words.txt").write_text("x")
    assert ask("pack")[0]["children"] == ["fast", "one", "space", "sub"]


def test_a_package_that_changes_its_path_has_unknown_children(place):
    place(wide__in____init__="__path__.append('/elsewhere')\n")
    assert ask("wide")[0]["children"] is None


def test_namespace_packages(place):
    place(space__in__inner__in__leaf="LEAF = 1\n")
    (entry,) = ask("space")
    assert (entry["package"], entry["children"], source(entry), entry["path"]) == (True, ["inner"], "", None)
    assert source(ask("space.inner.leaf")[0]) == "LEAF = 1\n"


def test_zipped_packages(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, text in {"zipped/__init__.py": "", "zipped/one.py": "ONE = 1\n", "zipped/sub/__init__.py": "", "zipped/a.txt": "words"}.items():
            archive.writestr(name, text)
    monkeypatch.syspath_prepend(str(tmp_path / "all.zip"))
    (entry,) = ask("zipped")
    assert (entry["package"], entry["children"]) == (True, ["one", "sub"])
    assert source(ask("zipped.one")[0]) == "ONE = 1\n"
    assert ask("zipped:a.txt")[0]["data"] == b"words"
    assert "missing" in ask("zipped:../all.zip")[0]


@pytest.mark.parametrize("name", ["os", "xml.etree.ElementTree", "_heapq", "sys"])
def test_not_the_standard_library(name):
    (entry,) = ask(name)
    assert entry["name"] == name and "missing" in entry


@pytest.mark.parametrize("name", ["no_such_module", "", ".", "a..b", "../x", "/etc/passwd", "os/path", "x" * 600, "a\0b", "json\n"])
def test_names_that_are_none(name):
    (entry,) = ask(name)
    assert set(entry) == {"name", "missing"}


def test_binary_extensions_say_why(place):
    suffix = __import__("importlib.machinery").machinery.EXTENSION_SUFFIXES[0]
    (place.path / f"binary{suffix}").write_bytes(b"\x7fELF")
    assert "binary extension" in ask("binary")[0]["missing"]


def test_only_what_is_allowed(place):
    place(open_one="import shut_one\n", shut_one="")
    assert names(ask("open_one", allowed=["open_one"])) == ["open_one"]
    assert "not served" in ask("shut_one", allowed=["open_one"])[0]["missing"]
    assert "not served" in ask("open_one", allowed=[])[0]["missing"]
    assert "not served" in ask("__main__", allowed=["open_one"])[0]["missing"]


def test_an_edited_module_is_sent_anew(place):
    modules = serve.Modules()
    place(changing="ONE = 1\n")
    assert source(modules.answer("changing", [], set())[0]) == "ONE = 1\n"
    place(changing="TWO = 22\n")
    assert source(modules.answer("changing", [], set())[0]) == "TWO = 22\n"


def test_data_files_of_packages(place):
    place(pack__in____init__="", pack__in__sub__in____init__="", secret="")
    (place.path / "pack" / "words.txt").write_text("words")
    (place.path / "pack" / "sub" / "more.txt").write_text("more")
    assert ask("pack:words.txt")[0]["data"] == b"words"
    assert ask("pack:sub/more.txt")[0]["data"] == b"more"
    assert ask("pack:")[0]["data"].decode().split("\n") == ["__init__.py", "sub/", "words.txt"]
    assert ask("pack:sub/")[0]["data"].decode().split("\n") == ["__init__.py", "more.txt"]


@pytest.mark.parametrize("file", ["../secret.py", "/etc/hostname", "out.txt", "outer/secret.py", "pipe", "sub", "none", "./a", "a//b", "a\0b", "../"])
def test_never_outside_of_the_package(place, file):
    place(pack__in____init__="", pack__in__sub__in____init__="", secret="SECRET = 1\n")
    (place.path / "pack" / "out.txt").symlink_to(place.path / "secret.py")
    (place.path / "pack" / "outer").symlink_to(place.path)
    os.mkfifo(place.path / "pack" / "pipe")
    (entry,) = ask(f"pack:{file}")
    assert set(entry) == {"name", "missing"}


def test_a_batch_has_bounds(place, monkeypatch):
    place(hub="".join(f"import spoke{number}\n" for number in range(20)), **{f"spoke{number}": "" for number in range(20)})
    monkeypatch.setattr(serve, "MAX_BATCH", 5)
    assert len(ask("hub")) == 5


@pytest.mark.parametrize("text, found", [
    ("import a.b, c\n", ["a.b", "c"]),
    ("from x import y, z\n", ["x", "x.y", "x.z"]),
    ("from x import *\n", ["x"]),
    ("from . import y\nfrom .z import w\nfrom .. import v\n", ["pack", "pack.y", "pack.z", "pack.z.w"]),
    ("try:\n    import a\nexcept ImportError:\n    import b\nelse:\n    import c\nfinally:\n    import d\n", ["a", "b", "c", "d"]),
    ("if 1:\n    import a\nelse:\n    import b\nclass C:\n    import c\nwith x:\n    import d\n", ["a", "b", "c", "d"]),
    ("def f():\n    import a\nasync def g():\n    import b\n", []),
    ("import a\nprint 'Python 2'\n", []),
])
def test_scanning(text, found):
    assert sorted(scan.imports(text.encode(), "pack.mod", False)) == sorted(found)


def test_scanning_a_package_itself():
    assert scan.imports(b"from . import y\n", "pack", True) == ["pack", "pack.y"]


@pytest.mark.parametrize("text, has", [
    ('if __name__ == "__main__":\n    pass\n', True), ("if '__main__' == __name__: pass\n", True), ("import a\n", False),
    ("def f():\n    if __name__ == '__main__':\n        pass\n", False),
])
def test_programs_that_can_be_imported(text, has):
    assert scan.has_guard(text.encode()) is has
