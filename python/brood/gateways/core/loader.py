"""Makes a package of the sources that came with the first stage; `stage` sends this text behind SOURCES = {name: source}.

Runs at the top level of the remote's program. Its modules are compiled when they are imported, from memory.
"""
import sys
from _frozen_importlib import ModuleSpec


class Loader:
    """Finder and loader of brood_core's modules."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        package, _, module = name.rpartition(".")
        if package == "brood_core" and module in SOURCES:  # noqa: F821
            return ModuleSpec(name, Loader, origin="brood_core/%s.py" % module)

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        spec = module.__spec__
        exec(compile(Loader.get_source(spec.name), spec.origin, "exec", 0, True), module.__dict__)

    @staticmethod
    def get_source(name):
        return SOURCES[name.rpartition(".")[2]]  # noqa: F821


package = type(sys)("brood_core")
package.__path__ = []
package.SOURCES = SOURCES  # noqa: F821
sys.modules["brood_core"] = package
sys.meta_path.append(Loader)
sys.dont_write_bytecode = True
