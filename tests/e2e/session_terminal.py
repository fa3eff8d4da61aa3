"""`brood session attach` on a terminal, for tests of what is seen there and of what reaches the session."""

import pexpect
from brood_fixture import TIMEOUT
from session_fixture import package


def environment(server):
    return {**server.environment, "TERM": "xterm", "NO_COLOR": "1", "XDG_STATE_HOME": str(server.brood.base / "state")}


def attach(server, session, env=None):
    return pexpect.spawn(
        server.brood.brood,
        ["session", "attach", session],
        env=env or environment(server),
        dimensions=(40, 100),
        timeout=TIMEOUT,
        encoding="utf-8",
    )


def cells(server, session):
    """The code of all cells."""
    with package.Client(server.address) as client:
        newest = client.session(session).info()["next_seq"] - 1
        with client.session(session).events() as events:
            seen = []
            while newest > 0 and (not seen or seen[-1].seq < newest):
                seen.append(events.read(TIMEOUT))
    return [event.code.rstrip("\n") for event in seen if event.type == "cell"]


def paste(terminal, text):
    """As a terminal does that was asked to say what is pasted."""
    terminal.send("\x1b[200~" + text.replace("\n", "\r") + "\x1b[201~")


def leave(terminal):
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
