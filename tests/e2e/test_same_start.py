"""Every way of naming a program, every option and variable of the interpreter: the program sees what python shows."""

import os
import py_compile
import shutil
import stat
import subprocess
import sys
import zipfile

import pytest
from brood_fixture import PYTHON, TRACE
from same import same, same_program, shell_runner

SHOW = (
    "import sys, os\n"
    "print(sys.argv, getattr(sys, 'orig_argv', 0), sys.path, os.getcwd())\n"
    "for name in sorted(globals()):\n"
    "    if name not in ('sys', 'os'): print(name, repr(globals()[name]).split(' object at')[0])\n"
    "print(sys.flags, sys.warnoptions, sys._xoptions, sys.dont_write_bytecode, sys.pycache_prefix)\n"
)
SETTINGS = SHOW + (
    "import warnings, locale\n"
    "print(sys.stdout, sys.stderr.errors, sys.stdin.errors, sys.getfilesystemencoding(), "
    "sys.getfilesystemencodeerrors())\n"
    "print(locale.setlocale(locale.LC_CTYPE), locale.getpreferredencoding(), sys.path[-3:], sys.prefix)\n"
    "print(sorted(k for k in os.environ if k.startswith(('PYTHON', 'LC_', 'LANG'))), warnings.filters)\n"
    "print(__debug__, 'site' in sys.modules, getattr(sys.flags, 'safe_path', None), hash('x') == hash('x'))\n"
    "assert False, 'assertions are on'\n"
)


