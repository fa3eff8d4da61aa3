"""The interpreters of this machine that a remote may have, one of each version from 3.6 on: paths, the tests' own among them."""

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
    places = [Path(sys.executable)]
    for pattern in ".pyenv/versions/*/bin/python3", "/usr/bin/python3.*", "/usr/local/bin/python3.*":
        places += sorted((Path.home() if not pattern.startswith("/") else Path("/")).glob(pattern.lstrip("/")))
    found = {}
    for place in places:
        if re.fullmatch(r"python3?(\.\d+)?", place.name):
            found.setdefault(_version(str(place)), str(place))
    return [found[version] for version in sorted(filter(None, found)) if version >= (3, 6)]


INTERPRETERS = _find()
