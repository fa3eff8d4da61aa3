// Preparation: a warm environment and what its workers start with. Server process.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "base/result.h"
#include "wire/launch.h"

namespace brood {

struct Preparation {
  std::string socket_path;  // of a warm environment
  RunRequest request;       // all but the program and the descriptors
  pid_t zygote = 0;
};

using Prepared = std::function<void(Result<Preparation>)>;
// Makes an environment warm if need be. Calls back from the event loop or at once.
using Prepare = std::function<void(Prepared)>;

}  // namespace brood
