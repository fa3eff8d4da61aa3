"""What RSync sends: a tree as it was listed, and files as they are read. No gateways here."""

import os
import stat

from brood.gateways.rsync_remote import PIECE, digest, printable, reason

BATCH = 1000  # entries of a directory in one item
_KINDS = ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISBLK, "a device"), (stat.S_ISCHR, "a device"))


class Changed(Exception):
    """A file was written to while it was read."""


class Gone(Exception):
    """A file is not there any more."""


class Unreadable(Exception):
    """The text names the file and says why."""


class Tree:
    """The items that tell a target what the source has (rsync_remote.py): some 300 bytes of memory for each entry.

    `accept(path)` is called once for each entry, with its path as text; of a directory that is not accepted nothing is
    listed. Raises OSError or ValueError, which name the entry, if the source cannot be listed as a whole: half a list would
    make a target delete the other half.
    """

    def __init__(self, sourcedir, accept):
        self._sourcedir = sourcedir
        self._accept = accept
        there = os.stat(sourcedir)
        self.root = os.path.realpath(os.fsencode(sourcedir))
        if stat.S_ISDIR(there.st_mode):
            self._roots = [root.rstrip(b"/") for root in (os.path.abspath(os.fsencode(sourcedir)), self.root)]
            self.items = list(self._directories())
        else:
            _check_kind(self.root, there)
            self.items = [("single", *_of_file(there))]

    def _directories(self):
        todo = [b""]
        while todo:
            path = todo.pop()
            try:
                mode, found = self._list(path)
            except FileNotFoundError:
                if not path:
                    raise
                continue  # it has gone since its parent was listed
            entries = sorted(self._entries(path, found))
            for start in range(0, len(entries) or 1, BATCH):
                yield "directory", path, mode, entries[start : start + BATCH], start + BATCH >= len(entries)
            todo += [os.path.join(path, entry[0]) for entry in reversed(entries) if entry[1] == "directory"]

    def _list(self, path):
        place = self.place(path)
        try:
            with os.scandir(place) as found:
                return stat.S_IMODE(os.stat(place).st_mode), list(found)
        except OSError as error:
            raise OSError(error.errno, f"nothing was sent, because a directory cannot be read: {reason(error)}",
                          os.fsdecode(place)) from None

    def _entries(self, path, found):
        for entry in found:
            inner = os.path.join(path, entry.name)
            if not self._accept(os.path.join(self._sourcedir, os.fsdecode(inner))):
                continue
            try:
                yield self._describe(entry)
            except FileNotFoundError:
                pass  # it has gone since

    def _describe(self, entry):
        there = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(there.st_mode):
            return entry.name, "directory"
        if stat.S_ISLNK(there.st_mode):
            return (entry.name, *self._link(os.readlink(entry.path)))
        _check_kind(entry.path, there)
        return (entry.name, "file", *_of_file(there))

    def _link(self, target):
        """A link to an absolute path in the source shall lead to the same place in the target."""
        for root in self._roots:
            if target == root or (target.startswith(root + b"/") and b".." not in target.split(b"/")):
                return "inside", target[len(root) :].strip(b"/")
        return "link", target

    def place(self, path):
        return os.path.join(self.root, path) if path else self.root

    def shown(self, path):
        """A path as text for people, whatever bytes it has."""
        return (path or os.path.basename(self.root)).decode("utf-8", "backslashreplace")


class SourceFile:
    """A file of the source, open to be read; the attributes are those at that time. Raises Gone and Unreadable.

    read() and has() come to the end of the file only if nothing was written to it in between, as far as size, mode and
    mtime tell: else Changed. A file that was replaced by another one is read as it was.
    """

    def __init__(self, place):
        self._place = place
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # it may have become a link or a FIFO
        try:
            self._file = os.fdopen(os.open(place, flags), "rb", 0)
        except FileNotFoundError:
            raise Gone from None
        except OSError as error:
            raise self._unreadable(reason(error)) from None
        there = os.fstat(self._file.fileno())
        if not stat.S_ISREG(there.st_mode):
            self._file.close()
            raise self._unreadable("it is no regular file any more")
        self.size, self.mtime, self.mode = _of_file(there)

    def read(self):
        """The next piece: PIECE bytes; less, or none, at the end."""
        pieces, missing = [], PIECE
        try:
            while missing and (piece := self._file.read(missing)):
                pieces.append(piece)
                missing -= len(piece)
        except OSError as error:
            raise self._unreadable(reason(error)) from None
        if missing:
            self._check()
        return b"".join(pieces)

    def has(self, expected):
        """Whether its SHA-256 is that. Then read() begins anew."""
        try:
            found = digest(self._file)
        except OSError as error:
            raise self._unreadable(reason(error)) from None
        self._check()
        self._file.seek(0)
        return found == expected

    def _unreadable(self, why):
        return Unreadable(f"cannot read {printable(self._place)}: {why}")

    def _check(self):
        if _of_file(os.fstat(self._file.fileno())) != (self.size, self.mtime, self.mode):
            raise Changed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def _of_file(there):
    return there.st_size, there.st_mtime_ns, stat.S_IMODE(there.st_mode)


def _check_kind(path, there):
    for test, kind in _KINDS:
        if test(there.st_mode):
            raise ValueError(f"nothing was sent, because {printable(path)} is {kind}: only files, directories and symbolic links "
                             "can be sent; leave it out with filter()")
