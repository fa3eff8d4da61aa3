"""The part of RSync that runs at a target. Sent there as source: Python 3.6 or later, standard library only.

The first item is (destdir, delete). Then each item is a tuple, a verb and its arguments, and each is answered by one item,
in the same order: (wanted, problems). `problems` are texts; what failed has no effect, the rest goes on. All paths and
names are bytes; paths are relative to destdir, which itself is b"".

    directory path mode entries last   be a directory; `last`: these were all entries of it. Wanted are the files that differ:
                                       (path, size, SHA-256 of what is here, or None if the size differs already)
    single size mtime mode             destdir is a file; the same answer
    whole path mode mtime data         be this file
    begin path; piece data; commit mode mtime    the same in pieces
    drop                               no commit will come: forget the pieces
    meta path mode mtime               only these
    gone path                          there is no such file any more
    end                                set the modes of directories; after this answer all is done

    entry: (name, "directory"), (name, "file", size, mtime, mode), (name, "link", target) or (name, "inside", rest), which is
    a link to `rest` in destdir. mtime is in nanoseconds, mode are the twelve bits of chmod.

A file is written under a temporary name beside it, and renamed: others see the old one or the new one.
"""

import contextlib
import os
import stat
import time

PIECE = 1 << 20  # bytes read at once
PREFIX = b".brood-rsync-"  # of temporary names
LEFT_BEHIND = 3600  # seconds after which a temporary file is taken for one of a sync that died


def printable(path):
    """`path` (bytes or str) as text that can be printed and sent whatever is in it."""
    return repr(os.fsencode(path).decode("utf-8", "surrogateescape"))


def reason(error):
    return error.strerror or str(error)