@pytest.fixture
def files(tmp_path):
    """A folder with a script, a module, a package, and what leads to them."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "script.py").write_text(SHOW)
    (tmp_path / "sub/inner.py").write_text(SHOW)
    (tmp_path / "link.py").symlink_to("sub/inner.py")
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("print('package', __name__)\n")
    (tmp_path / "package/__main__.py").write_text(SHOW)
    (tmp_path / "package/module.py").write_text(SHOW + "from . import other\nprint(other)\n")
    (tmp_path / "package/other.py").write_text("")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/__main__.py").write_text(SHOW + "import helper\nprint(helper.__file__)\n")
    (tmp_path / "bundle/helper.py").write_text("")
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        archive.write(tmp_path / "bundle/__main__.py", "__main__.py")
        archive.write(tmp_path / "bundle/helper.py", "helper.py")
    (tmp_path / "bundle.pyz").write_bytes(b"#!/usr/bin/env python3\n" + (tmp_path / "bundle.zip").read_bytes())
    return tmp_path


WAYS = {
    "script": ["script.py", "a", "-b", "--", "c d", ""],
    "script_dot": ["./script.py"],
    "script_in_folder": ["sub/inner.py"],
    "script_up": ["sub/../script.py"],
    "script_doubled_slash": ["sub//inner.py"],
    "script_link": ["link.py"],
    "command": ["-c", SHOW, "a", "-c"],
    "command_glued": ["-c" + SHOW, "x"],
    "command_indented": ["-c", "\n  \nprint(1)\n"],
    "command_unterminated_line": ["-c", "if True:\n print(1)"],
    "command_empty": ["-c", ""],
    "command_error": ["-c", "import os\n1 / 0"],
    "command_non_ascii": ["-c", "print('ä€🐍', ascii('ä'))"],
    "command_argument_non_ascii": ["-c", "import sys; print(ascii(sys.argv))", "ä", "🐍"],
    "module": ["-m", "script", "a"],
    "module_package": ["-m", "package", "a", "-m"],
    "module_in_package": ["-m", "package.module"],
    "module_glued": ["-mscript"],
    "module_missing": ["-m", "no_such_module"],
    "module_missing_in_package": ["-m", "package.nothing"],
    "module_folder_without_main": ["-m", "sub"],
    "module_of_library": ["-m", "json.tool", "--help"],
    "module_builtin": ["-m", "sys"],
    "module_timeit": ["-m", "calendar", "2020", "1"],
    "module_error": ["-m", "zipfile"],
    "folder": ["bundle", "a"],
    "folder_slash": ["bundle/", "a"],
    "folder_is_package": ["package"],
    "zip": ["bundle.zip", "a", "b"],
    "zip_with_shebang": ["bundle.pyz"],
    "current_folder_with_package": ["."],
    "double_dash": ["--", "script.py", "-x"],
    "double_dash_dash": ["--", "-"],
    "flags_after_program": ["script.py", "-O", "-I", "-c", "x"],
    "flags_in_cluster": ["-BEs", "script.py"],
    "flags_and_command": ["-Bc", SHOW],
    "dash": ["-", "a", "b"],
}
COLD_WAYS = {
    "command_syntax_error": (["-c", "print('never'\nif"], "does not compile"),
    "command_null": (["-c", "x = '\\ud800' +"], "does not compile"),
    "script_missing": (["no_such.py"], "No such file"),
    "folder_without_main": (["sub"], None),
    "no_value_for_command": (["-c"], "-c"),
    "unknown_flag": (["-Z"], "-Z"),
    "version": (["-V"], "-V"),
    "version_long": (["--version"], "--version"),
    "help": (["-h"], "-h"),
    "skip_first_line": (["-x", "script.py"], "-x"),
    "inspect": (["-i", "-c", "print(1)"], "-i"),
    "import_time_is_cold": (["-X", "tracemalloc=3", "-c",
                             "import tracemalloc; print(tracemalloc.get_traceback_limit())"], "tracemalloc"),
}




@pytest.mark.parametrize("way", WAYS)
def test_way(shared_brood, files, way):
    stdin = SHOW.encode() if "dash" in way else b""
    options = [word for word in WAYS[way][:1] if word == "-BEs"] or (["-B"] if way == "flags_and_command" else [])
    if options:
        shared_brood.warm(*options, "-c", "pass", env=TRACE)
    same(shared_brood, WAYS[way], cwd=files, stdin=stdin)


@pytest.mark.parametrize("way", COLD_WAYS)
def test_cold_way(shared_brood, files, way):
    arguments, reason = COLD_WAYS[way]
    if reason:
        same(shared_brood, arguments, cwd=files, cold=reason)
    else:
        same(shared_brood, arguments, cwd=files)


def test_absolute_script(shared_brood, files):
    same(shared_brood, [files / "sub/inner.py", "a"], cwd=files / "elsewhere")


def test_script_through_linked_folder(shared_brood, files):
    (files / "linked").symlink_to(files / "sub")
    same(shared_brood, ["linked/inner.py"], cwd=files)


def test_working_folder_that_is_a_link(shared_brood, files):
    """PWD may name the folder in another way than the kernel; python does not care."""
    (files / "linked").symlink_to(files / "sub")
    same(shared_brood, ["inner.py"], cwd=files / "linked", env={"PWD": str(files / "linked")})


@pytest.mark.parametrize("arguments", [["-c", SHOW], [], ["-"], ["-m", "package"], ["../script.py"]], ids=str)
def test_deleted_working_folder(shared_brood, files, arguments):
    line = 'cd elsewhere && rmdir ../elsewhere; "$@"; status=$?; mkdir ../elsewhere 2>/dev/null; exit $status'

    def runner(arguments, **more):
        (files / "elsewhere").mkdir(exist_ok=True)
        return shell_runner(shared_brood, line)(arguments, cwd=files, **more)

    plain = runner(arguments, program=PYTHON, stdin=SHOW.encode())
    for _ in range(2):
        done = runner(arguments, stdin=SHOW.encode())
        assert (done.status, done.out, done.err) == (plain.status, plain.out, plain.err)


@pytest.mark.parametrize("kind", ["pipe", "file", "file_at_offset", "null"])
def test_program_on_standard_input(shared_brood, files, kind):
    text = b"import sys\n" + SHOW.encode() + b"print(repr(sys.stdin.read()))\ndef f():\n    1 / 0\nf()\n"
    (files / "program").write_bytes(b"garbage(\n" + text if kind == "file_at_offset" else text)
    line = {
        "pipe": 'cat program | "$@"',
        "file": '"$@" < program',
        "file_at_offset": '{ read first; "$@"; } < program',
        "null": '"$@" < /dev/null',
    }[kind]
    for arguments in ([], ["-"], ["-", "a"]):
        same(shared_brood, arguments, runner=shell_runner(shared_brood, line), cwd=files)


@pytest.mark.parametrize("text", ["print('x'\nif", "  x\n", "x = 1\n\n\nreturn 5\n", "'abc\n",
                                  "print('\\d')\nx is 1\n"], ids=repr)
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_broken_program_on_standard_input(shared_brood, files, kind, text):
    (files / "program").write_text(text)
    line = {"pipe": 'cat program | "$@"', "file": '"$@" < program'}[kind]
    cold = "does not compile" if kind == "file" and "\\d" not in text else None
    same(shared_brood, [], runner=shell_runner(shared_brood, line), cwd=files, cold=cold)


def test_input_after_program_on_a_pipe(shared_brood, files):
    """python reads all of its standard input for the program, so that nothing is left for input()."""
    same(shared_brood, ["-"], stdin=b"x = input()\nthe rest\n", cwd=files)
    same(shared_brood, ["-"], stdin=b"try:\n    input()\nexcept EOFError: print('nothing left')\n", cwd=files)


SOURCES = {
    "empty": b"",
    "bom": b"\xef\xbb\xbfprint('b\xc3\xb6m')\n1/0\n",
    "cookie_latin_1": b"# -*- coding: latin-1 -*-\nprint('\xe4', ascii('\xe4'))\n'\xe4' + 1\n",
    "cookie_second_line": b"#!/usr/bin/python3\n# coding: cp1252\nprint(ascii('\x80'))\n",
    "crlf": b"print('a')\r\nif True:\r\n    print('''b\r\nc''')\r\n1 / 0\r\n",
    "cr": b"print('a')\rprint('b')\r",
    "no_newline_at_end": b"print('a')\nif True:\n    print('b')",
    "form_feed": b"\x0cprint('a')\n",
    "tabs": b"if True:\n\tprint('a')\n\tif True:\n\t\tprint('b')\n",
    "only_comment": b"# nothing",
    "long_line": b"x = '" + b"a" * 100_000 + b"'\nprint(len(x))\n",
    "many_lines": b"\n" * 20_000 + b"raise ValueError\n",
    "nested": b"(" * 80 + b"1" + b")" * 80,
}
BROKEN = {
    "invalid_utf_8": b"print('\xe4')\n",
    "unknown_cookie": b"# coding: nonsense\nprint(1)\n",
    "null_byte": b"print('a\0b')\n",
    "null_byte_late": b"print('never')\nx = 1\n\0\n",
    "bom_and_other_cookie": b"\xef\xbb\xbf# coding: latin-1\nprint(1)\n",
    "nested_too_deep": b"(" * 300 + b"1" + b")" * 300,
    "elf": b"\x7fELF\x02\x01\x01\0\0\0",
}


@pytest.mark.parametrize("source", SOURCES)
def test_source_text(shared_brood, tmp_path, source):
    same_program(shared_brood, tmp_path, SOURCES[source])


@pytest.mark.parametrize("source", BROKEN)
def test_broken_source_text(shared_brood, tmp_path, source):
    same_program(shared_brood, tmp_path, BROKEN[source], cold="it ")


def test_compiled_script(shared_brood, files):
    py_compile.compile(str(files / "script.py"), cfile=str(files / "script.pyc"))
    same(shared_brood, ["script.pyc", "a"], cwd=files, cold="no source file")


def test_compiled_script_of_another_version(shared_brood, files):
    (files / "old.pyc").write_bytes(b"\x03\xf3\r\n" + bytes(40))
    same(shared_brood, ["old.pyc"], cwd=files, cold="no source file")


def test_script_on_a_descriptor(shared_brood, files):
    """bash's <(...): the script is a pipe, which can be read only once."""
    same(shared_brood, [], runner=lambda arguments, **more: shell_runner(shared_brood, '"$@" <(echo "print(5)") a')(
        arguments, shell=("/bin/bash", "-c"), **more), cwd=files, cold="")
    same(shared_brood, ["/dev/stdin"], stdin=b"print(6)\n", cwd=files, cold="")


