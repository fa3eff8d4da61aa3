"""`brood serve` that root starts and that becomes another user."""

import ast
import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest
from brood_fixture import BUILD, TIMEOUT
from serve_fixture import TOKEN
from serve_start import Network, ask, descendants, refused, starting
from waiting import DEADLINE, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root")

NAME, HOMELESS = "brood-somebody", "brood-homeless"
OWN = {"BROOD_TOKEN": TOKEN}
CAPABILITIES = ("CapPrm", "CapEff", "CapAmb")


class Somebody:
    """Users that exist in a mount namespace only: NAME, in two groups, with a home, and HOMELESS."""

    def __init__(self, brood):
        self.brood = brood
        self.uid = next(uid for uid in range(54321, 60000) if self.is_free(uid))
        self.gid, self.more, self.homeless = self.uid + 1, self.uid + 2, self.uid + 3
        self.base = brood.base / "somebody"
        self.home = self.base / "home"
        for folder in (self.base, self.home):
            folder.mkdir(mode=0o700)
            os.chown(folder, self.uid, self.gid)
        self.base.chmod(0o711)
        brood.base.chmod(0o711)
        self.passwd, self.group = self.base / "passwd", self.base / "group"
        self.passwd.write_text(
            Path("/etc/passwd").read_text()
            + f"{NAME}:x:{self.uid}:{self.gid}::{self.home}:/bin/sh\n{HOMELESS}:x:{self.homeless}:{self.gid}::/nonexistent:/bin/sh\n"
        )
        self.group.write_text(Path("/etc/group").read_text() + f"{NAME}:x:{self.gid}:\n{NAME}-more:x:{self.more}:{NAME}\n")
        script = f'mount --bind "{self.passwd}" /etc/passwd && mount --bind "{self.group}" /etc/group && exec "$@"'
        self.under = ["unshare", "-m", "sh", "-c", script, "sh"]
        can = subprocess.run([*self.under, "id", "-G", NAME], capture_output=True, timeout=TIMEOUT, text=True)
        if can.returncode != 0:
            pytest.skip(f"no mount namespace here: {can.stderr}")
        if can.stdout.split() != [str(self.gid), str(self.more)]:
            pytest.skip("users are not looked up in /etc/passwd here")

    @staticmethod
    def is_free(uid):
        return not any(Path(f"/tmp/brood-{uid + more}").exists() for more in range(4))

    def runtime(self, uid=None):
        """The place of its sockets: the variables of root's login do not hold for it."""
        return Path(f"/tmp/brood-{uid or self.uid}")

    def close(self):
        for uid in (self.uid, self.homeless):
            shutil.rmtree(self.runtime(uid), ignore_errors=True)


