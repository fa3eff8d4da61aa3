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
  enum class Read { kData, kNothing, kEnd };
  // One read(2), which does not wait. At the end what is left goes to `line`.
  Read read(const Line& line);
  // What came of a line that has not ended.
  void finish(const Line& line);

 private:
  Fd fd_;
  const std::string name_;
  std::string rest_;
};

}  // namespace brood::gateway
