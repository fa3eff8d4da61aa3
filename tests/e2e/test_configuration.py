"""Configuration files: where they are found, what their keys do, and what is said about mistakes."""

import subprocess
import threading
from pathlib import Path

import pytest
from brood_fixture import PYTHON, TRACE
from waiting import children, the_zygote, wait_until, zygotes

pytestmark = pytest.mark.core


@pytest.fixture
def project(brood):
    folder = brood.work / "project"
    folder.mkdir()

    def write(name, text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    write.folder = folder
    return write


def show(brood, code, folder, **more):
    """The same output cold and warm; returns it."""
    cold = brood.run(["-c", code], cwd=folder, env={"BROOD": "off"}, **more)
    warm = brood.warm_drop_in(["-c", code], cwd=folder, **more)
    assert (cold.status, cold.err, warm.status, warm.err) == (0, b"", 0, b"")
    assert cold.out == warm.out, "cold and warm differ"
    return warm.out.decode().strip()


# --- keys -----------------------------------------------------------------------------------------------------------


def test_preload(brood, project):
    project("brood.toml", '[env.app]\npreload = ["one", "xml.dom.minidom"]\n')
    project("one.py", "import sys\nsys.order = getattr(sys, 'order', []) + ['one']\n")
    done = brood.warm_drop_in(["-c", "import sys; print(sys.order, 'xml.dom.minidom' in sys.modules, 'one' in dir())"], cwd=project.folder)
    assert done.out == b"['one'] True False\n"


def test_the_order_of_a_preload(brood, project):
    project("brood.toml", '[env.app]\npreload = ["two", "one"]\ninit = "init.py"\n')
    for name in ("one", "two", "init"):
        project(f"{name}.py", f"import sys\nsys.order = getattr(sys, 'order', []) + [{name!r}]\n")
    assert brood.warm_drop_in(["-c", "import sys; print(sys.order)"], cwd=project.folder).out == b"['two', 'one', 'init']\n"


def test_init(brood, project):
    project("brood.toml", '[env.app]\ninit = "setup/init.py"\n')
    project("setup/init.py", "import helper\nTABLE = {1: helper.__name__, 2: __name__, 3: __file__[-8:]}\n")
    project("helper.py", "")
    assert show(brood, "print(TABLE, '__file__' in dir())", project.folder) == "{1: 'helper', 2: '__main__', 3: '/init.py'} False"


def test_init_with_every_kind_of_program(brood, project):
    project("brood.toml", '[env.app]\ninit = "init.py"\n')
    project("init.py", "GIVEN = 42\n")
    project("script.py", "import sys; print(GIVEN, sys.argv, sys.path[0], __name__)\n")
    project("package/__main__.py", "import sys; print(sys.argv[1:], __name__)\n")
    for arguments, stdin in ((["script.py", "a"], b""), (["-c", "import sys; print(GIVEN, sys.argv, repr(sys.path[0]))", "a"], b""), (["-", "a"], b"import sys; print(GIVEN, sys.argv)"), (["-m", "package", "a"], b"")):
        cold = brood.run(arguments, cwd=project.folder, env={"BROOD": "off"}, stdin=stdin)
        warm = brood.warm_drop_in(arguments, cwd=project.folder, stdin=stdin)
        assert (cold.status, cold.out, cold.err) == (0, warm.out, b""), (arguments, cold, warm)


def test_variables(brood, project):
    project("brood.toml", '[env.app]\nvariables = { MODE = "fast", EMPTY = "" }\npreload = ["reader"]\n')
    project("reader.py", "import os\nSEEN = os.environ.get('MODE')\n")
    code = "import os, reader; print(os.environ['MODE'], repr(os.environ['EMPTY']), reader.SEEN, os.popen('echo $MODE').read().strip())"
    for env in ({}, {"MODE": "slow"}):
        assert show(brood, code, project.folder) == "fast '' fast fast", env


def test_a_variable_that_the_preload_read_binds(brood, project):
    project("brood.toml", '[env.app]\npreload = ["reader"]\n')
    project("reader.py", "import os\nSEEN = os.environ.get('FLAVOUR')\n")
    code = ["-c", "import reader; print(reader.SEEN)"]
    assert brood.warm_drop_in(code, cwd=project.folder).out == b"None\n"
    other = brood.run(code, cwd=project.folder, env={**TRACE, "FLAVOUR": "salt"})
    assert other.out == b"salt\n" and b"brood: cold: FLAVOUR was read while the environment was loaded" in other.err


def test_ignore_variables(brood, project):
    project("brood.toml", '[env.app]\npreload = ["reader"]\nignore_variables = ["FLAVOUR"]\n')
    project("reader.py", "import os\nSEEN = os.environ.get('FLAVOUR')\n")
    code = ["-c", "import os; print(os.environ['FLAVOUR'])"]
    assert brood.warm_drop_in(code, cwd=project.folder, env={"FLAVOUR": "salt"}).out == b"salt\n"


def test_spares(brood, project):
    project("brood.toml", "[env.app]\nspares = 7\n")
    brood.warm_drop_in(["-c", "pass"], cwd=project.folder)
    wait_until(lambda: len(children(the_zygote(brood))) == 7, "seven spares")


def test_python(brood, project):
    """A path, relative to the file."""
    environment = {**brood.environment}
    del environment["BROOD_PYTHON"]
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", project.folder / "venv"], check=True)
    project("brood.toml", '[env.app]\npython = "venv/bin/python3"\n')
    brood.environment = environment
    assert show(brood, "import sys; print(sys.prefix)", project.folder) == str(project.folder / "venv")
    chosen = brood.tool("run", "--python", PYTHON, "-c", "import sys; print(sys.prefix)", cwd=project.folder)
    assert chosen.out == b"/usr\n", "--python goes before the file"


@pytest.mark.parametrize("image", ["auto", "on", "off"])
def test_image(brood, project, image):
    project("brood.toml", f'[env.app]\nimage = "{image}"\n')
    assert brood.warm_drop_in(["-c", "print(sum(range(10)))"], cwd=project.folder).out == b"45\n"
    (env,) = brood.status()["environments"]
    size = env["zygotes"][0]["image_bytes"]
    assert size == 0 if image == "off" else image == "auto" or size > 1 << 20


def test_allow_threads(brood, project):
    project("brood.toml", '[env.app]\ninit = "init.py"\nallow_threads = true\n')
    project("init.py", "import threading\nstop = threading.Event()\nthreading.Thread(target=stop.wait, daemon=True).start()\n")
    assert brood.warm_drop_in(["-c", "print(len(__import__('os').listdir('/proc/self/task')))"], cwd=project.folder).out == b"1\n"


def test_allow_sockets(brood, project):
    project("brood.toml", '[env.app]\ninit = "init.py"\nallow_sockets = true\n')
    project("init.py", "import socket\na, b = socket.socketpair()\n")
    assert brood.warm_drop_in(["-c", "a.send(b'through'); print(b.recv(100))"], cwd=project.folder).out == b"b'through'\n"


def test_watch(brood, project):
    project("brood.toml", '[env.app]\nwatch = ["model.bin"]\n')
    model = project("model.bin", "1")
    brood.warm_drop_in(["-c", "pass"], cwd=project.folder)
    model.write_text("2")
    assert brood.trace(["-c", "pass"], cwd=project.folder).startswith("cold")


def test_idle_exit_and_max_age(brood, project):
    project("brood.toml", '[env.app]\nidle_exit = "1s"\n')
    brood.warm_drop_in(["-c", "pass"], cwd=project.folder)
    wait_until(lambda: not zygotes(brood), "the unused zygote to leave")
    project("brood.toml", '[env.app]\nmax_age = "1s"\n')
    brood.warm_drop_in(["-c", "pass"], cwd=project.folder)
    # On a busy machine the next one can be there already beside the one that leaves.
    first = set(wait_until(lambda: zygotes(brood), "a zygote"))
    wait_until(lambda: set(zygotes(brood)) - first and not first & set(zygotes(brood)), "the old zygote to be replaced")
    assert brood.warm_drop_in(["-c", "print(1)"], cwd=project.folder).out == b"1\n"


TWO = """
{default}
[env.one]
variables = {{ WHICH = "one" }}
[env.{second}]
variables = {{ WHICH = "two" }}
"""
WHICH = "import os; print(os.environ.get('WHICH'))"


@pytest.mark.parametrize(
    "default,second,applies", [('default = "one"', "two", "one"), ('default = "two"', "two", "two"), ("", "default", "two"), ("", "two", "None")]
)
def test_which_one_applies(brood, project, default, second, applies):
    project("brood.toml", TWO.format(default=default, second=second))
    assert show(brood, WHICH, project.folder) == applies
    for name, expected in (("one", b"one\n"), (second, b"two\n")):
        assert brood.warm("--env", name, "-c", WHICH, cwd=project.folder).out == expected
        assert brood.tool("run", "--env", name, "-c", WHICH, cwd=project.folder, env={"BROOD": "off"}).out == expected


def test_no_such_environment(brood, project):
    project("brood.toml", TWO.format(default="", second="two"))
    done = brood.tool("run", "--env", "tow", "-c", "pass", cwd=project.folder)
    assert (done.status, done.out) == (2, b"")
    assert b'no environment tow in' in done.err and b'did you mean "two"?' in done.err
    nowhere = brood.tool("run", "--env", "one", "-c", "pass")
    assert nowhere.status == 2 and b"no brood.toml was found" in nowhere.err


# --- where it is -----------------------------------------------------------------------------------------------------


def test_upwards_from_the_script_not_from_the_working_directory(brood, project):
    project("brood.toml", '[env.app]\nvariables = { WHICH = "project" }\n')
    script = project("deep/down/script.py", WHICH)
    elsewhere = brood.work / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "brood.toml").write_text('[env.app]\nvariables = { WHICH = "elsewhere" }\n')
    assert brood.warm_drop_in([script], cwd=elsewhere).out == b"project\n"
    assert brood.warm_drop_in(["-c", WHICH], cwd=elsewhere).out == b"elsewhere\n"
    link = elsewhere / "link.py"
    link.symlink_to(script)
    assert brood.warm_drop_in([link], cwd=elsewhere).out == b"project\n", "the folder of the script itself counts"


