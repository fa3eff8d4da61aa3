"""HTTP and WebSocket of the real `brood serve` (docs/http.md); every JSON answer is held against /v1/openapi.json."""

import http.client
import json
import re

import jsonschema
import pytest
from serve_fixture import TOKEN, Serve
from waiting import wait_until

DIALECT = jsonschema.Draft202012Validator
USERS = ("anna", "bert")


@pytest.fixture(scope="module")
def serve(shared_brood):
    for user in USERS:
        added = shared_brood.tool("user", "add", user, "--password-stdin", stdin=f"{user}-password\n".encode())
        assert added.status == 0, added
    server = Serve(shared_brood)
    yield server
    server.close()


@pytest.fixture(scope="module")
def document(serve):
    reply = serve.ask("GET", "/v1/openapi.json", token=None)
    assert reply.status == 200 and reply.json["openapi"].startswith("3.1")
    return reply.json


@pytest.fixture
def session(serve):
    made = serve.new(name="test")
    yield made
    serve.ask("DELETE", f"/v1/sessions/{made}")


def schema_of(document, verb, path, status, kind):
    """The schema of an answer; fails when the document does not know the route, the verb or the status."""
    template = path.partition("?")[0]
    for known, item in document["paths"].items():
        pattern = re.escape(known).replace(r"\{id\}", "[^/]+").replace(r"\{path\}", ".*[^/]").replace(r"\{folder\}", ".*")
        if re.fullmatch(pattern, template) and verb.lower() in item:
            answers = item[verb.lower()]["responses"]
            answer = answers.get(str(status), answers["default"] if status >= 400 else None)
            assert answer is not None, f"{verb} {known} knows no {status}"
            if "$ref" in answer:
                answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
            if "content" not in answer:
                return None
            return answer["content"][kind]["schema"]
    raise AssertionError(f"the document has no {verb} {path}")


@pytest.fixture
def ask(serve, document):
    """As serve.ask(), with the expected status; sees that the answer is what the document says."""

    def asked(verb, path, body=None, *, status=200, **more):
        reply = serve.ask(verb, path, body, **more)
        assert reply.status == status, reply
        kind = reply.headers.get("content-type", "").partition(";")[0]
        schema = schema_of(document, verb, path, status, kind)
        if reply.json is not None:
            DIALECT({**schema, "components": document["components"]}).validate(reply.json)
        elif schema is None:
            assert reply.body == b""
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store" or not path.startswith("/v1/")
        return reply

    return asked


def login(serve, user):
    """Headers of a user's page."""
    reply = serve.ask("POST", "/v1/login", {"user": user, "password": f"{user}-password"}, token=None)
    assert reply.status == 200 and reply.json == {"user": user, "role": "user"}
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie and "Secure" not in cookie
    return {"Cookie": cookie.partition(";")[0], "Origin": f"http://{serve.host}:{serve.port}"}


# --- what needs no session ---------------------------------------------------------------------------------------------


def test_the_document_is_valid(document):
    for schema in document["components"]["schemas"].values():
        DIALECT.check_schema(schema)


def test_health_me_environments_metrics(ask):
    assert ask("GET", "/healthz", token=None).json == {"status": "ok"}
    me = ask("GET", "/v1/me").json
    assert me["role"] == "admin" and re.fullmatch(r"\d+\.\d+\.\d+", me["version"])
    assert ask("GET", "/v1/environments").json["environments"]
    metrics = ask("GET", "/metrics").body.decode()
    assert 'brood_http_requests_total{class="2xx"}' in metrics


def test_login_logout_and_origin(serve, ask):
    page = login(serve, "anna")
    assert ask("GET", "/v1/me", token=None, headers=page).json["user"] == "anna"
    for origin in ({}, {"Origin": "http://elsewhere.example"}, {"Origin": "null"}):
        headers = {"Cookie": page["Cookie"], **origin}
        ask("POST", "/v1/sessions", {}, status=403, token=None, headers=headers)
    ask("POST", "/v1/logout", status=204, token=None, headers=page)
    ask("GET", "/v1/me", status=401, token=None, headers=page)


def test_the_address_that_is_printed_logs_in(serve):
    reply = serve.ask("GET", f"/?token={TOKEN}", token=None)
    assert reply.status == 303 and reply.headers["location"] == "/"
    cookie = reply.headers["set-cookie"].partition(";")[0]
    assert serve.ask("GET", "/v1/me", token=None, headers={"Cookie": cookie}).json["role"] == "admin"


