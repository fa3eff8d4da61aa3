"""Writes values.json from section 6 of docs/protocol.md, independently of both codecs. usage: make_value_vectors.py [FOLDER]

Each entry has the bytes as `hex`, followed `times` times by `then` if it has those. A valid one has `value`, in this notation:
null, true, false are themselves; {"int": decimal}, {"float": as of C's %a}, {"complex": [float, float]}, {"str": text},
{"points": [code point]} is a str with lone surrogates, {"bytes": hex}, {"list": [value]}, {"tuple": [value]}, {"set": [value]},
{"frozenset": [value]}, {"dict": [[key, value]]}, {"channel": [context, number]}, {"repeat": [value, times]} the bytes, str or
list so many times. `shortest` says whether an encoder makes exactly these bytes. A malformed one has `reason`.
"""
import json
import struct
import sys
from pathlib import Path


def number(value):
    return {"int": str(value)}


def items(name, *values):
    return {name: list(values)}


def floating(value):
    return {"float": value.hex()}


def extension(kind, data):
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
    if len(data) in fixed:
        return bytes((fixed[len(data)], kind)) + data
    assert len(data) < 256
    return bytes((0xC7, len(data), kind)) + data


def nested(levels):
    return items("list", nested(levels - 1)) if levels else items("list")


ONE, TWO = number(1), number(2)
INTS = {
    0: "00", 1: "01", 127: "7f", 128: "cc80", 255: "ccff", 256: "cd0100", 65535: "cdffff", 65536: "ce00010000",
    (1 << 32) - 1: "ceffffffff", 1 << 32: "cf0000000100000000", (1 << 63) - 1: "cf7fffffffffffffff", (1 << 64) - 1: "cfffffffffffffffff",
    -1: "ff", -32: "e0", -33: "d0df", -128: "d080", -129: "d1ff7f", -32768: "d18000", -32769: "d2ffff7fff",
    -(1 << 31): "d280000000",
    -(1 << 31) - 1: "d3ffffffff7fffffff", -(1 << 63): "d38000000000000000",
    1 << 64: "c70901000000000000000001", -(1 << 63) - 1: "c70901ffffffffffffff7fff", (1 << 71) - 1: "c70901ffffffffffffffff7f",
    1 << 71: "c70a0100000000000000008000", -(1 << 71): "c70901000000000000000080", 1 << 126: "d801" + "00" * 15 + "40",
}  # fmt: skip

