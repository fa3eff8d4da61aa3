"""A session's cells in a process of their own, with a stub of the C++ side: fixture `run`."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PYTHON = os.environ.get("BROOD_TEST_PYTHON", sys.executable)
EVENT, MESSAGE = 58, 51


class Step:
    """What came of one step."""

    def __init__(self, answer):
        self.answer = answer
        self.done = answer.get("done")
        self.status = self.done["status"] if self.done else None
        self.events = [head for kind, head, _ in answer["frames"] if kind == EVENT]
        self.messages = [body.encode("latin-1") for kind, _, body in answer["frames"] if kind == MESSAGE]

    def of(self, kind):
        return [event for event in self.events if event["type"] == kind]

    @property
    def text(self):
        """The result as text, None without one."""
        results = self.of("result")
        assert len(results) <= 1
        return results[0]["data"]["text/plain"] if results else None

    @property
    def error(self):
        (event,) = self.of("error")
        return event

    @property
    def traceback(self):
        return "".join(self.error["traceback"])


class Session(list):
    """The steps, and what was written."""

    stdout = stderr = ""
    begin = None


@pytest.fixture
def needs():
    """needs(module) skips the test where the tested interpreter does not have it."""

    def needs(module):
        if subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, timeout=60).returncode:
            pytest.skip(f"{PYTHON} has no {module}")

    return needs


@pytest.fixture
def run(tmp_path):
    def run(*steps, stdin="", environment=None, **order):
        orders, answers = tmp_path / "orders", tmp_path / "answers"
        orders.write_text(json.dumps({"steps": steps, **order}))
        done = subprocess.run(
            ["/bin/sh", "-c", 'exec "$0" "$@" 3>"$ANSWERS"', PYTHON, str(HERE / "worker_stub.py"), str(orders)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, "ANSWERS": str(answers), **(environment or {})},
        )
        assert done.returncode == 0, done.stderr
        steps = [Step(answer) for answer in json.loads(answers.read_text())]
        session = Session(steps[1:])
        session.begin, session.stdout, session.stderr = steps[0], done.stdout, done.stderr
        return session

    return run
