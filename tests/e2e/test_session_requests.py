"""What a server of sessions refuses, and what it says then."""


import pytest
from serve_fixture import TOKEN, Serve
from serve_start import ask, starting


@pytest.fixture(scope="module")
def serve(shared_brood):
    for user in ("anna", "bert"):
        added = shared_brood.tool("user", "add", user, "--password-stdin", stdin=f"{user}-password\n".encode())
        assert added.status == 0, added
    server = Serve(shared_brood)
    yield server
    server.close()


@pytest.fixture
def session(serve):
    made = serve.new(name="test")
    yield made
    serve.ask("DELETE", f"/v1/sessions/{made}")


def said(reply, status=400):
    assert reply.status == status and reply.headers["content-type"] == "application/problem+json", reply
    return reply.json["detail"]


# --- names ---------------------------------------------------------------------------------------

CONTROLS = "a name has no control characters, such as escapes and line ends"
LONG = "a name has at most 200 bytes"
NAMES = {
    "a\x1b[31mred\nsecond line": CONTROLS,
    "\x7f": CONTROLS,
    "a\u009b31m": CONTROLS,
    "tab\t": CONTROLS,
    "x" * 201: LONG,
    "ä" * 101: LONG,
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_are_refused(serve, session, name):
    path = f"/v1/sessions/{session}"
    assert said(serve.ask("POST", "/v1/sessions", {"name": name})) == NAMES[name]
    assert said(serve.ask("POST", f"{path}/fork", {"name": name})) == NAMES[name]
    assert said(serve.ask("PATCH", path, {"name": name})) == NAMES[name]
    assert [one["name"] for one in serve.ask("GET", "/v1/sessions").json["sessions"] if one["state"] != "ended"] == ["test"]


def test_names_that_are_taken(serve, session):
    path = f"/v1/sessions/{session}"
    for name in ("Überblick £ 12", "ä" * 100):
        assert serve.ask("PATCH", path, {"name": name}).json["name"] == name
    branch = serve.ask("POST", f"{path}/fork", {}).json
    branch = branch.get("session", branch)
    assert branch["name"] == "ä" * 100  # there is no room for "branch of"
    serve.ask("DELETE", f"/v1/sessions/{branch['id']}")


# --- who may -------------------------------------------------------------------------------------


@pytest.mark.parametrize("access, what", [("edit", "editing"), ("view", "viewing")])
def test_what_needs_the_owner(serve, session, access, what):
    path = f"/v1/sessions/{session}"
    assert serve.ask("POST", f"{path}/share", {"with": "bert", "access": access}).status == 200
    entered = serve.ask("POST", "/v1/login", {"user": "bert", "password": "bert-password"}, token=None)
    cookie = entered.headers["set-cookie"].partition(";")[0]
    bert = {"token": None, "headers": {"Cookie": cookie, "Origin": f"http://{serve.host}:{serve.port}"}}
    text = f"the session is shared with you for {what}; that needs its owner"
    assert said(serve.ask("DELETE", path, **bert), 403) == text
    assert said(serve.ask("POST", f"{path}/share", {"with": "anna", "access": "view"}, **bert), 403) == text
    if access == "view":
        text = "the session is shared with you for viewing; that needs editing"
        assert said(serve.ask("POST", f"{path}/undo", {}, **bert), 403) == text


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "route, body, text",
    [
        ("undo", {"steps": 0}, "steps is 0, expected a whole number from 1 on"),
        ("undo", {"steps": -1}, "steps is -1, expected a whole number from 0 on"),
        ("undo", {"steps": 1, "to": 1}, "expected one of steps (so many cells) and to (there)"),
        ("undo", {"steps": "1"}, "steps is string, expected a whole number from 0 on"),
        ("execute", {"code": "1", "timeout": -1}, "timeout is -1, expected a number of seconds from 0 on"),
        ("fork", {"at": 1.5}, "at is 1.5, expected a whole number from 0 on"),
    ],
)
def test_numbers_that_are_wrong(serve, session, route, body, text):
    serve.run(session, "x = 1")
    assert said(serve.ask("POST", f"/v1/sessions/{session}/{route}", body)) == text


# --- too early -----------------------------------------------------------------------------------


def test_a_branch_of_a_session_that_starts(brood):
    go_on = brood.base / "go-on"
    (brood.work / "init.py").write_text(f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.01)\n")
    (brood.work / "brood.toml").write_text('[env.slow]\ninit = "init.py"\n')
    with starting(brood) as start:
        server = start("--listen", "http:127.0.0.1:0", env={"BROOD_TOKEN": TOKEN})
        (address,) = server.addresses
        status, made = ask(address, TOKEN, "POST", "/v1/sessions", {})
        assert (status, made["state"]) == (201, "starting"), made
        status, problem = ask(address, TOKEN, "POST", f"/v1/sessions/{made['id']}/fork", {})
        assert (status, problem["detail"]) == (409, "the session is starting; branch when it is idle")
        go_on.touch()
        code = {"code": "6 * 7", "timeout": 60}
        status, done = ask(address, TOKEN, "POST", f"/v1/sessions/{made['id']}/execute", code)
        assert done["result"]["text/plain"] == "42", done
        assert ask(address, TOKEN, "POST", f"/v1/sessions/{made['id']}/fork", {})[0] == 201
