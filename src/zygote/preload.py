"""Preparing an environment inside a zygote: load it, note what it depends on, make it fit to be forked.

Executed once in a zygote; C++ calls the functions in the order start, load_module / run_init, settle.
"""
import sys

import gc
import os
import traceback

MAIN = sys.modules["__main__"]
read_names = set()  # environment variables that the preload read
real_encodekey = os.environ.encodekey
gateways = {}  # name -> module of the remote side of gateways


def start(import_directory):
    """Before the first import of the preload."""
    global import_folder, before
    before = dict(os.environ._data)
    check_warning_options()
    gc.disable()
    if not getattr(sys.flags, "safe_path", sys.flags.isolated) and sys.path and sys.path[0] == "":
        del sys.path[0]  # what `-c` put there: the zygote's folder means nothing
    sys.argv[:] = [""]
    import_folder = import_directory
    if import_folder:
        sys.path.insert(0, import_folder)

    def note(key):
        encoded = real_encodekey(key)
        read_names.add(encoded)
        return encoded

    os.environ.encodekey = note


def check_warning_options():
    """python complains of a wrong -W at every start: so must every program, which only python itself can do."""
    import warnings

    with warnings.catch_warnings():
        for option in sys.warnoptions:
            try:
                warnings._setoption(option)
            except warnings._OptionError as error:
                raise RuntimeError(f"python does not understand -W {option}: {error}") from None


def load_gateways(library):
    """The remote side of brood's gateways: what python/brood/gateways/core/start.py finds in a worker instead of importing it."""
    package = type(sys)("brood_core")
    package.__path__ = [os.path.realpath(os.path.join(library, "python/brood/gateways/core"))]
    sys.modules["brood_core"] = package
    try:
        for name in "native", "worker", "service":
            __import__("brood_core." + name)
    except Exception:  # a gateway will say what is wrong
        pass
    gateways["brood_core"] = package


def hide_gateways():
    """Programs do not see these modules: what has a name for them is the registry of codecs, which nothing lists."""
    if gateways:
        names = [name for name in sys.modules if name == "_brood" or name.startswith("brood_core")]
        gateways.update({name: sys.modules.pop(name) for name in names})
        import codecs
        codecs.register_error("brood.gateways", gateways.copy)


STANDARD = getattr(sys, "stdlib_module_names", frozenset())  # 3.10 and later


def load_module(name):
    """A standard module comes from the standard library, whatever the project's folder holds."""
    standard = import_folder and name.partition(".")[0] in STANDARD
    if standard:
        sys.path.remove(import_folder)
    try:
        __import__(name)
    finally:
        if standard:
            sys.path.insert(0, import_folder)


def run_init(path):
    """The init section: executed in __main__, whose names every program then sees."""
    folder = os.path.dirname(path)
    sys.path.insert(0, folder)
    sys.argv[:] = [path]
    MAIN.__file__ = path
    try:
        with open(path, "rb") as file:
            source = file.read()
        exec(compile(source, path, "exec", dont_inherit=True), MAIN.__dict__)
    finally:
        MAIN.__dict__.pop("__file__", None)
        if folder in sys.path:
            sys.path.remove(folder)
        sys.argv[:] = [""]


def describe_failure(error, trace):
    """An exception as python shows it, without our own frames."""
    while trace and trace.tb_frame.f_code.co_filename.startswith("<brood"):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def settle():
    """After the preload: streams flushed, garbage gone, what is left frozen out of the collector's sight."""
    os.environ.encodekey = real_encodekey
    if import_folder and import_folder in sys.path:
        sys.path.remove(import_folder)
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.flush()
    running = sys.modules.get("asyncio.events")
    if running and running._get_running_loop() is not None:
        raise RuntimeError("an asyncio event loop is running after the preload; it cannot be forked")
    multiprocessing = sys.modules.get("multiprocessing.resource_tracker")
    if multiprocessing and multiprocessing._resource_tracker._fd is not None:
        raise RuntimeError("the preload started multiprocessing's resource tracker; it cannot be shared by programs")
    hide_gateways()
    global MAIN
    MAIN = None  # it ends with the program
    gc.collect()
    gc.freeze()


def watched():
    """(files, folders, absent): what the loaded state came from. A change of a file, or of what could be imported
    from a folder, or the appearance of an absent path makes the environment stale."""
    files, folders, absent = set(), set(), set()
    own = [module for name, module in gateways.items() if name != "_brood"]  # which is the daemon's affair
    for module in [*sys.modules.values(), *own]:
        spec = getattr(module, "__spec__", None)
        path = getattr(module, "__file__", None) or getattr(spec, "origin", None)
        if isinstance(path, str) and os.path.isabs(path):
            files.add(path)
        for place in getattr(spec, "submodule_search_locations", None) or ():
            if isinstance(place, str) and os.path.isabs(place):
                folders.add(place)
    for place in sys.path:
        if os.path.isdir(place):
            folders.add(place)
        elif os.path.isfile(place):
            files.add(place)
        elif os.path.isabs(place):
            absent.add(place)
    executable = sys.executable or ""
    if os.path.isabs(executable):  # __PYVENV_LAUNCHER__ may say anything
        files.add(executable)
        files.add(os.path.realpath(executable))
        for folder in (os.path.dirname(executable), os.path.dirname(os.path.dirname(executable))):
            config = os.path.join(folder, "pyvenv.cfg")
            (files if os.path.exists(config) else absent).add(config)
    site = sys.modules.get("site")
    if site and site.ENABLE_USER_SITE:
        place = site.getusersitepackages()
        (folders if os.path.isdir(place) else absent).add(place)
    for folder in list(folders):
        try:
            names = [name for name in os.listdir(folder) if name.endswith(".pth")] if folder in sys.path else []
        except OSError:
            names = []
        for name in names:
            files.add(os.path.join(folder, name))
            absent.update(missing_folders(folder, name))
    for path in list(files):
        folders.add(os.path.dirname(path))
    return sorted(files), sorted(folders), sorted(absent)


def missing_folders(folder, name):
    """What a .pth file names and site passed over, for it does not exist."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip() for line in file if not line.startswith(("#", "import ", "import\t"))]
    except OSError:
        return []
    places = [os.path.abspath(os.path.join(folder, line)) for line in lines if line and "\0" not in line]
    return [place for place in places if not os.path.exists(place)]


def read_variables():
    """[(name, the value the preload saw or None)]"""
    return [(name, before.get(name)) for name in sorted(read_names)]


def changed_variables():
    """[(name, value or None)]: what the preload itself did to the environment; programs see it, too."""
    now = os.environ._data
    return [(name, now.get(name)) for name in sorted({*before, *now}) if now.get(name) != before.get(name)]


def coerced_locale():
    """[("LC_CTYPE", value)] when python set it itself at start-up (PEP 538), else []."""
    with open("/proc/self/environ", "rb") as file:
        given = dict(item.partition(b"=")[::2] for item in file.read().split(b"\0") if item)
    value = before.get(b"LC_CTYPE")
    return [(b"LC_CTYPE", value)] if value is not None and value != given.get(b"LC_CTYPE") else []