def test_other_hosts_are_refused(serve):
    assert serve.ask("GET", "/healthz", headers={"Host": "evil.example"}).status == 421
    assert serve.ask("GET", "/healthz", headers={"Host": f"localhost:{serve.port}"}).status == 200


def test_malformed_requests(serve, ask, session):
    ask("POST", "/v1/sessions", b"{", status=400, headers={"Content-Type": "application/json"})
    ask("POST", "/v1/sessions", b"{}", status=415, headers={"Content-Type": "text/plain"})
    ask("POST", "/v1/sessions", b" " * (8 << 20) + b"{}", status=413, headers={"Content-Type": "application/json"})
    ask("POST", f"/v1/sessions/{session}/execute", {}, status=400)
    ask("GET", f"/v1/sessions/{session}/files/%zz", status=400)
    ask("GET", f"/v1/sessions/{session}/files/..%2F..%2Fetc%2Fpasswd", status=403)
    assert serve.ask("GET", "/v1/nothing").status == 404
    wrong = serve.ask("PUT", "/v1/sessions", b"")
    assert wrong.status == 405 and wrong.headers["allow"] == "GET, HEAD, POST"


# --- a session's life ---------------------------------------------------------------------------------------------------


def test_a_session_is_made_described_renamed_and_removed(ask):
    made = ask("POST", "/v1/sessions", {"name": "first"}, status=201)
    path = made.headers["location"]
    assert path == f"/v1/sessions/{made.json['id']}" and made.json["name"] == "first"
    assert made.json["id"] in [one["id"] for one in ask("GET", "/v1/sessions").json["sessions"]]
    assert ask("GET", path).json["access"] == "owner"
    assert ask("PATCH", path, {"name": "second"}).json["name"] == "second"
    ask("DELETE", path, status=204)
    ask("GET", path, status=404)


def test_cells(ask, session):
    def run(code):
        return ask("POST", f"/v1/sessions/{session}/execute", {"code": code}).json

    done = run("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
    assert (done["status"], done["stdout"], done["stderr"]) == ("ok", "out\n", "err\n")
    assert done["result"]["text/plain"] == "42" and done["error"] is None
    failed = run("1 / 0")
    assert failed["status"] == "error" and failed["error"]["name"] == "ZeroDivisionError"


def test_undo_fork_and_checkpoints(ask, serve, session):
    serve.run(session, "x = 1")
    serve.run(session, "x = 2")
    path = f"/v1/sessions/{session}"
    kept = ask("GET", f"{path}/checkpoints?memory=1").json["checkpoints"]
    assert kept[-1]["code"] == "x = 2"
    assert ask("POST", f"{path}/undo", {}).json["checkpoint"] == kept[-1]["checkpoint"]
    assert serve.run(session, "x")["result"]["text/plain"] == "1"
    branch = ask("POST", f"{path}/fork", {"name": "branch"}, status=201)
    assert branch.json["us"] > 0 and branch.headers["location"] == f"/v1/sessions/{branch.json['id']}"
    serve.run(session, "x = 5")
    assert serve.run(branch.json["id"], "x")["result"]["text/plain"] == "1"
    serve.track(branch.json["id"], token=TOKEN)
    ask("DELETE", f"/v1/sessions/{branch.json['id']}", status=204)


def test_stdin_interrupt_signal_and_message(ask, serve, session):
    path = f"/v1/sessions/{session}"
    with serve.socket(session) as client:
        assert client.next()["type"] == "joined"
        client.say(request=1, method="execute", code="input('name? ')")
        client.until(lambda one: one.get("type") == "input")
        ask("POST", f"{path}/stdin", {"data": "brood\n"}, status=204)
        events = client.until(lambda one: one.get("type") == "done")
        assert [one["data"]["text/plain"] for one in events if one.get("type") == "result"] == ["'brood'"]
        for stop in (("interrupt", None), ("signal", {"signal": "SIGINT"})):
            client.say(request=2, method="execute", code="import time\nprint('begun', flush=True)\ntime.sleep(100)")
            client.until(lambda one: one.get("type") == "stdout")
            ask("POST", f"{path}/{stop[0]}", stop[1], status=204)
            assert client.until(lambda one: one.get("type") == "done")[-1]["status"] == "interrupted"
    ask("POST", f"{path}/message", {"data": "hello"}, status=204)
    ask("POST", f"{path}/message", {"base64": "/w=="}, status=204)
    ask("POST", f"{path}/message", {"base64": "/"}, status=400)


def test_complete_and_inspect(ask, serve, session):
    serve.run(session, "def brooding(clutch):\n    'Keeps it warm.'")
    path = f"/v1/sessions/{session}"
    found = ask("POST", f"{path}/complete", {"code": "brood", "cursor": 5}).json
    assert "brooding" in [match["text"].rstrip("(") for match in found["matches"]]
    about = ask("POST", f"{path}/inspect", {"code": "brooding", "cursor": 8}).json
    assert about["found"] and "Keeps it warm." in json.dumps(about["data"])


def test_files(ask, serve, session):
    path = f"/v1/sessions/{session}/files"
    big = bytes(range(256)) * 10_000  # more than two pieces
    ask("PUT", f"{path}/a%20b.bin", big, status=201)
    ask("PUT", f"{path}/a%20b.bin", big, status=204)
    got = ask("GET", f"{path}/a%20b.bin")
    assert got.body == big and got.headers["content-disposition"] == "attachment"
    head = serve.ask("HEAD", f"{path}/a%20b.bin")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(big)), b"")
    assert serve.run(session, "import os\nos.makedirs('sub')\nopen('sub/x', 'w').write('y')")["status"] == "ok"
    listed = {one["name"]: one for one in ask("GET", path).json["files"]}
    assert listed["a b.bin"]["size"] == len(big) and listed["sub"]["type"] == "folder"
    assert [one["name"] for one in ask("GET", f"{path}/sub/").json["files"]] == ["x"]
    assert ask("GET", f"{path}/sub/x").body == b"y"
    ask("DELETE", f"{path}/sub/x", status=204)
    ask("GET", f"{path}/sub/x", status=404)