def test_the_nearest_one_counts(brood, project):
    project("brood.toml", '[env.app]\nvariables = { WHICH = "outer" }\n')
    project("inner/brood.toml", '[env.app]\nvariables = { WHICH = "inner" }\n')
    script = project("inner/script.py", WHICH)
    assert brood.warm_drop_in([script]).out == b"inner\n"


@pytest.mark.parametrize("place", ["XDG_CONFIG_HOME", "HOME"])
def test_the_users_file(brood, project, place):
    folder = brood.base / "configuration"
    env = {"XDG_CONFIG_HOME": str(folder)}
    if place == "HOME":
        folder, env = brood.home / ".config", {}
    (folder / "brood").mkdir(parents=True)
    (folder / "brood/config.toml").write_text('[env.mine]\nvariables = { WHICH = "mine" }\n')
    assert brood.warm_drop_in(["-c", WHICH], env=env).out == b"mine\n"
    project("brood.toml", '[env.app]\nvariables = { WHICH = "project" }\n')
    assert brood.warm_drop_in(["-c", WHICH], env=env, cwd=project.folder).out == b"project\n", "a project's file goes first"
    assert brood.warm("--env", "mine", "-c", WHICH, env=env, cwd=project.folder).out == b"mine\n"


def test_the_daemons_table(brood):
    folder = brood.home / ".config/brood"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[daemon]\nmax_environments = 2\nidle_exit = "5h"\n')
    for option in ("-O", "-OO", "-s", "-B"):
        brood.warm_drop_in([option, "-c", "pass"])
    now = brood.status()
    assert now["daemon"]["max_environments"] == 2
    assert len([env for env in now["environments"] if env["state"] == "ready"]) <= 2


