#include "worker/ending.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_set>

namespace brood {
namespace {

// What finalize_modules_delete_special() sets to None.
constexpr const char* kSpecial[] = {"path",       "argv",
                                    "ps1",        "ps2",
                                    "last_exc",   "last_type",
                                    "last_value", "last_traceback",
                                    "path_hooks", "path_importer_cache",
                                    "meta_path",  "__interactivehook__"};

struct ExitFunction {
  const char* module;
  const char* name;
};
// Registered with atexit when the module is imported.
constexpr ExitFunction kExitFunctions[] = {{"logging", "shutdown"},
                                           {"multiprocessing.util", "_exit_function"}};

PyObject* item(PyObject* space, const char* name) {  // borrowed
  return PyDict_GetItemString(space, name);
}

PyRef attribute(PyObject* object, const char* name) {
  PyRef value(object ? PyObject_GetAttrString(object, name) : nullptr);
  if (!value) PyErr_Clear();
  return value;
}

PyRef call_method(PyObject* object, const char* name) {
  PyRef result(object ? PyObject_CallMethod(object, name, nullptr) : nullptr);
  if (!result) PyErr_Clear();
  return result;
}

bool is_set(const PyRef& value) { return value && value.get() != Py_None; }

PyRef call_sys(const char* name) {
  PyObject* function = PySys_GetObject(name);  // borrowed
  PyRef result(function ? PyObject_CallObject(function, nullptr) : nullptr);
  if (!result) PyErr_Clear();
  return result;
}

// 3.12 and later: cProfile and coverage are such tools.
bool is_monitored() {
  constexpr int kTools = 6;
  PyObject* monitoring = PySys_GetObject("monitoring");  // borrowed
  for (int tool = 0; monitoring && tool < kTools; tool++) {
    PyRef name(PyObject_CallMethod(monitoring, "get_tool", "i", tool));
    if (!name) PyErr_Clear();
    if (is_set(name)) return true;
  }
  return false;
}

bool is_watched() {
  return is_set(call_sys("gettrace")) || is_set(call_sys("getprofile")) || is_monitored();
}

PyObject* loaded(PyObject* name) {  // borrowed
  PyObject* module = PyDict_GetItemWithError(PyImport_GetModuleDict(), name);
  if (!module) PyErr_Clear();
  return module;
}

// The preloaded modules that a program has imported, as its own modules' names tell: `import a`,
// `from a import f`, and so on from there. What only functions import is not found.
class Reached {
 public:
  explicit Reached(PyObject* space) {
    function_type_ = Py_TYPE(item(space, "wake"));
    PyRef names = own_modules(space);
    const Py_ssize_t count = names ? PyList_Size(names.get()) : 0;
    for (Py_ssize_t i = 0; i < count; i++)
      add(loaded(PyList_GetItem(names.get(), i)));
    while (!pending_.empty()) {
      PyObject* module = pending_.back();
      pending_.pop_back();
      follow(module);
    }
  }

  bool contains(PyObject* module) const { return found_.contains(module); }

  // What threading._register_atexit() has made of a function of a module that the program has not
  // imported.
  bool is_foreign(PyObject* registered) const {
    PyRef function = attribute(registered, "func");      // a functools.partial
    PyRef cells = attribute(registered, "__closure__");  // 3.13: a lambda
    const Py_ssize_t count = is_set(cells) ? PyTuple_Size(cells.get()) : 0;
    for (Py_ssize_t i = 0; i < count && !function; i++) {
      PyRef content = attribute(PyTuple_GetItem(cells.get(), i), "cell_contents");
      if (content && Py_TYPE(content.get()) == function_type_) function = std::move(content);
    }
    PyRef name = attribute(function.get(), "__module__");
    PyObject* module = name ? loaded(name.get()) : nullptr;
    return module && !contains(module);
  }

 private:
  void add(PyObject* module) {
    if (module && PyModule_Check(module) && found_.insert(module).second)
      pending_.push_back(module);
  }

  static std::string name_of(PyObject* module) {
    PyRef name(PyModule_GetNameObject(module));
    if (!name) PyErr_Clear();
    return name ? to_bytes(name.get()) : "";
  }

  // A package holds its submodules, whoever imported them.
  void follow(PyObject* module) {
    const std::string within = name_of(module) + ".";
    PyRef values(PyDict_Values(PyModule_GetDict(module)));
    const Py_ssize_t count = values ? PyList_Size(values.get()) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
      PyObject* value = PyList_GetItem(values.get(), i);
      PyObject* target = PyModule_Check(value) ? value : nullptr;
      if (PyType_Check(value) || Py_TYPE(value) == function_type_) {
        PyRef home = attribute(value, "__module__");
        if (home && PyUnicode_Check(home.get())) target = loaded(home.get());
      }
      if (target && PyModule_Check(target) && !name_of(target).starts_with(within)) add(target);
    }
  }

