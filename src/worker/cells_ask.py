"""Completion and inspection between cells. A part of the cell loop (cells.py).

Nothing of the user's code runs for it (cells_look.py), and nothing is imported. What takes longer than two seconds is
given up.
"""
import sys

import _signal
import builtins

kMatchLimit = 1000
kTimeLimit = 2.0  # seconds
kTextLimit = 200_000  # characters before the cursor that are looked at
kDocLimit = 50_000  # characters of a docstring that are shown
kNameLimit = 500  # characters; longer names and keys are no help
kFolderLimit = 20_000  # names of one folder that are looked at

NAME = r"[^\W\d]\w*"
TEXT = r"\"[^\"\\\n]*\"|'[^'\\\n]*'"
CHAIN = rf"(?:{NAME}|{TEXT})(?:\s*\.\s*{NAME}|\[(?:-?\d+|{TEXT})\])*"


class TookTooLong(BaseException):
    pass


def answer(head, names):
    """The members of the answer. Exceptions mean: nothing is known."""
    code = str(head.get("code", ""))
    cursor = max(0, min(int(head.get("cursor", len(code))), len(code)))
    function, otherwise = complete, {"matches": [], "start": cursor, "end": cursor}
    if head.get("what") == "inspect":
        function, otherwise = inspection, {"found": False, "data": {}, "signature": ""}
    return in_time(function, otherwise, code, cursor, names)


def in_time(function, otherwise, *arguments):
    """With an alarm, unless the user's program has one of its own."""
    import signal

    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL or signal.getitimer(signal.ITIMER_REAL)[0]:
        return function(*arguments)
    try:
        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, kTimeLimit)
        try:
            return function(*arguments)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TookTooLong:
        return otherwise
    finally:
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)


def on_alarm(number, frame):
    raise TookTooLong


# --- where the cursor is -------------------------------------------------------------------------


class Place:
    """What the text up to the cursor ends in."""

    def __init__(self):
        self.string = None  # where the contents of an open string begin
        self.prefix = ""  # that string's prefix, lower case
        self.quote_at = 0  # where that string begins
        self.comment = False
        self.brackets = []  # (character, position) of the open ones
        self.statement = 0  # where the statement begins


def place_in(text):
    import re

    place, position = Place(), 0
    mark = re.compile(r"\"\"\"|'''|[\"'#()\[\]{}\n;]|\\\n")
    while found := mark.search(text, position):
        position = found.end()
        what = found.group()
        if what[0] in "\"'":
            end = end_of_string(text, found, what, place)
            if end is None:
                return place
            position = end
        elif what == "#":
            position = text.find("\n", position)
            if position < 0:
                place.comment = True
                return place
        elif what in "([{":
            place.brackets.append((what, found.start()))
        elif what in ")]}":
            if place.brackets:
                place.brackets.pop()
        elif what in "\n;" and not place.brackets:
            place.statement = position
    return place


def end_of_string(text, found, quote, place):
    import re

    prefix = re.search(r"(?<!\w)[A-Za-z]{0,2}\Z", text[max(0, found.start() - 3) : found.start()])
    letters = prefix.group().lower() if prefix else ""
    stop = r"\\.|" + quote + ("" if len(quote) == 3 else r"|\n")
    for end in re.compile(stop, re.DOTALL).finditer(text, found.end()):
        if end.group()[0] != "\\":
            return end.end()
    place.string, place.prefix, place.quote_at = found.end(), letters, found.start() - len(letters)
    return None


def line_before(text, start=0):
    """The end of the text, no more than a line of reasonable length."""
    return text[max(start, text.rfind("\n") + 1, len(text) - 2000) :]


# --- completion ----------------------------------------------------------------------------------


def complete(code, cursor, names):
    cut = max(0, cursor - kTextLimit)
    matches, length = matches_of(code[cut:cursor], names, code, cursor)
    unique, seen = [], set()
    for text, kind in matches:
        if text not in seen:
            seen.add(text)
            unique.append({"text": text, "type": kind})
            if len(unique) == kMatchLimit:
                break
    return {"matches": unique, "start": cursor - length, "end": cursor}