def test_the_daemon_leaves_when_it_is_not_used(brood):
    folder = brood.home / ".config/brood"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[daemon]\nidle_exit = "1s"\n')
    brood.warm_drop_in(["-c", "pass"])
    daemon = brood.daemon_pid()
    wait_until(lambda: brood.daemon_pid() is None, "the unused daemon to leave")
    assert brood.warm_drop_in(["-c", "print(1)"]).out == b"1\n"
    assert brood.daemon_pid() != daemon


# --- mistakes --------------------------------------------------------------------------------------------------------

MISTAKES = [
    ("[env.app]\nprelaod = []\n", "2:1", 'did you mean "preload"?'),
    ('[env.app]\npreload = "numpy"\n', "2:", "a list of module names"),
    ("[env.app]\npreload = [1]\n", "2:", "a module name"),
    ('[env.app]\npreload = ["not a name"]\n', "2:", "a module name"),
    ("[env.app]\n\nspares = 0\n", "3:", "spares"),
    ('[env.app]\nspares = "many"\n', "2:", "spares"),
    ('[env.app]\nidle_exit = "soon"\n', "2:", "idle_exit"),
    ('[env.app]\nimage = "maybe"\n', "2:", '"auto", "on" or "off"'),
    ("[env.app]\nvariables = { A = 1 }\n", "2:", "a string"),
    ('[env.app]\nallow_threads = "yes"\n', "2:", "allow_threads"),
    ('default = "no"\n[env.app]\n', "1:", "one of the environments of this file: app"),
    ("[environment.app]\n", "1:", "environment"),
    ("[daemon]\n", "1:", "user's configuration"),
    ("[env.app\n", "1:", ""),
    ("[env.app]\npreload = [\n", "", ""),
    ("env = 3\n", "1:", "tables [env.NAME]"),
]


