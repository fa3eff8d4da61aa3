"""XSpec: what a gateway is to be, in one line of text.

    ssh=user@host -p 22//python=python3.9//chdir=work//nice=5//env:LANG=C//id=gw1

Parts are separated by `//`; each is `key=value`, or a key alone, whose value is True. Neither keys nor values can
contain `//`. Exactly one part is the transport: popen, ssh=, vagrant_ssh=, socket=, sudo=, or warm standing alone,
which is short for `popen//warm`; with socket= it names an environment of the server. Names, attributes and meaning are
execnet's; `warm`, `sudo`, `engine`, `token` and `token_file` are brood's own.

A key that neither knows is kept as an attribute, as programs do with marks of their own (`popen//role=db`), unless it
looks like a known one misspelt. Values are text and are checked here only as far as no machine could take them.
"""

TRANSPORTS = ("popen", "ssh", "vagrant_ssh", "socket", "sudo")
_FLAGS = ("popen", "dont_write_bytecode")  # take no value
_WITH_VALUE = ("ssh", "vagrant_ssh", "sudo", "ssh_config", "python", "chdir", "nice", "id", "via", "installvia", "execmodel",
               "engine", "token", "token_file")
_KNOWN = (*_FLAGS, *_WITH_VALUE, "socket", "warm")
_SHOWN = ("popen, ssh, socket, sudo, warm, python, chdir, nice, env:NAME, id, via, installvia, execmodel, ssh_config, "
          "dont_write_bytecode, token_file, engine")


class PrivateKeyError(ValueError, AttributeError):
    """A key begins with an underscore."""


class XSpec:
    """One parsed spec. Each key is an attribute: its text, True for a key alone, None for one that is absent; `env` is a dict.

    Attributes may be assigned (a group assigns `id`); the text, equality and hash stay those of the spec as given.
    Raises ValueError, whose text names the part that is wrong, and TypeError for what is no str.
    """

    def __init__(self, string):
        if not isinstance(string, str):
            raise TypeError(f"a gateway's spec is a str, such as 'popen', not {type(string).__name__}")
        self._spec = string
        self.env = {}
        _check_text(string)
        before = ""
        for part in string.split("//"):
            self._add(part, before)
            before = part
        if self.warm and not self._transports():
            self.popen = True
        self._check_together()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return None

    def __str__(self):
        return self._spec

    def __repr__(self):
        return f"<XSpec {self._spec!r}>"

    def __eq__(self, other):
        return self._spec == other._spec if isinstance(other, XSpec) else NotImplemented

    def __hash__(self):
        return hash(self._spec)

    def _samefilesystem(self):
        return bool(self.popen and not self.chdir)

    def _add(self, part, before):
        key, equals, value = part.partition("=")
        if key.startswith("env:"):
            self._add_variable(key[4:], value if equals else None)
            return
        _check_key(self._spec, key, bool(equals), before)
        if key in self.__dict__:
            raise ValueError(f"{key!r} is given twice in {self._spec!r}")
        value = value if equals else True
        _check_value(self._spec, key, value)
        setattr(self, key, value)

    def _add_variable(self, name, value):
        if not name or value is None:
            raise ValueError(f"'env:{name}' in {self._spec!r} is no variable: expected env:NAME=value (the value may be empty)")
        if name in self.env:
            raise ValueError(f"'env:{name}' is given twice in {self._spec!r}")
        self.env[name] = value

    def _transports(self):
        return [key for key in TRANSPORTS if getattr(self, key) is not None]

    def _check_together(self):
        chosen = self._transports()
        if not chosen:
            raise ValueError(
                f"{self._spec!r} does not say how to reach an interpreter: add popen, ssh=HOST, socket=HOST:PORT, sudo=USER "
                "or warm"
            )
        if len(chosen) > 1:
            raise ValueError(f"{self._spec!r} has more than one transport, {' and '.join(chosen)}: a gateway has one")
        if self.warm and not (self.popen or self.socket):
            raise ValueError(f"warm goes with popen or socket, not with {chosen[0]}: in {self._spec!r}")
        if self.warm and self.installvia:
            raise ValueError(f"warm goes with socket=HOST:PORT: the server of installvia has no warm interpreters: in {self._spec!r}")
        if self.ssh_config and not (self.ssh or self.vagrant_ssh):
            raise ValueError(f"ssh_config goes with ssh=HOST: in {self._spec!r}")
        if self.engine not in (None, "python", "native"):
            raise ValueError(f"engine={self.engine} in {self._spec!r}: expected python or native")
        if (self.socket is True) != (self.installvia is not None):
            raise ValueError(
                f"{self._spec!r}: expected socket=HOST:PORT, or socket//installvia=ID, which starts a server at that gateway"
            )


