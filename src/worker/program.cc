#include "worker/program.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/scheduling.h"
#include "base/signals.h"
#include "worker/ending.h"
#include "worker/program_py.h"

namespace brood {
namespace {

ino_t inode_of(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

// As sys.hexversion.
unsigned long python_version() { return PyLong_AsUnsignedLong(PySys_GetObject("hexversion")); }

PyRef list_of(const std::vector<std::string>& words) {
  PyRef list(PyList_New(0));
  for (const std::string& word : words) {
    PyRef item = from_bytes(word);
    if (!list || !item || PyList_Append(list.get(), item.get()) != 0) return {};
  }
  return list;
}

// bytes -> bytes; as in posix.environ the first of two equal names counts.
PyRef environment_dict(const std::vector<char*>& items) {
  PyRef dict(PyDict_New());
  for (const char* item : items) {
    const char* equals = std::strchr(item, '=');
    if (!dict || !equals) continue;
    PyRef name(PyBytes_FromStringAndSize(item, equals - item));
    PyRef value(PyBytes_FromString(equals + 1));
    if (!name || !value) return {};
    if (PyDict_GetItemWithError(dict.get(), name.get())) continue;
    if (PyDict_SetItem(dict.get(), name.get(), value.get()) != 0) return {};
  }
  return dict;
}

// As flush_io() in CPython's pythonrun.c: after a program that was read from a file, before its
// exception is shown.
void flush_quietly() {
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  for (const char* name : {"stderr", "stdout"}) {
    PyRef stream = PyRef::borrow(PySys_GetObject(name));
    PyRef flushed(stream ? PyObject_CallMethod(stream.get(), "flush", nullptr) : nullptr);
    PyErr_Clear();
  }
  PyErr_Restore(type, value, trace);
}

// The exception that is set cannot be raised. 3.13 and later say what was done, earlier ones with
// which object.
void write_unraisable(PyObject* space, const std::string& what, PyObject* object) {
  if (python_version() < 0x030d0000) return PyErr_WriteUnraisable(object);
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  PyRef own_type(type), own_value(value), own_trace(trace);
  if (PySys_GetObject("unraisablehook") == PySys_GetObject("__unraisablehook__")) {
    PySys_WriteStderr("Exception ignored on %s:\n", what.c_str());
    PyErr_Display(type, value, trace);
  } else {
    PyRef done = call(space, "unraisable",
                      PyRef(Py_BuildValue("(sOO)", what.c_str(), value, trace ? trace : Py_None)));
  }
  PyErr_Clear();
}

// As flush_std_files() in CPython's pylifecycle.c: true when something could not be written.
bool flush_stream(PyObject* space, const char* name, bool report) {
  PyObject* stream = PySys_GetObject(name);  // borrowed
  if (!stream || stream == Py_None) return false;
  PyRef held = PyRef::borrow(stream);
  PyRef closed(PyObject_GetAttrString(stream, "closed"));
  if (!closed) PyErr_Clear();
  if (closed && PyObject_IsTrue(closed.get()) == 1) return false;
  PyRef flushed(PyObject_CallMethod(stream, "flush", nullptr));
  if (flushed) return false;
  if (report) write_unraisable(space, std::string("flushing sys.") + name, stream);
  PyErr_Clear();
  return true;
}

bool flush_streams(PyObject* space, bool report) {
  const bool lost = flush_stream(space, "stdout", report);
  return flush_stream(space, "stderr", false) || lost;
}

// As handle_system_exit() in CPython's pythonrun.c. The exception is set; it is cleared.
int system_exit_status() {
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  PyRef own_type(type), own_value(value), own_trace(trace);
  std::fflush(stdout);
  PyRef code(value ? PyObject_GetAttrString(value, "code") : nullptr);
  if (!code) {
    PyErr_Clear();
    code = std::move(own_value);
  }
  if (!code || code.get() == Py_None) return 0;
  if (PyLong_Check(code.get())) {
    const long status = PyLong_AsLong(code.get());
    PyErr_Clear();
    return static_cast<int>(status);
  }
  PyObject* stream = PySys_GetObject("stderr");
  if (stream && stream != Py_None) PyFile_WriteObject(code.get(), stream, Py_PRINT_RAW);
  PyErr_Clear();
  PySys_WriteStderr("\n");
  return 1;
}

void wait_for_threads(PyObject* space) {
  PyRef threading = PyRef::borrow(PyDict_GetItemString(PyImport_GetModuleDict(), "threading"));
  if (!threading) return;
  if (PyRef done(PyObject_CallMethod(threading.get(), "_shutdown", nullptr)); !done)
    write_unraisable(space, "threading shutdown", threading.get());
}

void run_exit_functions() {
  PyRef atexit = PyRef::borrow(PyDict_GetItemString(PyImport_GetModuleDict(), "atexit"));
  PyRef done(atexit ? PyObject_CallMethod(atexit.get(), "_run_exitfuncs", nullptr) : nullptr);
  PyErr_Clear();  // what failed has been shown; 3.9 raises the last exception again
}

// As PyErr_Print(), which would finalize the whole interpreter and exit when sys.excepthook raises
// SystemExit. The exception is set; it is cleared. Returns the exit status.
int show_exception() {
  PyRef hook = PyRef::borrow(PySys_GetObject("excepthook"));
  if (!hook || hook.get() == PySys_GetObject("__excepthook__")) {
    PyErr_Print();
    return 1;
  }
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (!trace) trace = PyRef::borrow(Py_None).release();
  PyRef own_type(type), own_value(value), own_trace(trace);
  if (trace != Py_None) PyException_SetTraceback(value, trace);
  PySys_SetObject("last_type", type);
  PySys_SetObject("last_value", value);
  PySys_SetObject("last_traceback", trace);
  if (python_version() >= 0x030c0000) PySys_SetObject("last_exc", value);
  PyRef shown(PyObject_CallFunctionObjArgs(hook.get(), type, value, trace, nullptr));
  if (shown) return 1;
  if (PyErr_ExceptionMatches(PyExc_SystemExit)) return system_exit_status();
  PyObject *type2 = nullptr, *value2 = nullptr, *trace2 = nullptr;
  PyErr_Fetch(&type2, &value2, &trace2);
  PyErr_NormalizeException(&type2, &value2, &trace2);
  PyRef own_type2(type2), own_value2(value2), own_trace2(trace2);
  PySys_WriteStderr("Error in sys.excepthook:\n");
  PyErr_Display(type2, value2, trace2);
  PySys_WriteStderr("\nOriginal exception was:\n");
  PyErr_Display(type, value, trace);
  return 1;
}

PyObject* import_nothing(PyObject*, PyObject*, PyObject*) {
  PyErr_SetString(PyExc_ImportError, "sys.meta_path is None, Python is likely shutting down");
  return nullptr;
}

// python has emptied sys.modules by then, so that finalizers cannot import and tracebacks show no
// source lines.
void end_imports() {
  static PyMethodDef definition = {
      "__import__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(import_nothing)),
      METH_VARARGS | METH_KEYWORDS, nullptr};
  PyRef function(PyCFunction_New(&definition, nullptr));
  PyObject* builtins = PyEval_GetBuiltins();  // borrowed
  if (!function || !builtins || PyDict_SetItemString(builtins, "__import__", function.get()) != 0)
    PyErr_Clear();
}

// As _PyModule_ClearDict(): first names with one leading underscore, then the others, never
// __builtins__.
void clear_module(PyObject* module) {
  PyRef names = PyRef::borrow(PyModule_Check(module) ? PyModule_GetDict(module) : nullptr);
  PyRef keys(names ? PyDict_Keys(names.get()) : nullptr);
  const Py_ssize_t count = keys ? PyList_Size(keys.get()) : 0;
  for (const bool private_names : {true, false}) {
    for (Py_ssize_t i = 0; i < count; i++) {
      PyObject* key = PyList_GetItem(keys.get(), i);
      const std::string name = PyUnicode_Check(key) ? to_bytes(key) : "";
      const bool is_private = name.starts_with("_") && !name.starts_with("__");
      if (name.empty() || is_private != private_names || name == "__builtins__") continue;
      if (PyDict_SetItem(names.get(), key, Py_None) != 0) PyErr_Clear();
    }
  }
}

// The daemon threads that are left must not see the ruins: each ends as soon as it would go on.
void end_threads() {
  for (const unsigned long thread : other_threads())
    PyThreadState_SetAsyncExc(thread, PyExc_SystemExit);
  PyErr_Clear();
}

// The program comes through a pipe, which is read after the acknowledgement. Null with an exception
// set on failure.
PyRef compile_standard_input() {
  std::string source;
  char buffer[65536];
  for (;;) {
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
    if (got > 0) source.append(buffer, static_cast<size_t>(got));
    if (got < 0 && errno == EINTR && PyErr_CheckSignals() == 0) continue;
    if (got <= 0) break;
  }
  if (PyErr_Occurred()) return {};
  PyRef function(PyObject_GetAttrString(PyRef(PyImport_ImportModule("builtins")).get(), "compile"));
  PyRef arguments(Py_BuildValue("(y#ssii)", source.data(), static_cast<Py_ssize_t>(source.size()),
                                "<stdin>", "exec", 0, 1));
  if (!function || !arguments) return {};
  return PyRef(PyObject_Call(function.get(), arguments.get(), nullptr));
}

}  // namespace

Result<Program> Program::load() {
  Program program;
  program.space_ = execute(kPy_program, "<brood worker>");
  if (!program.space_) return Error{"brood's own program.py failed: " + take_exception()};
  return program;
}

Result<void> Program::freeze() {
  for (const char* step : {"freeze", "practise"})
    if (PyRef done = call(space_.get(), step); !done) return Error{take_exception()};
  return {};
}

void Program::reseed() {
  for (const char* step : {"reseed", "wake"})
    if (PyRef done = call(space_.get(), step); !done) PyErr_Clear();
}

namespace {

// 3.13 and later. Signals go to the state at the address of the first one, which is used again when
// it is free.
void make_fresh_thread_state(PyThreadState* old) {
  PyInterpreterState* interpreter = PyInterpreterState_Get();
  PyThreadState_Clear(old);
  PyEval_SaveThread();
  PyThreadState_Delete(old);
  PyEval_RestoreThread(PyThreadState_New(interpreter));
}

void make_fresh_thread_state_before_313(PyThreadState* old) {
  // CPython 3.11 cannot make a thread state when it has none, so one stands in meanwhile.
  PyThreadState* stand_in = PyThreadState_New(PyInterpreterState_Get());
  PyThreadState_Clear(old);  // while it is the current one: the debug allocators insist on it
  PyThreadState_Swap(stand_in);
  PyThreadState_Delete(old);  // it was the one registered for PyGILState; now there is none
  PyEval_SaveThread();
  PyGILState_Ensure();  // makes one, registers it, takes the GIL; in 3.12 the stand-in is
                        // registered and stays
  if (PyThreadState_Get() == stand_in) return;
  PyThreadState_Clear(stand_in);
  PyThreadState_Delete(stand_in);
}

}  // namespace

void Program::use_fresh_thread_state() {
  if (python_version() >= 0x030d0000)
    make_fresh_thread_state(PyThreadState_Get());
  else
    make_fresh_thread_state_before_313(PyThreadState_Get());
  if (PyRef done = call(space_.get(), "bind_main_thread"); !done) PyErr_Clear();
}

Result<void> Program::ignore_signals(uint64_t ignored) {
  for (int number : kInternalSignals)
    if (ignored & signal_bit(number)) set_disposition(number, Disposition::kIgnore);
  const uint64_t missing = ignored ? ignored & ~ignored_signals() : 0;
  for (int number = 1; number <= kSignals; number++) {
    if (!(missing & signal_bit(number))) continue;
    PyRef done = call(space_.get(), "ignore_signal", PyRef(Py_BuildValue("(i)", number)));
    if (!done) return Error{"cannot ignore a signal: " + take_exception()};
  }
  return {};
}

Result<void> Program::prepare(const RunRequest& request, const std::vector<char*>& environment) {
  if (Result<void> done = ignore_signals(request.process.ignored_signals); !done) return done;
  if (request.unbuffered)
    for (FILE* stream : {stdin, stdout, stderr})
      setvbuf(stream, nullptr, _IONBF, 0);
  from_file_ = request.kind == ProgramKind::kScript || request.kind == ProgramKind::kStdin;
  PyRef variables = environment_dict(environment);
  PyRef arguments = list_of(request.arguments);
  PyRef orig_argv = list_of(request.orig_argv);
  PyRef program = from_bytes(request.program);
  if (!variables || !arguments || !orig_argv || !program) return Error{take_exception()};
  work_ = call(space_.get(), "prepare",
               PyRef(Py_BuildValue("(iOOOOO)", static_cast<int>(request.kind), program.get(),
                                   arguments.get(), orig_argv.get(),
                                   request.unbuffered ? Py_True : Py_False, variables.get())));
  if (work_) return {};
  std::string reason = take_exception();
  if (constexpr std::string_view kRefuse = "Refuse: "; reason.starts_with(kRefuse))
    reason.erase(0, kRefuse.size());
  return Error{std::move(reason)};
}

void Program::acknowledged() {
  // Without need no Python code runs here: a signal that has arrived already is for the program.
  PyObject* text = PyDict_GetItemString(space_.get(), "held_back");  // borrowed
  if (text && PyObject_IsTrue(text) == 0) return;
  if (PyRef done = call(space_.get(), "acknowledged"); !done) PyErr_Clear();
}

// prepare() returned a code object, a tuple (callable, arguments), or None: the code comes through
// standard input.
PyRef Program::start() {
  if (PyTuple_Check(work_.get())) {
    PyRef function = PyRef::borrow(PyTuple_GetItem(work_.get(), 0));
    PyRef arguments = PyRef::borrow(PyTuple_GetItem(work_.get(), 1));
    work_ = {};
    return PyRef(PyObject_Call(function.get(), arguments.get(), nullptr));
  }
  PyRef code = std::move(work_);
  if (code.get() == Py_None) code = compile_standard_input();
  if (!code) return {};
  PyRef main(PyImport_ImportModule("__main__"));
  if (!main) return {};
  PyRef space = PyRef::borrow(PyModule_GetDict(main.get()));
  PyRef result(PyEval_EvalCode(code.get(), space.get(), space.get()));
  if (from_file_) flush_quietly();
  return result;
}

Exited Program::leave(PyRef result, What what) {
  int status = 0;
  bool interrupted = false;
  if (!result) {
    if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
      status = system_exit_status();
    } else {
      interrupted = PyErr_Occurred() == PyExc_KeyboardInterrupt;  // as CPython, without subclasses
      status = show_exception();
    }
  }
  result = {};
  forget_file_name(space_.get());
  if (withdraw_preloaded(space_.get())) wait_for_threads(space_.get());
  if (what != What::kRehearsal) run_exit_functions();
  const bool lost = flush_streams(space_.get(), true);
  if (what == What::kSession) give_way();  // nobody waits while a gigabyte of objects is freed
  tear_down();
  flush_streams(space_.get(), false);
  std::fflush(nullptr);
  if (lost) status = 120;  // as Py_RunMain
  if (interrupted) return {true, SIGINT};
  return {false, static_cast<uint32_t>(status) & 0xff};
}

void Program::rehearse() { leave(start(), What::kRehearsal); }

// As finalize_modules() in CPython's pylifecycle.c, for the modules that the program brought.
// Finalizers find no Python frame below them, as under python.
void Program::tear_down() {
  end_threads();
  forget_main(space_.get());
  PyGC_Collect();
  delete_special(space_.get());
  PyRef names = own_modules(space_.get());
  PyObject* modules = PyImport_GetModuleDict();  // borrowed
  std::vector<PyRef> left;                       // weak references
  const Py_ssize_t count = names ? PyList_Size(names.get()) : 0;
  for (Py_ssize_t i = 0; i < count; i++) {
    PyObject* name = PyList_GetItem(names.get(), i);
    PyRef module = PyRef::borrow(PyDict_GetItemWithError(modules, name));
    if (!module) continue;
    if (PyRef reference(PyWeakref_NewRef(module.get(), nullptr)); reference)
      left.push_back(std::move(reference));
    PyErr_Clear();
    if (PyDict_SetItem(modules, name, Py_None) != 0) PyErr_Clear();
  }
  end_imports();
  PyGC_Collect();
  while (!left.empty()) {
    PyRef module = PyRef::borrow(PyWeakref_GetObject(left.back().get()));
    if (module && module.get() != Py_None) clear_module(module.get());
    left.pop_back();
  }
  PyGC_Collect();
  flush_survivors(space_.get());
}

Exited Program::run(int keep) {
  const ino_t connection = inode_of(keep);
  PyRef result = start();
  return leave_but(keep, connection, std::move(result), What::kProgram);
}

Exited Program::end_session(int keep) {
  return leave_but(keep, inode_of(keep), PyErr_Occurred() ? PyRef() : PyRef::borrow(Py_None),
                   What::kSession);
}

Exited Program::end_child(int keep) {
  return leave_but(keep, inode_of(keep), PyErr_Occurred() ? PyRef() : PyRef::borrow(Py_None),
                   What::kProgram);
}

Exited Program::leave_but(int keep, ino_t connection, PyRef result, What what) {
  const Exited exited = leave(std::move(result), what);
  // A program that closed all descriptors may have one of its own there by now.
  if (inode_of(keep) != connection) {
    close_range(0, ~0U, 0);
    return exited;
  }
  if (keep > 0) close_range(0, static_cast<unsigned>(keep) - 1, 0);
  close_range(static_cast<unsigned>(keep) + 1, ~0U, 0);
  return exited;
}

}  // namespace brood
