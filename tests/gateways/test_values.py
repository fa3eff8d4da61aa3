"""Values of docs/protocol.md, section 6: golden vectors, what is refused, and anything at random."""

import enum
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
from collections import OrderedDict, namedtuple
from pathlib import Path

import pytest

from brood.gateways.core import native
from brood.gateways.core.errors import DumpError, LoadError
from brood.gateways.core.values import dumps, loads

VECTORS_FILE = Path(__file__).parents[1] / "vectors" / "values.json"
VECTORS = json.loads(VECTORS_FILE.read_text())
PYTHON_PATH = str(Path(native.__file__).parents[3])


class AChannel:
    def __init__(self, context, number):
        self.where = context, number

    def __eq__(self, other):
        return type(other) is AChannel and self.where == other.where


def where_of(value):
    return value.where if isinstance(value, AChannel) else None


def data_of(entry):
    return bytes.fromhex(entry["hex"]) + bytes.fromhex(entry.get("then", "")) * entry.get("times", 0)


def value_of(notation):
    if not isinstance(notation, dict):
        return notation
    ((kind, value),) = notation.items()
    if kind == "repeat":
        once = value_of(value[0])
        return once * value[1]
    if kind in ("list", "tuple", "set", "frozenset"):
        return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](value_of(item) for item in value)
    return {
        "int": int,
        "str": str,
        "bytes": bytes.fromhex,
        "float": float.fromhex,
        "complex": lambda parts: complex(*map(float.fromhex, parts)),
        "points": lambda points: "".join(map(chr, points)),
        "dict": lambda pairs: {value_of(key): value_of(item) for key, item in pairs},
        "channel": lambda where: AChannel(*where),
    }[kind](value)


def same(one, other):
    """Equal, also in type, order and NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    return one == other


@pytest.mark.parametrize("entry", VECTORS["valid"], ids=lambda entry: entry["name"])
def test_golden(entry):
    data, value = data_of(entry), value_of(entry["value"])
    assert same(loads(data, AChannel), value)
    assert same(loads(bytearray(data), AChannel), value)
    if entry["shortest"]:
        assert dumps(value, where_of) == data
    else:
        assert same(loads(dumps(value, where_of), AChannel), value)


@pytest.mark.parametrize("entry", VECTORS["malformed"], ids=lambda entry: entry["name"])
def test_malformed(entry):
    with pytest.raises(LoadError):
        loads(data_of(entry), AChannel)


@pytest.mark.parametrize("entry", [entry for entry in VECTORS["valid"] if "times" not in entry], ids=lambda entry: entry["name"])
def test_every_beginning_of_a_value_is_none(entry):
    data = data_of(entry)
    for length in range(len(data)):
        with pytest.raises(LoadError):
            loads(data[:length], AChannel)
    with pytest.raises(LoadError, match="behind the value"):
        loads(data + b"\0", AChannel)


def test_bytes_like_values_arrive_as_bytes():
    for value in (bytearray(b"ab"), memoryview(b"ab"), memoryview(b"a-b-")[::2]):
        assert same(loads(dumps([value])), [b"ab"])


def test_long_bytes_take_the_same_form_everywhere():
    data = bytes(range(256)) * 256
    assert dumps(data) == dumps([data])[1:] == dumps(bytearray(data))
    assert same(loads(memoryview(dumps(data))), data)


class Number(enum.IntEnum):
    ONE = 1


Point = namedtuple("Point", "x y")
REFUSED = {
    "object": (object(), "an object of type object"),
    "in a list": ([1, object()], "an object of type object at [1]"),
    "in a dict in a list": ([0, 1, 2, {"a": object()}], "an object of type object at [3]['a']"),
    "in a tuple in a dict": ({(1, 2): (3, print)}, "an object of type builtin_function_or_method at [(1, 2)][1]"),
    "as a key": ({(1, object): 2}, "an object of type type at (key)[1]"),
    "in a set": ([{object}], "an object of type type at [0](element)"),
    "a subclass of int": ([Number.ONE], f"an object of type {__name__}.Number at [0]"),
    "a subclass of tuple": (Point(1, 2), f"an object of type {__name__}.Point"),
    "a subclass of dict": (OrderedDict(), "an object of type collections.OrderedDict"),
    "a channel": ((AChannel(1, 2),), f"an object of type {__name__}.AChannel at [0]"),
    "an int of more than 1 MiB": ([1 << (8 << 20)], "an int of 1048577 bytes, at most 1048576 are allowed, at [0]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_sent_is_named_with_its_place(name):
    value, text = REFUSED[name]
    with pytest.raises(DumpError, match=f"^cannot send {re.escape(text)}$"):
        dumps(value)


def test_a_place_with_a_long_key_is_cut():
    with pytest.raises(DumpError) as caught:
        dumps({"k" * 1000: object()})
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
def test_a_hundred_levels_and_no_more(kind):
    wrap = {"list": lambda inner: [inner], "dict": lambda inner: {0: inner}, "tuple": lambda inner: (inner,)}[kind]
    value = wrap(None)
    for _ in range(99):
        value = wrap(value)
    assert same(loads(dumps(value)), value)
    with pytest.raises(DumpError, match="nested in more than 100 levels at"):
        dumps(wrap(value))


def test_what_contains_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(DumpError, match="100 levels"):
        dumps(value)


def test_the_longest_int():
    for value in ((1 << (8 << 20) - 1) - 1, -(1 << (8 << 20) - 1)):
        assert loads(dumps(value)) == value


def test_nothing_is_allocated_for_what_is_not_there():
    for data in ("dd7fffffff", "df7fffffff", "c67fffffff", "db7fffffff", "c97fffffff02", "c97fffffff01"):
        with pytest.raises(LoadError):
            loads(bytes.fromhex(data) + bytes(100))


def test_a_channel_needs_somebody_to_make_it():
    with pytest.raises(LoadError):
        loads(dumps(AChannel(1, 2), where_of))


# --- anything -------------------------------------------------------------------------------------------------------

ATOMS = [
    lambda r: None,
    lambda r: r.random() < 0.5,
    lambda r: r.randrange(-200, 300),
    lambda r: r.choice((-1, 1)) * r.getrandbits(r.randrange(1, 200)),
    lambda r: r.choice((-1, 1)) * (1 << r.randrange(0, 130)) + r.randrange(-1, 2),
    lambda r: r.choice((0.0, -0.0, 1.5, math.inf, -math.inf, 5e-324, r.uniform(-1e300, 1e300))),
    lambda r: complex(r.random(), -r.random()),
    lambda r: "".join(chr(r.randrange(r.choice((128, 0x3000, 0x110000)))) for _ in range(r.randrange(40))),
    lambda r: bytes(r.getrandbits(8) for _ in range(r.choice((0, 1, 3, 40, 300)))),
]


def any_hashable(r, levels):
    kind = r.randrange(12) if levels else 0
    if kind == 10:
        return tuple(any_hashable(r, levels - 1) for _ in range(r.randrange(4)))
    if kind == 11:
        return frozenset(any_hashable(r, levels - 1) for _ in range(r.randrange(4)))
    return r.choice(ATOMS)(r)


def any_value(r, levels=4):
    kind = r.randrange(10) if levels else 0
    count = r.choice((0, 1, 2, 5, 20))
    if kind == 6:
        return [any_value(r, levels - 1) for _ in range(count)]
    if kind == 7:
        return tuple(any_value(r, levels - 1) for _ in range(count))
    if kind == 8:
        return {any_hashable(r, 2): any_value(r, levels - 1) for _ in range(count)}
    if kind == 9:
        return {any_hashable(r, 2) for _ in range(count)}
    return r.choice(ATOMS)(r)


@pytest.mark.parametrize("seed", range(8))
def test_anything_comes_back_as_it_was(seed):
    r = random.Random(seed)
    for _ in range(500):
        value = any_value(r)
        assert same(loads(dumps(value)), value)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_and_random_bytes_raise_nothing_but_load_errors(seed):
    r = random.Random(seed)
    for _ in range(1500):
        if r.random() < 0.5:
            data = bytearray(dumps(any_value(r)))
            for _ in range(r.randrange(1, 4)):
                data[r.randrange(len(data))] = r.getrandbits(8)
        else:
            data = bytes(r.getrandbits(8) for _ in range(r.randrange(60)))
        try:
            value = loads(data, AChannel)
        except LoadError:
            continue
        again = dumps(value, where_of)
        assert sorted(dumps(loads(again, AChannel), where_of)) == sorted(again)  # a set may have another order


NOTHING_ELSE = """
import json, pickle, random, sys
from brood.gateways.core.errors import LoadError
from brood.gateways.core.values import dumps, loads
if sys.argv[2] == "native":
    from brood.gateways.core.native import module
    loads = module.loads
