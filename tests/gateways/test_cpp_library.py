"""The installed C++ library of gateways: its example is built against a prefix, and reads files by way of real interpreters."""

import contextlib
import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from hosts.processes import DEADLINE, MARK, carrying, ended, wait_until
from serve_gateways_fixture import address_of
from socketserver_fixture import TOKEN, Process

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BROOD_BUILD", ROOT / "build"))
EXAMPLE = ROOT / "examples/gateways/cpp"
BUILD_WITHIN = 10 * DEADLINE


def run(*words, **more):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=BUILD_WITHIN, **more)
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    made = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", BUILD, "--prefix", made)
    return made


def build_with_cmake(prefix, folder):
    run("cmake", "-S", EXAMPLE, "-B", folder, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", folder)
    return folder / "fileserver"


def build_with_pkg_config(prefix, folder):
    environment = {"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"}
    flags = run("pkg-config", "--cflags", "--libs", "brood-gateway", env=environment).split()
    run("c++", "-std=c++20", "-Wall", "-Wextra", "-Werror", EXAMPLE / "fileserver.cc", "-o", folder / "fileserver", *flags)
    return folder / "fileserver"


@pytest.fixture(scope="module", params=[build_with_cmake, build_with_pkg_config])
def fileserver(request, prefix, tmp_path_factory):
    if not shutil.which("pkg-config"):
        pytest.skip("pkg-config is not installed")
    return request.param(prefix, tmp_path_factory.mktemp("build"))


@pytest.fixture
def files(tmp_path):
    """Two files, and one that is not there."""
    (tmp_path / "one").write_bytes(b"first\n\0\xff")
    (tmp_path / "two").write_bytes(os.urandom(5 << 20))
    return tmp_path / "one", tmp_path / "missing", tmp_path / "two"


def read(fileserver, spec, files, **more):
    """Reads the files by way of that gateway, and checks what comes."""
    done = subprocess.run([fileserver, spec, *files], capture_output=True, timeout=DEADLINE, **more)
    one, missing, two = files
    assert done.returncode == 1 and done.stdout == one.read_bytes() + two.read_bytes()
    assert done.stderr.count(b"\n") == 1 and f"No such file or directory: '{missing}'" in done.stderr.decode()


def failure(fileserver, spec):
    """What it says when it cannot get there."""
    done = subprocess.run([fileserver, spec, "x"], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 1 and done.stdout == ""
    return done.stderr


def test_over_ssh(fileserver, sshd, files):
    read(fileserver, sshd.spec("python=python3"), files)


@pytest.mark.parametrize("spec", ["popen", "popen//python=/usr/bin/python3"])
def test_here(fileserver, files, spec):
    read(fileserver, spec, files)


def test_over_a_socket(fileserver, files, tmp_path):
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    with Process("127.0.0.1:0", "--token-file", token) as server:
        address = f"socket=127.0.0.1:{server.address[1]}"
        read(fileserver, f"{address}//token_file={token}", files)
        assert f"connection: {address}: the server asks for a token" in failure(fileserver, address)
        assert "has no warm environments" in failure(fileserver, f"{address}//token_file={token}//warm")
        token.write_text("another token than that one\n")
        assert f"connection: {address}: the server refused" in failure(fileserver, f"{address}//token_file={token}")


def test_over_a_socket_without_token(fileserver, files):
    with Process(":0") as server:
        read(fileserver, f"socket=:{server.address[1]}", files)


def test_over_a_server_of_warm_interpreters(fileserver, files, serve):
    address = f"socket={address_of(serve())}"
    read(fileserver, address, files)
    read(fileserver, f"{address}//warm=light", files)
    assert "the server refused: there is no environment none" in failure(fileserver, f"{address}//warm=none")


def test_as_another_user(fileserver, files):
    if not shutil.which("sudo") or subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no sudo without a password: tools/install_deps.sh test")
    done = subprocess.run([fileserver, "sudo=nobody//python=/usr/bin/python3", files[0], "/etc/shadow"],
                          capture_output=True, timeout=DEADLINE)
    assert b"Permission denied: '/etc/shadow'" in done.stderr


def test_warm(fileserver, prefix, files, tmp_path):
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "PATH": f"{prefix}/bin:/usr/bin:/bin", "BROOD_PYTHON": "/usr/bin/python3"}
    try:
        read(fileserver, "warm", files, env=environment)
        run(prefix / "bin/brood", "run", "--wait", "-c", "", env=environment)
        read(fileserver, "warm", files, env=environment)
    finally:
        run(prefix / "bin/brood", "stop", env=environment)


def reader(pipe):
    """A descriptor that writes into it, once somebody has opened it to read; None before that."""
    with contextlib.suppress(OSError):
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)


@pytest.mark.parametrize("spec", ["ssh", "popen"])
def test_nothing_is_left_when_the_program_is_killed(fileserver, sshd, tmp_path, spec):
    """The code over there hangs: it reads a pipe into which nobody writes."""
    os.mkfifo(tmp_path / "pipe")
    mark = uuid.uuid4().hex
    spec = sshd.spec("python=python3") if spec == "ssh" else spec
    program = subprocess.Popen([fileserver, spec, tmp_path / "pipe"], env={**os.environ, MARK: mark})
    pipe = wait_until(lambda: reader(tmp_path / "pipe"), "the file to be read")
    left = carrying(MARK, mark) | sshd.processes()
    assert len(left) >= 3  # the program, the interpreter and its watch; ssh
    program.kill()
    program.wait()
    wait_until(lambda: ended(*left), "the end of all", 6.0)
    os.close(pipe)


@pytest.mark.parametrize(("spec", "words"), [
    ("ssh=nowhere//ssh_config=/no/such/config", "/no/such/config"),
    ("popen//chdir=/proc/x", "/proc/x"),
    ("pope", "bad_request"),
])
def test_errors_are_told(fileserver, spec, words):
    assert words in failure(fileserver, spec)


def test_the_document(prefix, tmp_path):
    """What docs/gateways.md shows compiles and holds."""
    program = re.search(r"^```cpp\n(.*?)^```", (ROOT / "docs/gateways.md").read_text(), re.M | re.S)[1]
    (tmp_path / "program.cc").write_text(program)
    words = ["-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{prefix}/include", "-o", tmp_path / "program"]
    run("c++", tmp_path / "program.cc", *words, f"-L{prefix}/lib", "-lbrood_gateway", "-lcrypto", "-pthread")
    run(tmp_path / "program")


def test_headers_stand_alone(prefix, tmp_path):
    """Each one compiles without what this project is made of, and all of them together."""
    names = sorted(path.name for path in (prefix / "include/brood").iterdir())
    assert names == ["channel.h", "client.h", "gateway.h", "value.h"]
    for included in [[name] for name in names] + [names]:
        source = tmp_path / "headers.cc"
        source.write_text("".join(f"#include <brood/{name}>\n" for name in included))
        run("c++", "-std=c++20", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only", f"-I{prefix}/include", source)
