"""Completion and inspection."""
import pytest

PREPARE = """
import os, collections
def ran(*a): os._exit(77)
class Meta(type):
    def __getattribute__(cls, name): ran()
    def __dir__(cls): ran()
class A:
    "About A."
    attribute = 1
    def __init__(self, size=3): self.own = {"inner key": "text"}
    @property
    def prop(self): ran()
    def method(self, alpha, beta=2):
        "About method."
    __getattr__ = __dir__ = __repr__ = __iter__ = __len__ = ran
class D(dict):
    keys = __iter__ = __getitem__ = ran
class B(metaclass=Meta): pass
a, d = A(), D({"deep": 1})
table = {"one two": [1, "x"], "three": {}, "bad\\"key": 0, 5: 5}
def func(first, second=A(), *, third: int = 3) -> str:
    "About func."
"""


@pytest.fixture
def complete(run):
    def complete(*codes):
        asks = [{"ask": {"ask": n, "what": "complete", "code": code.replace("|", ""), "cursor": cursor_of(code)}}
                for n, code in enumerate(codes)]
        first, *steps = run(PREPARE, *asks)
        assert first.status == "ok", first.events
        for n, step in enumerate(steps):
            assert step.answer["ask"] == n and not step.events
        return [step.answer for step in steps]

    return complete


@pytest.fixture
def inspect(run):
    def inspect(*codes):
        asks = [{"ask": {"what": "inspect", "code": code.replace("|", ""), "cursor": cursor_of(code)}} for code in codes]
        return [step.answer for step in run(PREPARE, *asks)[1:]]

    return inspect


def cursor_of(code):
    return code.index("|") if "|" in code else len(code)


def pairs(answer):
    return {match["text"]: match["type"] for match in answer["matches"]}


def test_attributes(complete):
    instance, typed, cls, chain, literal, prop, module = complete("a.", "x = a.meth|", "A.at", "a.own.it", "'x'.upp", "a.prop.", "os.path.joi")
    assert pairs(instance) == {"attribute": "instance", "method": "function", "own": "instance", "prop": "instance"}
    assert pairs(typed) == {"method": "function"} and (typed["start"], typed["end"]) == (6, 10)
    assert pairs(cls) == {"attribute": "instance"}
    assert pairs(chain) == {"items": "function"}
    assert pairs(literal) == {"upper": "function"}
    assert pairs(prop) == {}
    assert pairs(module) == {"join": "function"}


def test_private_names_on_request(complete):
    (answer,) = complete("a.__ini")
    assert "__init__" in pairs(answer)


def test_subscripts(complete):
    values, keys, later, other = complete("table['one two'][1].upp", "table[\"t", "print(table['o", "table['no'].x")
    assert pairs(values) == {"upper": "function"}
    assert pairs(keys) == {"three": "key"} and keys["start"] == 7
    assert pairs(later) == {"one two": "key"}
    assert pairs(other) == {}


def test_keys(complete):
    every, derived = complete("table['", "d['")
    assert pairs(every) == {"one two": "key", "three": "key"}  # those that can be typed
    assert pairs(derived) == {"deep": "key"}


def test_names(complete):
    variable, keyword, builtin, empty, comment, number = complete("tab", "x = whi", "isinst", "zzz", "# tab", "12")
    assert pairs(variable) == {"table": "instance"}
    assert pairs(keyword) == {"while": "keyword"}
    assert pairs(builtin) == {"isinstance": "function"}
    assert pairs(empty) == pairs(comment) == pairs(number) == {}


def test_arguments_of_a_call(complete):
    call, second, lines, method, cls, definition = complete("func(", "func(1, se", "func(\n  [1],\n  th", "a.method(be", "A(si", "def func(se")
    assert list(pairs(call))[:3] == ["first=", "second=", "third="]
    assert pairs(second)["second="] == "param"
    assert pairs(lines) == {"third=": "param"}
    assert pairs(method) == {"beta=": "param"}
    assert pairs(cls) == {"size=": "param"}
    assert "second=" not in pairs(definition)


