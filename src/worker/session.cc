#include "worker/session.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

#include "base/clock.h"
#include "base/scheduling.h"
#include "base/signals.h"
#include "base/socket.h"
#include "wire/launch.h"
#include "wire/message.h"
#include "worker/cells_ask_py.h"
#include "worker/cells_await_py.h"
#include "worker/cells_compile_py.h"
#include "worker/cells_display_py.h"
#include "worker/cells_look_py.h"
#include "worker/cells_own_py.h"
#include "worker/cells_py.h"
#include "worker/cells_report_py.h"
#include "worker/cells_talk_py.h"
#include "worker/huge_pages.h"
#include "worker/interrupts.h"
#include "worker/lifeline.h"
#include "worker/orphan.h"
#include "worker/program.h"
#include "worker/room.h"
#include "worker/spoken_by_hand.h"

namespace brood {
namespace {

constexpr size_t kTravelling = 5;  // life, control, 0, 1, 2; with RESUME and BRANCH
constexpr long kCoroutine = 0x80;  // CO_COROUTINE, of a code object's co_flags

Control* control = nullptr;  // of this worker; Python's send() and receive() use it

// send(type, head, body, in_order=False). In order: output that follows comes after the frame.
PyObject* send_frame(PyObject*, PyObject* arguments) {
  int type = 0, in_order = 0;
  const char *head = nullptr, *body = nullptr;
  Py_ssize_t head_size = 0, body_size = 0;
  if (!PyArg_ParseTuple(arguments, "is#y#|p", &type, &head, &head_size, &body, &body_size,
                        &in_order))
    return nullptr;
  const size_t size = static_cast<size_t>(head_size) + static_cast<size_t>(body_size);
  if (static_cast<size_t>(head_size) > kMaxMessageHead || size > kMaxFramePayload - 4) {
    PyErr_SetString(PyExc_ValueError, "too long for one message (8 MiB, its head 4 MiB)");
    return nullptr;
  }
  std::fflush(nullptr);  // what C code has printed comes first
  const bool sent =
      control->send(static_cast<FrameType>(type), {head, static_cast<size_t>(head_size)},
                    {body, static_cast<size_t>(body_size)});
  if (!sent) {
    PyErr_SetString(PyExc_ConnectionError,
                    control->is_ours() ? "the server has left" : "this process was forked");
    return nullptr;
  }
  if (in_order && !control->wait_until_read()) return nullptr;
  Py_RETURN_NONE;
}

// receive() waits without end, receive(seconds) returns None when they have passed.
PyObject* receive_frame(PyObject*, PyObject* arguments) {
  double seconds = -1;
  if (!PyArg_ParseTuple(arguments, "|d", &seconds)) return nullptr;
  bool timed_out = false;
  std::optional<Incoming> frame = control->receive(seconds, &timed_out);
  if (timed_out) Py_RETURN_NONE;
  if (frame)
    return Py_BuildValue("(is#y#)", static_cast<int>(frame->type), frame->head.data(),
                         static_cast<Py_ssize_t>(frame->head.size()), frame->body.data(),
                         static_cast<Py_ssize_t>(frame->body.size()));
  if (!PyErr_Occurred()) PyErr_SetString(PyExc_EOFError, "the server has left");
  return nullptr;
}

PyObject* heard(PyObject*, PyObject*) {
  interrupt_heard();
  Py_RETURN_NONE;
}

PyRef function(PyMethodDef& definition) { return PyRef(PyCFunction_New(&definition, nullptr)); }

PyMethodDef send_definition = {"send", send_frame, METH_VARARGS, nullptr};
PyMethodDef receive_definition = {"receive", receive_frame, METH_VARARGS, nullptr};
PyMethodDef heard_definition = {"heard", heard, METH_NOARGS, nullptr};

PyRef text(std::string_view bytes) {
  return PyRef(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace"));
}

// A str of cells.py, all of which are JSON. Null, with an exception set as after `value`: none.
std::optional<std::string> json_text(const PyRef& value) {
  if (value && !PyUnicode_Check(value.get()))
    PyErr_Format(PyExc_TypeError, "expected text, not %S", Py_TYPE(value.get()));
  PyRef bytes(value && PyUnicode_Check(value.get()) ? PyUnicode_AsUTF8String(value.get())
                                                    : nullptr);
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (bytes && PyBytes_AsStringAndSize(bytes.get(), &data, &size) == 0)
    return std::string(data, static_cast<size_t>(size));
  return std::nullopt;
}

bool awaits(PyObject* code) {
  PyRef flags(PyObject_GetAttrString(code, "co_flags"));
  const long bits = flags ? PyLong_AsLong(flags.get()) : 0;
  PyErr_Clear();
  return bits & kCoroutine;
}

// What a copy of the process does first: it has its own life, and takes the places of the
// original's descriptors. `received`: as docs/protocol.md orders them.
void take_over(std::vector<Fd> received, int life) {
  const RoomForDescriptors room;
  dup3(received[0].get(), life, O_CLOEXEC);
  dup3(received[1].get(), control->fd(), O_CLOEXEC);
  for (int number = 0; number < 3; number++)
    dup2(received[static_cast<size_t>(number) + 2].get(), number);
}

using FileId = std::pair<dev_t, ino_t>;

std::optional<FileId> file_at(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return std::nullopt;
  return FileId(status.st_dev, status.st_ino);
}

// `folders`: "FROM\0TO" in a branch, else empty.
void move_working_directory(const std::string& folders) {
  const size_t end = folders.find('\0');
  char here[PATH_MAX];
  if (end == folders.npos || !getcwd(here, sizeof here)) return;
  const std::string from = folders.substr(0, end), to = folders.substr(end + 1);
  const std::string_view path = here;
  if (path.starts_with(from) && (path.size() == from.size() || path[from.size()] == '/'))
    (void)!chdir((to + std::string(path.substr(from.size()))).c_str());
}

}  // namespace

Result<Cells> Cells::load() {
  static constexpr std::pair<const char*, const char*> kParts[] = {
      {"cells", kPy_cells},
      {"cells_ask", kPy_cells_ask},
      {"cells_await", kPy_cells_await},
      {"cells_compile", kPy_cells_compile},
      {"cells_display", kPy_cells_display},
      {"cells_look", kPy_cells_look},
      {"cells_own", kPy_cells_own},
      {"cells_report", kPy_cells_report},
      {"cells_talk", kPy_cells_talk}};
  Cells cells;
  PyRef parts(PyDict_New()), builtins = copy_of_builtins();
  for (const auto& [name, source] : kParts) {
    // Frames of such files are not shown in tracebacks.
    PyRef space = execute(source, ("<brood " + std::string(name) + ">").c_str(), builtins.get());
    if (!space || !parts || !builtins || PyDict_SetItemString(parts.get(), name, space.get()) != 0)
      return Error{"brood's own " + std::string(name) + ".py failed: " + take_exception()};
    if (!cells.space_) cells.space_ = std::move(space);
  }
  PyRef done = call(cells.space_.get(), "assemble", PyRef(Py_BuildValue("(O)", parts.get())));
  if (!done) return Error{"brood's own cells.py failed: " + take_exception()};
  return cells;
}

void Cells::practise(bool for_sessions) {
  PyRef arguments(Py_BuildValue("(O)", for_sessions ? Py_True : Py_False));
  if (PyRef done = call(space_.get(), "practise", std::move(arguments)); !done) PyErr_Clear();
}

// One session's worker. Copies of the process share it: after a resume the copy goes on in the same
// object.
class SessionLoop {
 public:
  SessionLoop(Cells& cells, Program& program, int life, int control_fd)
      : space_(cells.space_.get()), program_(program), life_(life), control_(control_fd) {
    control = &control_;
  }

