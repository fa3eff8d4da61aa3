#!/usr/bin/python3
"""Checks every #include of src/ against src/layers.txt.

layers.txt has one line per folder, `folder: folder...`, naming the folders whose headers it may
include (itself always; `*` means all). Four things are errors: an include that is not allowed,
a folder without a line, a cycle between folders, and a type that two headers define: both may come
into one program, where the linker takes the functions of either (the One Definition Rule).

usage: tools/check_layers.py [--root DIR] [--self-test]
"""

import argparse
import pathlib
import re
import sys
import tempfile

INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')
TYPE = re.compile(r"(?:struct|class|union|enum class)\s+(\w+)\s*(?:final\s*)?(?::[^:].*)?\{")
SOURCES = {".h", ".cc", ".inc"}


def read_layers(path):
    """Returns {folder: set of allowed folders} and the problems found in the file itself."""
    layers, problems = {}, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        folder, colon, allowed = line.partition(":")
        if not colon or folder.strip() in layers:
            problems.append(f"{path}:{number}: expected one line `folder: folder...` per folder")
            continue
        layers[folder.strip()] = set(allowed.split())
    for folder, allowed in layers.items():
        for name in sorted(allowed - set(layers) - {"*"}):
            problems.append(f"{path}: {folder} names {name}, which has no line")
        if "*" in allowed:
            layers[folder] = set(layers)
    return layers, problems


def find_cycle(graph):
    """Returns the folders of one cycle in order, or an empty list."""
    done = set()

    def visit(folder, trail):
        if folder in trail:
            return trail[trail.index(folder):] + [folder]
        if folder in done:
            return []
        for other in sorted(graph.get(folder, ())):
            if other != folder and (cycle := visit(other, trail + [folder])):
                return cycle
        done.add(folder)
        return []

    for folder in sorted(graph):
        if cycle := visit(folder, []):
            return cycle
    return []


def included_folders(source):
    """Yields (line number, folder, included path) for each #include "folder/..."."""
    for number, line in enumerate(source.read_text(errors="replace").splitlines(), 1):
        if match := INCLUDE.match(line):
            path = match.group(1)
            yield number, path.partition("/")[0] if "/" in path else None, path


def defined_twice(sources):
    """Yields a problem for each type at the outermost level of two headers."""
    first = {}
    for source in sources:
        if source.suffix != ".h":
            continue
        for number, line in enumerate(source.read_text(errors="replace").splitlines(), 1):
            if match := TYPE.match(line):
                known = first.setdefault(match.group(1), source)
                if known != source:
                    yield f"{source}:{number}: {match.group(1)} is a type of {known}, too"


def check(root):
    """Returns (problems, number of files checked)."""
    src = root / "src"
    layers, problems = read_layers(src / "layers.txt")
    if cycle := find_cycle(layers):
        problems.append(f"{src / 'layers.txt'}: cycle {' -> '.join(cycle)}")
    used = {}
    sources = sorted(p for p in src.rglob("*") if p.suffix in SOURCES)
    for source in sources:
        parts = source.relative_to(src).parts
        folder = parts[0]
        if len(parts) < 2 or folder not in layers:
            problems.append(f"{source}:1: {folder} has no line in layers.txt")
            continue
        for number, other, path in included_folders(source):
            if other == "brood":  # the public headers, include/brood
                continue
            if other is None or other not in layers:
                problems.append(f'{source}:{number}: "{path}" is not of the form "folder/file.h"')
            elif other != folder:
                used.setdefault(folder, set()).add(other)
                if other not in layers[folder]:
                    problems.append(f'{source}:{number}: {folder} may not include "{path}"')
    if cycle := find_cycle(used):
        problems.append(f"{src}: includes form a cycle {' -> '.join(cycle)}")
    problems.extend(defined_twice(sources))
    return problems, len(sources)


def self_test():
    """Builds small trees, good and bad, and sees that exactly the bad ones are reported."""
    good = {"layers.txt": "base:\nwire: base\nmain: *\n", "base/a.h": "#include <vector>\n",
            "wire/b.h": '#include "base/a.h"\n', "main/m.cc": '#include "wire/b.h"\n'}
    bad = {
        "may not include": {"base/a.h": '#include "wire/b.h"\n'},
        "may not include \"main": {"wire/b.h": '  #  include "main/m.h"\n'},
        "cycle wire -> zip -> wire": {"layers.txt": "base:\nzip: wire\nwire: base zip\nmain: *\n"},
        "includes form a cycle": {"base/a.h": '#include "main/m.h"\n'},
        "has no line in layers.txt": {"extra/x.cc": "\n"},
        "not of the form": {"base/a.h": '#include "b.h"\n'},
        "is a type of": {"base/a.h": "struct Peer {\n", "wire/b.h": "class Peer final : A<B> {\n"},
        "which has no line": {"layers.txt": "base:\nwire: bass\nmain: *\n"},
    }
    failures = 0
    for expected, changes in [(None, {}), *bad.items()]:
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            for name, text in {**good, **changes}.items():
                path = root / "src" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            problems, _ = check(root)
            ok = any(expected in p for p in problems) if expected else not problems
            if not ok:
                failures += 1
                print(f"check_layers self-test: expected {expected!r}, got {problems}")
    total = 1 + len(bad)
    print(f"check_layers self-test: {total - failures} passed, {failures} failed")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--self-test", action="store_true",
                        help="prove on small trees that violations are found")
    arguments = parser.parse_args()
    if arguments.self_test:
        return 1 if self_test() else 0
    problems, count = check(arguments.root)
    for problem in problems:
        print(problem.removeprefix(f"{arguments.root}/"), file=sys.stderr)
    print(f"check_layers: {count} files, {len(problems)} violations")
    return 1 if problems or not count else 0


if __name__ == "__main__":
    sys.exit(main())