def test_script_in_a_fifo_is_read_once(shared_brood, files):
    os.mkfifo(files / "fifo")
    runner = shell_runner(shared_brood, '(echo "print(7)" > fifo) & "$@"; wait')
    same(shared_brood, ["fifo"], runner=runner, cwd=files, cold="")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_script(shared_brood, files):
    (files / "script.py").chmod(0)
    same(shared_brood, ["script.py"], cwd=files, cold="Permission denied")


def test_shebang(shared_brood, files):
    """brood-python as the interpreter in a script's first line."""
    for name, interpreter in (("python", PYTHON), ("brood", shared_brood.drop_in)):
        (files / name).mkdir()
        path = files / name / "tool"
        path.write_text(f"#!{interpreter} -B\n" + "import sys; print(sys.argv, sys.flags.dont_write_bytecode, "
                                                  "__file__[-4:])\n")
        path.chmod(0o755)
    done = shared_brood.run(["a", "b c"], program=str(files / "python/tool"))
    shared_brood.warm("-B", "-c", "pass", env=TRACE)
    ours = shared_brood.run(["a", "b c"], program=str(files / "brood/tool"), env=TRACE)
    assert b"brood: warm" in ours.err
    assert ours.out == done.out.replace(b"/python/tool", b"/brood/tool")