  void rehearse() {
    set_up(R"({"session":"rehearsal"})");
    cell(R"({"cell":1,"code":"x = 1\nx","execution_count":1,"checkpoint":false})");
  }

  [[noreturn]] void run() {
    for (;;) {
      tidy_up();
      std::optional<Incoming> frame = next_frame();
      if (!control_.is_ours()) end_child({});  // of a signal handler
      if (!frame && PyErr_Occurred()) {  // a signal handler of the user's raised between cells
        PyErr_Print();
        continue;
      }
      if (!frame) end(program_.end_session(life_));
      handle(*frame);
    }
  }

 private:
  // Between two cells, until somebody wants the session.
  void tidy_up() {
    PyThreadState* state = PyEval_SaveThread();
    huge_pages_.collapse_while_idle(control_.fd());
    PyEval_RestoreThread(state);
  }

  std::optional<Incoming> next_frame() {
    PyRef kept = call(space_, "next_kept");  // what brood.messages.receive() came across
    if (!kept) PyErr_Clear();
    int type = 0;
    const char *head = nullptr, *body = nullptr;
    Py_ssize_t head_size = 0, body_size = 0;
    if (kept && kept.get() != Py_None &&
        PyArg_ParseTuple(kept.get(), "is#y#", &type, &head, &head_size, &body, &body_size))
      return Incoming{static_cast<FrameType>(type),
                      {head, static_cast<size_t>(head_size)},
                      {body, static_cast<size_t>(body_size)}};
    PyErr_Clear();
    return control_.receive();
  }

