// Passwords from people and from pipes. brood-tool only: changes the terminal and, for as long as
// it asks, the signal mask.
#pragma once

#include <string>

#include "base/result.h"

namespace brood {

// Asks twice on the terminal, without echo.
Result<std::string> ask_new_password(const std::string& user);

// Asks once on the terminal, without echo: for a password that exists.
Result<std::string> ask_password(const std::string& user);

// The first line of standard input, without its end.
Result<std::string> read_password();

}  // namespace brood