  PyTypeObject* function_type_;
  std::unordered_set<PyObject*> found_;  // all of them are in sys.modules or held by a module
  std::vector<PyObject*> pending_;
};

void withdraw_exit_functions(PyObject* modules, const Reached& reached) {
  PyObject* atexit = PyDict_GetItemString(modules, "atexit");  // borrowed
  for (const ExitFunction& one : kExitFunctions) {
    PyObject* module = PyDict_GetItemString(modules, one.module);  // borrowed
    if (!atexit || !module || reached.contains(module)) continue;
    PyRef function = attribute(module, one.name);
    PyRef done(function ? PyObject_CallMethod(atexit, "unregister", "O", function.get()) : nullptr);
    if (!done) PyErr_Clear();
  }
}

// A module that only functions have imported may have given the program a pool of threads.
bool has_pools(PyObject* modules) {
  PyObject* pools = PyDict_GetItemString(modules, "concurrent.futures.thread");  // borrowed
  PyRef queues = attribute(pools, "_threads_queues");
  PyRef table = attribute(queues.get(), "data");  // of a WeakKeyDictionary
  return pools && !(table && PyDict_Check(table.get()) && PyDict_Size(table.get()) == 0);
}

// threading has a list of its own, which concurrent.futures uses.
void withdraw_thread_exit_functions(PyObject* threading, const Reached& reached) {
  PyRef functions = attribute(threading, "_threading_atexits");
  if (!functions || !PyList_Check(functions.get())) return;
  for (Py_ssize_t i = PyList_Size(functions.get()); i-- > 0;)
    if (reached.is_foreign(PyList_GetItem(functions.get(), i)))
      PyList_SetSlice(functions.get(), i, i + 1, nullptr);
}

}  // namespace

void forget_file_name(PyObject* space) {
  PyObject* main = item(space, "MAIN");
  if (!main || !PyModule_Check(main)) return;
  PyObject* names = PyModule_GetDict(main);
  for (const char* name : {"__file__", "__cached__"})
    if (item(names, name) && PyDict_DelItemString(names, name) != 0) PyErr_Clear();
}

bool withdraw_preloaded(PyObject* space) {
  if (!is_watched()) return true;
  PyObject* modules = PyImport_GetModuleDict();
  const Reached reached(space);
  withdraw_exit_functions(modules, reached);
  PyObject* threading = PyDict_GetItemString(modules, "threading");
  if (!threading) return true;
  if (!reached.contains(threading)) return !other_threads().empty();
  if (!has_pools(modules)) withdraw_thread_exit_functions(threading, reached);
  return true;
}

std::vector<unsigned long> other_threads() {
  std::vector<unsigned long> others;
  PyRef frames = call_sys("_current_frames");
  PyRef threads(frames && PyDict_Check(frames.get()) ? PyDict_Keys(frames.get()) : nullptr);
  const Py_ssize_t count = threads ? PyList_Size(threads.get()) : 0;
  for (Py_ssize_t i = 0; i < count; i++) {
    const unsigned long thread = PyLong_AsUnsignedLong(PyList_GetItem(threads.get(), i));
    if (thread != PyThread_get_thread_ident()) others.push_back(thread);
  }
  PyErr_Clear();
  return others;
}

void forget_main(PyObject* space) {
  PyObject* ours = item(space, "main_is_ours");
  if (ours != Py_True && item(space, "MAIN"))  // its names are cleared one by one
    PyList_Append(item(space, "kept"), item(space, "MAIN"));
  PyDict_SetItemString(space, "MAIN", Py_None);
  PyErr_Clear();
}

void delete_special(PyObject* space) {
  for (const char* name : kSpecial) {
    PyObject* value = PySys_GetObject(name);  // borrowed
    if (!value) continue;
    if (std::string_view(name).starts_with("path_") || std::string_view(name).starts_with("meta_"))
      PyList_Append(item(space, "kept"), value);
    PySys_SetObject(name, Py_None);
  }
  for (const char* name : {"stdin", "stdout", "stderr"})
    if (PyObject* first = PySys_GetObject((std::string("__") + name + "__").c_str()))
      PySys_SetObject(name, first);
  PyObject* builtins = PyEval_GetBuiltins();  // borrowed
  PyObject* known = item(space, "builtin_names");
  if (builtins && known && PyDict_Size(builtins) != PySet_Size(known)) {
    PyRef names(PyDict_Keys(builtins));
    const Py_ssize_t count = names ? PyList_Size(names.get()) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
      PyObject* name = PyList_GetItem(names.get(), i);
      if (PySet_Contains(known, name) == 0) PyDict_DelItem(builtins, name);
    }
  }
  PyErr_Clear();
  call_method(item(space, "gc"), "enable");  // what follows is collected in any case
}

PyRef own_modules(PyObject* space) {
  PyObject* last = item(space, "last_preloaded");
  PyRef own(PyList_New(0));
  PyRef main(PyUnicode_FromString("__main__"));
  if (!last || !own || !main || PyList_Append(own.get(), main.get()) != 0) {
    PyErr_Clear();
    return own;
  }
  // Not by PyDict_Keys(): a reference to each name would be written all over the preload's pages.
  PyObject *name = nullptr, *module = nullptr;
  bool after = false;
  for (Py_ssize_t at = 0; PyDict_Next(PyImport_GetModuleDict(), &at, &name, &module);) {
    if (after && PyList_Append(own.get(), name) != 0) PyErr_Clear();
    after = after || name == last;
  }
  if (after) return own;
  PyRef all(PyDict_Keys(PyImport_GetModuleDict()));  // the program has removed that one
  if (!all) PyErr_Clear();
  return all ? std::move(all) : std::move(own);
}

void flush_survivors(PyObject* space) {
  std::array<PyRef, 3> writers;
  size_t known = 0;
  for (const char* name : {"TextIOWrapper", "BufferedWriter", "BufferedRandom"})
    writers[known++] = attribute(item(space, "io"), name);
  PyRef things = call_method(item(space, "gc"), "get_objects");
  const Py_ssize_t count = things && PyList_Check(things.get()) ? PyList_Size(things.get()) : 0;
  for (Py_ssize_t i = 0; i < count; i++) {
    PyObject* thing = PyList_GetItem(things.get(), i);
    const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(thing));
    if (std::any_of(writers.begin(), writers.end(),
                    [type](const PyRef& writer) { return writer.get() == type; }))
      call_method(thing, "flush");
  }
}

}  // namespace brood
