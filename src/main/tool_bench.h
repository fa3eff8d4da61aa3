// brood bench run.
#pragma once

#include <CLI/CLI.hpp>

namespace brood {

// Adds `bench` with its subcommands; `status` is set when one has run.
void add_bench(CLI::App& app, int& status);

}  // namespace brood
