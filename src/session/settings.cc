#include "session/settings.h"

#include <array>

namespace brood {
namespace {

struct Named {
  const char* name;
  uint64_t SessionLimits::*value;
};

constexpr std::array<Named, 8> kLimits = {{{"memory", &SessionLimits::memory},
                                           {"cpu", &SessionLimits::cpu},
                                           {"cell_time", &SessionLimits::cell_time},
                                           {"processes", &SessionLimits::processes},
                                           {"open_files", &SessionLimits::open_files},
                                           {"file_size", &SessionLimits::file_size},
                                           {"output", &SessionLimits::output},
                                           {"output_rate", &SessionLimits::output_rate}}};

const Named* find(const std::string& name) {
  for (const Named& item : kLimits)
    if (name == item.name) return &item;
  return nullptr;
}

std::string names() {
  std::string out;
  for (const Named& item : kLimits)
    out += (out.empty() ? "" : ", ") + std::string(item.name);
  return out;
}

bool is_more(uint64_t asked, uint64_t base) { return base != 0 && (asked == 0 || asked > base); }

}  // namespace

nlohmann::json to_json(const SessionLimits& limits) {
  nlohmann::json out = nlohmann::json::object();
  for (const Named& item : kLimits)
    out[item.name] = limits.*item.value;
  return out;
}

Result<SessionLimits> limits_from(const nlohmann::json& asked, const SessionLimits& base,
                                  bool may_raise) {
  SessionLimits limits = base;
  if (asked.is_null()) return limits;
  if (!asked.is_object()) return Error{"limits is an object of numbers"};
  for (auto& [name, value] : asked.items()) {
    const Named* item = find(name);
    if (!item) return Error{"there is no limit " + name + "; there are " + names()};
    if (!value.is_number_unsigned()) return Error{"the limit " + name + " is a number from 0 on"};
    const uint64_t number = value.get<uint64_t>();
    if (!may_raise && is_more(number, base.*item->value))
      return Error{"the limit " + name + " of this environment is " +
                   std::to_string(base.*item->value) + "; a session may only have less"};
    if (item->value == &SessionLimits::open_files && number != 0 && number < kLeastOpenFiles)
      return Error{"the limit open_files is 0 for none, or a number from " +
                   std::to_string(kLeastOpenFiles) +
                   " on, as a session has descriptors of its own"};
    limits.*item->value = number;
  }
  return limits;
}

}  // namespace brood
