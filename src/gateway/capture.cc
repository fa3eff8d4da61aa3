#include "gateway/capture.h"

#include <unistd.h>

#include <cerrno>

namespace brood::gateway {

Capture::Read Capture::read(const Line& line) {
  char bytes[16384];
  const ssize_t got = ::read(fd(), bytes, sizeof bytes);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Read::kNothing;
  if (got <= 0) {
    finish(line);
    return Read::kEnd;
  }
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
  return Read::kData;
}

void Capture::finish(const Line& line) {
  if (!rest_.empty()) line(rest_);
  rest_.clear();
}

}  // namespace brood::gateway