@contextlib.contextmanager
def problems_of(place):
    """What fails in here is about that file, not about a temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, reason(error), place)


def digest(file):
    """SHA-256 of an open binary file, from where it is to its end."""
    import hashlib  # costs a millisecond, and is often not needed

    state = hashlib.sha256()
    for piece in iter(lambda: file.read(PIECE), b""):
        state.update(piece)
    return state.digest()


def remove(path):
    """Removes whatever is there; never follows a link."""
    todo = [path]
    while todo:
        path = todo[-1]
        there = lstat(path)
        if there is not None and stat.S_ISDIR(there.st_mode):
            be_writable(path, there)
            inner = os.listdir(path)
            if inner:
                todo += [os.path.join(path, name) for name in inner]
                continue
            os.rmdir(path)
        elif there is not None:
            os.unlink(path)
        todo.pop()


def lstat(path):
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def be_writable(path, there):
    if there.st_mode & 0o700 != 0o700:
        os.chmod(path, stat.S_IMODE(there.st_mode) | 0o700)


def set_meta(path, mode, mtime):
    os.chmod(path, mode)
    os.utime(path, ns=(mtime, mtime))


def replace(temporary, place):
    """Puts `temporary` where `place` is, in one step unless that is a directory."""
    there = lstat(place)
    if there is not None and stat.S_ISDIR(there.st_mode):
        remove(place)
    os.replace(temporary, place)


class Target:
    def __init__(self, destdir, delete):
        self.root = os.path.abspath(destdir)
        self.delete = delete
        self.done = False
        self.answer = None  # (wanted, problems) to the present item
        self.listed = None  # the directory that is being listed
        self.names = set()  # of its entries so far
        self.modes = []  # (path, mode) of directories, parents first
        self.broken = set()  # directories that cannot be had
        self.writing = None  # (file, its temporary path, path)
        self.count = 0

    def take(self, item):
        """Does what one item says and returns the answer."""
        self.answer = ([], [])
        verb, arguments = item[0], item[1:]
        try:
            getattr(self, "do_" + verb)(*arguments)
        except OSError as error:
            self.problem(error, arguments[0] if arguments and verb in ("directory", "whole", "begin", "meta", "gone") else b"")
        return self.answer

    def problem(self, error, path):
        where = error.filename if isinstance(error.filename, (bytes, str)) else self.place(path)
        self.answer[1].append("cannot write %s: %s" % (printable(where), reason(error)))

    def place(self, path):
        return os.path.join(self.root, path) if path else self.root

    # --- directories -----------------------------------------------------------------------------

    def do_directory(self, path, mode, entries, last):
        if path in self.broken or (path and os.path.dirname(path) in self.broken):
            self.broken.add(path)  # the one above was told
            return
        try:
            if path != self.listed:
                self.be_directory(path, mode)
                self.listed, self.names = path, set()
            self.names.update(entry[0] for entry in entries)
            for entry in entries:
                self.look_at(path, entry)
            if last and self.delete:
                self.delete_others(self.place(path))
        except OSError:
            self.broken.add(path)
            raise

    def be_directory(self, path, mode):
        place = self.place(path)
        if path:
            self.be_inner_directory(place)
        elif not os.path.isdir(place):  # may be a link to one
            if os.path.lexists(place):
                raise OSError(20, "it is no directory, and the source is one", place)
            os.makedirs(place, exist_ok=True)
        self.modes.append((place, mode))
        be_writable(place, os.stat(place))

    def be_inner_directory(self, place):
        there = lstat(place)
        if there is not None and not stat.S_ISDIR(there.st_mode):
            os.unlink(place)
            there = None
        if there is None:
            try:
                os.mkdir(place, 0o700)
            except FileExistsError:  # another sync to the same place was faster
                if not stat.S_ISDIR(os.lstat(place).st_mode):
                    raise

    def look_at(self, path, entry):
        inner = os.path.join(path, entry[0])
        try:
            if entry[1] == "file":
                self.look_at_file(inner, *entry[2:])
            elif entry[1] != "directory":
                self.be_link(self.place(inner), entry[2] if entry[1] == "link" else self.place(entry[2]))
        except OSError as error:
            self.problem(error, inner)

    def look_at_file(self, path, size, mtime, mode):
        place = self.place(path)
        there = lstat(place)
        if there is None or not stat.S_ISREG(there.st_mode) or there.st_size != size:
            self.answer[0].append((path, size, None))
        elif there.st_mtime_ns != mtime:
            self.answer[0].append((path, size, self.digest_of(place)))
        elif stat.S_IMODE(there.st_mode) != mode:
            os.chmod(place, mode)

    def digest_of(self, place):
        try:
            with open(place, "rb") as file:
                return digest(file)
        except OSError:
            return None  # it is replaced as a whole

    def be_link(self, place, target):
        there = lstat(place)
        if there is not None and stat.S_ISLNK(there.st_mode) and os.readlink(place) == target:
            return
        temporary = self.beside(place)
        with problems_of(place):
            os.symlink(target, temporary)
            try:
                replace(temporary, place)
            except OSError:
                os.unlink(temporary)
                raise

    def delete_others(self, place):
        for name in os.listdir(place):
            path = os.path.join(place, name)
            if name not in self.names and not self.is_being_written(name, path):
                try:
                    remove(path)
                except OSError as error:
                    self.problem(error, path)

    def is_being_written(self, name, path):
        """By another sync to the same place."""
        there = lstat(path) if name.startswith(PREFIX) else None
        return there is not None and time.time() - there.st_ctime < LEFT_BEHIND

    # --- files -----------------------------------------------------------------------------------

    def do_single(self, size, mtime, mode):
        if os.path.isdir(self.root):
            raise OSError(21, "it is a directory, and the source is a file", self.root)
        os.makedirs(os.path.dirname(self.root), exist_ok=True)
        self.look_at_file(b"", size, mtime, mode)

    def do_whole(self, path, mode, mtime, data):
        self.do_begin(path)
        self.do_piece(data)
        self.do_commit(mode, mtime)

    def do_begin(self, path):
        self.do_drop()
        place = self.place(path)
        temporary = self.beside(place)
        with problems_of(place):
            opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self.writing = (os.fdopen(opened, "wb", 0), temporary, place)

    def do_piece(self, data):
        if self.writing is None:
            return  # do_begin or an earlier piece failed, which was told
        file, _, place = self.writing
        data = memoryview(data)
        with problems_of(place), self.dropping_on_failure():
            while data:
                data = data[file.write(data) :]

    def do_commit(self, mode, mtime):
        if self.writing is None:
            return
        file, temporary, place = self.writing
        with problems_of(place), self.dropping_on_failure():
            file.close()
            set_meta(temporary, mode, mtime)
            replace(temporary, place)
        self.writing = None

    def do_drop(self):
        if self.writing is None:
            return
        file, temporary, _ = self.writing
        self.writing = None
        try:
            file.close()
        finally:
            os.unlink(temporary)

    @contextlib.contextmanager
    def dropping_on_failure(self):
        try:
            yield
        except OSError:
            self.do_drop()
            raise

    def do_meta(self, path, mode, mtime):
        set_meta(self.place(path), mode, mtime)

    def do_gone(self, path):
        if self.delete:
            remove(self.place(path))

    def do_end(self):
        self.done = True
        for place, mode in reversed(self.modes):
            try:
                if stat.S_IMODE(os.stat(place).st_mode) != mode:
                    os.chmod(place, mode)
            except OSError as error:
                self.problem(error, place)

    def beside(self, place):
        self.count += 1
        own = "%d-%x-%d" % (os.getpid(), id(self), self.count)
        return os.path.join(os.path.dirname(place), PREFIX + own.encode())


def serve(channel):
    destdir, delete = channel.receive()
    target = Target(destdir, delete)
    try:
        while not target.done:
            channel.send(target.take(channel.receive()))
    except EOFError:
        pass  # the other side has given up
    finally:
        target.do_drop()


if __name__ == "__channelexec__":
    serve(channel)  # noqa: F821
