#include "wire/resolved.h"

#include "wire/fields.h"

namespace brood {
namespace {

enum class ResolvedTag : uint16_t {
  kError = 1,
  kPython,
  kEnvName,
  kInitFile,
  kImportDirectory,
  kOverride
};

void take_field(Resolved& resolved, const Field& field) {
  switch (static_cast<ResolvedTag>(field.tag)) {
    case ResolvedTag::kError: resolved.error = field.text(); break;
    case ResolvedTag::kPython: resolved.python = field.text(); break;
    case ResolvedTag::kEnvName: resolved.env_name = field.text(); break;
    case ResolvedTag::kInitFile: resolved.init_file = field.text(); break;
    case ResolvedTag::kImportDirectory: resolved.import_directory = field.text(); break;
    case ResolvedTag::kOverride: resolved.overrides.push_back(field.text()); break;
  }
}

}  // namespace

std::string encode(const Resolved& resolved) {
  FieldWriter out;
  out.add(ResolvedTag::kError, resolved.error);
  out.add(ResolvedTag::kPython, resolved.python);
  out.add(ResolvedTag::kEnvName, resolved.env_name);
  out.add(ResolvedTag::kInitFile, resolved.init_file);
  out.add(ResolvedTag::kImportDirectory, resolved.import_directory);
  for (const std::string& item : resolved.overrides)
    out.add(ResolvedTag::kOverride, item);
  return out.take();
}

Result<Resolved> decode_resolved(std::string_view bytes) {
  return read_message<Resolved>(bytes, "resolved configuration", take_field);
}

std::string resolved_name(const std::string& config_file, const FileIdentity& identity,
                          const std::string& env_name) {
  Launch only;
  only.config_file = config_file;
  only.config_identity = identity;
  only.env_name = env_name;
  return environment_key(only);
}

}  // namespace brood
