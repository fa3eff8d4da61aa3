// Whether a configuration file may be obeyed: it names code to run. Any process; reads the file's
// status only.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace brood {

struct Distrust {
  std::string why;     // "/home/me/brood.toml may be written by everyone, so it is not obeyed"
  std::string remedy;  // what to do about it
};

// Nothing: it belongs to `user` or root, and not everybody may write it.
std::optional<Distrust> distrust(const std::string& file, uid_t user);

}  // namespace brood
