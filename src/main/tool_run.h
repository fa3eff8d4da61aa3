// What needs a whole plan: brood explain, and the cold way of a program whose configuration nobody
// has read yet.
#pragma once

#include <span>

namespace brood {

// `arguments`: those of `brood run`.
int run_explain(std::span<char* const> arguments);

// Called by the thin client: `<0|1> <arguments>`, where 1 stands for brood-python. Becomes the
// interpreter.
int run_resolved(std::span<char* const> arguments);

}  // namespace brood
