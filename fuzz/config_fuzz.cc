// A configuration file: whatever it holds, a value or an error with a place comes out.
#include "base/require.h"
#include "daemon/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using brood::ConfigKind;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const ConfigKind kind : {ConfigKind::kProject, ConfigKind::kUser}) {
    brood::Result<brood::ConfigFile> file = brood::parse_config(text, "/f", kind, "/home");
    if (!file)
      require(file.error().message.starts_with("/f:"), "an error says where it is");
    else
      (void)brood::default_environment(*file);
  }
  return 0;
}
