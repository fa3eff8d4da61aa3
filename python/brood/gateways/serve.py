"""What the master answers to MODULE: sources of modules that a remote does not have, and data files of packages.

Nothing is imported or run for a question: a remote learns what an import here would find, no more.
"""

import collections
import importlib.machinery
import os
import sys
import threading
import zlib

from . import finding, scan

MAX_BATCH = 512  # modules in one answer
MAX_BATCH_BYTES = 4 << 20  # compressed, after which no module is added
MAX_GUESS_BYTES = 64 << 10  # the same of those that no import has led to
MAX_DATA = 64 << 20  # bytes of a data file
MAX_CACHE = 64 << 20  # compressed bytes that are kept


class Modules:
    """Answers of one group. `serve`: top-level names that may be sent ("__main__" is the program); None: all but the standard library.

    Threads: any. `sent` is a set of names that one context was sent; the caller keeps it, and gives it to one call at a time.
    """

    def __init__(self, serve=None):
        self._serve = serve
        self._cache = {}
        self._cached = 0
        self._lock = threading.Lock()

    def answer(self, asked, cached, sent):
        """RETURN of MODULE: a list of maps. `asked`: a name, package:file or package:directory/; `cached`: names that the asker has."""
        if ":" in asked:
            return [self._data(asked)]
        first, following = self._module(asked)
        answer = [first]
        if "source" not in first:
            return answer
        top = asked.partition(".")[0]
        has_others = any(name.partition(".")[0] == top and not asked.startswith(name + ".") for name in (*cached, *sent))
        done = {*cached, *sent, asked}
        self._add(answer, following, done, MAX_BATCH_BYTES)
        if has_others:  # which have not led to this one: the rest may be wanted one by one as well
            for package in {asked.rpartition(".")[0]: None, top: None}:
                self._add(answer, self._inside(package), done, MAX_GUESS_BYTES, below=True)
        sent.update(entry["name"] for entry in answer)
        return answer

    @staticmethod
    def _inside(package):
        """Full names of the modules in a package."""
        spec = finding.find(package)
        return [f"{package}.{child}" for child in (spec and finding.children(spec)) or ()]

    def _add(self, answer, names, done, most, below=False):
        """Adds these modules, what they import and, with `below`, what is in them, until that is `most` bytes."""
        waiting, size = collections.deque(names), 0
        while waiting and len(answer) < MAX_BATCH and size < most:
            name = waiting.popleft()
            if name in done:
                continue
            done.add(name)
            entry, following = self._module(name, answer[0]["name"].partition(".")[0])
            if "source" in entry:
                answer.append(entry)
                size += len(entry["source"])
                waiting.extend(following)
                waiting.extend(f"{name}.{child}" for child in (below and entry["children"]) or ())

    def _module(self, name, asked_top=None):
        """The map of a module, and the names that belong into the same batch. `asked_top`: it is only thrown in, so it must fit."""
        spec = finding.find(name) if self._allowed(name) else None
        if spec is None:
            return _missing(name, "not found on the master either" if self._allowed(name) else "not served by the master"), []
        place = finding.place(spec)
        if place == "standard":
            return _missing(name, "part of the standard library, which is not sent"), []
        if asked_top is not None and name.partition(".")[0] != asked_top and place != "own":
            return _missing(name, "of another package"), []
        try:
            source, packed, imported = self._source(spec, name)
        except (OSError, ImportError, ValueError, zlib.error) as error:
            return _missing(name, str(error)), []
        is_package = spec.submodule_search_locations is not None
        known = is_package and (b"__path__" not in source or name in sys.modules)
        return {
            "name": name, "package": is_package, "path": spec.origin if spec.has_location else None, "source": packed,
            "children": finding.children(spec) if known else None, "data": None,
        }, imported

    def _source(self, spec, name):
        """(source, compressed, names to add) of a spec. ImportError, OSError: there is none, and why."""
        loader = spec.loader
        if loader is None or not (spec.has_location or spec.origin):
            return b"", zlib.compress(b""), []  # a namespace package
        if isinstance(loader, importlib.machinery.ExtensionFileLoader):
            raise ImportError(f"a binary extension on the master, {os.path.basename(spec.origin)}, which is not sent: install it there")
        if isinstance(loader, importlib.machinery.SourcelessFileLoader):
            raise ImportError("only its bytecode is on the master")
        key = (spec.origin, name, *_version(loader, spec.origin))
        with self._lock:
            kept = self._cache.get(key)
        if kept is None:
            source = _read(loader, spec)
            if name in finding.MAIN and not scan.has_guard(source):
                raise ImportError("the program's __main__, which has no `if __name__ == \"__main__\":` and would run again: add one")
            kept = source, zlib.compress(source), _with_parents(scan.imports(source, name, spec.submodule_search_locations is not None))
            self._keep(key, kept)
        return kept

    def _keep(self, key, kept):
        with self._lock:
            if self._cached > MAX_CACHE:
                self._cache.clear()
                self._cached = 0
            self._cache[key] = kept
            self._cached += len(kept[0]) + len(kept[1])

    def _data(self, asked):
        package, _, file = asked.partition(":")
        spec = finding.find(package) if self._allowed(package) else None
        if spec is None or not finding.locations(spec):
            return _missing(asked, "no such package on the master" if self._allowed(package) else "not served by the master")
        if finding.place(spec) == "standard":
            return _missing(asked, "part of the standard library, which is not sent")
        why = "no such file"
        for directory in finding.locations(spec):
            try:
                return {"name": asked, "data": _data_file(spec, directory, file)}
            except (OSError, ValueError) as error:
                why = str(error)
        return _missing(asked, why)

    def _allowed(self, name):
        top = "__main__" if name in finding.MAIN else name.partition(".")[0]
        return self._serve is None or top in self._serve


def _missing(name, why):
    return {"name": name, "missing": why}


def _version(loader, origin):
    """What changes when the file does."""
    about = os.stat(getattr(loader, "archive", origin))
    return about.st_mtime_ns, about.st_size


def _read(loader, spec):
    if hasattr(loader, "get_data"):
        return loader.get_data(spec.origin)
    source = loader.get_source(spec.name) if hasattr(loader, "get_source") else None
    if source is None:
        raise ImportError(f"its loader, {type(loader).__name__}, has no source")
    return source.encode("utf-8", "surrogatepass")


def _data_file(spec, directory, file):
    if not file or file.endswith("/"):
        return "\n".join(finding.list_inside(directory, file)).encode("utf-8", "surrogateescape")
    if os.path.isdir(directory):
        return finding.read_inside(directory, file, MAX_DATA)
    if not hasattr(spec.loader, "get_data") or ".." in file.split("/"):
        raise FileNotFoundError(f"{file!r} is not there")
    return spec.loader.get_data(os.path.join(directory, *file.split("/")))


def _with_parents(names):
    found = {}
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            found[".".join(parts[:depth])] = None
    return list(found)
