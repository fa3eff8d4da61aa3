"""Looking at the user's objects without running his code: attributes are looked up statically, properties stay
unread, nothing is called. A part of the cell loop (cells.py)."""
import sys

import builtins

kKeyLimit = 100_000  # keys of one container that are looked at


class Unknown(Exception):
    """It cannot be told without running code."""


def evaluate(chain, names):
    """The value of names, attributes and constant subscripts of built-in containers; Unknown if that takes code."""
    import ast

    try:
        return value_of(ast.parse(chain.strip(), mode="eval").body, names)
    except (SyntaxError, ValueError, LookupError, TypeError, RecursionError):
        raise Unknown from None


def value_of(node, names):
    import ast

    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id] if node.id in names else vars(builtins)[node.id]
    if isinstance(node, ast.Attribute):
        return member(value_of(node.value, names), node.attr)
    if isinstance(node, ast.Subscript):
        value, key = value_of(node.value, names), ast.literal_eval(node.slice)
        if type(value) in (list, tuple, str, bytes, dict):
            return value[key]
    raise Unknown


MISSING = object()


def static(value, name, default=None):
    """The attribute as it is stored, in the instance or in its class; as inspect.getattr_static(), which asks
    metaclasses."""
    kind = type(value)
    if issubclass(kind, type):
        found = in_class(value, name)
        return found if found is not MISSING else in_class(kind, name, default)
    found = in_class(kind, name)
    if found is not MISSING and {"__get__", "__set__"} <= names_of_type(type(found)):
        return found
    return dict.get(instance_names(value), name, default if found is MISSING else found)


def in_class(kind, name, default=MISSING):
    for base in type.__getattribute__(kind, "__mro__"):
        space = type.__getattribute__(base, "__dict__")
        if name in space:
            return space[name]
    return default


def member(value, name):
    """value.name, if no code but the interpreter's own runs for it."""
    import types

    kind = type(value)
    if issubclass(kind, types.ModuleType):
        space = types.ModuleType.__getattribute__(value, "__dict__")
        if name not in space:
            raise Unknown
        return space[name]
    found = static(value, name, MISSING)
    if found is MISSING:
        raise Unknown
    owner = value if issubclass(kind, type) else kind
    sort = type(found)
    if sort is types.FunctionType:
        return found if owner is value or name in instance_names(value) else types.MethodType(found, value)
    if sort is classmethod:
        return types.MethodType(found.__func__, owner)
    if sort is staticmethod:
        return found.__func__
    if sort in c_descriptors():
        in_meta = owner is value and in_class(kind, name) is found
        return found.__get__(value, kind) if in_meta or owner is not value else found
    if "__get__" in names_of_type(sort):
        raise Unknown
    return found


def c_descriptors():
    import types

    return (types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType,
            types.MemberDescriptorType, types.ClassMethodDescriptorType)


def member_names(value):
    """As dir(), without asking the object."""
    import types

    kind = type(value)
    if issubclass(kind, types.ModuleType):
        space = types.ModuleType.__getattribute__(value, "__dict__")
        every = space.get("__all__")
        return set(space) | (set(every) if type(every) in (list, tuple) else set())
    if issubclass(kind, type):
        return names_of_type(value)
    names = names_of_type(kind) | set(instance_names(value))
    if from_library(kind, "pandas"):
        names.update(key for key in keys_of(value) if type(key) is str and key.isidentifier())
    return names


def names_of_type(kind):
    return {name for base in type.__getattribute__(kind, "__mro__") for name in type.__getattribute__(base, "__dict__")}


def instance_names(value):
    import types

    space = in_class(type(value), "__dict__")
    return space.__get__(value) if type(space) is types.GetSetDescriptorType else {}


FUNCTION_KINDS = frozenset((
    "function", "builtin_function_or_method", "method", "method_descriptor", "method-wrapper", "wrapper_descriptor",
    "classmethod_descriptor", "classmethod", "staticmethod", "ufunc", "_ArrayFunctionDispatcher",
    "cython_function_or_method", "_lru_cache_wrapper", "partial"))


def kind_of(value):
    kind = type(value)
    if issubclass(kind, type):
        return "class"
    if issubclass(kind, type(sys)):
        return "module"
    return "function" if kind.__name__ in FUNCTION_KINDS else "instance"


def kind_of_member(value, name):
    if issubclass(type(value), type(sys)):
        return kind_of(value.__dict__.get(name))
    return kind_of(static(value, name))


def keys_of(value):
    import itertools
    import os

    kind = type(value)
    if issubclass(kind, dict):
        return list(itertools.islice(dict.keys(value), kKeyLimit))
    if value is os.environ:
        return sorted(value)
    if from_library(kind, "pandas"):
        axis = getattr(value, "columns", None)
        axis = getattr(value, "index", ()) if axis is None else axis
        return list(axis[: kKeyLimit])
    if from_library(kind, "numpy"):
        return list(getattr(getattr(value, "dtype", None), "names", None) or ())
    return []


def from_library(kind, name):
    return module_name(kind).partition(".")[0] == name


def module_name(kind):
    """Of a class."""
    name = type.__getattribute__(kind, "__module__")
    return name if type(name) is str else ""


def signature_of(value):
    """Unknown, ValueError or TypeError without one."""
    import inspect

    if not has_plain_signature(value):
        if issubclass(type(value), type):
            raise Unknown
        value = member(value, "__call__")
        if not has_plain_signature(value):
            raise Unknown
    wrapped = static(value, "__wrapped__")
    return inspect.signature(value, follow_wrapped=wrapped is None or has_plain_signature(wrapped))


def has_plain_signature(value):
    kind = type(value)
    if issubclass(kind, type):
        return in_class(kind, "__getattribute__") is type.__getattribute__
    return kind_of(value) == "function"