def test_imports(complete):
    top, sub, names, several, word, lazily = complete("import collec", "import xml.et", "from collections import Order", "import os, json.enc", "from os im", "from wsgiref import si")
    assert pairs(top)["collections"] == "module"
    assert pairs(sub) == {"etree": "module"} and sub["start"] == 11
    assert pairs(names) == {"OrderedDict": "class"}
    assert pairs(several) == {"encoder": "module"}
    assert pairs(word) == {"import": "keyword"}
    assert pairs(lazily) == {"simple_server": "module"}


def test_paths_in_texts(complete, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file \u2603.txt").write_text("")
    top, inner, missing, hidden = complete("open('fo", "open('folder/fi", "open('nowhere/", "x = '''\nfo")
    assert pairs(top) == {"folder/": "path"}
    assert pairs(inner) == {"file \u2603.txt": "path"} and (inner["start"], inner["end"]) == (13, 15)
    assert pairs(missing) == pairs(hidden) == {}


def test_the_cursor_counts_code_points(complete):
    (answer,) = complete("'\U0001f40d' + tab| + 1")
    assert pairs(answer) == {"table": "instance"} and (answer["start"], answer["end"]) == (6, 9)


def test_in_an_fstring(complete):
    code, text = complete("f'{a.meth", "f'{{a.meth")
    assert pairs(code) == {"method": "function"}
    assert pairs(text) == {}


def test_code_of_the_users_never_runs(complete, inspect):
    answers = complete("a.", "d.", "B.", "B.x.", "d[", "d['", "a.prop.x", "func(", "a().x", "a[0].x", "-a.x")
    answers += inspect("a", "d", "B", "a.prop", "func", "a.nothing", "B.x", "B(", "a(", "len(a)")
    assert answers  # each would have ended the process


def test_it_is_bounded(run):
    many = "for i in range(3000): globals()[f'name{i}'] = i"
    asks = [{"ask": {"what": "complete", "code": code, "cursor": len(code)}}
            for code in ("name", "x = 1\n" * 300_000 + "name", "(" * 100_000, "a." * 100_000, "'" * 99_999)]
    steps = run(many, *asks)
    assert len(steps[1].answer["matches"]) == len(steps[2].answer["matches"]) == 1000


def test_what_makes_no_sense_is_answered_too(run):
    steps = run(*({"ask": ask} for ask in (
        {"ask": 4, "what": "complete", "code": "abc", "cursor": 99}, {"ask": 5, "what": "inspect", "code": "a", "cursor": -3},
        {"ask": 6, "what": "complete", "code": None, "cursor": "x"}, {"ask": 7})))
    assert [step.answer["ask"] for step in steps] == [4, 5, 6, 7]
    assert steps[0].answer["end"] == 3 and steps[1].answer["found"] is False


def test_inspection(inspect):
    func, call, method, cls, variable, module, nothing, middle = inspect(
        "func", "y = func(3, |)", "a.meth|od(1)", "A", "table", "os", "nowhere", "len(tab|le)")
    assert func["signature"] == "func(first, second=..., *, third: int = 3) -> str"
    assert "About func." in func["data"]["text/plain"] and "<cell 1>" in func["data"]["text/plain"]
    assert call == func
    assert method["signature"] == "method(alpha, beta=2)" and "About method." in method["data"]["text/plain"]
    assert cls["signature"] == "A(size=3)" and "About A." in cls["data"]["text/plain"]
    assert "Type: dict" in variable["data"]["text/plain"] and "dict of 4" in variable["data"]["text/plain"]
    assert "Type: module" in module["data"]["text/plain"] and "os.py" in module["data"]["text/plain"]
    assert nothing == {"ask": 0, "found": False, "data": {}, "signature": "", "frames": []}
    assert "dict of 4" in middle["data"]["text/plain"]