def matches_of(text, names, code, cursor):
    """(iterable of (text, type), how many characters before the cursor they replace)."""
    place = place_in(text)
    if place.comment:
        return [], 0
    if place.string is not None:
        return in_string(text, place, names)
    statement = text[place.statement :]
    imports = import_matches(statement)
    if imports is not None:
        return imports
    word = word_before(text)
    known = jedi_matches(code, cursor, names)
    if known:
        return known, len(word)
    chain = chain_before_dot(text[: len(text) - len(word)])
    if chain is not None:
        return attribute_matches(chain, word, names), len(word)
    if word[:1].isdigit():
        return [], 0
    return name_matches(text, word, place, names), len(word)


def word_before(text):
    import re

    return re.search(r"\w*\Z", line_before(text)).group()


def chain_before_dot(text):
    """The expression in front of a dot at the end; "" if that is none we know; None without a dot."""
    import re

    line = line_before(text).rstrip()
    if not line.endswith("."):
        return None
    found = re.search(rf"(?<![\w.)\]\"'])({CHAIN})\s*\.\Z", line)
    return found.group(1) if found else ""


def attribute_matches(chain, word, names):
    try:
        value = cells_look.evaluate(chain, names)
    except cells_look.Unknown:
        return
    found = sorted(name for name in cells_look.member_names(value) if fits(name, word))
    for name in found[:kMatchLimit]:
        yield name, cells_look.kind_of_member(value, name)


def fits(name, word):
    if not isinstance(name, str) or len(name) > kNameLimit:
        return False
    return name.startswith(word) and (word.startswith("_") or not name.startswith("_"))


def name_matches(text, word, place, names):
    import keyword

    yield from parameter_matches(text, word, place, names)
    for name in sorted(name for name in names if fits(name, word)):
        yield name, cells_look.kind_of(names[name])
    for name in sorted(name for name in vars(builtins) if fits(name, word)):
        yield name, cells_look.kind_of(getattr(builtins, name))
    for name in keyword.kwlist + list(getattr(keyword, "softkwlist", ())):
        if name.startswith(word) and name != "_":
            yield name, "keyword"


def parameter_matches(text, word, place, names):
    """name= for the call that the cursor is in, where an argument begins."""
    before = text[: len(text) - len(word)].rstrip()
    if not place.brackets or place.brackets[-1][0] != "(" or before[-1:] not in ("(", ","):
        return
    try:
        signature = cells_look.signature_of(callee(text, place, names))
    except (cells_look.Unknown, ValueError, TypeError):
        return
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            if fits(parameter.name, word):
                yield parameter.name + "=", "param"


def callee(text, place, names):
    import re

    line = line_before(text[: place.brackets[-1][1]])
    found = re.search(rf"(?<![\w.)\]\"'])({CHAIN})\Z", line)
    if not found or re.search(r"\b(?:def|class)\s+\Z", line[: found.start()]):
        raise cells_look.Unknown
    return cells_look.evaluate(found.group(1), names)


def jedi_matches(code, cursor, names):
    """jedi's answer, where the user works with it anyway."""
    jedi = sys.modules.get("jedi")
    if jedi is None or not hasattr(jedi, "Interpreter"):
        return None
    before = code[:cursor]
    try:
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1
        found = jedi.Interpreter(code, [names]).complete(line, column)
        kinds = ("function", "class", "module", "instance", "keyword", "param", "path")
        return [(each.name, each.type if each.type in kinds else "instance") for each in found[:kMatchLimit]]
    except Exception:
        return None


# --- completion in strings -----------------------------------------------------------------------


def in_string(text, place, names):
    content = text[place.string :]
    if "f" in place.prefix and content.replace("{{", "").count("{") > content.replace("}}", "").count("}"):
        inner = content[content.rfind("{") + 1 :]
        return matches_of(inner, names, inner, len(inner))
    before = text[: place.quote_at].rstrip()
    if before.endswith("["):
        keys = key_matches(before[:-1], content, names)
        if keys is not None:
            return keys, len(content)
    if "\n" in content:
        return [], 0
    return path_matches(content)


