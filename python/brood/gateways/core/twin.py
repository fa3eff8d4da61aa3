"""A process may have two copies of this package: brood_core, which a remote runs, and brood.gateways.core, if a program there imports
brood. What is raised, and what the one extension module knows, must be the same in both."""
import sys

_PACKAGES = "brood_core", "brood.gateways.core"


def twin(name):
    """The module `name` of the other copy, if that was imported before; else None."""
    for package in _PACKAGES:
        other = package + "." + name.rpartition(".")[2]
        if other != name and other in sys.modules:
            return sys.modules[other]
    return None
