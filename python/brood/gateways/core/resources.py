"""Data files of packages that came from the master, for importlib.resources."""
import io


class Reader:
    """The resource reader of a package: the old interface, and files() of the newer."""

    def __init__(self, loader):
        self._loader = loader

    def open_resource(self, name):
        return io.BytesIO(self._loader.read(name))

    def resource_path(self, name):
        raise FileNotFoundError(name)  # there is none: it is in memory

    def is_resource(self, name):
        return name in _list(self._loader, "")

    def contents(self):
        return [entry.rstrip("/") for entry in _list(self._loader, "")]

    def files(self):
        return Entry(self._loader, "")


def _list(loader, folder):
    text = loader.read(folder).decode("utf-8", "surrogateescape")
    return text.split("\n") if text else []


class Entry:
    """A file or a folder of a package (importlib.abc.Traversable). `path` is relative to the package, with /."""

    def __init__(self, loader, path):
        self._loader, self._path = loader, path

    @property
    def name(self):
        return self._path.rpartition("/")[2] or self._loader._package().rpartition(".")[2]

    def __repr__(self):
        return "<%s:%s>" % (self._loader._package(), self._path)

    def iterdir(self):
        folder = self._path + "/" if self._path else ""
        try:
            names = _list(self._loader, folder)
        except FileNotFoundError as error:
            raise NotADirectoryError(*error.args) from None
        for name in names:
            yield Entry(self._loader, folder + name.rstrip("/"))

    def is_dir(self):
        return not self._path or self._is_listed("/")

    def is_file(self):
        return bool(self._path) and self._is_listed("")

    def _is_listed(self, end):
        folder, slash, name = self._path.rpartition("/")
        try:
            return name + end in _list(self._loader, folder + slash)
        except FileNotFoundError:
            return False

    def joinpath(self, *parts):
        path = "/".join((self._path,) + parts if self._path else parts)
        return Entry(self._loader, "/".join(part for part in path.split("/") if part))

    __truediv__ = joinpath

    def read_bytes(self):
        return self._loader.read(self._path)

    def read_text(self, encoding=None, errors="strict"):
        return self.read_bytes().decode(encoding or "utf-8", errors)

    def open(self, mode="r", *args, **kwargs):
        file = io.BytesIO(self.read_bytes())
        if mode == "rb":
            return file
        if mode != "r":
            raise ValueError("%r is for reading only" % self)
        return io.TextIOWrapper(file, *args, **kwargs)
