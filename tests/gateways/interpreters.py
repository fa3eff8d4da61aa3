"""The oldest interpreters of this machine that a remote may have: from 3.6 on, older than the tests' own."""

import os
import subprocess
import sys
from pathlib import Path


def _version(python):
    done = subprocess.run([python, "-IS", "-c", "import sys; print(sys.implementation.name, *sys.version_info[:2])"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    words = done.stdout.decode().split()
    return tuple(map(int, words[1:])) if done.returncode == 0 and words[0] == "cpython" else None


def _old_interpreters():
    places = [*Path.home().glob(".pyenv/versions/*/bin/python3"), *Path("/usr/bin").glob("python3.[0-9]"),
              *Path("/usr/local/bin").glob("python3.[0-9]")]
    found = {}
    for place in sorted(filter(lambda place: os.access(place, os.X_OK), places)):
        version = _version(place)
        if version and (3, 6) <= version < sys.version_info[:2]:
            found.setdefault(version, str(place))
    return [found[version] for version in sorted(found)][:2]


OLD_INTERPRETERS = _old_interpreters()  # paths; empty on a bare Debian
