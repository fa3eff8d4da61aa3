// brood token new | list | revoke.
#pragma once

#include <CLI/CLI.hpp>

namespace brood {

void add_token_commands(CLI::App& app, int& status);

}  // namespace brood
