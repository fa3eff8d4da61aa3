"""Which modules a source imports while it is imported itself: read, never run."""

import ast

_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


def imports(source, name, is_package):
    """Full names that module `name` of this source (bytes) imports outside of functions, in order; [] if it cannot be parsed.

    `from a import b` gives a and a.b: whether a.b is a module is for the caller to find out.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = {}
    for statement in _statements(tree):
        if isinstance(statement, ast.Import):
            found.update((alias.name, None) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            base = _base(statement, name, is_package)
            if base:
                found[base] = None
                found.update((f"{base}.{alias.name}", None) for alias in statement.names if alias.name != "*")
    return list(found)


def has_guard(source):
    """Whether a program (bytes) has `if __name__ == "__main__":`, so that it can be imported without being run."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.If) and _is_guard(node.test) for node in tree.body)


def _is_guard(test):
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    texts = {node.value for node in ast.walk(test) if isinstance(node, ast.Constant)}
    return "__name__" in names and "__main__" in texts


def _statements(tree):
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield node
        for field in reversed(_BODIES):
            body = getattr(node, field, None)
            if isinstance(body, list):
                waiting.extend(reversed(body))


def _base(statement, name, is_package):
    """The absolute name of what follows `from`; "" if the dots lead out of the top-level package."""
    if not statement.level:
        return statement.module
    parts = name.split(".")
    keep = len(parts) - statement.level + is_package
    if keep < 1:
        return ""
    return ".".join(parts[:keep] + ([statement.module] if statement.module else []))
