"""How a cell reads, writes, and hears of interrupts."""
import json

CELL = 49


def test_output_goes_through_the_descriptors(run):
    session = run("import os\nprint('one')\nos.system('echo two')\nprint('three', end='')", "1",
                  "import sys\nprint('err', file=sys.stderr)", "print('\\u2603 \\udc80')")
    assert session.stdout == "one\ntwo\nthree\u2603 \\udc80\n"
    assert session.stderr == "err\n"


def test_streams_are_flushed_before_an_event(run):
    step = {"python": """
import os, sys
inside, outside = os.pipe()
kept = os.dup(1)
os.dup2(outside, 1)
seen = answer["seen"] = []
send = stub.cells["session"].send
def spy(kind, head, body, in_order=False):
    os.set_blocking(inside, False)
    seen.append(os.read(inside, 100).decode())
stub.cells["session"].send = spy
stub.run("print('a', end=''); display(1); print('b', end=''); 2")
os.dup2(kept, 1)
stub.cells["session"].send = send
"""}
    (answer,) = run(step)
    assert answer.answer["seen"] == ["a", "b"]


def test_streams_that_a_cell_breaks_are_mended(run):
    session = run(
        "import sys, io\nsys.stdout = io.StringIO(); print('lost')", "print('a')",
        "sys.stdout.close()", "print('b')",
        "sys.stdout.detach();", "print('c')",
        "sys.stderr = None", "print('d', file=sys.stderr)",
        "del sys.stdin", "input()",
        "sys.stdin.close()", "input()",
        "sys.stdout = 5\n1/0", "print('e')",
        stdin="line\nmore\n",
    )
    assert session.stdout == "a\nb\nc\ne\n" and session.stderr == "d\n"
    assert session[9].text == "'line'"
    assert session[12].status == "error"


def test_input(run):
    session = run("input('name? ')", "input()", "print('x', end=''); input(5)", stdin="you\n\u2603")
    assert [step.text for step in session] == ["'you'", "'\u2603'", None]
    assert session[0].of("input") == [{"type": "input", "prompt": "name? ", "password": False}]
    assert session[2].error["name"] == "EOFError" and "<brood" not in session[2].traceback
    assert session[2].of("input")[0]["prompt"] == "5"
    assert session.stdout == "x"


def test_input_from_what_a_cell_put_in_place_of_stdin(run):
    (step,) = run("import sys, io\nsys.stdin = io.StringIO('mine\\n')\ninput('? ')", stdin="theirs\n")
    assert step.text == "'mine'" and not step.of("input")


def test_getpass(run):
    session = run("import getpass\ngetpass.getpass('secret: ')", "getpass.__spec__.loader is getpass.__loader__",
                  "type(getpass.__loader__).__name__", "import importlib\nimportlib.reload(getpass).getpass()",
                  stdin="word\nsecond\n")
    assert session[0].text == "'word'"
    assert session[0].of("input") == [{"type": "input", "prompt": "secret: ", "password": True}]
    assert (session[1].text, session[2].text) == ("True", "'SourceFileLoader'")


def test_messages(run):
    session = run(
        "import brood.messages\nfrom brood import messages\nmessages.send('text'); messages.send(b'\\0\\xff')",
        {"python": "stub.cells['message'](b'early')"},
        "messages.receive(), messages.receive(), messages.receive_text()",
        "messages.receive(timeout=0.01)",
        "messages.receive()",
        "messages.send(b'x' * (9 << 20))",
        {"python": "answer['kept'] = [stub.cells['next_kept'](), stub.cells['next_kept']()]\n"
                   "answer['kept'][0] = [answer['kept'][0][0], answer['kept'][0][1]]"},
        "import threading\nseen = []\ndef f():\n    try: messages.receive()\n    except RuntimeError as e: seen.append(e)\n"
        "t = threading.Thread(target=f); t.start(); t.join(); len(seen)",
        incoming=[(51, "{}", "one"), (CELL, json.dumps({"cell": 9}), ""), (51, "{}", "\u2603")],
    )
    assert session[0].messages == [b"text", b"\0\xff"]
    assert session[2].text == "(b'one', b'\\xe2\\x98\\x83', 'early')"
    assert session[3].error["name"] == "TimeoutError"
    assert session[4].error["name"] == "EOFError"
    assert session[5].error["name"] == "ValueError" and not session[5].messages
    assert session[6].answer["kept"] == [[CELL, '{"cell": 9}'], None]
    assert session[7].text == "1"


