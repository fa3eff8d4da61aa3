#include "gateway/capture.h"

#include <unistd.h>

#include <cerrno>

namespace brood::gateway {

bool Capture::read(const Line& line) {
  char bytes[16384];
  const ssize_t got = ::read(fd(), bytes, sizeof bytes);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  rest_.append(bytes, static_cast<size_t>(got));
  size_t begin = 0;
  for (;;) {
    const size_t end = rest_.find('\n', begin);
    if (end != std::string::npos && end - begin <= kLongest) {
      line(std::string_view(rest_).substr(begin, end - begin));
      begin = end + 1;
    } else if (rest_.size() - begin > kLongest) {
      line(std::string_view(rest_).substr(begin, kLongest));
      begin += kLongest;
    } else {
      break;
    }
  }
  rest_.erase(0, begin);
  if (got == 0 && !rest_.empty()) line(rest_);
  return got > 0;
}

}  // namespace brood::gateway