@pytest.mark.parametrize("text,place,says", MISTAKES)
def test_a_mistake_is_told_with_its_place(shared_brood, tmp_path, text, place, says):
    file = tmp_path / "brood.toml"
    file.write_text(text)
    strict = shared_brood.tool("run", "-c", "print('ran')", cwd=tmp_path)
    assert (strict.status, strict.out) == (2, b"")
    assert f"{file}:{place}" in strict.err.decode() and says in strict.err.decode(), strict.err
    for _ in range(2):  # the second time from what was kept of the first
        lenient = shared_brood.run(["-c", "print('ran')"], cwd=tmp_path)
        assert (lenient.status, lenient.out) == (0, b"ran\n")
        assert f"{file}:{place}" in lenient.err.decode(), lenient.err
        # Nothing else but, when the daemon has found it, too, that it cannot be kept warm.
        assert b"Traceback" not in lenient.err


def test_a_corrected_mistake(brood, project):
    project("brood.toml", "[env.app]\nprelaod = []\n")
    assert b"did you mean" in brood.run(["-c", "pass"], cwd=project.folder).err
    project("brood.toml", "[env.app]\npreload = []\n")
    assert brood.run(["-c", "print(1)"], cwd=project.folder).err == b""
    assert brood.warm_drop_in(["-c", "print(1)"], cwd=project.folder).err == b""