def socket_address(text):
    """(host, port) of `HOST:PORT`; an IPv6 address stands in brackets; no host is this machine. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is no HOST:PORT, such as localhost:8888")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise ValueError(f"{text!r} is no HOST:PORT: an IPv6 address stands in brackets, such as [::1]:8888")
    return (host[1:-1] if bracketed else host) or "localhost", int(port)


def _check_text(spec):
    if not spec:
        raise ValueError("the spec is empty: expected at least a transport, such as 'popen'")
    for character in "\n\r\0":
        if character in spec:
            raise ValueError(f"{spec!r} has {character!r} in it; a spec is one line")
    if "" in spec.split("//"):
        raise ValueError(f"{spec!r} has an empty part: '//' separates parts, it neither begins nor ends a spec")


def _check_key(spec, key, has_value, before):
    if not key:
        raise ValueError(f"a part of {spec!r} has no key before its '='")
    if key.startswith("_"):
        raise PrivateKeyError(f"{key!r} in {spec!r}: a key does not begin with an underscore")
    if key in _KNOWN:
        return
    if key == "env":
        raise ValueError(f"'env' in {spec!r} has no name: expected env:NAME=value")
    if key.strip() in _KNOWN:
        raise ValueError(f"{key!r} in {spec!r} has a space beside it")
    if not key.isidentifier():
        raise ValueError(f"{key!r} in {spec!r} is no key{_torn(before)}; known are {_SHOWN}")
    if not has_value and _torn(before):
        raise ValueError(f"{key!r} in {spec!r} is no known key{_torn(before)}")
    near = _nearest(key)
    if near:
        raise ValueError(f"{key!r} in {spec!r} is no known key; is it {near}? Known are {_SHOWN}")


def _torn(before):
    """A hint where `//` seems to be in the middle of a value: a path, a URL."""
    value = before.partition("=")[2]
    return " (a value cannot contain '//')" if "/" in value or value.endswith(":") else ""


def _nearest(key):
    """The known key that this one is meant to be, else None."""
    import difflib  # only a mistake needs it

    plain = key.lower().replace("_", "")
    for known in _KNOWN:
        if plain == known.replace("_", ""):
            return known
    near = difflib.get_close_matches(plain, _KNOWN, 1, 0.8) if len(plain) > 3 else []
    return near[0] if near else None


def _check_value(spec, key, value):
    if key in _FLAGS and value is not True:
        raise ValueError(f"{key} takes no value: in {spec!r}")
    if key in _WITH_VALUE and value is True:
        raise ValueError(f"{key} needs a value, {key}=...: in {spec!r}")
    if key in _KNOWN and not value:
        raise ValueError(f"{key}= is empty in {spec!r}: give a value or leave it out")
    if key == "nice" and not _is_integer(value):
        raise ValueError(f"nice={value} in {spec!r} is no integer")
    if key == "socket" and value is not True:
        socket_address(value)


def _is_integer(text):
    return text.isascii() and text[text.startswith(("-", "+")) :].isdigit()
