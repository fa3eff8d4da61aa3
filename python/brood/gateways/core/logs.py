"""Log records of a remote go to the master. A remote that never logs never imports `logging`."""
import sys

from .kinds import LOG


def install(engine, greet):
    """The root logger gets the master's level and a handler, now or when `logging` is imported."""
    def prepare(logging):
        _prepare(logging, engine, greet.get("level"))

    if "logging" in sys.modules:
        prepare(sys.modules["logging"])
    else:
        sys.meta_path.insert(0, AfterImport("logging", prepare))


class AfterImport:
    """A finder that finds nothing, but calls function(module) as soon as one module was imported; then it is gone."""

    def __init__(self, name, function):
        self._name = name
        self._function = function
        self._loader = None

    def find_spec(self, name, path=None, target=None):
        if name != self._name or self._loader is not None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                self._loader, spec.loader = spec.loader, self
                return spec

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        try:
            self._loader.exec_module(module)
        except BaseException:
            self._loader = None
            raise
        sys.meta_path.remove(self)
        self._function(module)


def _prepare(logging, engine, level):
    import os
    import threading

    posting = threading.local()
    pid = os.getpid()
    root = engine.ancestors[-1]

    class Forward(logging.Handler):
        """Never raises, and takes no record that is made while it handles one."""

        def emit(self, record):
            if getattr(posting, "now", False) or os.getpid() != pid:
                return
            posting.now = True
            try:
                engine.post(root, LOG, [record.name, record.levelno, self.format(record)])
            except Exception:
                self.handleError(record)
            finally:
                posting.now = False

    logging.root.addHandler(Forward())
    if level is not None:
        logging.root.setLevel(level)
