// brood user add | remove | list | passwd.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace brood {

void add_user_commands(CLI::App& app, int& status);

// Shared with brood token: the option --config-dir, the folder that it means, and a day.
void add_folder_option(CLI::App* command, std::string& folder);
Result<std::string> door_folder(const std::string& option);
std::string show_day(int64_t seconds);  // since the epoch; "2026-05-31", local time
int64_t now_seconds();

}  // namespace brood