OPTIONS = {
    "O": ["-O"],
    "OO": ["-OO"],
    "O_O": ["-O", "-O"],
    "I": ["-I"],
    "E": ["-E"],
    "s": ["-s"],
    "S": ["-S"],
    "B": ["-B"],
    "b": ["-b"],
    "bb": ["-bb"],
    "q": ["-q"],
    "R": ["-R"],
    "u": ["-u"],
    "P": ["-P"],
    "W_error": ["-W", "error"],
    "W_ignore": ["-Wignore"],
    "W_default": ["-W", "default"],
    "W_several": ["-W", "ignore::DeprecationWarning", "-W", "error::UserWarning:__main__:3"],
    "X_utf8": ["-X", "utf8"],
    "X_no_utf8": ["-X", "utf8=0"],
    "X_dev": ["-X", "dev"],
    "X_faulthandler": ["-X", "faulthandler"],
    "X_pycache": ["-X", "pycache_prefix=/nowhere/cache"],
    "X_own": ["-X", "own", "-X", "with=value=2"],
    "X_int_digits": ["-X", "int_max_str_digits=5000"],
    "X_no_debug_ranges": ["-X", "no_debug_ranges"],
    "X_frozen_modules": ["-X", "frozen_modules=off"],
    "X_warn_default_encoding": ["-X", "warn_default_encoding"],
    "together": ["-IBOuX", "utf8", "-W", "once"],
}
COLD_OPTIONS = {
    "W_nonsense": ["-W", "nonsense"],
    "X_int_digits_bad": ["-X", "int_max_str_digits=5"],
    "X_importtime": ["-X", "importtime"],
    "v": ["-v"],
    "d": ["-d"],
}


def without_times(text):
    import re

    text = re.sub(rb"0x[0-9a-f]+", b"ADDRESS", text)
    return re.sub(rb"\d+", b"N", text)


@pytest.mark.parametrize("name", OPTIONS)
def test_option(shared_brood, files, name):
    options = OPTIONS[name]
    if "P" in name and name == "P" and sys.version_info < (3, 11):
        pytest.skip("no such option")
    (files / "settings.py").write_text(SETTINGS)
    same(shared_brood, ["settings.py", "a"], options=options, cwd=files)
    same(shared_brood, ["-c", SETTINGS], options=options, cwd=files)
    same(shared_brood, ["-m", "settings"], options=options, cwd=files)


@pytest.mark.parametrize("name", COLD_OPTIONS)
def test_cold_option(shared_brood, files, name):
    expected = shared_brood.python([*COLD_OPTIONS[name], "-c", "print(1)"])
    ours = shared_brood.run([*COLD_OPTIONS[name], "-c", "print(1)"])
    assert (ours.status, ours.out, bool(ours.err)) == (expected.status, expected.out, bool(expected.err))
    assert shared_brood.trace([*COLD_OPTIONS[name], "-c", "print(1)"]).startswith("cold")


