// Handing a program over to a spare and standing for it until it ends. Thin client only.
//
// The client connects to the environment's socket, sends the request with its descriptors, and
// waits for the acknowledgement. Until then nothing has run and the cold way is open; afterwards
// the client is the program's shadow: it forwards signals, stops and continues with it, and ends as
// it ended.
#pragma once

#include <string>

#include "launch/plan.h"

namespace brood {

// Why nothing ran. (When something ran, hand_over does not return: the process exits, or dies of
// the program's signal.)
struct NotRun {
  std::string reason;
  bool no_zygote = false;  // nobody listens: worth asking the daemon for one
};

NotRun hand_over(const Plan& plan, const std::string& socket_path);

}  // namespace brood
