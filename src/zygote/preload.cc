#include "zygote/preload.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sys.h"
#include "zygote/preload_py.h"

namespace brood {
namespace {

// How long threads may take to end after the preload, and how often they are counted meanwhile.
constexpr int64_t kThreadsEndNs = 2'000'000'000;
constexpr timespec kThreadsCountedEvery{0, 2'000'000};

std::vector<std::string> list_folder(const char* path) {
  std::vector<std::string> names;
  DIR* dir = opendir(path);
  if (!dir) return names;
  while (const dirent* entry = readdir(dir))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  closedir(dir);
  return names;
}

// The ids of the threads beside this one.
std::vector<std::string> other_threads() {
  std::vector<std::string> ids = list_folder("/proc/self/task");
  std::erase(ids, std::to_string(getpid()));
  return ids;
}

// The other threads that do not end by themselves. One that was joined may still be on its way out:
// `Thread.join` and pthread_join return before the kernel has removed it.
std::vector<std::string> lasting_threads() {
  std::vector<std::string> left = other_threads();
  if (left.empty()) return left;
  PyThreadState* held = PyEval_SaveThread();  // one that is about to end needs the interpreter
  const int64_t until = monotonic_ns() + kThreadsEndNs;
  while (!left.empty() && monotonic_ns() < until) {
    nanosleep(&kThreadsCountedEvery, nullptr);
    left = other_threads();
  }
  PyEval_RestoreThread(held);
  return left;
}

std::string thread_name(const std::string& id) {
  Result<std::string> name = read_file("/proc/self/task/" + id + "/comm", 64);
  return name ? name->substr(0, name->find('\n')) : id;
}

std::string joined(const std::set<std::string>& words) {
  std::string out;
  for (const std::string& word : words)
    out += (out.empty() ? "" : ", ") + word;
  return out;
}

// Captures what is written to descriptors 1 and 2 while it lives.
class Capture {
 public:
  Capture() : memory_(memfd_create("brood-preload-output", MFD_CLOEXEC)) {
    for (int fd : {1, 2}) {
      saved_[static_cast<size_t>(fd)] = duplicate_above(fd, 3);
      if (memory_) dup2(memory_.get(), fd);
    }
  }
  ~Capture() { restore(); }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  std::string restore() {
    for (int fd : {1, 2})
      if (Fd& saved = saved_[static_cast<size_t>(fd)]; saved) {
        dup2(saved.get(), fd);
        saved.reset();
      }
    std::string text;
    if (!memory_) return text;
    text.resize(kMaxPreloadOutput);
    const ssize_t got = pread(memory_.get(), text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
    memory_.reset();
    return text;
  }

 private:
  Fd memory_;
  std::array<Fd, 3> saved_;
};

std::vector<std::string> strings(PyObject* list) {
  std::vector<std::string> out;
  const Py_ssize_t count = PyList_Size(list);
  for (Py_ssize_t i = 0; i < count; i++)
    out.push_back(to_bytes(PyList_GetItem(list, i)));
  return out;
}

// Where this extension module is.
std::string library_folder() {
  Dl_info info{};
  if (dladdr(kPy_preload, &info) == 0 || info.dli_fname == nullptr) return {};
  const std::string_view path = info.dli_fname;
  return std::string(path.substr(0, path.rfind('/')));
}

class Loader {
 public:
  Loader(const ZygoteSpec& spec, const std::vector<int>& own) : spec_(spec), own_(own) {}

  Result<Preloaded> load() {
    space_ = execute(kPy_preload, "<brood preload>");
    if (!space_) return Error{"brood's own preload.py failed: " + take_exception()};
    Capture capture;
    Result<void> loaded = load_all();
    // The interpreter's streams still hold what was printed; describe_failure() and settle() need
    // them working.
    if (loaded) loaded = check_threads();
    if (loaded) loaded = step("settle", {}, "");
    if (!loaded) {
      (void)flush();
      const std::string output = capture.restore();
      return Error{output.empty() ? loaded.error().message
                                  : loaded.error().message + "\n" + output};
    }
    result_.output = capture.restore();
    if (Result<void> good = check_descriptors(); !good) return good.error();
    if (Result<void> good = collect(); !good) return good.error();
    return std::move(result_);
  }

 private:
  Result<void> load_all() {
    const std::string& folder = spec_.import_directory;
    if (spec_.for_gateways)
      if (Result<void> good = step("load_gateways", library_folder(), ""); !good) return good;
    if (Result<void> good = step("start", folder, ""); !good) return good;
    for (const std::string& name : spec_.preload)
      if (Result<void> good = step("load_module", name, "preload " + name); !good) return good;
    if (!spec_.init_file.empty())
      return step("run_init", spec_.init_file, "the init file " + spec_.init_file);
    return {};
  }

  Result<void> flush() {
    for (const char* name : {"stdout", "stderr"}) {
      PyObject* stream = PySys_GetObject(name);
      PyRef done(stream && stream != Py_None ? PyObject_CallMethod(stream, "flush", nullptr)
                                             : nullptr);
      if (!done) PyErr_Clear();
    }
    return {};
  }

