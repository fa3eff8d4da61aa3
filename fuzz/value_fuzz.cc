// Whatever a decoder of values takes, its encoder writes, and both agree.
#include "base/require.h"
#include "brood/value.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const brood::Loaded loaded =
      brood::load(std::string_view(reinterpret_cast<const char*>(data), size));
  require(loaded.value.has_value() == loaded.error.empty(), "a value, or why there is none");
  if (!loaded.value) return 0;
  loaded.value->to_text();
  const brood::Dumped dumped = brood::dump(*loaded.value);
  require(dumped.error.empty(), "what was decoded can be encoded");
  const brood::Loaded again = brood::load(dumped.bytes);
  require(again.value.has_value() && brood::dump(*again.value).bytes == dumped.bytes,
          "the same bytes again");
  return 0;
}