  void handle(const Incoming& frame) {
    switch (frame.type) {
      case FrameType::kSetup: return set_up(frame.head);
      case FrameType::kCell: return cell(frame.head);
      case FrameType::kFreeze: return (void)checkpoint();
      case FrameType::kAsk: return answer(frame.head);
      case FrameType::kMessage: return keep_message(frame.body);
      case FrameType::kBranch: return branch(frame.body);
      case FrameType::kStdin: return take_stdin();
      default: return;
    }
  }

  void set_up(const std::string& head) {
    PyRef arguments(Py_BuildValue("(s#NNN)", head.data(), static_cast<Py_ssize_t>(head.size()),
                                  function(send_definition).release(),
                                  function(receive_definition).release(),
                                  function(heard_definition).release()));
    if (PyRef done = call(space_, "begin_session", std::move(arguments)); !done) PyErr_Print();
    PyRef main(PyImport_ImportModule("__main__"));
    names_ = PyRef::borrow(main ? PyModule_GetDict(main.get()) : nullptr);
    PyErr_Clear();
    stdin_ = file_at(0);
    say_ready(0, 0);
  }

  void say_ready(long threads, long children) {
    const unsigned long version = PyLong_AsUnsignedLong(PySys_GetObject("hexversion"));
    char head[160];
    std::snprintf(head, sizeof head,
                  R"({"pid":%d,"python":"%lu.%lu.%lu","threads":%ld,"children":%ld})", getpid(),
                  version >> 24, version >> 16 & 0xff, version >> 8 & 0xff, threads, children);
    control_.send(FrameType::kSessionReady, head);
  }

  // --- cells ----------------------------------------------------------------------------------

  void cell(const std::string& head) {
    PyRef wanted =
        call(space_, "wants_checkpoint", PyRef(Py_BuildValue("(N)", text(head).release())));
    if (!wanted) return report_by_hand(head, "the cell could not begin", "error");
    if (PyObject_IsTrue(wanted.get()) == 1 && checkpoint() == Now::kResumed)
      return;  // the state before this cell: it did not run here
    watch_interrupts();
    PyRef codes = call(space_, "begin");
    const bool compiles = codes && PyTuple_Check(codes.get());
    PyRef value = compiles ? evaluate(codes.get()) : PyRef();
    PyRef error = take_error();
    if (!control_.is_ours()) end_child(std::move(error));
    PyRef last_word = finish(std::move(value), error, compiles);
    if (!last_word) {  // an interrupt that came just when the cell had ended
      error = take_error();
      last_word = finish({}, error, false);
    }
    if (!control_.is_ours()) end_child({});  // a value's __repr__ has forked
    const bool exits = is_a(error, PyExc_SystemExit);
    if (const std::optional<std::string> done = json_text(last_word))
      control_.send(FrameType::kDone, *done);
    else
      report_by_hand(head, "how the cell ended could not be reported", exits ? "exit" : "error");
    if (exits) exit_with(std::move(error));
  }

  static bool is_a(const PyRef& error, PyObject* type) {
    return error && PyErr_GivenExceptionMatches(error.get(), type) == 1;
  }

  // The cell has broken what reports are made with; the exception that is set says how. A cell of
  // which not even the number can be told ends the worker: the server goes on from a checkpoint.
  void report_by_hand(const std::string& head, const char* what, const char* status) {
    const std::string cell = number_by_hand(head, "cell");
    if (cell.empty()) _exit(1);
    control_.send(FrameType::kWorkerEvent,
                  error_by_hand(std::string("brood: ") + what + ": " + take_exception()));
    control_.send(FrameType::kDone, R"({"cell":)" + cell + R"(,"status":")" + status + "\"}");
  }

  PyRef finish(PyRef value, const PyRef& error, bool wants_value) {
    return call(
        space_, "finish",
        PyRef(Py_BuildValue("(OOO)", value ? value.get() : Py_None, error ? error.get() : Py_None,
                            wants_value ? Py_True : Py_False)));
  }

