// brood slap: load on a `brood serve`.
#pragma once

#include <CLI/CLI.hpp>

namespace brood {

void add_slap(CLI::App& app, int& status);

}  // namespace brood
