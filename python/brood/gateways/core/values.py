"""Values as bytes: MessagePack, with extension types for what Python has beyond it (docs/protocol.md, section 6).

Pure functions, for any thread. Decoding builds the types that are listed there and nothing else; nobody's code is run.
"""

import struct

from .errors import DumpError, LoadError

MAX_LEVELS = 100  # of nesting
MAX_BIG_INT = 1 << 20  # bytes
CHANNEL_MARK = b"\xd7\x06"  # how dumps() begins a channel; may occur in other values, too

_BIG_INT, _TUPLE, _SET, _FROZENSET, _COMPLEX, _CHANNEL, _SURROGATES = range(1, 8)

_B = struct.Struct(">BB").pack
_H = struct.Struct(">BH").pack
_I = struct.Struct(">BI").pack
_Q = struct.Struct(">BQ").pack
_SB = struct.Struct(">Bb").pack
_SH = struct.Struct(">Bh").pack
_SI = struct.Struct(">Bi").pack
_SQ = struct.Struct(">Bq").pack
_D = struct.Struct(">Bd").pack
_TWO_FLOATS = struct.Struct("<dd")
_TWO_NUMBERS = struct.Struct("<II")


# --- encoding -------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """What dumps() cannot encode; the text says what it is."""


def dumps(value, channel=None):
    """The encoding of `value`. `channel(object)` says (context, number) of a channel, None of other objects.

    Raises DumpError, which names the type and the place of what cannot be sent.
    """
    if type(value) is bytes and len(value) >= 0x10000:  # without another copy
        _check_size(len(value))
        return _I(0xC6, len(value)) + value
    out = bytearray()
    try:
        _PACK.get(type(value), _pack_other)(out, value, MAX_LEVELS, channel)
    except Refused as refused:
        text = str(refused)
    else:
        return bytes(out)
    place = _place(value, MAX_LEVELS, channel)
    raise DumpError("cannot send %s%s" % (text, " at " + place if place else ""))


def _place(value, levels, channel):
    """Where in `value` is what was refused: like [3]['a']; empty if it is `value` itself."""
    kind = type(value)
    if levels == 0 or kind not in (list, tuple, dict, set, frozenset):
        return ""
    if kind is dict:
        inner = [("(key)", key) for key in value] + [("[%.40r]" % (key,), item) for key, item in value.items()]
    elif kind in (list, tuple):
        inner = [("[%d]" % number, item) for number, item in enumerate(value)]
    else:
        inner = [("(element)", item) for item in value]
    for name, item in inner:
        try:
            _PACK.get(type(item), _pack_other)(bytearray(), item, levels - 1, channel)
        except Refused:
            return name + _place(item, levels - 1, channel)
    return ""


def _pack_none(out, value, levels, channel):
    out.append(0xC0)


def _pack_bool(out, value, levels, channel):
    out.append(0xC3 if value else 0xC2)


def _pack_int(out, value, levels, channel):
    if value >= 0:
        if value < 0x80:
            out.append(value)
        elif value < 0x100:
            out += _B(0xCC, value)
        elif value < 0x10000:
            out += _H(0xCD, value)
        elif value < 0x100000000:
            out += _I(0xCE, value)
        elif value < 0x10000000000000000:
            out += _Q(0xCF, value)
        else:
            _pack_big_int(out, value)
    elif value >= -0x20:
        out.append(value & 0xFF)
    elif value >= -0x80:
        out += _SB(0xD0, value)
    elif value >= -0x8000:
        out += _SH(0xD1, value)
    elif value >= -0x80000000:
        out += _SI(0xD2, value)
    elif value >= -0x8000000000000000:
        out += _SQ(0xD3, value)
    else:
        _pack_big_int(out, value)


def _pack_big_int(out, value):
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    if size > MAX_BIG_INT:
        raise Refused("an int of %d bytes, at most %d are allowed," % (size, MAX_BIG_INT))
    out += _extension(_BIG_INT, size)
    out += value.to_bytes(size, "little", signed=True)


def _pack_float(out, value, levels, channel):
    out += _D(0xCB, value)


def _pack_complex(out, value, levels, channel):
    out += b"\xd8\x05"
    out += _TWO_FLOATS.pack(value.real, value.imag)


def _pack_str(out, value, levels, channel):
    try:
        data = value.encode()
    except UnicodeEncodeError:
        data = value.encode("utf-8", "surrogatepass")
        _check_size(len(data))
        out += _extension(_SURROGATES, len(data))
        out += data
        return
    size = len(data)
    if size < 0x20:
        out.append(0xA0 | size)
    elif size < 0x100:
        out += _B(0xD9, size)
    elif size < 0x10000:
        out += _H(0xDA, size)
    else:
        _check_size(size)
        out += _I(0xDB, size)
    out += data


def _pack_bytes(out, value, levels, channel):
    size = len(value)
    if size < 0x100:
        out += _B(0xC4, size)
    elif size < 0x10000:
        out += _H(0xC5, size)
    else:
        _check_size(size)
        out += _I(0xC6, size)
    out += value


