"""The interpreters of this machine that a remote may have, one of each version from 3.6 on."""

import re
import subprocess
import sys
from pathlib import Path


def _version(python):
    done = subprocess.run([python, "-IS", "-c", "import sys; print(sys.implementation.name, *sys.version_info[:2])"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    words = done.stdout.decode().split()
    return tuple(map(int, words[1:])) if done.returncode == 0 and words[0] == "cpython" else None


def _find():
    places = [Path(sys.executable), *sorted(Path.home().glob(".pyenv/versions/*/bin/python3"))]
    for folder in "/usr/bin", "/usr/local/bin":
        places += [place for place in sorted(Path(folder).glob("python3.*")) if re.fullmatch(r"python3\.\d+", place.name)]
    found = {}
    for place in places:
        found.setdefault(_version(place), str(place))
    return {version: found[version] for version in sorted(filter(None, found)) if version >= (3, 6)}


_FOUND = _find()
INTERPRETERS = list(_FOUND.values())  # paths; the tests' own among them
OLD_INTERPRETERS = [path for version, path in _FOUND.items() if version < sys.version_info[:2]][:2]  # none on a bare Debian
