"""`brood user` and `brood token`: what they write, refuse, ask and show."""

import concurrent.futures
import json
import os
import stat

import pexpect
import pytest
from brood_fixture import TIMEOUT, Brood

pytestmark = pytest.mark.core


@pytest.fixture
def door(tmp_path):
    """`brood` with a configuration folder of the test's own; these commands start no daemon."""
    brood = Brood()
    brood.environment["XDG_CONFIG_HOME"] = str(tmp_path)
    brood.users = tmp_path / "brood/users.json"
    brood.tokens = tmp_path / "brood/tokens.json"
    yield brood
    assert not brood.processes_for_certain()
    brood.close()


def good(outcome):
    assert outcome.status == 0, outcome
    return outcome.out.decode()


def refused(outcome, *parts, status=1):
    assert (outcome.status, outcome.out) == (status, b""), outcome
    assert outcome.err.startswith(b"brood: ") and outcome.err.count(b"\n") == 1, outcome
    for part in parts:
        assert part.encode() in outcome.err, outcome


def add(door, name, *more, password=b"secret words\n"):
    return door.tool("user", "add", name, "--password-stdin", *more, stdin=password)


def users(door):
    return {user["name"]: user for user in json.loads(good(door.tool("user", "list", "--json")))["users"]}


def tokens(door):
    return json.loads(good(door.tool("token", "list", "--json")))["tokens"]


def keys(door, name):
    return json.loads(door.users.read_text())["users"][name]["stored_key"]


def test_users_come_and_go(door):
    assert "no users in" in good(door.tool("user", "list"))
    assert users(door) == {} and not door.users.exists()
    good(add(door, "ann"))
    good(add(door, "bob", "--admin"))
    assert {name: user["role"] for name, user in users(door).items()} == {"ann": "user", "bob": "admin"}
    assert stat.S_IMODE(door.users.stat().st_mode) == 0o600
    assert stat.S_IMODE(door.users.parent.stat().st_mode) == 0o700
    assert "secret" not in door.users.read_text().replace('"secret":', "")
    before = keys(door, "ann")
    good(door.tool("user", "passwd", "ann", "--password-stdin", stdin=b"another"))
    assert keys(door, "ann") != before
    lines = good(door.tool("user", "list")).splitlines()
    assert lines[0].split() == ["USER", "ROLE", "CREATED", "TOKENS"] and lines[1].split()[:2] == ["ann", "user"]
    assert good(door.tool("user", "remove", "ann")) == "removed ann\n"
    assert list(users(door)) == ["bob"]


def test_tokens_come_and_go(door):
    good(add(door, "ann"))
    made = door.tool("token", "new", "--user", "ann", "--name", "größe", "--expires", "2h")
    token = good(made).strip()
    assert token.startswith("brood_") and len(token) == 49
    assert token[6:] not in door.tokens.read_text()
    assert stat.S_IMODE(door.tokens.stat().st_mode) == 0o600
    good(door.tool("token", "new", "--expires", "never"))
    good(door.tool("token", "new"))
    first, second, third = tokens(door)
    assert (first["user"], first["name"], first["expires"] - first["created"]) == ("ann", "größe", 7200)
    assert (second["user"], second["expires"]) == ("owner", None)
    assert third["expires"] - third["created"] == 30 * 86400
    assert first["id"].encode() in made.err
    assert users(door)["ann"]["tokens"] == 1
    assert good(door.tool("token", "revoke", first["id"])) == f"revoked {first['id']} of ann (größe)\n"
    refused(door.tool("token", "revoke", first["id"]), first["id"], "brood token list")
    assert [token["id"] for token in tokens(door)] == [second["id"], third["id"]]
    assert second["id"] in good(door.tool("token", "list"))


def test_a_user_goes_with_its_tokens(door):
    good(add(door, "ann"))
    for user in ("ann", "owner", "ann"):
        good(door.tool("token", "new", "--user", user))
    assert good(door.tool("user", "remove", "ann")) == "removed ann and 2 tokens\n"
    assert [token["user"] for token in tokens(door)] == ["owner"]


@pytest.mark.parametrize("name", ["token", "owner"])
def test_reserved_names(door, name):
    refused(add(door, name), name, "reserved", status=2)


@pytest.mark.parametrize("name", ["a b", ".a", "größe", "a/b", "x" * 65, ""])
def test_names_that_are_none(door, name):
    refused(add(door, name), "letters", status=2)
    assert not door.users.exists()