def _pack_memoryview(out, value, levels, channel):
    _pack_bytes(out, value.tobytes(), levels, channel)


def _pack_list(out, value, levels, channel):
    count = len(value)
    _check_levels(levels)
    if count < 0x10:
        out.append(0x90 | count)
    elif count < 0x10000:
        out += _H(0xDC, count)
    else:
        _check_size(count)
        out += _I(0xDD, count)
    _pack_items(out, value, levels - 1, channel)
    if len(value) != count:
        raise Refused("a list that is changed at the same time")


def _pack_dict(out, value, levels, channel):
    count = len(value)
    _check_levels(levels)
    if count < 0x10:
        out.append(0x80 | count)
    elif count < 0x10000:
        out += _H(0xDE, count)
    else:
        _check_size(count)
        out += _I(0xDF, count)
    levels -= 1
    get = _PACK.get
    try:
        for key, item in value.items():
            get(type(key), _pack_other)(out, key, levels, channel)
            get(type(item), _pack_other)(out, item, levels, channel)
            count -= 1
    except RuntimeError:
        count = -1
    if count:
        raise Refused("a dict that is changed at the same time")


def _pack_items(out, items, levels, channel):
    get = _PACK.get
    for item in items:
        kind = type(item)
        if kind is int and 0 <= item < 0x80:
            out.append(item)
        else:
            get(kind, _pack_other)(out, item, levels, channel)


def _pack_extended(code):
    """The packer of a collection that is an extension: its elements, then what says how long they are is put before them."""

    def pack(out, value, levels, channel):
        _check_levels(levels)
        start = len(out)
        try:
            _pack_items(out, value, levels - 1, channel)
        except RuntimeError:
            raise Refused("a set that is changed at the same time") from None
        size = len(out) - start
        _check_size(size)
        out[start:start] = _extension(code, size)

    return pack


def _pack_other(out, value, levels, channel):
    where = None if channel is None else channel(value)
    if where is None:
        kind = type(value)
        module = "" if kind.__module__ == "builtins" else kind.__module__ + "."
        raise Refused("an object of type %s%s" % (module, kind.__qualname__))
    out += CHANNEL_MARK
    out += _TWO_NUMBERS.pack(*where)


def _extension(code, size):
    fixed = _FIXED.get(size)
    if fixed is not None:
        return _B(fixed, code)
    if size < 0x100:
        return _B(0xC7, size) + bytes((code,))
    if size < 0x10000:
        return _H(0xC8, size) + bytes((code,))
    return _I(0xC9, size) + bytes((code,))


def _check_levels(levels):
    if levels <= 0:
        raise Refused("what is nested in more than %d levels" % MAX_LEVELS)


def _check_size(size):
    if size > 0xFFFFFFFF:
        raise Refused("what has more than 4 GiB")


_FIXED = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
_PACK = {
    type(None): _pack_none,
    bool: _pack_bool,
    int: _pack_int,
    float: _pack_float,
    complex: _pack_complex,
    str: _pack_str,
    bytes: _pack_bytes,
    bytearray: _pack_bytes,
    memoryview: _pack_memoryview,
    list: _pack_list,
    dict: _pack_dict,
    tuple: _pack_extended(_TUPLE),
    set: _pack_extended(_SET),
    frozenset: _pack_extended(_FROZENSET),
}


# --- decoding -------------------------------------------------------------------------------------------------------


def loads(data, channel=None):
    """The value that `data`, bytes or bytes-like, encodes. `channel(context, number)` makes the object of a channel.

    Raises LoadError (and what `channel` raises). Without `channel` a channel is a LoadError.
    """
    if type(data) is not bytes:
        if len(data) > 5 and data[0] == 0xC6 and _U32.unpack_from(data, 1)[0] == len(data) - 5:  # without another copy
            return bytes(data[5:])
        data = bytes(data)
    size = len(data)
    if size == 0:
        raise LoadError("no value: it has no bytes")
    value, end = _load(data, 0, size, MAX_LEVELS, channel)
    if end != size:
        raise LoadError("%d bytes behind the value" % (size - end))
    return value


def _load(data, at, end, levels, channel):
    """(the value that begins at `at`, where it ends); `end` is where the bytes end, `at` < `end`."""
    code = data[at]
    at += 1
    if code < 0x80:
        return code, at
    if code >= 0xE0:
        return code - 0x100, at
    if 0xA0 <= code < 0xC0:
        return _load_str(data, at, end, code & 0x1F)
    if code < 0x90:
        return _load_map(data, at, end, code & 0x0F, levels, channel)
    if code < 0xA0:
        return _load_array(data, at, end, code & 0x0F, levels, channel)
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code in _NUMBERS:
        number = _NUMBERS[code]
        _check_there(at + number.size, end)
        return number.unpack_from(data, at)[0], at + number.size
    if code in _FIXED_SIZES:
        return _load_extension(data, at, end, _FIXED_SIZES[code], levels, channel)
    if code not in _SIZED:
        raise LoadError("the byte 0x%02x begins no value" % code)
    length, load = _SIZED[code]
    _check_there(at + length.size, end)
    count = length.unpack_from(data, at)[0]
    at += length.size
    if load in (_load_str, _load_bytes):
        return load(data, at, end, count)
    return load(data, at, end, count, levels, channel)


