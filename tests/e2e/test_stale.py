"""Stale code is never run: whatever a warm environment was loaded from changes, the very next run sees the new state."""

import os
import random
import shutil
import subprocess
import threading
import time
import zipfile
from pathlib import Path

import pytest
from brood_fixture import PYTHON, TRACE
from mounts import mounted_by_process
from waiting import wait_until, zygotes

SHOW = ["-c", "import state; print(state.VALUE)"]
NO_PYC = {"PYTHONDONTWRITEBYTECODE": "1"}


class Project:
    """A folder with a brood.toml that preloads the module `state`, and what its runs print."""

    def __init__(self, brood, folder, toml='[env.app]\npreload = ["state"]\nspares = 2\n'):
        self.brood = brood
        self.folder = folder
        self.env = dict(NO_PYC)
        self.show = SHOW
        folder.mkdir(parents=True, exist_ok=True)
        if toml:
            self.write("brood.toml", toml)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def warm(self):
        return self.brood.warm_drop_in(self.show, env=self.env, cwd=self.folder).out.decode().strip()

    def next(self):
        done = self.brood.run(self.show, env={**self.env, **TRACE}, cwd=self.folder)
        assert b"brood: cold" in done.err, f"warm, right after the change: {done}"
        return done.out.decode().strip()

    def plain(self):
        return self.brood.python(self.show, env=self.env, cwd=self.folder).out.decode().strip()

    def check(self, change, before, after):
        """Warm it, change something, and look at the very next run and at the next warm one."""
        assert self.warm() == before
        change()
        assert self.next() == after
        assert self.plain() == after, "the test expects what python3 does not do"
        assert self.warm() == after


@pytest.fixture
def project(shared_brood, request, tmp_path):
    made = Project(shared_brood, tmp_path / "project")
    made.write("state.py", "VALUE = 'old'\n")
    yield made
    subprocess.run([shared_brood.brood, "env", "retire", "app"], env=shared_brood.environment, capture_output=True, check=False)


# --- a module's file ---------------------------------------------------------------------------------


def test_rewritten(project):
    project.check(lambda: project.write("state.py", "VALUE = 'brand new'\n"), "old", "brand new")


def test_appended(project):
    def change():
        with open(project.folder / "state.py", "a") as file:
            file.write("VALUE = 'appended'\n")

    project.check(change, "old", "appended")


def test_atomically_replaced(project):
    def change():
        project.write("state.py.new", "VALUE = 'renamed'\n").rename(project.folder / "state.py")

    project.check(change, "old", "renamed")


