// How wide the terminal on standard output is.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstddef>

namespace brood {

// Columns; `unknown` when standard output is no terminal, or one that does not know.
inline size_t terminal_width(size_t unknown) {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : unknown;
}

}  // namespace brood