def test_messages_that_nobody_takes_do_not_pile_up(run):
    session = run({"python": "for _ in range(20): stub.cells['message'](bytes(4 << 20))"},
                  "import brood.messages as m\nlen([m.receive() for _ in range(15)])", "m.receive(0)")
    assert len(session[0].of("notice")) == 5
    assert session[1].text == "15" and session[2].error["name"] == "TimeoutError"


def test_the_module_brood(run, tmp_path):
    (tmp_path / "real" / "brood").mkdir(parents=True)
    (tmp_path / "real" / "brood" / "__init__.py").write_text("real = True\n")
    stand_in = run("import brood\nhasattr(brood, 'real'), brood.messages.send.__name__", "import brood.nothing")
    real = run("import brood\nbrood.real, brood.messages.send.__name__, brood.display is display",
               environment={"PYTHONPATH": str(tmp_path / "real")})
    assert stand_in[0].text == "(False, 'send')" and stand_in[1].error["name"] == "ModuleNotFoundError"
    assert real[0].text == "(True, 'send', True)"


# --- interrupts ----------------------------------------------------------------------------------


def test_an_interrupt_ends_the_cell(run):
    session = run({"python": "import signal; signal.raise_signal(signal.SIGINT)"},
                  "import signal\nsignal.raise_signal(signal.SIGINT)\nprint('not reached')", "1",
                  {"python": "import signal; signal.raise_signal(signal.SIGINT)"})
    assert session[1].status == "interrupted" and session[1].error["name"] == "KeyboardInterrupt"
    assert "<brood" not in session[1].traceback and "<cell 1>" in session[1].traceback
    assert session[2].text == "1" and session.stdout == ""


def test_a_handler_of_the_users_is_left_alone(run):
    session = run("import signal\nsignal.signal(signal.SIGINT, lambda *a: print('mine'));", "signal.raise_signal(signal.SIGINT)")
    assert session[1].status == "ok" and session.stdout == "mine\n"


def test_an_interrupt_of_input(run):
    (step,) = run("import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.1)\n"
                  "signal.signal(signal.SIGALRM, lambda *a: signal.raise_signal(signal.SIGINT))\n"
                  "import os; r, w = os.pipe(); os.dup2(r, 0)\ninput()")
    assert step.status == "interrupted" and "<brood" not in step.traceback


# --- await ---------------------------------------------------------------------------------------


def test_await(run):
    session = run("import asyncio\nawait asyncio.sleep(0, 'slept')", "x = await asyncio.sleep(0, 3)\nx",
                  "[i async for i in gen()]", "async def f(): 1/0\nawait f()", "async with 3: pass",
                  "async def gen():\n    yield 1\n[i async for i in gen()]")
    assert [step.text for step in session] == ["'slept'", "3", None, None, None, "[1]"]
    assert session[3].error["traceback"][1].startswith('  File "<cell 4>", line 2, in <module>')
    assert "asyncio" not in session[3].traceback
    assert session[4].status == "error"


COUNT = """
import asyncio
seen = []
async def count():
    while True:
        seen.append(1)
        await asyncio.sleep(0)
async def start():
    return asyncio.create_task(count())
async def until_more_than(n):
    while len(seen) <= n:
        await asyncio.sleep(0)
task = await start()
"""