VALID = {
    "nil": ("c0", None),
    "false": ("c2", False),
    "true": ("c3", True),
    **{"int %d" % value: (text, number(value)) for value, text in INTS.items()},
    "float 1.5": ("cb3ff8000000000000", floating(1.5)),
    "float -0.0": ("cb8000000000000000", floating(-0.0)),
    "float inf": ("cb7ff0000000000000", floating(float("inf"))),
    "float nan": ("cb7ff8000000000000", floating(float("nan"))),
    "complex": ("d805" + struct.pack("<dd", 1.5, -2.0).hex(), {"complex": [(1.5).hex(), (-2.0).hex()]}),
    "empty str": ("a0", {"str": ""}),
    "str": ("a5" + "caf\u00e9".encode().hex(), {"str": "caf\u00e9"}),
    "str with NUL": ("a3610062", {"str": "a\0b"}),
    "str beyond 16 bits": ("a4" + "\U0001f40d".encode().hex(), {"str": "\U0001f40d"}),
    "str of 31": ("bf" + "61" * 31, {"repeat": [{"str": "a"}, 31]}),
    "str of 32": ("d920" + "61" * 32, {"repeat": [{"str": "a"}, 32]}),
    "lone surrogate": ("c70307eda080", {"points": [0xD800]}),
    "surrogates that would be a pair": ("c70607eda0bdedb880", {"points": [0xD83D, 0xDE00]}),
    "surrogate of surrogateescape": ("d60761edb3bf", {"points": [0x61, 0xDCFF]}),
    "empty bytes": ("c400", {"bytes": ""}),
    "bytes": ("c40300ff80", {"bytes": "00ff80"}),
    "empty list": ("90", items("list")),
    "list": ("9301a16191c0", items("list", ONE, {"str": "a"}, items("list", None))),
    "list of 15": ("9f" + "01" * 15, {"repeat": [items("list", ONE), 15]}),
    "list of 16": ("dc0010" + "01" * 16, {"repeat": [items("list", ONE), 16]}),
    "empty dict": ("80", items("dict")),
    "dict in its order": ("82a16201a16102", items("dict", [{"str": "b"}, ONE], [{"str": "a"}, TWO])),
    "dict with keys of many types": (
        "84c001c4017802" + extension(2, b"\x01").hex() + "01" + "cb3ff800000000000002",
        items("dict", [None, ONE], [{"bytes": "78"}, TWO], [items("tuple", ONE), ONE], [floating(1.5), TWO]),
    ),
    "dict of 16": (
        "de0010" + "".join("%02x01" % key for key in range(16)),
        items("dict", *([number(key), ONE] for key in range(16))),
    ),
    "empty tuple": ("c70002", items("tuple")),
    "tuple of 1 byte": ("d40201", items("tuple", ONE)),
    "tuple of 2 bytes": ("d5020102", items("tuple", ONE, TWO)),
    "tuple of 3 bytes": ("c70302010201", items("tuple", ONE, TWO, ONE)),
    "tuple of 4 bytes": ("d60201010101", items("tuple", ONE, ONE, ONE, ONE)),
    "tuple of 8 bytes": ("d702" + "01" * 8, {"repeat": [items("tuple", ONE), 8]}),
    "tuple of 16 bytes": ("d802" + "01" * 16, {"repeat": [items("tuple", ONE), 16]}),
    "tuple of 256 bytes": ("c8010002" + "01" * 256, {"repeat": [items("tuple", ONE), 256]}),
    "tuple in a tuple": (extension(2, extension(2, b"\x01")).hex(), items("tuple", items("tuple", ONE))),
    "empty set": ("c70003", items("set")),
    "set": ("d403c0", items("set", None)),
    "frozenset": ("d40401", items("frozenset", ONE)),
    "set of a frozenset": (extension(3, extension(4, b"\x01")).hex(), items("set", items("frozenset", ONE))),
    "channel at its sender": ("d706ffffffff02000000", {"channel": [0xFFFFFFFF, 2]}),
    "channel elsewhere": ("d7060300000006000000", {"channel": [3, 6]}),
    "100 levels": ("91" * 99 + "90", nested(99)),
}

LONG = {  # hex, then, times, value
    "str of 255": ("d9ff", "61", 255, {"repeat": [{"str": "a"}, 255]}),
    "str of 256": ("da0100", "61", 256, {"repeat": [{"str": "a"}, 256]}),
    "str of 65536": ("db00010000", "61", 65536, {"repeat": [{"str": "a"}, 65536]}),
    "bytes of 256": ("c50100", "00", 256, {"repeat": [{"bytes": "00"}, 256]}),
    "bytes of 65535": ("c5ffff", "00", 65535, {"repeat": [{"bytes": "00"}, 65535]}),
    "bytes of 65536": ("c600010000", "00", 65536, {"repeat": [{"bytes": "00"}, 65536]}),
    "list of 65536": ("dd00010000", "c0", 65536, {"repeat": [items("list", None), 65536]}),
    "tuple of 65536": ("c90001000002", "c0", 65536, {"repeat": [items("tuple", None), 65536]}),
}

LONGER = {  # than they need be: a decoder accepts them
    "int 1 in 8 bits": ("cc01", ONE),
    "int 1 in 64 bits": ("d30000000000000001", ONE),
    "int 1 as a big one": ("d40101", ONE),
    "int -1 as a big one of 3 bytes": ("c70301ffffff", number(-1)),
    "int 0 as a big one of 2 bytes": ("d5010000", number(0)),
    "float in 32 bits": ("ca3fc00000", floating(1.5)),
    "str in 32 bits": ("db0000000161", {"str": "a"}),
    "surrogates without one": ("d40761", {"str": "a"}),
    "bytes in 16 bits": ("c5000178", {"bytes": "78"}),
    "list in 32 bits": ("dd0000000101", items("list", ONE)),
    "dict in 16 bits": ("de00010101", items("dict", [ONE, ONE])),
    "dict in 32 bits": ("df000000010101", items("dict", [ONE, ONE])),
    "tuple in 8 bits": ("c7010201", items("tuple", ONE)),
    "tuple in 32 bits": ("c9000000010201", items("tuple", ONE)),
    "set with an element twice": ("d5030101", items("set", ONE)),
}