@pytest.mark.parametrize("named, says", [("python9.99", "which is not in PATH"), ("venv/bin/python", "no executable file")])
def test_an_interpreter_that_is_missing(brood, project, named, says):
    project("brood.toml", f'[env.app]\npreload = ["json"]\npython = "{named}"\n')
    environment = {name: value for name, value in brood.environment.items() if name != "BROOD_PYTHON"}
    place = f"{project.folder}/brood.toml:3:10: "

    def run(*command):
        return subprocess.run([*command, "-c", "print('ran')"], env=environment, cwd=project.folder, capture_output=True, text=True)

    for _ in range(2):  # before and after the daemon has tried it
        strict = run(brood.brood, "run", "--wait")
        assert (strict.returncode, strict.stdout) == (2, "")
        assert strict.stderr.count(place) == 1 and says in strict.stderr
        lenient = run(brood.drop_in)
        assert (lenient.returncode, lenient.stdout) == (0, "ran\n")
        assert lenient.stderr.count(place) == 1 and says in lenient.stderr


def test_an_interpreter_that_is_missing_does_not_matter_to_who_chooses_another(brood, project):
    project("brood.toml", '[env.app]\npython = "/nowhere/python3"\n')
    assert brood.run(["-c", "print(1)"], cwd=project.folder).err == b""
    assert brood.warm_drop_in(["-c", "print(1)"], cwd=project.folder).err == b""


def test_an_interpreter_that_vanishes(brood, project):
    python = project.folder / "python"
    python.symlink_to(brood.environment["BROOD_PYTHON"])
    project("brood.toml", '[env.app]\npython = "./python"\n')
    environment = {"BROOD_PYTHON": "", "BROOD": "off"}
    assert brood.run(["-c", "pass"], cwd=project.folder, env=environment).err == b""
    python.unlink()
    done = brood.run(["-c", "print('ran')"], cwd=project.folder, env=environment)
    assert (done.status, done.out) == (0, b"ran\n") and b"brood.toml:2:10: " in done.err


def test_an_init_file_that_fails_shows_its_traceback_once(brood, project):
    project("brood.toml", '[env.app]\ninit = "init.py"\n')
    project("init.py", "print('before')\n1 / 0\n")
    for _ in range(2):
        brood.run(["run", "--wait", "-c", "pass"], program=brood.brood, cwd=project.folder)  # the daemon has tried it
        done = brood.run(["-c", "print('ran')"], cwd=project.folder)
        assert done.out == b"before\nran\n"
        assert done.err.count(b"Traceback") == 1
        assert b"cannot be kept warm: the init file %s/init.py failed: ZeroDivisionError: division by zero\n" % bytes(
            project.folder) in done.err


def test_the_trace_says_that_an_environment_failed(brood, project):
    project("brood.toml", '[env.app]\npreload = ["no_such_module"]\n')
    assert "no zygote has this environment yet" in brood.trace(["-c", "pass"], cwd=project.folder)
    brood.run(["run", "--wait", "-c", "pass"], program=brood.brood, cwd=project.folder)
    assert "the environment failed" in brood.trace(["-c", "pass"], cwd=project.folder)


def test_many_first_runs_at_once(brood, project):
    """They all start the daemon, and one of them wins."""
    project("brood.toml", '[env.app]\ninit = "init.py"\n')
    project("init.py", "GIVEN = 1\n")
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(brood.run(["-c", "print(GIVEN)"], cwd=project.folder))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(done.status, done.out, done.err) for done in outcomes] == [(0, b"1\n", b"")] * 12
    brood.warm_drop_in(["-c", "pass"], cwd=project.folder)
    daemons = [pid for pid, line in brood.processes().items() if b"broodd" in line.split(b"\0")[0]]
    assert len(daemons) == 1 and len(zygotes(brood)) == 1


def test_the_files_keys_are_those_of_the_documentation():
    """docs/environments.md lists every key that the reader knows, and no other."""
    root = Path(__file__).resolve().parents[2]
    text = (root / "docs/environments.md").read_text()
    table = text[text.index("| key of `[env.NAME]`") : text.index("A duration is")]
    documented = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    source = (root / "src/daemon/config_toml.cc").read_text()
    known = source[source.index("bool Reader::read_environment(const std::string& name") :]
    known = known[known.index("kKnown = {") :]
    known = {word for word in known[known.index("{") + 1 : known.index("}")].replace('"', " ").replace(",", " ").split()}
    assert documented == known
