// Which interpreter brood stands for. Reads PATH and the file system; starts nothing.
#pragma once

#include <string>

#include "base/result.h"
#include "base/sys.h"

namespace brood {

struct Interpreter {
  std::string path;  // absolute
  FileIdentity file;
  bool chosen = false;      // named by --python or BROOD_PYTHON
  std::string cold_reason;  // it is a wrapper script whose choice cannot be foreseen
};

// In this order: `wanted` (--python), BROOD_PYTHON, $VIRTUAL_ENV/bin/python3, the first `python3`
// in PATH which is not brood itself. A pyenv shim is followed to the version that pyenv would
// choose (PYENV_VERSION, .python-version upwards from the working directory, the global version
// file).
Result<Interpreter> find_interpreter(const std::string& wanted);

}  // namespace brood
