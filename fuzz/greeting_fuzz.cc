// What an interpreter says first, in one piece and in two, is the same greeting, or none.
#include "base/require.h"
#include "master/greeting.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  brood::master::GreetingReader whole, pieces;
  auto at_once = whole.feed(bytes);
  auto greet = pieces.feed(bytes.substr(0, size / 2));
  if (!greet || *greet) return 0;
  greet = pieces.feed(bytes.substr(size / 2));
  require(static_cast<bool>(greet) == static_cast<bool>(at_once), "the same, or the same error");
  if (!greet) return 0;
  require(*greet == *at_once && pieces.ahead() == whole.ahead(), "the same greeting");
  return 0;
}