def test_tasks_go_on_while_a_cell_awaits(run):
    session = run(COUNT, "await until_more_than(5)", "n = len(seen)", "len(seen) == n", "await until_more_than(n)",
                  "task.cancel()\nawait asyncio.sleep(0)\ntask.cancelled()")
    assert {step.status for step in session} == {"ok"}
    assert session[3].text == session[5].text == "True"


def test_asyncio_run_works_as_well(run):
    session = run("import asyncio\nawait asyncio.sleep(0)", "async def f(): return 5\nasyncio.run(f())", "await f()")
    assert [step.text for step in session] == [None, "5", "5"]


def test_an_interrupt_cancels_a_cell_that_awaits(run):
    arm = ("import signal, asyncio\nsignal.signal(signal.SIGALRM, lambda *a: signal.raise_signal(signal.SIGINT))\n"
           "def arm(): signal.setitimer(signal.ITIMER_REAL, 0.1)")
    session = run(arm, "arm()\nawait asyncio.sleep(100)", "await asyncio.sleep(0, 'on')",
                  "async def f():\n    try: await asyncio.sleep(100)\n    finally: print('cleaned up')\narm()\nawait f()",
                  "async def g():\n    arm()\n    while True: pass\nawait g()", "await asyncio.sleep(0, 'on')")
    assert [step.status for step in session] == ["ok", "interrupted", "ok", "interrupted", "interrupted", "ok"]
    assert session[2].text == session[5].text == "'on'"
    assert session.stdout == "cleaned up\n"
    assert "<cell 2>" in session[1].traceback and "<brood" not in session[1].traceback


def test_an_interrupt_in_a_task_of_an_earlier_cell(run):
    session = run("import asyncio, signal\nasync def busy():\n    signal.raise_signal(signal.SIGINT)\n"
                  "    signal.raise_signal(signal.SIGINT)\n    while True: pass\n"
                  "async def start(): return asyncio.create_task(busy())\nfirst = await start();",
                  "await asyncio.sleep(100)", "await asyncio.sleep(0, 'on')")
    assert "interrupted" in (session[0].status, session[1].status)
    assert session[2].text == "'on'"


def test_system_exit_below_an_await(run):
    session = run("import sys, asyncio\nawait asyncio.sleep(0)\nsys.exit(4)", "await asyncio.sleep(0, 5)")
    assert session[0].done["exit_status"] == 4
    assert session[1].text == "5"


# --- copies --------------------------------------------------------------------------------------

FORK = {"python": """
import os
inside, outside = os.pipe()
child = os.fork()
if not child:
    stub.cells["resumed"]()
    stub.frames.clear()
    stub.run("await until_more_than(len(seen)), await loop.run_in_executor(None, int, '3')")
    os.write(outside, repr(stub.events()[0]).encode())
    os._exit(0)
os.close(outside)
answer["child"] = os.read(inside, 10_000).decode()
os.waitpid(child, 0)
"""}


def test_a_copy_has_an_event_loop_of_its_own(run):
    session = run(COUNT, "async def get(): return asyncio.get_running_loop()\nloop = await get()",
                  "await loop.run_in_executor(None, int, '2')", FORK, "await until_more_than(len(seen)), 5")
    assert "(None, 3)" in session[3].answer["child"]
    assert session[2].text == "2" and session[4].text == "(None, 5)"


def test_what_a_fork_does_not_carry(run):
    count = {"python": "answer['carries'] = stub.cells['carries']()"}
    own = {"python": "answer['carries'] = stub.cells['carries']((stub.main['p'].pid,))"}
    session = run(
        count, "import threading, subprocess\nstop = threading.Event()\nt = threading.Thread(target=stop.wait); t.start()\n"
        "p = subprocess.Popen(['sleep', '100'])", count, own, "stop.set(); t.join(); p.kill()\nimport os\n"
        "while len(os.listdir('/proc/self/task')) > 1: pass\n"  # a joined thread is still on its way out
        "os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT);", count, "p.wait();")
    assert [step.answer.get("carries") for step in session] == [[0, 0], None, [1, 1], [1, 0], None, [0, 0], None]
