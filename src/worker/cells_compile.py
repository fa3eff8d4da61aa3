"""Compiling a cell: its statements and, apart from them, its last expression. A part of the cell loop (cells.py)."""
COROUTINE = 0x80  # CO_COROUTINE, of a code object's co_flags
ONLY_AST = 0x400  # ast.PyCF_ONLY_AST
FUTURE_BITS = 0x1FE0000  # CO_FUTURE_*, which compile() takes as they are


def compiled_cell(session, source):
    """The code objects of a cell, see cells.begin(). Raises what compile() raises."""
    filename = f"<cell {session.cell.get('execution_count', 0)}>"
    remember_source(filename, source)
    code = expression(session, source, filename)
    if code is not None:
        session.has_value = True
        session.flags |= future_flags(code)
        return (code,)
    tree = compile(source, filename, "exec", session.flags | ONLY_AST, dont_inherit=True)
    last = take_last_expression(tree, source)
    parts = [(tree, "exec")] if tree.body else []
    if last is not None:
        parts.append((last, "eval"))
    session.has_value = last is not None
    codes = compiled_parts(session, parts, filename)
    if 0 < sum(map(awaits, codes)) < len(codes):  # then all of the cell runs in the event loop
        for part, mode in parts:
            make_awaiting(part, mode)
        with cells_own.warnings.catch_warnings():  # which has warned already
            cells_own.warnings.simplefilter("ignore")
            codes = compiled_parts(session, parts, filename)
    return tuple(codes)


def expression(session, source, filename):
    """The code of a cell that is one line with one expression, else None. A tree of Python objects, as compiled_cell()
    needs to find the last expression of others, touches a hundred pages, each of which is copied after a checkpoint."""
    if "\n" in source.strip() or source[:1].isspace():
        return None
    try:
        return compile(source, filename, "eval", session.flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None


def compiled_parts(session, parts, filename):
    codes = []
    for part, mode in parts:
        codes.append(compile(part, filename, mode, session.flags, dont_inherit=True))
        session.flags |= future_flags(codes[-1])
    return codes


def awaits(code):
    return bool(code.co_flags & COROUTINE)


def make_awaiting(part, mode):
    """Python makes a coroutine of what has an await; one that is never reached will do."""
    ast = cells_own.ast
    never = ast.Await(ast.Constant(None))
    if mode == "exec":
        part.body.append(ast.copy_location(ast.If(ast.Constant(False), [ast.Expr(never)], []), part.body[-1]))
    else:
        part.body = ast.copy_location(ast.IfExp(ast.Constant(True), part.body, never), part.body)
    ast.fix_missing_locations(part)


def remember_source(filename, source):
    """For tracebacks, inspect.getsource() and pdb. Without a time of change it is never dropped as outdated."""
    lines = cells_own.StringIO(source + "\n", newline=None).readlines()  # lines as python sees them
    try:
        cells_own.linecache.cache[filename] = (len(source), None, lines, filename)
    except Exception:
        pass  # the user has put something else there; tracebacks have no lines then


def take_last_expression(tree, source):
    """Removes it from the tree. None: the last statement is none, or a semicolon says that nobody wants its value."""
    ast = cells_own.ast
    if not tree.body or type(tree.body[-1]) is not ast.Expr:
        return None
    last = tree.body[-1]
    if ";" in source and followed_by_semicolon(last, source):
        return None
    tree.body.pop()
    return ast.Expression(last.value)


def followed_by_semicolon(statement, source):
    lines = source.encode("utf-8", "surrogatepass").splitlines()[statement.end_lineno - 1 :]
    rest = b"\n".join([lines[0][statement.end_col_offset :], *lines[1:]])
    return rest.replace(b"\\\n", b" ").lstrip(b" \t\f").startswith(b";")


def future_flags(code):
    return code.co_flags & FUTURE_BITS


def with_hint(error):
    lines = (error.text or "").split("\n")
    start = lines[0].lstrip()
    hint = ""
    if start.startswith("!"):
        hint = "to run a command: import subprocess; subprocess.run([...])"
    elif start.startswith("%"):
        hint = "% commands are IPython's; here everything is Python, such as os.chdir() and timeit.timeit()"
    elif start.startswith("?") or start.rstrip().endswith("?"):
        hint = "for help: help(...)"
    if hint:
        error.msg = f"{error.msg} ({hint})"
    return error
