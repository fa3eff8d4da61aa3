"""Where the modules of this program are: as an import would find them, without importing anything."""

import importlib.machinery
import importlib.util
import os
import stat
import sys
import sysconfig
import zipfile
import zipimport

MAIN = ("__main__", "__mp_main__")  # the program that runs here: what it is called by a remote
MAX_NAME = 500  # characters of a module's full name
_BUILT_IN = (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)
_SUFFIXES = importlib.machinery.all_suffixes()


def find(name):
    """The ModuleSpec of a module, or None. A parent that is loaded is asked for its __path__, another one is only looked for."""
    if name in MAIN:
        return _main()
    path = None
    spec = None
    parts = name.split(".")
    if len(name) > MAX_NAME or not all(part.isidentifier() for part in parts):
        return None
    for depth in range(1, len(parts) + 1):
        full = ".".join(parts[:depth])
        spec = _ask_finders(full, path)
        if spec is None:
            return None
        path = getattr(sys.modules.get(full), "__path__", None) or spec.submodule_search_locations
        if path is None and depth < len(parts):
            return None
        path = None if path is None else list(path)
    return spec


def _ask_finders(name, path):
    for finder in list(sys.meta_path):
        if finder in _BUILT_IN or not hasattr(finder, "find_spec"):
            continue
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # a finder of the program's own: what it cannot answer is not there
            continue
        if spec is not None:
            return spec
    return _namespace(name, path)


def _namespace(name, path):
    """A package without an __init__ in one: PathFinder finds it only if the one around it is loaded."""
    tail = name.rpartition(".")[2]
    places = [place for entry in path or () if os.path.isdir(place := os.path.join(entry, tail))]
    if not places:
        return None
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = places
    return spec


def _main():
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.origin:  # python -m, a directory, a zip file
        return spec
    if not file or not os.path.isfile(file):  # python -c, standard input, a prompt
        return None
    return importlib.util.spec_from_file_location("__main__", os.path.abspath(file))


def main_name():
    """The name under which a remote imports this program's __main__."""
    name = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", "__main__")
    return name


def locations(spec):
    """A package's directories; [] for a module."""
    loaded = sys.modules.get(spec.name)
    path = getattr(loaded, "__path__", None) or spec.submodule_search_locations or ()
    return [entry for entry in path if isinstance(entry, str)]


def place(spec):
    """"standard", "site" or "own": the standard library, site-packages, the program's own files."""
    where = spec.origin if spec.origin and spec.has_location else next(iter(locations(spec)), "")
    where = os.path.abspath(where)
    parts = where.split(os.sep)
    if "site-packages" in parts or "dist-packages" in parts:
        return "site"
    return "standard" if where.startswith(_standard()) else "own"


def _standard(cache=[]):  # noqa: B006 the list is the cache
    if not cache:
        roots = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
        cache.append(tuple(os.path.join(root, "") for name in roots if name for root in (name, os.path.realpath(name))))
    return cache[0]


def children(spec):
    """Names of the modules in a package, perhaps more than there are; None if only its code knows."""
    names = set()
    for directory in locations(spec):
        if os.path.isdir(directory):
            names.update(_children_of_directory(directory))
        elif isinstance(spec.loader, zipimport.zipimporter):
            names.update(_children_in_zip(spec.loader.archive, directory))
        else:
            return None
    return sorted(names)


def _children_of_directory(directory):
    with os.scandir(directory) as entries:
        for entry in entries:
            name = entry.name if entry.is_dir() else _module_name(entry.name)
            if name and name.isidentifier() and name not in ("__pycache__", "__init__"):
                yield name


def _children_in_zip(archive, directory):
    prefix = os.path.relpath(directory, archive).replace(os.sep, "/") + "/"
    with zipfile.ZipFile(archive) as file:
        inside = [name[len(prefix):] for name in file.namelist() if name.startswith(prefix)]
    for name in inside:
        first, slash, _ = name.partition("/")
        name = first if slash else _module_name(first)
        if name and name.isidentifier() and name not in ("__pycache__", "__init__"):
            yield name


def _module_name(file):
    for suffix in _SUFFIXES:
        if file.endswith(suffix):
            return file[: -len(suffix)].partition(".")[0]
    return ""


def list_inside(directory, name):
    """Names in the directory `name` (or "") of a directory; those of directories end in /."""
    with os.scandir(_inside(directory, name.rstrip("/")) if name else directory) as entries:
        return sorted(entry.name + "/" * entry.is_dir() for entry in entries)


def read_inside(directory, name, limit):
    """The bytes of the regular file `name` (with / in it) of a directory. OSError: not there, more than `limit` bytes, or outside."""
    with open(os.open(_inside(directory, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise PermissionError(f"{name!r} is no regular file")
        if about.st_size > limit:
            raise PermissionError(f"{name!r} has {about.st_size} bytes; at most {limit} are served")
        return file.read(limit + 1)[:limit]


def _inside(directory, name):
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise FileNotFoundError(f"{name!r} is no name of a file inside of the package")
    real = os.path.realpath(directory)
    path = os.path.realpath(os.path.join(real, *parts))
    if os.path.commonpath([real, path]) != real:
        raise PermissionError(f"{name!r} leads out of the package")
    return path