MALFORMED = {
    "nothing": ("", "no bytes"),
    "reserved": ("c1", "this byte begins nothing"),
    "int cut": ("cd01", "ends in the middle"),
    "float cut": ("cb3ff80000000000", "ends in the middle"),
    "str cut": ("a26a", "ends in the middle"),
    "str without its length": ("da00", "ends in the middle"),
    "str that is no UTF-8": ("a2c328", "no UTF-8"),
    "str with a surrogate": ("a3eda080", "no UTF-8: a surrogate"),
    "surrogates that are no UTF-8": ("d407ff", "no UTF-8"),
    "bytes cut": ("c4020a", "ends in the middle"),
    "list cut": ("920a", "fewer elements than it says"),
    "list of 4294967295": ("ddffffffff00", "more elements than bytes are there"),
    "dict cut": ("810a", "a key without a value"),
    "dict of 4294967295": ("dfffffffff0000", "more elements than bytes are there"),
    "bytes of 4294967295": ("c6ffffffff00", "more than are there"),
    "bytes behind it": ("0102", "bytes behind the value"),
    "key twice": ("8201010102", "a key twice"),
    "key twice, as int and bool": ("820101c302", "1 and True are the same key"),
    "list as a key": ("819001", "a list cannot be a key"),
    "tuple of a list as a key": ("81d4029001", "nor can a tuple with one"),
    "set of a list": ("d40390", "a list cannot be in a set"),
    "frozenset of a dict": ("d40480", "a dict cannot be in a set"),
    "tuple with a part of an element": ("d502cd01", "an element goes beyond the end of the tuple"),
    "tuple cut": ("c7050201", "ends in the middle"),
    "tuple whose list goes beyond it": ("92d402920101", "an element goes beyond the end of the tuple"),
    "complex of 8 bytes": ("d7050000000000000000", "a complex number has 16"),
    "channel of 4 bytes": ("d60600000000", "a channel has 8"),
    "big int of no bytes": ("c70001", "it has no value"),
    "extension 0": ("d40000", "unknown extension"),
    "extension 8": ("d40800", "unknown extension"),
    "timestamp": ("d6ff00000000", "unknown extension"),
    "101 levels": ("91" * 100 + "90", "more than 100 levels"),
    "101 levels of dicts": ("8100" * 100 + "80", "more than 100 levels"),
    "101 levels of tuples in lists": ("91" * 100 + "c70002", "more than 100 levels"),
    "extension cut before its type": ("c701", "ends in the middle"),
    "extension without its type": ("d4", "ends in the middle"),
}
MALFORMED_LONG = {"big int of more than 1 MiB": ("c90010000101", "01", (1 << 20) + 1, "at most 1 MiB")}


def write(folder):
    entries = [
        *({"name": name, "hex": data, "value": value, "shortest": True} for name, (data, value) in VALID.items()),
        *({"name": name, "hex": data, "then": then, "times": times, "value": value, "shortest": True}
          for name, (data, then, times, value) in LONG.items()),
        *({"name": name, "hex": data, "value": value, "shortest": False} for name, (data, value) in LONGER.items()),
    ]  # fmt: skip
    malformed = [
        *({"name": name, "hex": data, "reason": reason} for name, (data, reason) in MALFORMED.items()),
        *({"name": name, "hex": data, "then": then, "times": times, "reason": reason}
          for name, (data, then, times, reason) in MALFORMED_LONG.items()),
    ]  # fmt: skip
    lines = [json.dumps(entry) for entry in entries], [json.dumps(entry) for entry in malformed]
    text = '{"valid": [\n%s\n],\n"malformed": [\n%s\n]}\n' % tuple(",\n".join(part) for part in lines)
    (folder / "values.json").write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent))