VARIABLES = {
    "PYTHONOPTIMIZE": {"PYTHONOPTIMIZE": "2"},
    "PYTHONDONTWRITEBYTECODE": {"PYTHONDONTWRITEBYTECODE": "x"},
    "PYTHONNOUSERSITE": {"PYTHONNOUSERSITE": "1"},
    "PYTHONWARNINGS": {"PYTHONWARNINGS": "error::UserWarning,ignore"},
    "PYTHONUTF8": {"PYTHONUTF8": "1", "LC_ALL": "C"},
    "PYTHONUTF8_off": {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    "PYTHONIOENCODING": {"PYTHONIOENCODING": "latin-1:replace"},
    "PYTHONIOENCODING_errors": {"PYTHONIOENCODING": ":backslashreplace"},
    "PYTHONPATH": {"PYTHONPATH": "/nowhere:/usr"},
    "PYTHONHASHSEED": {"PYTHONHASHSEED": "5"},
    "PYTHONHASHSEED_zero": {"PYTHONHASHSEED": "0"},
    "PYTHONUNBUFFERED": {"PYTHONUNBUFFERED": "1"},
    "PYTHONUNBUFFERED_empty": {"PYTHONUNBUFFERED": ""},
    "PYTHONDEVMODE": {"PYTHONDEVMODE": "1"},
    "PYTHONFAULTHANDLER": {"PYTHONFAULTHANDLER": "1"},
    "PYTHONPYCACHEPREFIX": {"PYTHONPYCACHEPREFIX": "/nowhere/cache"},
    "PYTHONSAFEPATH": {"PYTHONSAFEPATH": "1"},
    "PYTHONINTMAXSTRDIGITS": {"PYTHONINTMAXSTRDIGITS": "5000"},
    "PYTHONMALLOC": {"PYTHONMALLOC": "malloc"},
    "PYTHONMALLOC_debug": {"PYTHONMALLOC": "debug"},
    "PYTHONUSERBASE": {"PYTHONUSERBASE": "/nowhere/user"},
    "PYTHONPLATLIBDIR": {"PYTHONPLATLIBDIR": "lib"},
    "PYTHONCASEOK": {"PYTHONCASEOK": "1"},
    "PYTHONWARNDEFAULTENCODING": {"PYTHONWARNDEFAULTENCODING": "1"},
    "PYTHONASYNCIODEBUG": {"PYTHONASYNCIODEBUG": "1"},
    "PYTHONBREAKPOINT": {"PYTHONBREAKPOINT": "0"},
    "PYTHONSTARTUP": {"PYTHONSTARTUP": "/nowhere/startup.py"},
    "LANG_C": {"LANG": "C"},
    "LC_ALL_C": {"LC_ALL": "C"},
    "LC_ALL_POSIX": {"LC_ALL": "POSIX"},
    "LC_ALL_unknown": {"LC_ALL": "xx_YY.UTF-8"},
    "LC_CTYPE": {"LC_CTYPE": "C.UTF-8", "LANG": "C"},
    "LANG_empty": {"LANG": ""},
    "TZ": {"TZ": "Asia/Tokyo"},
    "TZ_rule": {"TZ": "XYZ+3:30"},
    "ignored_with_E": {"PYTHONOPTIMIZE": "2", "PYTHONUTF8": "1"},
}


@pytest.mark.parametrize("name", VARIABLES)
def test_variable(shared_brood, files, name):
    variables = VARIABLES[name]
    (files / "settings.py").write_text(
        SETTINGS.replace("assert False",
                         "import time; print(time.tzname, time.localtime(0), sys.flags.hash_randomization)\n"
        "if os.environ.get('PYTHONHASHSEED'): print(hash('brood'))\nassert False")
    )
    options = ["-E"] if name == "ignored_with_E" else []
    same(shared_brood, ["settings.py", "a"], env=variables, options=options, cwd=files)
    same(shared_brood, ["-c", SETTINGS], env=variables, options=options, cwd=files)


COLD_VARIABLES = {
    "PYTHONINSPECT": {"PYTHONINSPECT": "1"},
    "PYTHONPATH": {"PYTHONPATH": "/nowhere:sub:elsewhere"},
    "PYTHONPATH_empty_part": {"PYTHONPATH": "/nowhere:"},
    "PYTHONTRACEMALLOC": {"PYTHONTRACEMALLOC": "1"},
    "PYTHONDEBUG": {"PYTHONDEBUG": "1"},
    "PYTHONCOERCECLOCALE": {"PYTHONCOERCECLOCALE": "warn", "LC_CTYPE": "C", "LANG": ""},
    "PYTHONMALLOCSTATS": {"PYTHONMALLOCSTATS": "1"},
}


@pytest.mark.parametrize("name", COLD_VARIABLES)
def test_cold_variable(shared_brood, files, name):
    same(shared_brood, ["script.py"], env=COLD_VARIABLES[name], cwd=files, cold=name.removesuffix("_empty_part"),
         normalise=(lambda text: b"") if name == "PYTHONMALLOCSTATS" else None)


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "PYTHONUTF8", "PYTHONINTMAXSTRDIGITS", "PYTHONHOME"])
def test_nonsense_in_a_variable(brood, name):
    """python does not even start; neither does a zygote."""
    normalise = lambda text: without_times(text)
    env = {name: "nonsense"}
    plain = brood.python(["-c", "print(1)"], env=env)
    for _ in range(2):
        done = brood.run(["-c", "print(1)"], env=env)
        assert (done.status, done.out, normalise(done.err)) == (plain.status, plain.out, normalise(plain.err))


