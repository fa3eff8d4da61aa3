"""Users, passwords and tokens on brood's own protocol, from both clients: who one is, and that others' sessions are out of reach."""

import asyncio
import re
import sys

import pexpect
import pytest
from brood_fixture import ROOT, TIMEOUT
from session_server import SessionServer
from waiting import DEADLINE

sys.path.insert(0, str(ROOT / "python"))

import brood as package  # noqa: E402  (`brood` is the fixture)

PASSWORDS = {"ann": "correct horse", "bob": "größe 7", "eve": "eve's own"}
VIEWING = {"info", "join", "leave", "checkpoints", "files", "get"}
OWNING = {"rename", "remove", "share"}


class Door:
    """A server that listens on tcp: and tls:, with users and tokens of its own."""

    def __init__(self, brood):
        self.brood, self.folder = brood, brood.base / "door"
        for name, password in PASSWORDS.items():
            role = ["--admin"] if name == "eve" else []
            self.tool("user", "add", name, "--password-stdin", *role, stdin=f"{password}\n".encode())
        self.tokens = {name: self.tool("token", "new", "--user", name).strip() for name in ("ann", "bob")}
        self.server = SessionServer(
            brood, "--listen", "tcp:127.0.0.1:0", "--listen", "tls:127.0.0.1:0", "--self-signed", "--config-dir", self.folder
        )
        self.tcp, self.tls = self.server.addresses[1:]
        self.certificate = str(self.folder / "tls-cert.pem")

    def tool(self, *words, **more):
        done = self.brood.tool(*words, "--config-dir", self.folder, **more)
        assert done.status == 0, done
        return done.out.decode()

    def session(self, *words, token=None, server=None, **more):
        """`brood session words`, over TCP and with a user's token."""
        variables = {"BROOD_SERVER": server or self.tcp, "BROOD_CAFILE": self.certificate, "BROOD_TOKEN": token or ""}
        return self.brood.tool("session", *words, env=variables, **more)


@pytest.fixture(scope="module")
def door(shared_brood):
    made = Door(shared_brood)
    assert made.tcp.startswith("tcp:") and made.tls.startswith("tls:")
    yield made
    made.server.close()


@pytest.fixture(autouse=True)
def trust(door, monkeypatch):
    monkeypatch.setenv("BROOD_CAFILE", door.certificate)
    monkeypatch.delenv("BROOD_TOKEN", raising=False)


@pytest.fixture
def client(door):
    """client("ann"): the Python client, logged in with the password."""
    made = []

    def log_in(name):
        made.append(package.Client(door.tcp, user=name, password=PASSWORDS[name], timeout=TIMEOUT))
        return made[-1]

    yield log_in
    for one in made:
        one.close()


@pytest.fixture
def anns(client):
    with client("ann").new(name="ann's") as session:
        session.run("x = 1", timeout=DEADLINE).check()
        session.put("a.txt", b"ann's file")
        yield session


# --- logging in ----------------------------------------------------------------------------------


def credentials(door, how):
    return {"token": door.tokens["bob"]} if how == "token" else {"user": "bob", "password": PASSWORDS["bob"]}


@pytest.mark.parametrize("how", ["password", "token"])
@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_python_logs_in(door, kind, how):
    with package.Client(getattr(door, kind), **credentials(door, how), timeout=TIMEOUT) as client, client.new() as session:
        assert (client.server()["user"], client.server()["role"], session.info()["owner"]) == ("bob", "user", "bob")
        assert session.run("6 * 7", timeout=DEADLINE).value == "42"
        assert list(session.stream("1", timeout=DEADLINE))[-1].status == "ok"


@pytest.mark.parametrize("how", ["password", "token"])
@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_asyncio_logs_in(door, kind, how):
    async def main():
        async with package.AsyncClient(getattr(door, kind), **credentials(door, how), timeout=TIMEOUT) as client:
            async with await client.new() as session:
                return (await session.run("6 * 7", timeout=DEADLINE)).value, (await session.info())["owner"]

    assert asyncio.run(main()) == ("42", "bob")


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_the_command_line_logs_in_with_a_token(door, kind):
    where = {"server": getattr(door, kind), "token": door.tokens["bob"]}
    made = door.session("new", "--name", "bob's", **where)
    assert (made.status, made.err) == (0, b""), made
    done = door.session("exec", "bob's", "-c", "6 * 7", **where)
    assert (done.status, done.out, done.err) == (0, b"42\n", b"")
    assert b" bob\n" in door.session("list", **where).out
    assert door.session("rm", made.out.decode().strip(), **where).status == 0


@pytest.mark.parametrize("password,says,status", [(PASSWORDS["bob"], "No sessions", 0), ("wrong", "brood: ", 1)])
def test_the_command_line_asks_for_a_password(door, password, says, status):
    terminal = pexpect.spawn(
        door.brood.brood, ["session", "list", "--user", "bob"], env={**door.brood.environment, "BROOD_SERVER": door.tcp}, timeout=TIMEOUT, encoding="utf-8"
    )
    terminal.expect_exact("Password of bob: ")
    terminal.sendline(password)
    terminal.expect_exact(says)
    terminal.expect(pexpect.EOF)
    assert password not in terminal.before
    terminal.close()
    assert terminal.exitstatus == status


@pytest.mark.parametrize("wrong", [{"token": "brood_wrong"}, {"user": "bob", "password": "wrong"}, {"user": "nobody", "password": "x"}], ids=str)
def test_python_with_a_wrong_secret(door, wrong):
    with package.Client(door.tcp, **wrong, timeout=TIMEOUT) as client, pytest.raises(package.AuthenticationError, match="check token="):
        client.sessions()