  // The value of the last code object; null with an exception set.
  PyRef evaluate(PyObject* codes) {
    PyRef value = PyRef::borrow(Py_None);
    const Py_ssize_t count = PyTuple_Size(codes);
    for (Py_ssize_t i = 0; i < count; i++) {
      PyObject* code = PyTuple_GetItem(codes, i);
      value = PyRef(PyEval_EvalCode(code, names_.get(), names_.get()));
      if (value && awaits(code))
        value = call(space_, "awaited", PyRef(Py_BuildValue("(O)", value.get())));
      if (!value) return {};
    }
    return value;
  }

  static PyRef take_error() {
    PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
    PyErr_Fetch(&type, &value, &trace);
    if (!type) return {};
    PyErr_NormalizeException(&type, &value, &trace);
    PyRef own_type(type), own_value(value), own_trace(trace);
    if (value && trace) PyException_SetTraceback(value, trace);
    return own_value;
  }

  void answer(const std::string& head) {
    const PyRef known = call(space_, "ask", PyRef(Py_BuildValue("(N)", text(head).release())));
    const std::optional<std::string> answer = json_text(known);
    PyErr_Clear();
    control_.send(FrameType::kAnswerAsk, answer ? *answer : no_answer_by_hand(head));
  }

  void keep_message(const std::string& body) {
    PyRef arguments(Py_BuildValue("(y#)", body.data(), static_cast<Py_ssize_t>(body.size())));
    if (PyRef done = call(space_, "message", std::move(arguments)); !done) PyErr_Clear();
  }

  // Unless the program has put another file there, or has closed it.
  void take_stdin() {
    const std::vector<Fd> received = control_.take_descriptors();
    if (received.size() != 1 || !stdin_ || file_at(0) != stdin_) return;
    const RoomForDescriptors room;
    dup2(received[0].get(), 0);
    stdin_ = file_at(0);
    if (PyRef done = call(space_, "new_stdin"); !done) PyErr_Clear();
  }

  // --- copies ---------------------------------------------------------------------------------

  // What a copy does not carry: other threads, child processes.
  void count_lost(long& threads, long& children) {
    PyRef counts = call(space_, "carries");
    if (!counts || !PyArg_ParseTuple(counts.get(), "ll", &threads, &children)) PyErr_Clear();
  }

  enum class Now { kOriginal, kResumed };

  // Returns again, much later and in another process, when somebody goes back to it.
  Now checkpoint() {
    long threads = 0, children = 0;
    count_lost(threads, children);
    Result<SocketPair> pair = frozen_socket();
    if (!pair) return report_no_checkpoint(pair.error());
    Fd ours = std::move(pair->ours), servers = std::move(pair->servers);
    // The kernel tells the server who sends, so that a worker cannot name another process.
    const int on = 1;
    setsockopt(servers.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    PyOS_BeforeFork();
    const int64_t begin = monotonic_ns();
    auto outcome = fork_orphan();
    if (std::holds_alternative<InCopy>(outcome)) {
      servers.reset();
      wait_frozen(std::move(ours), threads, children);
      return Now::kResumed;
    }
    const int64_t end = monotonic_ns();
    PyOS_AfterFork_Parent();
    if (auto* error = std::get_if<Error>(&outcome)) return report_no_checkpoint(*error);
    char head[120];
    std::snprintf(head, sizeof head, R"({"us":%ld,"threads":%ld,"children":%ld})",
                  static_cast<long>((end - begin) / 1000), threads, children);
    const int descriptor = servers.get();
    control_.send(FrameType::kCheckpoint, head, {}, std::span(&descriptor, 1));
    return Now::kOriginal;
  }

  struct SocketPair {
    Fd ours, servers;
  };

  // An Error: there would be no descriptors for the copy to come back with.
  Result<SocketPair> frozen_socket() {
    const RoomForDescriptors room;
    if (Result<void> enough = room.check(std::max(life_, control_.fd()), kTravelling); !enough)
      return enough.error();
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      return sys_error("make a socket pair");
    return SocketPair{Fd(pair[0]), Fd(pair[1])};
  }

  Now report_no_checkpoint(const Error& error) {
    control_.send(FrameType::kCheckpoint, "{}", error.message);
    return Now::kOriginal;
  }

  // In a copy, between PyOS_BeforeFork() and PyOS_AfterFork_Child(), which is left to the day it is
  // resumed: until then it writes to nothing, and shares all memory. Returns when it is the
  // session.
  void wait_frozen(Fd socket, long threads, long children) {
    (void)send_all(socket.get(), encode_frame(FrameType::kFrozen, encode_message("{}")));
    leave_original();
    FrameParser parser;
    std::vector<Fd> received;
    FrameView frame;
    for (;;) {
      while (parser.next(frame) != FrameParser::Step::kFrame) {
        const RoomForDescriptors room;
        Result<size_t> got = receive_some(socket.get(), 4096, parser.buffer(), received);
        if (!got || *got == 0) _exit(0);
      }
      Result<MessageView> message = decode_message(frame.payload);
      if (!message || received.size() != kTravelling) _exit(1);
      const std::string folders(message->body);
      std::vector<Fd> mine = std::move(received);
      received.clear();
      if (frame.header.type == FrameType::kResume) {
        socket.reset();
        return wake_up(std::move(mine), folders, threads, children);
      }
      if (frame.header.type != FrameType::kBranch) _exit(1);
      if (std::holds_alternative<InCopy>(fork_orphan())) {
        socket.reset();
        return wake_up(std::move(mine), folders, threads, children);
      }
    }
  }

  // The original's sockets end with it, and with them what waits in them, such as the descriptors
  // of a BRANCH. Their numbers stay taken.
  void leave_original() {
    const Fd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!nothing) return;
    dup3(nothing.get(), control_.fd(), O_CLOEXEC);
    dup3(nothing.get(), life_, O_CLOEXEC);
  }

