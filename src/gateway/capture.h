// Capture: the lines of a pipe that stands for standard output or error. Passive; the engine reads
// it. Lines of more than kLongest bytes are cut.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace brood::gateway {

class Capture {
 public:
  static constexpr size_t kLongest = 8192;  // bytes
  using Line = std::function<void(std::string_view)>;

  Capture(Fd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  int fd() const { return fd_.get(); }
  const std::string& name() const { return name_; }
  // One read. False at the end; what is left then went to `line`.
  bool read(const Line& line);

 private:
  Fd fd_;
  const std::string name_;
  std::string rest_;
};

}  // namespace brood::gateway