def _load_str(data, at, end, size):
    stop = at + size
    _check_there(stop, end)
    try:
        return data[at:stop].decode(), stop
    except UnicodeDecodeError as error:
        raise LoadError("a str that is no UTF-8: %s" % error) from None


def _load_bytes(data, at, end, size):
    stop = at + size
    _check_there(stop, end)
    return data[at:stop], stop


def _load_array(data, at, end, count, levels, channel):
    _check_open(levels)
    _check_there(at + count, end)
    items = []
    append = items.append
    levels -= 1
    for _ in range(count):
        if at >= end:
            raise LoadError("the bytes end in the middle of a value")
        code = data[at]
        if code < 0x80:
            append(code)
            at += 1
        else:
            item, at = _load(data, at, end, levels, channel)
            append(item)
    return items, at


def _load_map(data, at, end, count, levels, channel):
    _check_open(levels)
    _check_there(at + 2 * count, end)
    items = {}
    levels -= 1
    for _ in range(count):
        if at >= end:
            raise LoadError("the bytes end in the middle of a value")
        key, at = _load(data, at, end, levels, channel)
        if at >= end:
            raise LoadError("the bytes end in the middle of a value")
        item, at = _load(data, at, end, levels, channel)
        try:
            items[key] = item
        except TypeError:
            raise LoadError("a key of type %s cannot be hashed" % type(key).__name__) from None
    if len(items) != count:
        raise LoadError("a map has a key twice")
    return items, at


def _load_extension(data, at, end, size, levels, channel):
    """`at`: where its type is."""
    start = at + 1
    stop = start + size
    _check_there(stop, end)
    code = data[at]
    if _TUPLE <= code <= _FROZENSET:
        _check_open(levels)
        return _load_collection(data, start, stop, code, levels - 1, channel), stop
    if code == _BIG_INT:
        if not 0 < size <= MAX_BIG_INT:
            raise LoadError("an int of %d bytes; 1 to %d are allowed" % (size, MAX_BIG_INT))
        return int.from_bytes(data[start:stop], "little", signed=True), stop
    if code == _COMPLEX:
        _check_size_is(size, 16, "a complex number")
        return complex(*_TWO_FLOATS.unpack_from(data, start)), stop
    if code == _SURROGATES:
        try:
            return data[start:stop].decode("utf-8", "surrogatepass"), stop
        except UnicodeDecodeError as error:
            raise LoadError("a str that is no UTF-8: %s" % error) from None
    if code != _CHANNEL:
        raise LoadError("there is no extension type %d" % code)
    _check_size_is(size, 8, "a channel")
    if channel is None:
        raise LoadError("a channel is not allowed here")
    return channel(*_TWO_NUMBERS.unpack_from(data, start)), stop


def _load_collection(data, at, end, code, levels, channel):
    items = []
    while at < end:
        item, at = _load(data, at, end, levels, channel)
        items.append(item)
    if code == _TUPLE:
        return tuple(items)
    try:
        return set(items) if code == _SET else frozenset(items)
    except TypeError as error:
        raise LoadError("an element of a set cannot be hashed: %s" % error) from None


def _check_there(stop, end):
    if stop > end:
        raise LoadError("the bytes end in the middle of a value")


def _check_open(levels):
    if levels <= 0:
        raise LoadError("it is nested in more than %d levels" % MAX_LEVELS)


def _check_size_is(size, right, what):
    if size != right:
        raise LoadError("%s of %d bytes instead of %d" % (what, size, right))


_U8, _U16, _U32 = struct.Struct(">B"), struct.Struct(">H"), struct.Struct(">I")
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {0xCA: struct.Struct(">f"), 0xCB: struct.Struct(">d")}
_NUMBERS.update(zip(range(0xCC, 0xD4), (struct.Struct(">" + form) for form in "BHIQbhiq")))
_FIXED_SIZES = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_SIZED = {
    0xC4: (_U8, _load_bytes),
    0xC5: (_U16, _load_bytes),
    0xC6: (_U32, _load_bytes),
    0xC7: (_U8, _load_extension),
    0xC8: (_U16, _load_extension),
    0xC9: (_U32, _load_extension),
    0xD9: (_U8, _load_str),
    0xDA: (_U16, _load_str),
    0xDB: (_U32, _load_str),
    0xDC: (_U16, _load_array),
    0xDD: (_U32, _load_array),
    0xDE: (_U16, _load_map),
    0xDF: (_U32, _load_map),
}
