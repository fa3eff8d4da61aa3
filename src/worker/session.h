// A session in a worker: cells one after the other in one interpreter, each from a checkpoint on if
// that is asked for. docs/protocol.md, section 4.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "worker/control.h"
#include "worker/py.h"

namespace brood {

class Program;

// The Python part, cells.py. Zygote: load() and practise(); its functions run in workers.
class Cells {
 public:
  static Result<Cells> load();
  // Before the image: runs what every session runs, and leaves no trace.
  // `for_sessions`: no programs will be forked from it, so that it may leave some.
  void practise(bool for_sessions);

 private:
  friend class SessionLoop;
  PyRef space_;  // cells.py's namespace
};

// Worker process, in place of a program: reads cells from descriptor kControlDescriptor and runs
// them until the server leaves or a cell exits. `life`: the connection that stands for the server;
// this process dies with it. Leaves by _exit(). While a cell runs there is no frame of Python below
// it.
[[noreturn]] void run_session(Cells& cells, Program& program, int life);

// Does what every session begins with, a first cell included, and talks to nobody.
void rehearse_session(Cells& cells, Program& program);

}  // namespace brood
