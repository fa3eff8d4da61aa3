// UTF-8 (RFC 3629). Pure.
#pragma once

#include <string>
#include <string_view>

namespace brood {

bool is_utf8(std::string_view bytes);

// Decodes a stream that comes in pieces cut at will: a character that a piece ends within is held
// back for the next one.
class Utf8Stream {
 public:
  // What can be said so far; what is no UTF-8 is replaced by U+FFFD, one for each maximal part of a
  // character, as the Unicode Standard (3.9) recommends and decoders of the web do.
  std::string next(std::string_view piece);
  // The stream ended: U+FFFD if something was held back, else nothing.
  std::string flush();
  bool empty() const { return held_.empty(); }

 private:
  std::string held_;  // at most three bytes
};

}  // namespace brood
