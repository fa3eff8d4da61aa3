"""Lets `^` mean power: x^2 becomes x**2, and ^^ becomes python's ^ (exclusive or)."""

import io
import sys
import tokenize

MEANING = {"^": "**", "^=": "**=", "^^": "^", "^^=": "^="}
FSTRINGS_ARE_PARTED = sys.version_info >= (3, 12)  # by tokenize, into the texts and the code between braces


def prepare(source):
    """The source with every `^` outside of texts and comments replaced. Lines stay where they are. What is no Python
    is returned as it is; Python then says what is wrong with it."""
    if "^" not in source:
        return source
    try:
        changes = list(changes_in(source))
    except (tokenize.TokenError, SyntaxError):
        return source
    lines = source.split("\n")
    for row, column, old, new in reversed(changes):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + new + line[column + len(old) :]
    return "\n".join(lines)


def changes_in(source):
    """(row, column, old text, new text), in order; none is longer than its line."""
    carets = []  # neighbours that may be one operator
    for token in tokenize.generate_tokens(io.StringIO(source, newline="\n").readline):
        if carets and (token.start != carets[-1].end or token.string not in ("^", "^=") or len(carets) == 2):
            yield operator(carets)
            carets = []
        if token.type == tokenize.OP and token.string in ("^", "^="):
            carets.append(token)
            if token.string == "^=":
                yield operator(carets)
                carets = []
        elif token.type == tokenize.STRING and not FSTRINGS_ARE_PARTED and "^" in token.string:
            yield from changes_in_fstring(token)


def operator(carets):
    text = "".join(token.string for token in carets)
    return (*carets[0].start, text, MEANING[text])


def changes_in_fstring(token):
    """Before 3.12 an f-string is one token. Its lines are changed one by one."""
    quote = min(position for position in map(token.string.find, "\"'") if position >= 0)
    if "f" not in token.string[:quote].lower():
        return
    new_lines = replaced_in_fstring(token.string).split("\n")
    for number, (old, new) in enumerate(zip(token.string.split("\n"), new_lines)):
        if old != new:
            yield token.start[0] + number, token.start[1] if number == 0 else 0, old, new


def replaced_in_fstring(text):
    out, position = [], 0
    while position < len(text):
        character = text[position]
        if text.startswith(("{{", "}}"), position):
            out.append(text[position : position + 2])
            position += 2
        elif character == "{":
            end = end_of_code(text, position + 1)
            out.append("{" + prepare_code(text[position + 1 : end]))
            position = end
            if text.startswith(":", position):
                end = end_of_format(text, position)
                out.append(replaced_in_fstring(text[position:end]))
                position = end
        else:
            out.append(character)
            position += 1
    return "".join(out)


def prepare_code(code):
    """Within brackets, so that lines may end anywhere."""
    changed = prepare(f"({code})")
    return changed[1:-1]


def end_of_code(text, position):
    """Where the code of a replacement field ends: at its format, its conversion or its closing brace."""
    depth, quote = 0, None
    while position < len(text):
        character = text[position]
        if quote:
            quote = None if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "([{":
            depth += 1
        elif depth and character in ")]}":
            depth -= 1
        elif not depth and (character in "}:" or (character == "!" and text[position + 1 : position + 2] != "=")):
            break
        position += 1
    return position


def end_of_format(text, position):
    depth = 0
    while position < len(text):
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            if not depth:
                break
            depth -= 1
        position += 1
    return position