def test_without_a_secret(door):
    with package.Client(door.tcp, timeout=TIMEOUT) as client, pytest.raises(package.AuthenticationError, match="BROOD_TOKEN"):
        client.sessions()
    done = door.session("list")
    assert (done.status, done.out) == (1, b"") and b"BROOD_TOKEN" in done.err


def test_the_command_line_with_a_wrong_token(door):
    done = door.session("list", token="brood_wrong")
    assert (done.status, done.out) == (1, b"") and done.err.startswith(b"brood: "), done


def test_a_certificate_that_nobody_vouches_for(door, monkeypatch):
    monkeypatch.delenv("BROOD_CAFILE")
    with package.Client(door.tls, token=door.tokens["bob"]) as client, pytest.raises(package.ConnectionLost, match="BROOD_CAFILE"):
        client.sessions()
    done = door.brood.tool("session", "list", env={"BROOD_SERVER": door.tls, "BROOD_TOKEN": door.tokens["bob"]})
    assert done.status == 1 and b"BROOD_CAFILE" in done.err, done


def test_a_token_that_was_revoked(door):
    token = door.tool("token", "new", "--user", "bob").strip()
    assert door.session("list", token=token).status == 0
    listed = door.tool("token", "list").splitlines()
    door.tool("token", "revoke", listed[-1].split()[0])
    assert door.session("list", token=token).status == 1
    assert door.session("list", token=door.tokens["bob"]).status == 0


# --- others' sessions ----------------------------------------------------------------------------


def methods():
    """{method: members} of all that docs/protocol.md has for a session, with members that are right."""
    table = (ROOT / "docs/protocol.md").read_text().partition("### Methods")[2].partition("### Events")[0]
    named = re.findall(r"^\| `(\w+)` \| (?:`session`|as `execute`)", table, re.M)
    members = {
        "rename": {"name": "taken"},
        "execute": {"code": "x = 'taken'"},
        "run": {"code": "x = 'taken'"},
        "signal": {"signal": "KILL"},
        "complete": {"code": "x", "cursor": 1},
        "inspect": {"code": "x", "cursor": 1},
        "put": {"path": "a.txt"},
        "get": {"path": "a.txt"},
        "delete": {"path": "a.txt"},
        "share": {"with": "bob", "access": "edit"},
    }
    return {name: members.get(name, {}) for name in named}


METHODS = methods()


def untouched(session):
    assert session.info()["name"] == "ann's" and session.info()["shares"] in ({}, {"bob": "view"})
    assert session.get("a.txt") == b"ann's file"
    assert session.run("x", timeout=DEADLINE).value == "1"
    assert {event.head["by"] for event in session.stream("x") if event.type == "cell"} == {"ann"}


def test_the_methods_are_all_here():
    assert len(METHODS) == 21 and VIEWING | OWNING | {"signal", "fork", "undo", "stdin"} < set(METHODS)


def test_anothers_session_does_not_exist(anns, client):
    bob = client("bob")
    assert bob.sessions() == []
    for method, members in METHODS.items():
        answers = []
        for session in (anns.id, "vm-" + "a" * 10):
            with pytest.raises(package.NotFound) as refused:
                bob.call(method, session=session, **members)
            answers.append(str(refused.value).replace(session, "ID"))
        assert answers[0] == answers[1], method
    untouched(anns)


def test_who_may_view_may_not_change(anns, client):
    anns.share("bob", "view")
    bob = client("bob")
    assert [session["access"] for session in bob.sessions()] == ["view"]
    for method, members in METHODS.items():  # in their order: joins, then leaves
        if method in VIEWING:
            bob.call(method, session=anns.id, **members)
            continue
        with pytest.raises(package.Forbidden):
            bob.call(method, session=anns.id, **members)
    untouched(anns)


def test_who_may_edit_does_not_own(anns, client):
    anns.share("bob", "edit")
    bob = client("bob")
    for method in OWNING:
        with pytest.raises(package.Forbidden):
            bob.call(method, session=anns.id, **METHODS[method])
    shared = bob.session(anns.id)
    assert shared.run("x + 1", timeout=DEADLINE).value == "2"
    with shared.fork() as branch:
        assert branch.info()["owner"] == "bob"
    anns.share("bob", "none")
    with pytest.raises(package.SessionNotFound):
        shared.info()


def test_who_is_joined_loses_what_is_no_longer_shared(anns, client):
    anns.share("bob", "view")
    with client("bob").session(anns.id).events() as events:
        while events.read(DEADLINE).type != "done":
            pass
        anns.share("bob", "none")
        anns.run("print('a secret')", timeout=DEADLINE).check()
        seen = list(events)
    assert "secret" not in str(seen)
    assert (seen[-1].type, seen[-1].why) == ("ended", "it is no longer shared with you")
    assert anns.info()["state"] == "idle"


def test_an_admin_sees_all(anns, client):
    eve = client("eve")
    assert eve.server()["role"] == "admin" and anns.id in [session["id"] for session in eve.sessions()]
    assert eve.session(anns.id).run("x", timeout=DEADLINE).value == "1"


def test_the_command_line_does_not_see_anothers_session(door, anns):
    bob = {"token": door.tokens["bob"]}
    assert anns.id.encode() not in door.session("list", **bob).out
    for words in (["exec", anns.id, "-c", "1"], ["interrupt", anns.id], ["signal", anns.id, "KILL"], ["undo", anns.id], ["fork", anns.id], ["checkpoints", anns.id], ["rm", anns.id]):
        done = door.session(*words, **bob)
        assert (done.status, done.out) == (1, b"") and b"no session has the id" in done.err, done
    untouched(anns)
