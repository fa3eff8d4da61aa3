// The interpreter of `brood serve --demo`. Server process, before it serves.
#pragma once

#include <string>

#include "base/result.h"
#include "daemon/config.h"

namespace brood {

// One that has the modules which the default environment of `file` preloads, those beside the file
// apart: BROOD_PYTHON if it is set; else what brood stands for here, else /usr/bin/python3. Asks
// each in a process of its own. Empty: the file names the interpreter. An Error names those that
// were asked, what they miss and what to do.
Result<std::string> choose_demo_python(const ConfigFile& file);

}  // namespace brood
