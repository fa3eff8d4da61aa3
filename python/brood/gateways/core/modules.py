"""Modules that are missing here come from the master (docs/protocol.md, "Modules").

The finder is the last of sys.meta_path, thus everything that is installed here comes first. One request brings a module and
what it imports of the same package; what came along is kept, and used only if it is looked for.
"""
import _imp
import sys
from _frozen_importlib import ModuleSpec
from _thread import allocate_lock

from .errors import GatewayLost, TimeoutError
from .kinds import MODULE

PREFIX = "master:"  # of __file__
WAIT = 60.0  # seconds for an answer
_MAIN = ("__main__", "__mp_main__")
_STANDARD = getattr(sys, "stdlib_module_names", frozenset()) | frozenset(sys.builtin_module_names)


def install(engine, greet):
    """Adds the finder to sys.meta_path and returns it."""
    importer = Importer(engine, greet.get("serve"))
    sys.meta_path.append(importer)
    return importer


class Importer:
    """Finder, and store of what came from the master. Any thread."""

    def __init__(self, engine, serve):
        self._engine = engine
        self._serve = None if serve is None else frozenset(serve)
        self._records = {}  # name -> map of the protocol; those that are missing, too
        self._together = {}  # name -> names that came in the same answer
        self._asked = {}  # name -> Question under way
        self._lock = allocate_lock()  # of these tables; never held while waiting

    # --- import -----------------------------------------------------------------------------------------------------

    def find_spec(self, name, path=None, target=None):
        if not self._may_ask(name, path):
            return None
        try:
            record = self.record(name)
        except GatewayLost:
            return None
        except (OSError, EOFError) as error:
            raise ImportError("No module named %r here, and the master was not asked: %s" % (name, error), name=name) from None
        if "missing" not in record:
            return self._spec(name, record)
        if _is_import(sys._getframe(1)):
            raise ModuleNotFoundError("No module named %r (%s)" % (name, record["missing"]), name=name)
        return None

    def _may_ask(self, name, path):
        """Without a question to the master: whether it could have the module."""
        parent, _, last = name.rpartition(".")
        if not parent:
            return name not in _STANDARD and name not in _MAIN and (self._serve is None or name in self._serve)
        record = self._records.get(parent)
        if record is None or not isinstance(getattr(sys.modules.get(parent), "__loader__", None), Loader):
            return "_NamespacePath" in type(path).__name__
        return record.get("children") is None or last in record["children"]

    def _spec(self, name, record):
        place = PREFIX + record["path"] if record.get("path") else None
        spec = ModuleSpec(name, Loader(self, name, record, place), origin=place, is_package=bool(record.get("package")))
        if place is not None:
            spec.has_location = True
        if record.get("package") and place is not None:
            spec.submodule_search_locations = [place.rpartition("/")[0]]
        return spec

    def main_module(self):
        """The master's main script, whose name is __mp_main__ here, so that what is behind its guard does not run."""
        module = sys.modules.get("__mp_main__")
        if module is None:
            record = self.record("__main__")
            if "missing" in record:
                raise ImportError("the master's main script cannot be imported: %s" % record["missing"], name="__main__")
            module = type(sys)("__mp_main__")
            module.__spec__ = spec = self._spec("__mp_main__", record)
            module.__loader__ = spec.loader
            module.__file__ = spec.origin
            sys.modules["__mp_main__"] = sys.modules["__main__"] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules["__mp_main__"]
                raise
        return module

    # --- the store --------------------------------------------------------------------------------------------------

    def record(self, name):
        """The map of a module or a data file. Asks the parent if it is not here. OSError, EOFError if there is no answer."""
        while True:
            record = self._records.get(name)
            if record is not None:
                return record
            with self._lock:
                question = self._asked.get(name)
                mine = question is None
                if mine:
                    question = self._asked[name] = allocate_lock()
                    question.acquire()
            with Unlocked():
                if mine:
                    try:
                        return self._ask(name)
                    finally:
                        del self._asked[name]
                        question.release()
                if not question.acquire(True, WAIT):
                    raise TimeoutError("no answer after %d seconds" % WAIT)
                question.release()

    def has(self, name):
        """Whether record() would answer at once."""
        return name in self._records

    def _ask(self, name):
        top = name.partition(":")[0].partition(".")[0]
        have = [each for each in list(self._records) if each.partition(".")[0] == top and ":" not in each]
        channel = self._engine.request(self._engine.ancestors[0], MODULE, [name, have])
        answer = channel.receive(WAIT)
        names = []
        for record in answer:
            self._records.setdefault(record["name"], record)
            names.append(record["name"])
        record = self._records.setdefault(name, {"name": name, "missing": "the master has answered something else"})
        self._together[name] = names
        return record

    def serve(self, name, have):
        """The answer to MODULE of a context behind this one. OSError, EOFError."""
        if not isinstance(name, str) or not isinstance(have, list):
            raise ValueError("a name and a list of names are expected")
        wanted = [name] + [each for each in self._together.get(name, ()) if each != name and each not in have]
        first = self.record(name)
        wanted += [each for each in self._together.get(name, ()) if each not in have and each not in wanted]
        return [first] + [self._records[each] for each in wanted[1:]]


class Unlocked:
    """Other threads can import meanwhile: finders are called with the lock of all imports held, in addition to their module's."""

    def __enter__(self):
        self._times = 0
        try:
            while True:
                _imp.release_lock()
                self._times += 1
        except RuntimeError:  # this thread does not have it
            pass

    def __exit__(self, *_):
        for _ in range(self._times):
            _imp.acquire_lock()


def _is_import(frame):
    """Whether a finder was asked by an import statement; importlib.util.find_spec() only wants to know."""
    while frame is not None and frame.f_code.co_name == "_find_spec":
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "_find_and_load_unlocked"


class Loader:
    """Of one module that came from the master."""

    def __init__(self, importer, name, record, place):
        self._importer, self._name, self._record, self._place = importer, name, record, place

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(self.get_code(), module.__dict__)

    def get_code(self, name=None):
        return compile(self._source(), self._place or "<namespace %s>" % self._name, "exec", 0, True)

    def get_source(self, name=None):
        """Text, for linecache and inspect."""
        import io
        import tokenize
        data = self._source()
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
        return io.TextIOWrapper(io.BytesIO(data), encoding, newline=None).read()

    def _source(self):
        packed = self._record.get("source")
        import zlib
        return zlib.decompress(packed) if packed else b""

    def get_filename(self, name=None):
        if self._place is None:
            raise ImportError("%s has no file" % self._name, name=self._name)
        return self._place

    def is_package(self, name=None):
        return bool(self._record.get("package"))

    def _package(self):
        return self._name if self.is_package() else self._name.rpartition(".")[0]

    def get_data(self, path):
        """A file beside this one, or below; `path` begins as __file__ does. OSError."""
        folder = (self._place or "").rpartition("/")[0] + "/"
        if not path.startswith(folder):
            raise FileNotFoundError(2, "not in the package %s" % self._package(), path)
        if path == self._place:
            return self._source()
        return self.read(path[len(folder):])

    def read(self, file):
        """A file of the package; names that end in / are directories: their names, one a line."""
        record = self._importer.record("%s:%s" % (self._package(), file))
        if "missing" in record:
            raise FileNotFoundError(2, record["missing"], "%s:%s" % (self._package(), file))
        return record["data"]

    def get_resource_reader(self, name):
        if not self.is_package():
            return None
        from .resources import Reader
        return Reader(self)