def test_what_makes_no_sense_is_refused(door):
    refused(add(door, "ann", password=b""), "the password is empty")
    refused(add(door, "ann", password=b"a\tb\n"), "control characters")
    refused(add(door, "ann", password=b"\xff\n"), "UTF-8")
    refused(add(door, "ann", password=b"x" * 2000), "longer than 1024 bytes")
    good(add(door, "ann"))
    refused(add(door, "ann"), "ann already", "passwd")
    for command in ("remove", "passwd"):
        refused(door.tool("user", command, "bob"), "no user bob")
    refused(door.tool("token", "new", "--user", "bob"), "no user bob")
    for wrong in ("soon", "30", "0", "-1d", "99999d"):
        refused(door.tool("token", "new", f"--expires={wrong}"), wrong, "30d, or never", status=2)
    assert tokens(door) == []
    refused(door.tool("user", "ad", "x"), 'did you mean "add"?', status=2)
    refused(door.tool("token", "rewoke", "x"), 'did you mean "revoke"?', status=2)


def test_another_folder(door, tmp_path):
    folder = tmp_path / "deep/er"
    good(add(door, "ann", "--config-dir", folder))
    assert (folder / "users.json").exists() and not door.users.exists()
    assert "ann" in good(door.tool("user", "list", "--config-dir", folder))


def test_the_folder_without_xdg(door):
    del door.environment["XDG_CONFIG_HOME"]
    good(add(door, "ann"))
    assert (door.home / ".config/brood/users.json").exists()
    refused(door.tool("user", "list", env={"HOME": ""}), "HOME")


def test_files_open_to_others_are_refused(door):
    good(add(door, "ann"))
    door.users.chmod(0o644)
    for command in (door.tool("user", "list"), add(door, "bob"), door.tool("token", "new")):
        refused(command, str(door.users), "chmod 0600")


@pytest.mark.skipif(os.geteuid() != 0, reason="changing owners needs root")
def test_files_of_others_are_refused(door):
    good(add(door, "ann"))
    os.chown(door.users, 65534, 65534)
    refused(door.tool("user", "list"), str(door.users), "belongs to user 65534")


def test_a_broken_file_is_named_and_kept(door):
    good(add(door, "ann"))
    door.users.write_text('{"version": 1,\n oops')
    for command in (door.tool("user", "list"), add(door, "bob"), door.tool("user", "remove", "ann")):
        refused(command, str(door.users), "not JSON, at line 2, column 2")
    assert "oops" in door.users.read_text()


def test_commands_at_once_lose_nothing(door):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for outcome in pool.map(lambda i: add(door, f"user{i}"), range(16)):
            good(outcome)
    assert len(users(door)) == 16
    assert sorted(path.name for path in door.users.parent.iterdir()) == ["door.lock", "users.json"]


class Terminal:
    """`brood user add ann` on a terminal, waiting for the first password."""

    def __init__(self, door):
        self.child = pexpect.spawn(
            door.brood, ["user", "add", "ann"], env=door.environment, cwd=str(door.work), timeout=TIMEOUT, encoding="utf-8"
        )
        self.child.expect_exact("New password for ann: ")
        assert self.child.waitnoecho(TIMEOUT)

    def end(self):
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.before


def test_asks_twice_without_echo(door):
    terminal = Terminal(door)
    terminal.child.sendline("hidden words")
    terminal.child.expect_exact("The same again: ")
    assert "hidden" not in terminal.child.before
    assert terminal.child.waitnoecho(TIMEOUT)
    terminal.child.sendline("hidden words")
    assert "hidden" not in terminal.end()
    assert terminal.child.exitstatus == 0
    assert list(users(door)) == ["ann"]


def test_two_different_passwords_change_nothing(door):
    terminal = Terminal(door)
    terminal.child.sendline("one")
    terminal.child.expect_exact("The same again: ")
    assert terminal.child.waitnoecho(TIMEOUT)
    terminal.child.sendline("other")
    assert "the two passwords differ" in terminal.end()
    assert terminal.child.exitstatus == 1
    assert not door.users.exists()


def test_interrupted_while_it_asks(door):
    terminal = Terminal(door)
    terminal.child.sendintr()
    terminal.child.expect(pexpect.EOF)
    echo = terminal.child.getecho()
    terminal.child.close()
    assert terminal.child.signalstatus == 2
    assert echo, "the terminal is as before"
    assert not door.users.exists()


def test_without_a_terminal(door):
    refused(door.tool("user", "add", "ann", start_new_session=True), "--password-stdin")