vectors = json.load(open(sys.argv[1]))
inputs = [bytes.fromhex(entry["hex"]) for kind in ("valid", "malformed") for entry in vectors[kind]]
r = random.Random(1)
for data in filter(None, inputs[:]):
    for _ in range(50):
        damaged = bytearray(data)
        for _ in range(2):
            damaged[r.randrange(len(damaged))] = r.getrandbits(8)
        inputs.append(bytes(damaged))
inputs += [pickle.dumps(print, protocol) for protocol in range(6)] + [b"exit()", b"__import__('os')"]
TYPES = {type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset}
events, kinds, count = [], set(), 0

def look(value):
    kinds.add(type(value))
    if type(value) in (list, tuple, set, frozenset, dict):
        for item in value:
            look(item)
            if type(value) is dict:
                look(value[item])

sys.addaudithook(lambda name, arguments: events.append((name, arguments)) if decoding else None)
decoding = False
for data in inputs:
    decoding = True
    try:
        value = loads(data)
    except LoadError:
        decoding = False
        continue
    decoding = False
    count += 1
    look(value)
assert not events, events[:3]
assert kinds <= TYPES, kinds - TYPES
print(count, len(inputs))
"""


@pytest.mark.parametrize("codec", ["python", "native"])
def test_decoding_runs_nothing_and_makes_nothing_but_basic_types(codec):
    """No import, compilation, call into the system or attribute access by name, which Python's audit hooks would tell."""
    if codec == "native" and native.module is None:
        pytest.skip("no engine in C++")
    done = subprocess.run([sys.executable, "-c", NOTHING_ELSE, VECTORS_FILE, codec], env={**os.environ, "PYTHONPATH": PYTHON_PATH},
                          timeout=60, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    decoded, tried = map(int, done.stdout.split())
    assert 1000 < decoded < tried - 1000
