#include "daemon/config.h"

#include <algorithm>

#include "base/sys.h"

namespace brood {
namespace {

constexpr size_t kMaxConfig = 1u << 20;  // bytes

}  // namespace

const EnvironmentConfig* ConfigFile::find(std::string_view name) const {
  const auto found = std::find_if(environments.begin(), environments.end(),
                                  [name](const auto& env) { return env.name == name; });
  return found == environments.end() ? nullptr : &*found;
}

std::vector<std::string> ConfigFile::names() const {
  std::vector<std::string> out;
  for (const EnvironmentConfig& env : environments)
    out.push_back(env.name);
  return out;
}

ConfigKind kind_of(const std::string& path) {
  return path.ends_with("/brood.toml") ? ConfigKind::kProject : ConfigKind::kUser;
}

Result<ConfigFile> read_config(const std::string& path, const std::string& home) {
  Result<std::string> text = read_file(path, kMaxConfig);
  if (!text) return text.error();
  return parse_config(*text, path, kind_of(path), home);
}

const EnvironmentConfig* default_environment(const ConfigFile& file) {
  if (!file.default_env.empty()) return file.find(file.default_env);
  if (file.environments.size() == 1) return &file.environments.front();
  return file.find("default");
}

}  // namespace brood
