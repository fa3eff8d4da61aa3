// The program inside a worker: prepare it, run it without a frame of ours under it, and leave like
// python. Zygote: load(). Worker process, its one thread, GIL held: the rest, in the order of the
// declarations.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "wire/launch.h"
#include "worker/py.h"

namespace brood {

class Program {
 public:
  // Zygote, before anything is preloaded: executes worker/program.py, whose functions all workers
  // inherit.
  static Result<Program> load();
  // Zygote, after the preload: remembers what is loaded. Programs start with the sys.path of this
  // moment.
  Result<void> freeze();

  // Spare: no two programs share random state; the collector and Ctrl-C work again.
  void reseed();
  // Spare: replaces the thread state, so that the frames of the zygote's bootstrap are gone. The
  // new one is registered with PyGILState, whose users (ctypes, Cython, pybind11) would deadlock
  // otherwise.
  void use_fresh_thread_state();

  // Streams, sys, __main__, the code itself. An Error is a refusal: nothing of the program has run.
  Result<void> prepare(const RunRequest& request, const std::vector<char*>& environment);
  // To be called right after the acknowledgement.
  void acknowledged();
  // Like run(), but without exit handlers: for a rehearsal.
  void rehearse();
  // Runs to the program's end and its teardown; all descriptors of the program but `keep` are
  // closed then, and that one, too, if the program has put something else there.
  Exited run(int keep);
  // The same for a child that a session's cell has forked, which comes to its end with the
  // exception that is set, if there is one.
  Exited end_child(int keep);
  // A session's end, after its cells: as after a program; with the exception that is set, if there
  // is one (SystemExit). From the exit handlers on only with processor time that nobody else wants.
  Exited end_session(int keep);

 private:
  Result<void> ignore_signals(uint64_t ignored);
  PyRef start();
  enum class What { kProgram, kSession, kRehearsal };
  Exited leave(PyRef result, What what);
  void tear_down();
  // `connection`: the inode that `keep` had before.
  Exited leave_but(int keep, ino_t connection, PyRef result, What what);

  PyRef space_;  // program.py's namespace
  PyRef work_;   // what prepare() returned
  bool from_file_ = false;
};

}  // namespace brood
