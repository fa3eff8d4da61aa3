"""A `brood serve` of a test's own, on a Unix socket."""

import os
import select
import signal
import subprocess

from brood_fixture import TIMEOUT


class SessionServer:
    """`options`: more of `brood serve`. `addresses`: all that it listens on, with the ports that it got."""

    def __init__(self, brood, *options):
        self.brood = brood
        self.address = f"unix:{brood.base}/sessions.sock"
        self.environment = {**brood.environment, "BROOD_SERVER": self.address}
        self.log = open(brood.base / "serve.log", "wb")
        reading, writing = os.pipe()
        try:
            self.process = subprocess.Popen(
                [brood.brood, "serve", "--listen", self.address, "--ready-fd", str(writing), *map(str, options)],
                env=self.environment,
                cwd=brood.work,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                pass_fds=(writing,),
            )
            os.close(writing)
            writing = None
            ready, _, _ = select.select([reading], [], [], TIMEOUT)
            self.addresses = os.read(reading, 4096).decode().split() if ready else []
            if not self.addresses:
                self.close()
                raise AssertionError(f"brood serve is not ready: {(brood.base / 'serve.log').read_text()}")
        finally:
            os.close(reading)
            if writing is not None:
                os.close(writing)

    def tool(self, *words, **more):
        """Runs `brood session words`."""
        return self.brood.tool("session", *words, env={"BROOD_SERVER": self.address}, **more)

    def new(self, *words):
        done = self.tool("new", *words)
        assert (done.status, done.err) == (0, b""), done
        return done.out.decode().strip()

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
