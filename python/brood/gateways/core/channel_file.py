"""A channel as a file: what execnet's makefile() gives."""


def make_file(channel, mode="w", proxyclose=False):
    """A file that writes ("w") items, or reads ("r") the text or bytes that come as items. `proxyclose`: its close() closes the channel."""
    if mode == "w":
        return ChannelFileWrite(channel, proxyclose)
    if mode == "r":
        return ChannelFileRead(channel, proxyclose)
    raise ValueError("mode %r is not available: it is 'w' or 'r'" % (mode,))


class ChannelFile:
    def __init__(self, channel, proxyclose=True):
        self.channel = channel
        self._proxyclose = proxyclose
        self._closed = False

    @property
    def closed(self):
        return self._closed or self.channel.isclosed()

    def isatty(self):
        return False

    def close(self):
        self._closed = True
        if self._proxyclose:
            self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return "<%s on %r, %s>" % (type(self).__name__, self.channel, "closed" if self.closed else "open")


class ChannelFileWrite(ChannelFile):
    """Each write() is an item."""

    def write(self, data):
        if self._closed:
            raise ValueError("write to a closed file")
        self.channel.send(data)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        pass


class ChannelFileRead(ChannelFile):
    """The items, one after the other, as one text (or bytes). A channel that has ended is the end of the file."""

    def __init__(self, channel, proxyclose=True):
        ChannelFile.__init__(self, channel, proxyclose)
        self._buffer = None  # items that were received in part, joined; None before the first

    def _fill(self):
        """False: nothing more comes."""
        try:
            item = self.channel.receive()
        except EOFError:
            return False
        self._buffer = item if self._buffer is None else self._buffer + item
        return True

    def _cut(self, size):
        if self._buffer is None:
            return ""
        piece = self._buffer[:size]
        self._buffer = self._buffer[len(piece):]
        return piece

    def read(self, size=-1):
        """`size` characters (less at the end), all of them if it is negative."""
        while size < 0 or self._buffer is None or len(self._buffer) < size:
            if not self._fill():
                break
        return self._cut(None if size < 0 else size)

    def readline(self):
        """With its line feed; the last one perhaps without."""
        start = 0
        while True:
            if self._buffer is not None:
                feed = "\n" if isinstance(self._buffer, str) else b"\n"
                at = self._buffer.find(feed, start)
                if at >= 0:
                    return self._cut(at + 1)
                start = len(self._buffer)
            if not self._fill():
                return self._cut(None)

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line