def test_server_sent_events(serve, session):
    connection = http.client.HTTPConnection(serve.host, serve.port, timeout=60)
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream", "Content-Type": "application/json"}
    body = json.dumps({"code": "print('one')\nprint('zw\\u00f6lf')\n3"})
    connection.request("POST", f"/v1/sessions/{session}/execute", body, headers)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Content-Type")) == (200, "text/event-stream")
    blocks = [block.split("\n") for block in answer.read().decode().split("\n\n") if block.startswith("id:")]
    connection.close()
    events = [json.loads(block[2].removeprefix("data: ")) for block in blocks]
    assert [f"id: {one['seq']}" for one in events] == [block[0] for block in blocks]
    assert [f"event: {one['type']}" for one in events] == [block[1] for block in blocks]
    assert "".join(one["data"] for one in events if one["type"] == "stdout") == "one\nzw\u00f6lf\n"
    assert events[-1]["type"] == "done" and events[-1]["status"] == "ok"


# --- WebSocket ----------------------------------------------------------------------------------------------------------


def test_a_socket_joins_asks_and_reads_on_where_it_was(serve, session):
    with serve.socket(session) as client:
        assert client.status == 101
        joined = client.next()
        assert joined["type"] == "joined" and joined["session"]["id"] == session
        client.say(request=1, method="execute", code="print('\\u20ac')")
        cell = client.until(lambda one: one.get("request") == 1)[-1]["cell"]
        read = client.until(lambda one: one.get("type") == "done" and one["cell"] == cell)
        assert "".join(one["data"] for one in read if one.get("type") == "stdout") == "\u20ac\n"
        after = read[-1]["seq"]
        client.say(request=2, method="nothing")
        assert client.until(lambda one: one.get("request") == 2)[-1]["error"]["code"] == "bad_request"
    serve.run(session, "print('later')")
    with serve.socket(session, f"?after={after}") as client:
        read = client.until(lambda one: one.get("type") == "done")
        assert read[1]["seq"] > after
        assert "".join(one["data"] for one in read if one.get("type") == "stdout") == "later\n"


def test_sockets_are_refused_and_closed(serve, session):
    with serve.socket("nothing") as client:
        assert client.status == 101 and client.next() is None and client.close_code == 4404
    assert serve.socket(session, headers={}).status == 401
    cookie = login(serve, "anna")["Cookie"]
    assert serve.socket(session, headers={"Cookie": cookie}).status == 403
    with serve.socket(session) as client:
        client.next()
        serve.ask("DELETE", f"/v1/sessions/{session}")
        while (message := client.next()) is not None:
            last = message
        assert last["type"] == "ended" and client.close_code == 4410