def test_an_edit_that_keeps_size_and_time(project):
    path = project.folder / "state.py"

    def change():
        before = path.stat()
        path.write_text("VALUE = 'new'\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)

    project.check(change, "old", "new")


def test_one_byte_in_place(project):
    def change():
        with open(project.folder / "state.py", "r+b") as file:
            file.seek(9)
            file.write(b"O")

    project.check(change, "old", "Old")


def test_written_through_a_descriptor_that_was_open_before(project):
    with open(project.folder / "state.py", "r+b", buffering=0) as file:
        project.check(lambda: file.write(b"VALUE = 'NEW'\n"), "old", "NEW")


@pytest.fixture
def mounted(shared_brood, tmp_path):
    """A project on a file system where others write unseen, like a network mount; (project, the folder behind it)."""
    behind, mount = tmp_path / "behind", tmp_path / "mount"
    behind.mkdir()
    mount.mkdir()
    with mounted_by_process(behind, mount):
        made = Project(shared_brood, mount)
        made.write("state.py", "VALUE = 'old'\n")
        yield made, behind
        subprocess.run([shared_brood.brood, "env", "retire", "app"], env=shared_brood.environment,
                       capture_output=True, check=False)


def test_written_behind_a_mount(mounted):
    """inotify hears nothing of it; files there are looked at before each run."""
    project, behind = mounted
    project.check(lambda: (behind / "state.py").write_text("VALUE = 'written behind'\n"), "old", "written behind")


def test_touched(project):
    """The text is the same, but a time stamp is what everybody goes by."""
    project.check(lambda: os.utime(project.folder / "state.py"), "old", "old")


def test_deleted(project):
    project.show = ["-c", "try:\n  import state; print(state.VALUE)\nexcept ImportError: print('gone')"]
    assert project.warm() == "old"
    (project.folder / "state.py").unlink()
    assert project.next() == "gone"


def test_written_through_another_hard_link(project, tmp_path):
    other = tmp_path / "elsewhere.py"
    os.link(project.folder / "state.py", other)
    project.check(lambda: other.write_text("VALUE = 'linked'\n"), "old", "linked")


def test_a_module_that_is_a_symbolic_link(project, tmp_path):
    target = tmp_path / "far" / "away.py"
    target.parent.mkdir()
    target.write_text("VALUE = 'far'\n")
    (project.folder / "state.py").unlink()
    (project.folder / "state.py").symlink_to(target)
    project.check(lambda: target.write_text("VALUE = 'farther'\n"), "far", "farther")


def test_a_chain_of_symbolic_links(project, tmp_path):
    """The link in the middle is pointed elsewhere."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(f"VALUE = '{name}'\n")
    middle = tmp_path / "links" / "middle"
    middle.parent.mkdir()
    middle.symlink_to("../one.py")
    (project.folder / "state.py").unlink()
    (project.folder / "state.py").symlink_to(middle)

    def change():
        other = tmp_path / "links" / "other"
        other.symlink_to("../two.py")
        other.rename(middle)

    project.check(change, "one", "two")


# --- folders --------------------------------------------------------------------------------------------


def library(project, *names):
    """Folders on PYTHONPATH; `state` lives in them instead of in the project."""
    (project.folder / "state.py").unlink()
    folders = [project.folder.parent / "libraries" / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    project.env["PYTHONPATH"] = ":".join(map(str, folders))
    return folders


def test_a_release_link_is_pointed_elsewhere(project):
    """current -> releases/1 becomes current -> releases/2, as deployments do."""
    (current,) = library(project, "current")
    current.rmdir()
    releases = current.parent / "releases"
    for name in ("1", "2"):
        (releases / name).mkdir(parents=True)
        (releases / name / "state.py").write_text(f"VALUE = 'release {name}'\n")
    current.symlink_to("releases/1")

    def change():
        fresh = current.parent / "current.new"
        fresh.symlink_to("releases/2")
        fresh.rename(current)

    project.check(change, "release 1", "release 2")


def test_a_folder_above_is_replaced(project):
    (folder,) = library(project, "app/lib/python")
    (folder / "state.py").write_text("VALUE = 'first'\n")
    app = folder.parents[1]
    shutil.copytree(app, app.parent / "app.new")
    (app.parent / "app.new/lib/python/state.py").write_text("VALUE = 'second'\n")

    def change():
        app.rename(app.parent / "app.old")
        (app.parent / "app.new").rename(app)

    project.check(change, "first", "second")


def test_a_module_appears_in_front(project):
    front, back = library(project, "front", "back")
    (back / "state.py").write_text("VALUE = 'back'\n")
    project.check(lambda: (front / "state.py").write_text("VALUE = 'front'\n"), "back", "front")


def test_a_folder_in_front_appears(project):
    front, back = library(project, "later", "back")
    front.rmdir()
    (back / "state.py").write_text("VALUE = 'back'\n")
    complete = front.parent / "prepared"
    complete.mkdir()
    (complete / "state.py").write_text("VALUE = 'front'\n")
    project.check(lambda: complete.rename(front), "back", "front")


def test_a_package_takes_the_place_of_a_module(project):
    project.check(lambda: project.write("state/__init__.py", "VALUE = 'package'\n"), "old", "package")


def test_a_module_of_the_preloaded_package_appears(project):
    (project.folder / "state.py").unlink()
    project.write("state/__init__.py", "import pkgutil\nVALUE = sorted(m.name for m in pkgutil.iter_modules(__path__))\n")
    project.write("state/one.py", "")
    project.check(lambda: project.write("state/two.py", ""), "['one']", "['one', 'two']")


def test_an_optional_import_becomes_possible(project):
    project.write("state.py", "try:\n    from extra import VALUE\nexcept ImportError:\n    VALUE = 'without'\n")
    project.check(lambda: project.write("extra.py", "VALUE = 'with'\n"), "without", "with")


def test_an_optional_import_becomes_impossible(project):
    project.write("state.py", "try:\n    from extra import VALUE\nexcept ImportError:\n    VALUE = 'without'\n")
    extra = project.write("extra.py", "VALUE = 'with'\n")
    project.check(extra.unlink, "with", "without")


def test_a_second_portion_of_a_namespace_package(project):
    one, two = library(project, "one", "two")
    (one / "space").mkdir()
    project.write("state.py", "import space\nVALUE = len(list(space.__path__))\n")
    project.check((two / "space").mkdir, "1", "2")


def test_a_zip_archive_is_replaced(project):
    (folder,) = library(project, "zips")
    archive = folder / "code.zip"

    def pack(value):
        with zipfile.ZipFile(archive.with_suffix(".new"), "w") as file:
            file.writestr("state.py", f"VALUE = {value!r}\n")
        archive.with_suffix(".new").rename(archive)

    pack("packed")
    project.env["PYTHONPATH"] = str(archive)
    project.check(lambda: pack("packed again"), "packed", "packed again")


# --- configuration and init files ---------------------------------------------------------------------


def test_another_preload(project):
    project.show = ["-c", "import sys; print('other' in sys.modules)"]
    project.write("other.py", "")
    assert project.warm() == "False"
    project.write("brood.toml", '[env.app]\npreload = ["state", "other"]\n')
    assert project.next() == "False"  # python3 has not loaded it either
    assert project.warm() == "True"


def test_other_variables(project):
    project.show = ["-c", "import os; print(os.environ.get('MODE'))"]
    assert project.warm() == "None"
    for value in ("one", "two"):
        project.write("brood.toml", f'[env.app]\npreload = ["state"]\nvariables = {{ MODE = "{value}" }}\n')
        assert project.next() == value
        assert project.warm() == value


def test_the_init_file(project):
    project.write("brood.toml", '[env.app]\ninit = "init.py"\n')
    project.write("init.py", "VALUE = 'old'\n")
    project.show = ["-c", "print(VALUE)"]
    assert project.warm() == "old"
    for value in ("new", "newer"):
        project.write("init.py", f"VALUE = {value!r}\n")
        assert project.next() == value
        assert project.warm() == value


def test_a_module_that_only_the_init_file_imports(project):
    project.write("brood.toml", '[env.app]\ninit = "setup/init.py"\n')
    project.write("setup/helper.py", "VALUE = 'old'\n")
    project.write("setup/init.py", "from helper import VALUE\n")
    project.show = ["-c", "print(VALUE)"]
    assert project.warm() == "old"
    project.write("setup/helper.py", "VALUE = 'new'\n")
    assert project.next() == "new"
    assert project.warm() == "new"


def test_a_watched_data_file(project):
    project.write("brood.toml", '[env.app]\ninit = "init.py"\nwatch = ["data.txt"]\n')
    project.write("init.py", "from pathlib import Path\nVALUE = (Path(__file__).parent / 'data.txt').read_text()\n")
    project.write("data.txt", "one")
    project.show = ["-c", "print(VALUE)"]
    assert project.warm() == "one"
    project.write("data.txt", "two")
    assert project.next() == "two"
    assert project.warm() == "two"


def test_the_init_file_of_a_command_line(shared_brood, tmp_path):
    init = tmp_path / "init.py"
    init.write_text("VALUE = 'old'\n")
    line = ["--init", str(init), "-c", "print(VALUE)"]
    assert shared_brood.warm(*line).out == b"old\n"
    init.write_text("VALUE = 'new'\n")
    assert shared_brood.tool("run", *line).out == b"new\n"
    assert shared_brood.warm(*line).out == b"new\n"


# --- site-packages and the interpreter --------------------------------------------------------------------


@pytest.fixture
def venv(shared_brood, tmp_path):
    folder = tmp_path / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    made = Project(shared_brood, tmp_path / "work", toml="")
    made.env["BROOD_PYTHON"] = str(folder / "bin/python3")
    made.venv = folder
    (made.site,) = folder.glob("lib/python*/site-packages")
    made.plain = lambda: shared_brood.run(made.show, program=made.env["BROOD_PYTHON"], env=made.env, cwd=made.folder).out.decode().strip()
    return made


def shows(project, expression):
    project.show = ["-c", f"import os, sys; print({expression})"]


def test_sitecustomize_appears_changes_and_goes(venv):
    shows(venv, "getattr(sys, 'marker', None)")
    (venv.folder / "first").mkdir()
    venv.env["PYTHONPATH"] = str(venv.folder / "first")  # Debian's own would hide one in site-packages
    custom = venv.folder / "first/sitecustomize.py"
    venv.check(lambda: custom.write_text("import sys; sys.marker = 'here'\n"), "None", "here")
    venv.check(lambda: custom.write_text("import sys; sys.marker = 'changed'\n"), "here", "changed")
    venv.check(custom.unlink, "changed", "None")


def test_a_pth_file_appears_changes_and_goes(venv, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    shows(venv, "[os.path.basename(p) for p in sys.path if os.path.basename(p) in ('one', 'two')]")
    pth = venv.site / "more.pth"
    venv.check(lambda: pth.write_text(f"{tmp_path}/one\n"), "[]", "['one']")
    venv.check(lambda: pth.write_text(f"{tmp_path}/two\n"), "['one']", "['two']")
    venv.check(pth.unlink, "['two']", "[]")


def test_a_folder_that_a_pth_file_names_appears(venv, tmp_path):
    (venv.site / "more.pth").write_text(f"{tmp_path}/later\n")
    shows(venv, "[os.path.basename(p) for p in sys.path if p.endswith('/later')]")
    venv.check((tmp_path / "later").mkdir, "[]", "['later']")


def test_a_package_is_installed_upgraded_and_removed(venv):
    (venv.site / "use.pth").write_text("import sys; sys.modules.setdefault('marker_of_pth', sys)\n")
    venv.write("brood.toml", '[env.app]\npreload = ["reader"]\n')
    venv.write("reader.py", "try:\n    from package import VERSION\nexcept ImportError:\n    VERSION = None\n")
    venv.show = ["-c", "import reader; print(reader.VERSION)"]
    package = venv.site / "package"

    def install(version):
        """As pip does: the old one is moved away, the new one is put in place."""
        fresh = venv.folder.parent / f"unpacked-{version}"
        fresh.mkdir()
        (fresh / "__init__.py").write_text(f"VERSION = {version}\n")
        if package.exists():
            package.rename(venv.site / "~ackage")
            shutil.rmtree(venv.site / "~ackage")
        fresh.rename(package)

    venv.check(lambda: install(1), "None", "1")
    venv.check(lambda: install(2), "1", "2")
    venv.check(lambda: shutil.rmtree(package), "2", "None")


def test_the_interpreter_is_replaced(venv, tmp_path):
    other = tmp_path / "other-python3"
    shutil.copy2(os.path.realpath(PYTHON), other)
    shows(venv, "os.path.realpath(sys.executable)")
    link = venv.venv / "bin/python3"

    def change():
        (venv.venv / "bin/new").symlink_to(other)
        (venv.venv / "bin/new").rename(link)

    venv.check(change, os.path.realpath(PYTHON), str(other))


def test_pyvenv_cfg_is_edited(venv):
    shows(venv, "any(p.endswith('/dist-packages') for p in sys.path)")
    config = venv.venv / "pyvenv.cfg"

    def change():
        text = config.read_text()
        assert "include-system-site-packages = false" in text
        config.write_text(text.replace("include-system-site-packages = false", "include-system-site-packages = true"))

    venv.check(change, "False", "True")


def test_user_site_packages_appear(shared_brood, tmp_path):
    project = Project(shared_brood, tmp_path / "work", toml="")
    home = tmp_path / "home"
    home.mkdir()
    project.env["HOME"] = str(home)
    shows(project, "getattr(sys, 'marker', None)")
    folder = Path(shared_brood.python(["-c", "import site; print(site.getusersitepackages())"], env=project.env).out.decode().strip())
    complete = tmp_path / "prepared"
    complete.mkdir()
    (complete / "usercustomize.py").write_text("import sys; sys.marker = 'user'\n")
    folder.parent.mkdir(parents=True)
    project.check(lambda: complete.rename(folder), "None", "user")


# --- under load --------------------------------------------------------------------------------------------


def edit(path, number):
    """Writes the next state in one of the ways in which editors and tools write."""
    text = f"VALUE = {number}\n"
    how = number % 3
    if how == 0:
        path.write_text(text)
    elif how == 1:
        new = path.with_suffix(".new")
        new.write_text(text)
        new.rename(path)
    else:
        padded = text.rstrip("\n").ljust(40) + "\n"  # in place, in one write
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, padded.encode())
        os.ftruncate(fd, len(padded))
        os.close(fd)


def descriptors(pid):
    return sorted(os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())


def kinds(links):
    return sorted(link.split(":")[0] for link in links)


EDITS = int(os.environ.get("BROOD_TEST_EDITS", "2000"))
SECONDS = float(os.environ.get("BROOD_TEST_SECONDS", "120"))


@pytest.mark.long
def test_an_editor_in_a_tight_loop(brood, tmp_path):
    """Edit, run, edit, run: every single output is the newest state. Some edits are followed by more runs, so that a
    new zygote comes up between them, at every moment of its preparation."""
    project = Project(brood, tmp_path / "project")
    project.show = ["-S", "-E", "-B", *SHOW]  # python's fastest start, as there are many
    path = project.write("state.py", "VALUE = 0\n")
    project.warm()
    before = kinds(descriptors(brood.daemon_pid()))
    rng = random.Random(7)
    edits = warm = runs = replaced = 0
    end = time.monotonic() + SECONDS
    env = {**brood.environment, **TRACE}

    def run(*command):
        nonlocal runs, warm
        done = subprocess.run([*command, *project.show], env=env, cwd=project.folder, capture_output=True, timeout=60)
        runs += 1
        is_warm = b"brood: warm" in done.stderr
        warm += is_warm
        assert done.stdout == b"%d\n" % edits, (edits, runs, done)
        return is_warm

    while edits < EDITS and time.monotonic() < end:
        edits += 1
        edit(path, edits)
        run(brood.drop_in)
        if rng.random() < 0.03:
            replaced += run(brood.brood, "run", "--wait")
            for _ in range(rng.choice((0, 2, 4, 8))):
                run(brood.drop_in)
        elif rng.random() < 0.03:
            for _ in range(rng.choice((2, 8))):
                run(brood.drop_in)
    print(f"{edits} edits, {runs} runs, {warm} of them warm, {replaced} edits of a warm environment")
    assert edits >= 200 and warm >= edits // 20 and replaced >= edits // 80, (edits, runs, warm, replaced)
    wait_until(lambda: len(zygotes(brood)) <= 1, "the stale zygotes to be gone")
    project.warm()
    wait_until(lambda: kinds(descriptors(brood.daemon_pid())) == before, "the daemon's descriptors to be those from before")


def test_many_runners_and_an_editor(brood, tmp_path):
    """No run that began after an edit was finished prints an older state."""
    project = Project(brood, tmp_path / "project")
    path = project.write("state.py", "VALUE = 0\n")
    project.warm()
    env = {**brood.environment, **project.env, **TRACE}
    finished = 0
    counts = {"runs": 0, "warm": 0}
    wrong = []
    stop = threading.Event()

    def runner():
        while not stop.is_set():
            least = finished
            done = subprocess.run([brood.drop_in, *SHOW], env=env, cwd=project.folder, capture_output=True, timeout=60)
            counts["runs"] += 1
            counts["warm"] += b"brood: warm" in done.stderr
            if done.returncode != 0 or int(done.stdout) < least:
                wrong.append((least, finished, done))
                stop.set()

    threads = [threading.Thread(target=runner) for _ in range(4)]
    for thread in threads:
        thread.start()
    rng = random.Random(11)
    end = time.monotonic() + SECONDS / 4
    try:
        for number in range(1, 100000):
            new = path.with_suffix(".new")  # in one step, as runs go on meanwhile
            new.write_text(f"VALUE = {number}\n")
            new.rename(path)
            finished = number
            if stop.wait(rng.choice((0.001, 0.01, 0.05, 0.5, 1))) or time.monotonic() > end + 120:
                break
            if time.monotonic() > end and counts["warm"] > 10:  # a slow machine has few between two edits
                break
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    print(f"{finished} edits, {counts}")
    assert not wrong
    assert counts["warm"] > 10, counts
