// Strings as the system's calls take them: exec and posix_spawn want arrays of pointers that end in
// a null pointer. Pure; any thread.
#pragma once

#include <string>
#include <vector>

namespace brood {

// One pointer for each string, then a null pointer. They point into `strings`, which must outlive
// the result and not change meanwhile.
inline std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (std::string& item : strings)
    out.push_back(item.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace brood