def test_who_joins_is_counted(ask, serve, session):
    path = f"/v1/sessions/{session}"
    with serve.socket(session) as client:
        client.next()
        assert ask("GET", path).json["clients"] == 1
    wait_until(lambda: ask("GET", path).json["clients"] == 0, "the client to have left")


# --- whose it is --------------------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "", None),
    ("PATCH", "", {"name": "mine"}),
    ("POST", "/execute", {"code": "1"}),
    ("POST", "/interrupt", None),
    ("POST", "/signal", {"signal": 2}),
    ("POST", "/undo", {}),
    ("POST", "/fork", {}),
    ("POST", "/stdin", {"data": "x"}),
    ("POST", "/message", {"data": "x"}),
    ("POST", "/complete", {"code": "x", "cursor": 1}),
    ("POST", "/inspect", {"code": "x", "cursor": 1}),
    ("GET", "/checkpoints", None),
    ("POST", "/share", {"with": "*", "access": "edit"}),
    ("GET", "/files", None),
    ("GET", "/files/sub/", None),
    ("GET", "/files/x", None),
    ("PUT", "/files/x", b"x"),
    ("DELETE", "/files/x", None),
    ("DELETE", "", None),
]
LOOKS = {("GET", ""), ("GET", "/checkpoints")}  # what "view" is enough for, whatever the session holds


@pytest.fixture
def annas(serve, ask):
    """Headers of anna and bert, and a session of anna's."""
    anna, bert = (login(serve, user) for user in USERS)
    made = ask("POST", "/v1/sessions", {}, status=201, token=None, headers=anna).json["id"]
    yield anna, bert, made
    serve.ask("DELETE", f"/v1/sessions/{made}")


def test_the_routes_of_a_session_are_all_here(document):
    known = {(verb.upper(), path) for path, item in document["paths"].items() for verb in item if "{id}" in path and verb != "parameters"}
    here = {(verb, "/v1/sessions/{id}" + path.replace("/sub/", "/{folder}/").replace("/x", "/{path}")) for verb, path, _ in ROUTES}
    assert known - here == {("GET", "/v1/sessions/{id}/stream")}


@pytest.mark.parametrize("verb,path,body", ROUTES, ids=lambda value: str(value))
def test_a_strangers_session_does_not_exist(ask, annas, verb, path, body):
    _, bert, session = annas
    ask(verb, f"/v1/sessions/{session}{path}", body, status=404, token=None, headers=bert)


@pytest.mark.parametrize("verb,path,body", ROUTES, ids=lambda value: str(value))
def test_nobody_comes_in_without_credentials(serve, ask, verb, path, body):
    ask(verb, f"/v1/sessions/any{path}", body, status=401, token=None)
    ask(verb, f"/v1/sessions/any{path}", body, status=401, token=None, headers={"Cookie": "brood=wrong"})


def test_a_session_that_is_shared_to_be_viewed(serve, ask, annas):
    anna, bert, session = annas
    path = f"/v1/sessions/{session}"
    ask("POST", f"{path}/execute", {"code": "x = 1"}, token=None, headers=anna)
    shares = ask("POST", f"{path}/share", {"with": "bert", "access": "view"}, token=None, headers=anna)
    assert shares.json == {"shares": {"bert": "view"}}
    assert session in [one["id"] for one in ask("GET", "/v1/sessions", token=None, headers=bert).json["sessions"]]
    assert ask("GET", path, token=None, headers=bert).json["access"] == "view"
    for verb, route in LOOKS:
        ask(verb, path + route, token=None, headers=bert)
    with serve.socket(session, headers=bert) as client:
        assert client.next()["type"] == "joined"
        client.say(request=1, method="execute", code="2")
        assert client.until(lambda one: one.get("request") == 1)[-1]["error"]["code"] == "forbidden"
    for verb, route, body in ROUTES:
        if verb != "GET" and route not in ("/complete", "/inspect"):
            ask(verb, path + route, body, status=403, token=None, headers=bert)
    ask("POST", f"{path}/share", {"with": "bert", "access": "none"}, token=None, headers=anna)
    ask("GET", path, status=404, token=None, headers=bert)