def test_safe_path_module(shared_brood, files):
    """-I and -P keep the program's folder away: its modules are not found."""
    (files / "user.py").write_text("import script")
    same(shared_brood, ["user.py"], options=["-I"], cwd=files)
    same(shared_brood, ["-m", "script"], options=["-I"], cwd=files)
    same(shared_brood, ["bundle"], options=["-I"], cwd=files)


LOCAL = {
    "script_json": ("json.py", ["script.py"]),
    "script_random": ("random.py", ["script.py"]),
    "script_package": ("asyncio/__init__.py", ["script.py"]),
    "script_extension_name": ("socket.py", ["script.py"]),
    "command": ("json.py", ["-c", "import json; print(json.__file__)"]),
    "module": ("json.py", ["-m", "script"]),
    "stdin": ("json.py", ["-"]),
    "bundle": ("bundle/random.py", ["bundle"]),
    "runs_itself": ("json.py", ["json.py"]),
    "module_itself": ("json.py", ["-m", "json"]),
}


@pytest.mark.parametrize("case", LOCAL)
def test_local_module_goes_before_a_preloaded_one(shared_brood, tmp_path, case):
    name, arguments = LOCAL[case]
    text = "import json, random, asyncio, socket\nprint(json.__file__, random.__file__, asyncio.__file__)\n"
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/__main__.py").write_text(text)
    (tmp_path / "script.py").write_text(text)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("print('local', __name__)\n__all__ = []\ndef dumps(x): return 'local'\n")
    same(shared_brood, arguments, cwd=tmp_path, cold="has the name of a module", stdin=text.encode())


def test_a_folder_that_is_no_package_is_no_module(shared_brood, tmp_path):
    (tmp_path / "json").mkdir()
    (tmp_path / "json/readme.txt").write_text("")
    (tmp_path / "random.txt").write_text("")
    same(shared_brood, ["-c", "import json, random; print(json.__file__, random.__file__)"], cwd=tmp_path)


def test_modules_loaded_at_start_are_never_shadowed(shared_brood, tmp_path):
    (tmp_path / "os.py").write_text("print('never')")
    (tmp_path / "site.py").write_text("print('never')")
    same(shared_brood, ["-c", "import os, site; print(os.__file__, site.__file__)"], cwd=tmp_path)