@pytest.fixture(scope="module")
def installation():
    """Where everybody can read it; the build may lie in a directory of root's."""
    with tempfile.TemporaryDirectory(prefix="brood-installed-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run(["cmake", "--install", BUILD, "--prefix", folder], check=True, stdout=subprocess.DEVNULL, umask=0o022)
        yield folder


@pytest.fixture
def somebody(brood, installation):
    brood.brood = str(installation / "bin/brood")
    with contextlib.closing(Somebody(brood)) as made:
        yield made


@pytest.fixture
def start(brood):
    with starting(brood) as start_one:
        yield start_one


def rights(pid):
    """Of a process: all its ids, and the capabilities that it has."""
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    numbers = {name: set(map(int, lines[name].split())) for name in ("Uid", "Gid", "Groups")}
    return {**numbers, **{name: int(lines[name], 16) for name in CAPABILITIES}}


def those_of(somebody):
    none = dict.fromkeys(CAPABILITIES, 0)
    return {"Uid": {somebody.uid}, "Gid": {somebody.gid}, "Groups": {somebody.gid, somebody.more}, **none}


def session_of(address):
    status, made = ask(address, TOKEN, "POST", "/v1/sessions", {})
    assert status == 201, made
    return made["id"]


def result(address, session, code):
    status, done = ask(address, TOKEN, "POST", f"/v1/sessions/{session}/execute", {"code": code, "timeout": DEADLINE})
    assert status == 200 and done["status"] == "ok", done
    return done["result"]["text/plain"]


@pytest.mark.parametrize("said", ["option", "configuration", "option before configuration"])
def test_root_becomes_another_user(brood, start, somebody, said):
    words = [] if said == "configuration" else ["--user", NAME]
    if said != "option":
        other = NAME if said == "configuration" else HOMELESS
        (brood.work / "brood.toml").write_text(f'[serve]\nuser = "{other}"\n')
    path = somebody.home / "here.sock"
    server = start("--listen", f"unix:{path}", "--listen", "http:127.0.0.1:0", *words, under=somebody.under, env=OWN)
    address = server.addresses[1]
    assert rights(server.pid) == those_of(somebody)
    session = session_of(address)
    worker = int(result(address, session, "import os; os.getpid()"))
    below = descendants(server.pid)
    assert worker in below and len(below) >= 2
    assert [rights(pid) for pid in below] == [those_of(somebody)] * len(below)
    variables = "HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR"
    see = f"os.getresuid(), os.getresgid(), sorted(os.getgroups()), [os.environ.get(name) for name in {variables}]"
    ids = (somebody.uid,) * 3, (somebody.gid,) * 3, [somebody.gid, somebody.more], [str(somebody.home), NAME, NAME, None]
    assert ast.literal_eval(result(address, session, see)) == ids
    assert result(address, session, "os.getcwd()").startswith(f"'{somebody.home}/.cache/brood/sessions/serve/")
    back = "try:\n    os.setuid(0)\nexcept PermissionError:\n    back = False\nback"
    assert result(address, session, back) == "False"
    for file in (path, somebody.runtime() / "serve/sessions.sock"):
        found = file.stat()
        assert (found.st_uid, found.st_gid) == (somebody.uid, somebody.gid) and file.is_socket(), file
    assert not brood.folder.exists()  # nothing of root's
    server.end()
    assert not path.exists()
    assert not list((somebody.home / ".cache/brood/sessions").glob("serve*/*"))
    assert [file.name for file in somebody.runtime().rglob("*") if file.is_file() and "resolved" not in file.parts] == ["serve.lock"]


def test_a_port_that_only_root_may_open(start, somebody):
    with contextlib.closing(Network()) as network:
        under = [*network.under, *somebody.under]
        server = start("--listen", "http:127.0.0.1:80", "--user", NAME, under=under, env=OWN)
        assert server.addresses == ["http:127.0.0.1:80"] and rights(server.pid) == those_of(somebody)
        assert network.get("http://127.0.0.1:80/v1/me", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_an_environment_of_roots_configuration(brood, start, somebody):
    """It is read by root, and obeyed by whom root becomes."""
    file = brood.base / "root.toml"
    file.write_text(f'[serve]\nuser = "{NAME}"\n\n[env.mine]\npreload = ["json"]\nvariables = {{ MARK = "here" }}\n')
    file.chmod(0o644)
    server = start("--listen", "http:127.0.0.1:0", "--config", file, under=somebody.under, env=OWN)
    (address,) = server.addresses
    session = session_of(address)
    assert result(address, session, "import os, sys; os.environ['MARK'], 'json' in sys.modules") == "('here', True)"


def test_its_users_are_those_of_whom_it_becomes(brood, start, somebody):
    homes = {"of-root": brood.home, "of-somebody": somebody.home}
    for name, home in homes.items():
        made = brood.tool("user", "add", name, "--password-stdin", stdin=b"the password\n", env={"HOME": str(home)})
        assert made.status == 0, made
    for path in (somebody.home, *somebody.home.rglob("*")):
        os.chown(path, somebody.uid, somebody.gid)
    server = start("--listen", "http:127.0.0.1:0", "--user", NAME, under=somebody.under, env=OWN)
    (address,) = server.addresses
    status = {name: ask(address, TOKEN, "POST", "/v1/login", {"user": name, "password": "the password"})[0] for name in homes}
    assert status["of-root"] == 401 and status["of-somebody"] in (200, 204), status


def test_root_stays_root(brood, start):
    server = start("--listen", "unix:here.sock", "--user", "root")
    assert server.addresses == [f"unix:{brood.work}/here.sock"] and brood.folder.exists()
    assert rights(server.pid) == rights("self")


def test_a_user_without_a_home(brood, start, somebody):
    under = somebody.under
    status, text = refused(brood, "--listen", "http:127.0.0.1:0", "--user", HOMELESS, under=under)
    folder = "/nonexistent/.cache/brood/sessions"
    assert (status, text) == (1, f"brood serve: the folder {folder} cannot be made; say another one: folder in [serve]\n")
    place = somebody.base / "sessions"
    place.mkdir(mode=0o700)
    os.chown(place, somebody.homeless, somebody.gid)
    (brood.work / "brood.toml").write_text(f'[serve]\nfolder = "{place}"\n')
    server = start("--listen", "http:127.0.0.1:0", "--user", HOMELESS, under=under, env=OWN)
    (address,) = server.addresses
    session = session_of(address)
    assert result(address, session, "import os; os.getcwd(), os.getuid()") == repr((f"{place}/serve/{session}", somebody.homeless))


def test_who_cannot_be_become(brood, somebody):
    listen = ["--listen", "unix:here.sock"]
    none = (1, "brood serve: there is no user nobody-at-all to become\n")
    assert refused(brood, *listen, "--user", "nobody-at-all", under=somebody.under) == none
    (brood.work / "brood.toml").write_text('[serve]\nuser = "nobody-at-all"\n')
    assert refused(brood, *listen, under=somebody.under) == none
    as_somebody = {"user": somebody.uid, "group": somebody.gid, "extra_groups": [], "cwd": somebody.home}
    assert refused(brood, *listen, "--user", "root", **as_somebody) == (1, "brood serve: only root can become the user root\n")
    assert not [path for path in brood.base.rglob("*") if path.is_socket()]


def make_certificate(folder, name, group):
    """A self-signed one in folder/cert.pem; its key is root's, for the group to read."""
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", *request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    os.chown(key, 0, group)
    key.chmod(0o640)
    certificate.chmod(0o644)
    return certificate.read_text()


def shown(address):
    return ssl.get_server_certificate(tuple(address.split(":")[1:]))


def test_a_key_of_roots(start, somebody):
    old = make_certificate(somebody.base, "old", somebody.gid)
    files = ["--certificate", somebody.base / "cert.pem", "--key", somebody.base / "key.pem"]
    server = start("--listen", "https:127.0.0.1:0", "--user", NAME, *files, under=somebody.under, env=OWN)
    (address,) = server.addresses
    assert shown(address) == old
    new = make_certificate(somebody.base, "new", somebody.gid)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: shown(address) == new, "the new certificate")
    make_certificate(somebody.base, "unreadable", 0)  # a key that it cannot read: the one before stays
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: f"{somebody.base}/key.pem" in server.err.read_text(), "the refusal of the key")
    assert shown(address) == new


def test_a_self_signed_certificate(start, somebody):
    server = start("--listen", "https:127.0.0.1:0", "--user", NAME, "--self-signed", under=somebody.under, env=OWN)
    (address,) = server.addresses
    files = {file.name: file for file in (somebody.home / ".config/brood").iterdir()}
    assert shown(address) == files["tls-cert.pem"].read_text()
    assert {file.stat().st_uid for file in files.values()} == {somebody.uid}
    files["tls-cert.pem"].write_text("broken")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "tls-cert.pem holds no certificate" in server.err.read_text(), "the refusal of the certificate")