def key_matches(before, prefix, names):
    import re

    found = re.search(rf"(?<![\w.)\]\"'])({CHAIN})\s*\Z", line_before(before))
    if not found:
        return None
    try:
        keys = cells_look.keys_of(cells_look.evaluate(found.group(1), names))
    except cells_look.Unknown:
        return None
    return [(key, "key") for key in keys if type(key) is str and key.startswith(prefix) and can_be_typed(key)]


def can_be_typed(key):
    return len(key) <= kNameLimit and key.isprintable() and not any(character in key for character in "\"'\\")


def path_matches(content):
    import itertools
    import os

    folder, _, start = content.rpartition("/")
    where = os.path.expanduser(folder + "/") if "/" in content else "."
    found = []
    try:
        with os.scandir(where) as entries:
            for entry in itertools.islice(entries, kFolderLimit):
                if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
                    found.append(entry.name + ("/" if is_folder(entry) else ""))
    except (OSError, ValueError):
        return [], 0
    return [(name, "path") for name in sorted(found)], len(start)


def is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:
        return False


# --- completion of imports -----------------------------------------------------------------------


def import_matches(statement):
    """For `import a.b`, `from a.b` and `from a.b import c`; None: the statement is no import."""
    import re

    dotted = rf"{NAME}(?:\.{NAME})*"
    found = re.match(rf"\s*(?:import\s+(?:{dotted}(?:\s+as\s+{NAME})?\s*,\s*)*|from\s+)([\w.]*)\Z", statement)
    if found:
        return module_matches(found.group(1))
    found = re.match(rf"\s*from\s+({dotted})\s+(\w*)\Z", statement)
    if found and "import".startswith(found.group(2)):
        return [("import", "keyword")], len(found.group(2))
    found = re.match(rf"\s*from\s+({dotted})\s+import\s+\(?\s*(?:{NAME}(?:\s+as\s+{NAME})?\s*,\s*)*(\w*)\Z", statement)
    if found:
        return names_in_module(*found.groups()), len(found.group(2))
    return None


def module_matches(dotted):
    parent, _, start = dotted.rpartition(".")
    names = submodules(parent) if parent else top_modules()
    return [(name, "module") for name in sorted(set(names)) if fits(name, start)], len(start)


def top_modules():
    import pkgutil

    names = set(sys.builtin_module_names) | set(getattr(sys, "stdlib_module_names", ()))
    names.update(name for name in sys.modules if "." not in name)
    names.update(module.name for module in pkgutil.iter_modules())
    return (name for name in names if name.isidentifier())


def submodules(parent):
    """Of a package, found as its parents say, without importing anything."""
    import pkgutil

    folders = folders_of(parent)
    names = [module.name for module in pkgutil.iter_modules(folders)] if folders else []
    names += [name[len(parent) + 1 :] for name in list(sys.modules) if name.startswith(parent + ".")]
    return (name for name in names if name.isidentifier())


def folders_of(package):
    from importlib.machinery import PathFinder

    module = sys.modules.get(package)
    if module is not None:
        return [str(folder) for folder in cells_look.static(module, "__path__", ())]
    parent = package.rpartition(".")[0]
    spec = PathFinder.find_spec(package, folders_of(parent) if parent else None)
    return list(spec.submodule_search_locations or ()) if spec else []


def names_in_module(name, word):
    found = dict.fromkeys(submodules(name), "module")
    module = sys.modules.get(name)
    if module is not None:
        found.update((each, cells_look.kind_of_member(module, each)) for each in cells_look.member_names(module))
    return [(each, kind) for each, kind in sorted(found.items()) if fits(each, word)]


# --- inspection ----------------------------------------------------------------------------------


