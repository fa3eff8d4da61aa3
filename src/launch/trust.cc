#include "launch/trust.h"

#include <sys/stat.h>

namespace brood {

std::optional<Distrust> distrust(const std::string& file, uid_t user) {
  struct stat st;
  if (stat(file.c_str(), &st) != 0) return Distrust{file + " cannot be read", "correct " + file};
  if (st.st_uid != user && st.st_uid != 0)
    return Distrust{file + " belongs to another user, so it is not obeyed",
                    "copy " + file + ", so that it belongs to you"};
  if (st.st_mode & S_IWOTH)
    return Distrust{file + " may be written by everyone, so it is not obeyed",
                    "chmod go-w " + file};
  return std::nullopt;
}

}  // namespace brood