  // In a live worker between two cells.
  void branch(const std::string& folders) {
    std::vector<Fd> received = control_.take_descriptors();
    if (received.size() != kTravelling) return;
    long threads = 0, children = 0;
    count_lost(threads, children);
    PyOS_BeforeFork();
    auto outcome = fork_orphan();
    if (std::holds_alternative<InCopy>(outcome))
      return wake_up(std::move(received), folders, threads, children);
    // An error is seen by the end of the descriptors that were sent.
    PyOS_AfterFork_Parent();
  }

  // The copy becomes the session, or another one.
  void wake_up(std::vector<Fd> received, const std::string& folders, long threads, long children) {
    take_over(std::move(received), life_);
    stdin_ = file_at(0);
    move_working_directory(folders);
    die_with(life_);
    control_.begin_anew();
    set_blocked_signals(0);
    PyOS_AfterFork_Child();
    if (PyRef done = call(space_, "resumed"); !done) PyErr_Print();
    say_ready(threads, children);
  }

  // --- the end --------------------------------------------------------------------------------

  [[noreturn]] void exit_with(PyRef error) {
    PyRef code(PyObject_GetAttrString(error.get(), "code"));
    if (!code || (code.get() != Py_None && !PyLong_Check(code.get())))
      code = PyRef(PyLong_FromLong(1));  // a text, which finish() has printed
    error = {};
    PyErr_SetObject(PyExc_SystemExit, code.get());
    end(program_.end_session(life_));
  }

  // A child that a cell has forked is no session: at the end of the cell it ends as a program does.
  [[noreturn]] void end_child(PyRef error) {
    const bool exits = is_a(error, PyExc_SystemExit);
    const bool interrupted = is_a(error, PyExc_KeyboardInterrupt);
    const bool failed = error && !exits;
    if (exits) PyErr_SetObject(PyExc_SystemExit, error.get());
    if (failed && !call(space_, "show", PyRef(Py_BuildValue("(O)", error.get())))) PyErr_Clear();
    const Exited exited = program_.end_child(life_);
    if (interrupted || exited.signaled) {
      signal(SIGINT, SIG_DFL);
      raise(SIGINT);
    }
    _exit(exited.code == 0 && failed ? 1 : static_cast<int>(exited.code));
  }

  [[noreturn]] void end(const Exited& exited) {
    if (!control_.is_ours()) _exit(static_cast<int>(exited.code));
    outlive(life_);
    (void)send_all(life_, encode_frame(FrameType::kExited, encode(exited)));
    give_way();
    _exit(static_cast<int>(exited.code));
  }

  PyObject* const space_;
  Program& program_;
  const int life_;
  Control control_;
  HugePages huge_pages_;
  PyRef names_;                  // of the module __main__
  std::optional<FileId> stdin_;  // what descriptor 0 is, unless the program changes it
};

void rehearse_session(Cells& cells, Program& program) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return;
  const Fd ours(pair[0]), nobody(pair[1]);
  SessionLoop(cells, program, -1, ours.get()).rehearse();
}

void run_session(Cells& cells, Program& program, int life) {
  fcntl(kControlDescriptor, F_SETFD, FD_CLOEXEC);
  static SessionLoop* loop = nullptr;  // for ever: copies of the process go on in it
  loop = new SessionLoop(cells, program, life, kControlDescriptor);
  loop->run();
}

}  // namespace brood
