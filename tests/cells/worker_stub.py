"""Plays the C++ side of a session's worker: executes the files of the cell loop, evaluates cells, records frames.

The tests run it in a process of its own, see main() and conftest.py.
"""
import builtins
import inspect
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "src" / "worker"
PARTS = ("cells", "cells_own", "cells_compile", "cells_await", "cells_report", "cells_display", "cells_talk", "cells_ask", "cells_look")


def load():
    """As execute() in src/worker/py.cc; the namespaces, cells' first."""
    spaces, own = {}, dict(vars(builtins))
    for stem in PARTS:
        space = {"__builtins__": own, "__name__": f"<brood {stem}>"}
        exec(compile((FOLDER / f"{stem}.py").read_text(), f"<brood {stem}>", "exec"), space)
        spaces[stem] = space
    spaces["cells"]["assemble"](spaces)
    return spaces["cells"]


class Stub:
    """One session in this process."""

    def __init__(self, setup=None, practised=False):
        self.frames = []  # what the worker has sent: (type, head, body)
        self.incoming = []  # what receive() gives: (type, head_json, body); an empty list is the end of the socket
        self.cells = load()
        if practised:
            self.cells["practise"](False)
        self.cells["begin_session"](json.dumps({"session": "s1", **(setup or {})}), self.send, self.receive, lambda: False)
        self.main = sys.modules["__main__"].__dict__
        self.count = 0

    def send(self, kind, head, body, in_order=False):
        assert isinstance(head, str) and isinstance(body, bytes)
        head.encode()  # no half surrogates
        self.frames.append((kind, json.loads(head, parse_constant=refuse), body))

    def receive(self, timeout=None):
        if self.incoming:
            return self.incoming.pop(0)
        if timeout is not None:
            return None
        raise EOFError("the server has gone")

    def run(self, code):
        """Runs a cell; its DONE."""
        self.count += 1
        head = {"cell": self.count, "code": code, "execution_count": self.count, "checkpoint": False}
        self.cells["wants_checkpoint"](json.dumps(head))
        codes = self.cells["begin"]()
        value = error = None
        for part in codes or ():
            try:
                value = eval(part, self.main)
                if part.co_flags & inspect.CO_COROUTINE:
                    value = self.cells["awaited"](value)
            except BaseException as caught:
                error = caught.with_traceback(caught.__traceback__.tb_next)  # without this frame
                break
        return json.loads(self.cells["finish"](value, error, codes is not None))

    def events(self, kind=None):
        """What was sent since the last call, of one type."""
        heads = [head for number, head, body in self.frames if number == 58]
        self.frames.clear()
        return [head for head in heads if kind is None or head["type"] == kind]


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def main():
    """Does what the file argv[1] says: JSON {"setup", "steps", "incoming"}. A step is a cell's code; {"ask": head}; or {"python":
    code that sees `stub` and `answer`}. What came of each goes to descriptor 3 as one JSON list."""
    order = json.loads(Path(sys.argv.pop(1)).read_text())
    answers = []
    stub = Stub(order.get("setup"), practised=order.get("practised", False))
    stub.incoming = [(kind, head, body.encode()) for kind, head, body in order.get("incoming", ())]
    answers.append({"frames": listed(stub)})
    for step in order["steps"]:
        if isinstance(step, str):
            answer = {"done": stub.run(step)}
        elif "ask" in step:
            answer = json.loads(stub.cells["ask"](json.dumps(step["ask"])))
        else:
            answer = {}
            exec(step["python"], {"stub": stub, "answer": answer})
        answers.append({**answer, "frames": listed(stub)})
    with open(3, "w") as file:
        json.dump(answers, file)


def listed(stub):
    frames = [[kind, head, body.decode("latin-1")] for kind, head, body in stub.frames]
    stub.frames.clear()
    return frames


if __name__ == "__main__":
    module = type(sys)("__main__")  # the session's __main__ has nothing of this file
    sys.modules["__main__"] = module
    main()
