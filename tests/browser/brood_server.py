"""A private `brood serve` for the tests of its page."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BROOD_BUILD", ROOT / "build")).resolve()
TOKEN = "token-of-the-browser-tests"
START = 60  # seconds until it listens: a hang, not a measure of speed

# What would make runs differ, or set up this machine's shell.
UNWANTED = ("PYTHON", "BROOD", "LC_", "VIRTUAL_ENV", "XDG_", "MPL", "PYENV")


class Server:
    def __init__(self):
        self.base = Path(tempfile.mkdtemp(prefix="brood-browser-"))
        self.process = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(UNWANTED)}
        for name in ("run", "home"):
            (self.base / name).mkdir(mode=0o700)
        environment |= {
            "XDG_RUNTIME_DIR": str(self.base / "run"),
            "HOME": str(self.base / "home"),
            "LANG": "C.UTF-8",
            "BROOD_PYTHON": "/usr/bin/python3",
            "BROOD_TOKEN": TOKEN,
        }
        ready, ready_write = os.pipe()
        command = [BUILD / "bin/brood", "serve", "--demo", "--listen", "http:127.0.0.1:0", "--ready-fd", str(ready_write)]
        try:
            with open(self.base / "log", "wb") as log:
                self.process = subprocess.Popen(
                    command, env=environment, cwd=self.base, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[ready_write]
                )
        finally:
            os.close(ready_write)
        try:
            line = self._first_line(ready)
        finally:
            os.close(ready)
        address = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert address, f"brood serve said {line!r} instead of its address; its log: {self.log()}"
        self.port = int(address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def _first_line(self, descriptor):
        line = b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([descriptor], [], [], START)
            assert readable, f"brood serve was not ready within {START} s; its log: {self.log()}"
            piece = os.read(descriptor, 4096)
            if not piece:
                break
            line += piece
        return line.decode()

    def log(self):
        path = self.base / "log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def ask(self, method, path, body=None):
        """One request with the token; the answer's JSON, or None."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
        return json.loads(text) if text else None

    def new_session(self, **members):
        return self.ask("POST", "/v1/sessions", members)["id"]

    def close(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        shutil.rmtree(self.base, ignore_errors=True)
