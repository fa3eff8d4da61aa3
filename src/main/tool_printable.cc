#include "main/tool_printable.h"

#include <cstdio>

namespace brood {
namespace {

std::string written_out(unsigned char control) {
  if (control == '\n') return "\\n";
  if (control == '\t') return "\\t";
  char out[8];
  std::snprintf(out, sizeof out, "\\x%02x", control);
  return out;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (byte < 0x20 || byte == 0x7f) {
      out += written_out(byte);
    } else if (byte == 0xc2 && next >= 0x80 && next < 0xa0) {  // U+0080 to U+009F
      out += written_out(next);
      i++;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace brood