def inspection(code, cursor, names):
    """About the name at the cursor, or else about the function whose call the cursor is in."""
    start = max(0, cursor - kTextLimit)
    for value, name in candidates(code[start:cursor], code[cursor : cursor + 1000], names):
        lines = describe(value, name)
        signature = lines.pop("signature")
        text = "\n".join(line for line in lines.values() if line)
        return {"found": True, "data": {"text/plain": text}, "signature": signature}
    return {"found": False, "data": {}, "signature": ""}


def candidates(before, after, names):
    import re

    place = place_in(before)
    if place.string is None and not place.comment:
        whole = line_before(before) + re.match(r"\w*", after).group()
        found = re.search(rf"(?<![\w.)\]\"'])({CHAIN})\Z", whole)
        if found:
            try:
                yield cells_look.evaluate(found.group(1), names), found.group(1)
            except cells_look.Unknown:
                pass
    if place.brackets and place.brackets[-1][0] == "(":
        try:
            value = callee(before, place, names)
            yield value, re.search(rf"({CHAIN})\Z", line_before(before[: place.brackets[-1][1]])).group(1)
        except cells_look.Unknown:
            pass


def describe(value, name):
    kind = type(value)
    short = name.rpartition(".")[2]
    try:
        signature = cells.shortened(short + shown_signature(value), 10_000)
    except (cells_look.Unknown, ValueError, TypeError):
        signature = ""
    typename = type.__getattribute__(kind, "__qualname__")
    if cells_look.module_name(kind) != "builtins":
        typename = f"{cells_look.module_name(kind)}.{typename}"
    doc, file = docstring(value), source_file(value)
    return {
        "signature": signature,
        "head": signature or name,
        "type": f"Type: {typename}",
        "repr": f"Value: {short_repr(value)}" if cells_look.kind_of(value) == "instance" else "",
        "file": f"File: {file}" if file else "",
        "doc": f"\n{doc}" if doc else "",
    }


class Shown:
    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


def shown_signature(value):
    """Without the repr of the user's objects, which is code of his."""
    import inspect

    signature = cells_look.signature_of(value)
    empty = inspect.Parameter.empty
    shown = []
    for parameter in signature.parameters.values():
        default = parameter.default
        if default is not empty:
            default = Shown(short_repr(default) if type(default) in cells_display.PLAIN else "...")
        note = parameter.annotation if type(parameter.annotation) in (type, str) else empty
        shown.append(parameter.replace(default=default, annotation=note))
    note = signature.return_annotation
    return str(signature.replace(parameters=shown, return_annotation=note if type(note) in (type, str) else empty))


def short_repr(value):
    kind = type(value)
    if kind is int and value.bit_length() > 1000:
        return f"an integer of {value.bit_length()} bits"
    if kind in (str, bytes) and len(value) > 200:
        return f"{value[:200]!r}... ({len(value):,} in all)"
    if kind in (bytearray, *cells_display.CONTAINERS):
        return f"{kind.__name__} of {len(value):,}"
    if kind in cells_display.PLAIN:
        return repr(value)
    if kind.__name__ == "ndarray" and cells_look.from_library(kind, "numpy"):
        return f"array of shape {value.shape}, {value.dtype}"
    if cells_look.from_library(kind, "pandas") and kind.__name__ in ("DataFrame", "Series"):
        return f"{kind.__name__} of shape {value.shape}"
    return f"a {kind.__name__}"


def docstring(value):
    import inspect

    try:
        doc = cells_look.member(value, "__doc__")
    except cells_look.Unknown:
        return ""
    return inspect.cleandoc(doc[:kDocLimit]) if type(doc) is str else ""


def source_file(value):
    import types

    if type(value) is types.MethodType:
        value = value.__func__
    kind = type(value)
    if kind is types.FunctionType:
        return value.__code__.co_filename
    if issubclass(kind, type):
        value = sys.modules.get(cells_look.module_name(value))
    if issubclass(type(value), types.ModuleType):
        file = types.ModuleType.__getattribute__(value, "__dict__").get("__file__")
        return file if type(file) is str else ""
    return ""