def test_library_through_pythonpath(shared_brood, tmp_path):
    """A module on PYTHONPATH with the name of a preloaded one is what the zygote loads, too."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/textwrap.py").write_text("x = 'from PYTHONPATH'\ndef dedent(s): return s\n"
                                              "def fill(*a, **k): return ''\n"
                                              "def indent(*a): return ''\nclass TextWrapper: pass\n")
    same(shared_brood, ["-c", "import textwrap; print(textwrap.x, textwrap.__file__)"], cwd=tmp_path,
         env={"PYTHONPATH": str(tmp_path / "lib")})


@pytest.fixture(scope="module")
def virtual_environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("venv") / "v"
    done = subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no venv here: {done.stderr!r}")
    version = subprocess.run([folder / "bin/python3", "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
                             stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    (folder / "lib" / version / "site-packages/own_library.py").write_text("x = 1\n")
    return folder


VENV = ("import sys, own_library\n"
        "print(sys.prefix, sys.base_prefix, sys.exec_prefix, sys.executable, sys._base_executable, sys.path, "
        "own_library.__file__)\nimport subprocess\nprint(subprocess.run([sys.executable, '-c', 'import own_library'], "
        "capture_output=True))\n")


def test_virtual_environment(shared_brood, tmp_path, virtual_environment):
    python = str(virtual_environment / "bin/python3")
    same_program(shared_brood, tmp_path, VENV, env={"BROOD_PYTHON": python}, python=python,
                 runner=lambda arguments, **more: shared_brood.run(arguments, **more))


def test_activated_virtual_environment(shared_brood, tmp_path, virtual_environment):
    """As `activate` leaves it: VIRTUAL_ENV and PATH; brood-python is that environment's python."""
    python = str(virtual_environment / "bin/python3")
    env = {"VIRTUAL_ENV": str(virtual_environment), "PATH": f"{virtual_environment}/bin:{os.environ['PATH']}",
           "BROOD_PYTHON": ""}
    same_program(shared_brood, tmp_path, VENV, env=env, python=python,
                 runner=lambda arguments, **more: shared_brood.run(arguments, **more))


def test_very_long_arguments(shared_brood, tmp_path):
    words = ["x" * 100_000 for _ in range(10)] + [str(i) for i in range(20_000)]
    same(shared_brood, ["-c", "import sys; print(len(sys.argv), sum(map(len, sys.argv)), sys.argv[-1])", *words],
         cwd=tmp_path)
    same(shared_brood, ["-c", "import sys; print(len(sys.argv))", "x" * 131_000], cwd=tmp_path)


def test_bytes_that_are_no_utf_8(shared_brood, tmp_path):
    program = ("import sys, os\n"
               "print(ascii(sys.argv), ascii(os.environ['ODD']), os.environb[b'ODD'], ascii(sys.orig_argv[-1]))")
    path = tmp_path / "program.py"
    path.write_text(program)
    odd = os.fsdecode(b"a\xe4\xff\x80")
    env = {"ODD": odd}
    same(shared_brood, [path, odd], env=env, cwd=tmp_path)
    same(shared_brood, ["-c", program, odd], env=env, cwd=tmp_path)
    same(shared_brood, ["-c", program, odd], env={**env, "LC_ALL": "C", "PYTHONUTF8": "0",
                                                  "PYTHONCOERCECLOCALE": "0"}, cwd=tmp_path)


def test_script_whose_name_is_no_utf_8(shared_brood, tmp_path):
    path = os.fsencode(tmp_path) + b"/sch\xf6n.py"
    with open(path, "wb") as file:
        file.write(b"import sys\nprint(ascii(sys.argv), ascii(__file__), ascii(sys.path[0]))\n")
    same(shared_brood, [os.fsdecode(path)], cwd=tmp_path)


def test_script_with_spaces_and_newlines_in_its_name(shared_brood, tmp_path):
    same_program(shared_brood, tmp_path, "import sys\nprint(sys.argv, __file__)\n1/0", name="a b\n'c' ä.py")


def test_executable_bit_and_owner_do_not_matter(shared_brood, tmp_path):
    path = tmp_path / "program.py"
    path.write_text("print(__file__)")
    path.chmod(stat.S_IRUSR)
    same(shared_brood, [path])
    shutil.copy(path, tmp_path / "no_suffix")
    same(shared_brood, [tmp_path / "no_suffix"])
