// Which environment variables are part of an environment: those that the interpreter, the loader,
// the C library or well-known libraries read when they start. Everything else is the program's own
// business and set anew for each run. (What a preload reads besides is recorded by the zygote and
// compared by the worker, see zygote/preload.h.)
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace brood {

// NAME=value from `environment`, sorted. With `ignore_python` (-E, -I) the PYTHON* ones are left
// out.
std::vector<std::string> startup_variables(char* const* environment, bool ignore_python);

// Not empty: a variable that only an interpreter of its own can honour (PYTHONINSPECT,
// PYTHONTRACEMALLOC, ...).
std::string cold_variable(char* const* environment);

}  // namespace brood
