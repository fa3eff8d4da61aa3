#include "base/utf8.h"

#include <utility>

namespace brood {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// How the bytes at a place read.
struct Step {
  size_t size;  // bytes that belong together, at least 1
  enum { kGood, kBad, kCut } what;
};

unsigned char byte_at(std::string_view bytes, size_t i) {
  return static_cast<unsigned char>(bytes[i]);
}

size_t length_of(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// The second byte has a narrower range after some first ones: no overlong forms, no surrogates,
// nothing over U+10FFFF.
bool may_follow(unsigned char lead, size_t place, unsigned char byte) {
  unsigned char low = 0x80, high = 0xBF;
  if (place == 1) {
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  }
  return byte >= low && byte <= high;
}

Step step(std::string_view bytes, size_t at) {
  const unsigned char lead = byte_at(bytes, at);
  const size_t length = length_of(lead);
  if (length == 0) return {1, Step::kBad};
  for (size_t i = 1; i < length; ++i) {
    if (at + i == bytes.size()) return {i, Step::kCut};
    if (!may_follow(lead, i, byte_at(bytes, at + i))) return {i, Step::kBad};
  }
  return {length, Step::kGood};
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    const Step one = step(bytes, i);
    if (one.what != Step::kGood) return false;
    i += one.size;
  }
  return true;
}

std::string Utf8Stream::next(std::string_view piece) {
  std::string joined;
  if (!held_.empty()) {
    joined = std::exchange(held_, {}).append(piece);
    piece = joined;
  }
  std::string out;
  out.reserve(piece.size());
  for (size_t i = 0; i < piece.size();) {
    const Step one = step(piece, i);
    if (one.what == Step::kCut) {
      held_ = piece.substr(i);
      break;
    }
    out += one.what == Step::kGood ? piece.substr(i, one.size) : kReplacement;
    i += one.size;
  }
  return out;
}

std::string Utf8Stream::flush() {
  if (held_.empty()) return {};
  held_.clear();
  return std::string(kReplacement);
}

}  // namespace brood
