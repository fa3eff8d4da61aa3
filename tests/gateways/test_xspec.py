"""XSpec: what programs rely on, and what people mistype."""

import copy
import pickle

import pytest
from brood.gateways.xspec import PrivateKeyError, XSpec, socket_address


def test_every_key():
    spec = XSpec(
        "ssh=user@host -p 22//ssh_config=/etc/my config//python=python3.9//chdir=a dir/b//nice=-5//env:LANG=C"
        "//env:EMPTY=//env:X=a=b//id=gw1//via=hop//execmodel=main_thread_only//dont_write_bytecode"
    )
    assert (spec.ssh, spec.ssh_config, spec.python, spec.chdir) == ("user@host -p 22", "/etc/my config", "python3.9", "a dir/b")
    assert (spec.nice, spec.id, spec.via, spec.execmodel) == ("-5", "gw1", "hop", "main_thread_only")
    assert spec.dont_write_bytecode is True
    assert spec.env == {"LANG": "C", "EMPTY": "", "X": "a=b"}
    assert (spec.popen, spec.socket, spec.installvia, spec.warm, spec.sudo, spec.anything) == (None,) * 6


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("popen", "popen", True),
        ("ssh=host", "ssh", "host"),
        ("vagrant_ssh=default", "vagrant_ssh", "default"),
        ("socket=10.0.0.1:8888", "socket", "10.0.0.1:8888"),
        ("socket=[::1]:8888", "socket", "[::1]:8888"),
        ("socket//installvia=gw0", "socket", True),
        ("sudo=postgres", "sudo", "postgres"),
        ("warm", "warm", True),
        ("warm=analysis", "warm", "analysis"),
        ("popen//warm=analysis", "warm", "analysis"),
        ("execmodel=main_thread_only//popen", "popen", True),
        ("popen//python=/usr/bin/env python3", "python", "/usr/bin/env python3"),
    ],
)
def test_transports(text, key, value):
    spec = XSpec(text)
    assert getattr(spec, key) == value
    assert str(spec) == text and repr(spec) == f"<XSpec {text!r}>"


def test_warm_alone_is_a_local_process():
    assert XSpec("warm").popen is True and XSpec("warm=analysis//nice=3").popen is True


def test_keys_of_a_program_are_kept():
    spec = XSpec("popen//proxy//role=db//host_key=x")  # no brood or execnet knows them
    assert (spec.proxy, spec.role, spec.host_key) == (True, "db", "x")


def test_a_group_may_assign_attributes():
    spec = XSpec("ssh=host")
    spec.id, spec.chdir = "gw7", "cache"
    assert (spec.id, spec.chdir, str(spec)) == ("gw7", "cache", "ssh=host")
    spec.id = None
    assert spec.id is None and spec == XSpec("ssh=host")


def test_equality_and_hash():
    one, same, other = XSpec("popen//id=a"), XSpec("popen//id=a"), XSpec("popen//id=b")
    assert one == same and hash(one) == hash(same) and len({one, same, other}) == 2
    assert one != other and one != "popen//id=a"


def test_it_can_be_copied_and_pickled():
    spec = XSpec("popen//env:A=1")
    for copied in (copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert copied == spec and copied.env == {"A": "1"} and copied.popen is True and copied.ssh is None


def test_names_with_an_underscore_are_no_keys():
    with pytest.raises(AttributeError):
        XSpec("popen")._private
    with pytest.raises(AttributeError):  # as from execnet
        XSpec("popen//_private=1")
    with pytest.raises(PrivateKeyError, match="underscore") as caught:
        XSpec("popen//_private=1")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the spec is empty"),
        ("//popen", "empty part"),
        ("popen//", "empty part"),
        ("popen////id=a", "empty part"),
        ("popen\n", "one line"),
        ("popen//chdir=a\0b", "one line"),
        ("=x", "no key before"),
        ("popen//=x", "no key before"),
        ("popen//popen", "'popen' is given twice"),
        ("popen//id=a//id=a", "'id' is given twice"),
        ("popen//env:A=1//env:A=2", "'env:A' is given twice"),
        ("popen//env:A", "expected env:NAME=value"),
        ("popen//env:=1", "expected env:NAME=value"),
        ("popen//env=A", "expected env:NAME=value"),
        # transports
        ("id=a", "does not say how to reach"),
        ("python=python3.9", "does not say how to reach"),
        ("via=gw0", "does not say how to reach"),
        ("popen//ssh=host", "popen and ssh"),
        ("ssh=host//socket=host:1", "ssh and socket"),
        ("popen//sudo=me", "popen and sudo"),
        ("socket//installvia=a//warm", "the server of installvia has no warm interpreters"),
        ("ssh=host//warm", "warm goes with popen or socket, not with ssh"),
        ("popen//engine=foo", "expected python or native"),
        ("sudo=me//warm=analysis", "warm goes with popen or socket, not with sudo"),
        ("popen//ssh_config=f", "ssh_config goes with ssh"),
        ("socket", "socket//installvia=ID"),
        ("popen//installvia=gw0", "socket//installvia=ID"),
        ("socket=host:1//installvia=gw0", "socket//installvia=ID"),
        # values
        ("popen=python3", "popen takes no value"),
        ("popen//dont_write_bytecode=0", "takes no value"),
        ("ssh", "ssh needs a value"),
        ("popen//python", "python needs a value"),
        ("popen//chdir=", "chdir= is empty"),
        ("popen//id=", "id= is empty"),
        ("warm=", "warm= is empty"),
        ("popen//nice=low", "nice=low .* is no integer"),
        ("popen//nice=1.5", "is no integer"),
        ("popen//nice=-", "is no integer"),
        ("socket=host", "no HOST:PORT"),
        ("socket=host:", "no HOST:PORT"),
        ("socket=host:99999", "no HOST:PORT"),
        ("socket=host:http", "no HOST:PORT"),
        ("socket=::1:80", "stands in brackets"),
        # words
        ("Popen", "is it popen?"),
        ("popn", "is it popen?"),
        ("popen//pyhton=x", "is it python?"),
        ("popen//exec_model=thread", "is it execmodel?"),
        ("popen//dont-write-bytecode", "is no key"),
        ("popen//dontwritebytecode", "is it dont_write_bytecode?"),
        ("socket=host:80//tokenfile=t", "is it token_file?"),
        ("socket=host:80//token_file", "token_file needs a value"),
        ("popen// id=a", "a space beside it"),
        ("popen //id=a", "a space beside it"),
        ("popen/id=a", "is no key"),
        ("3*popen", "is no key; known are popen, ssh"),
        ("user@host", "is no key"),
        # a value that has // in it
        ("popen//python=/usr//bin/python3", "a value cannot contain '//'"),
        ("popen//chdir=/tmp//work", "a value cannot contain '//'"),
        ("popen//env:PROXY=http://proxy", "a value cannot contain '//'"),
        ("popen//env:PROXY=http://proxy:8080", "a value cannot contain '//'"),
    ],
)
def test_mistakes(text, says):
    with pytest.raises(ValueError, match=says):
        XSpec(text)


@pytest.mark.parametrize("thing", [None, b"popen", 3, XSpec("popen")])
def test_only_text(thing):
    with pytest.raises(TypeError, match="a gateway's spec is a str"):
        XSpec(thing)


def test_socket_address():
    assert socket_address("host:80") == ("host", 80)
    assert socket_address("[fe80::1]:80") == ("fe80::1", 80)
    assert socket_address(":80") == ("localhost", 80)
