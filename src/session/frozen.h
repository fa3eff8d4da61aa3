// Frozen: the server's side of one frozen copy of a worker, which waits on its socket and ends with
// it. Server process, its one thread.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "session/reaper.h"
#include "wire/frame.h"

namespace brood {

class Frozen {
 public:
  Frozen(Reaper& reaper, Fd socket);
  ~Frozen();  // the copy ends, unless release() was called
  Frozen(const Frozen&) = delete;

  // Its process as the kernel tells; 0: it has not come to say so yet.
  pid_t pid();
  // Never waits. False: it is gone, or does not read (it was sent no more than one frame before).
  bool send(FrameType type, std::string_view head, std::string_view body,
            std::span<const int> descriptors);
  // The copy lives on (it was resumed) and is somebody else's business.
  void release();

 private:
  void learn_pid();

  Reaper& reaper_;
  Fd socket_;
  pid_t pid_ = 0;
};

}  // namespace brood
