// What a program inherits from its caller: read in the client, before it opens anything of its own.
#pragma once

#include "wire/launch.h"

namespace brood {

ProcessState read_process_state();

// The numbers of all open descriptors, ascending. Fails when /proc is not there.
Result<std::vector<uint32_t>> open_descriptors();

}  // namespace brood
