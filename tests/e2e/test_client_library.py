"""The installed C++ client library: the example is built against a prefix, and runs against the server installed there."""

import shutil
import subprocess

import pytest
from brood_fixture import BUILD, ROOT, TIMEOUT
from session_server import SessionServer

EXAMPLE = ROOT / "examples/client"
EXPECTED = """x is 6
x * 7 = 42
after undo x = 6
branch 7, original 6
error: ZeroDivisionError
"""


def run(*words, **more):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=4 * TIMEOUT, **more)
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
    return folder / "example"


def build_with_pkg_config(prefix, folder):
    flags = run("pkg-config", "--cflags", "--libs", "brood", env={"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"})
    run("c++", "-std=c++17", EXAMPLE / "main.cc", "-o", folder / "example", *flags.split())
    return folder / "example"


@pytest.mark.skipif(not shutil.which("pkg-config"), reason="pkg-config is not installed")
@pytest.mark.parametrize("build", [build_with_cmake, build_with_pkg_config])
def test_the_example_runs(brood, prefix, tmp_path, build):
    example = build(prefix, tmp_path)
    brood.brood = str(prefix / "bin/brood")
    server = SessionServer(brood)
    try:
        assert run(example, server.address, env=server.environment) == EXPECTED
    finally:
        server.close()