  // Calls a function of preload.py; `culprit` is blamed for threads that were not there before.
  Result<void> step(const char* function, const std::optional<std::string>& argument,
                    const std::string& culprit) {
    PyRef arguments(PyTuple_New(argument ? 1 : 0));
    if (argument) PyTuple_SetItem(arguments.get(), 0, from_bytes(*argument).release());
    PyRef done = call(space_.get(), function, std::move(arguments));
    if (!done) return Error{culprit.empty() ? failure() : culprit + " failed:\n" + failure()};
    for (const std::string& id : other_threads())
      started_by_.try_emplace(id, culprit.empty() ? "the interpreter's start" : culprit);
    return {};
  }

  // The traceback of the current exception.
  std::string failure() {
    PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyRef own_type(type), own_value(value), own_trace(trace);
    PyRef text =
        call(space_.get(), "describe_failure",
             PyRef(Py_BuildValue("(OO)", value ? value : Py_None, trace ? trace : Py_None)));
    if (!text) return take_exception();
    return to_bytes(text.get());
  }

  // Libraries such as OpenBLAS end their threads in a fork handler and start them again when they
  // are needed: what is left after a trial fork is what a program would lose.
  Result<void> check_threads() {
    if (!other_threads().empty()) {
      const pid_t child = fork();
      if (child == 0) _exit(0);
      if (child > 0) waitpid(child, nullptr, 0);
    }
    if (spec_.allow_threads) return {};
    const std::vector<std::string> left = lasting_threads();
    if (left.empty()) return {};
    std::set<std::string> names, culprits;
    for (const std::string& id : left) {
      names.insert(thread_name(id));
      const auto found = started_by_.find(id);
      culprits.insert(found == started_by_.end() ? "another thread" : found->second);
    }
    return Error{std::to_string(left.size()) + " thread(s) run after the preload (" +
                 joined(names) + "), started by " + joined(culprits) +
                 "; a fork would lose them. Start threads in the program instead, or set "
                 "allow_threads = true if they do not matter"};
  }

  Result<void> check_descriptors() {
    for (const std::string& name : list_folder("/proc/self/fd")) {
      const int fd = std::atoi(name.c_str());
      if (fd <= 2 || std::find(own_.begin(), own_.end(), fd) != own_.end()) continue;
      const std::string target = read_link(("/proc/self/fd/" + name).c_str());
      if (target.empty() || target.ends_with("/fd")) continue;  // the listing itself
      if (target.starts_with("/dev/nvidia"))
        return Error{
            "the preload opened " + target +
            "; CUDA cannot be used in a process that is forked. Touch the GPU in the program only"};
      if (target.starts_with("socket:") && !spec_.allow_sockets)
        return Error{
            "the preload left a socket open (descriptor " + name +
            "); programs would share it. Open it in the program, or set allow_sockets = true"};
      result_.open_descriptors.push_back(fd);
    }
    std::sort(result_.open_descriptors.begin(), result_.open_descriptors.end());
    return {};
  }

  Result<void> collect() {
    PyRef watched = call(space_.get(), "watched");
    if (!watched) return Error{failure()};
    result_.dependencies.files = strings(PyTuple_GetItem(watched.get(), 0));
    result_.dependencies.folders = strings(PyTuple_GetItem(watched.get(), 1));
    result_.dependencies.absent = strings(PyTuple_GetItem(watched.get(), 2));
    for (const char* source : {"coerced_locale", "changed_variables"})
      if (Result<void> good = collect_variables(source, result_.changes); !good) return good;
    if (Result<void> good = collect_variables("read_variables", result_.variables); !good)
      return good;
    std::erase_if(result_.variables, [this](const Variable& item) { return !bound(item.name); });
    result_.modules = static_cast<size_t>(PyDict_Size(PyImport_GetModuleDict()));
    return {};
  }

  // From a list of (bytes, bytes or None).
  Result<void> collect_variables(const char* source, std::vector<Variable>& variables) {
    PyRef list = call(space_.get(), source);
    if (!list) return Error{failure()};
    const Py_ssize_t count = PyList_Size(list.get());
    for (Py_ssize_t i = 0; i < count; i++) {
      PyObject* pair = PyList_GetItem(list.get(), i);
      PyObject* value = PyTuple_GetItem(pair, 1);
      Variable item{PyBytes_AsString(PyTuple_GetItem(pair, 0)), std::nullopt};
      if (value != Py_None) item.value = PyBytes_AsString(value);
      variables.push_back(std::move(item));
    }
    return {};
  }

  bool bound(const std::string& name) const {
    const auto& ignored = spec_.ignored_variables;
    if (std::find(ignored.begin(), ignored.end(), name) != ignored.end()) return false;
    return std::none_of(spec_.overrides.begin(), spec_.overrides.end(),
                        [&](const std::string& item) { return item.starts_with(name + "="); });
  }

  const ZygoteSpec& spec_;
  const std::vector<int>& own_;
  PyRef space_;
  std::map<std::string, std::string> started_by_;  // thread id -> culprit
  Preloaded result_;
};

}  // namespace

Result<Preloaded> preload(const ZygoteSpec& spec, const std::vector<int>& own_descriptors) {
  return Loader(spec, own_descriptors).load();
}

}  // namespace brood
