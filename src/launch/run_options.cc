#include "launch/run_options.h"

#include <string_view>

namespace brood {
namespace {

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    if (comma != 0) items.emplace_back(text.substr(0, comma));
    text = comma == text.npos ? std::string_view() : text.substr(comma + 1);
  }
  return items;
}

Result<void> set_option(std::string_view name, std::string_view value, RunOptions& options) {
  if (value.empty()) return Error{"--" + std::string(name) + " needs a value"};
  if (name == "env") options.env_name = value;
  if (name == "preload")
    for (std::string& module : split_list(value))
      options.preload.push_back(std::move(module));
  if (name == "init") options.init_file = value;
  if (name == "python") options.python = value;
  return {};
}

bool takes_value(std::string_view name) {
  return name == "env" || name == "preload" || name == "init" || name == "python";
}

Result<void> check_combination(const RunOptions& options) {
  if (!options.env_name.empty() && (!options.preload.empty() || !options.init_file.empty()))
    return Error{"--env names a configured environment; it does not go with --preload or --init"};
  return {};
}

}  // namespace

Result<ParsedRun> parse_run_options(std::span<char* const> arguments, const char* command) {
  ParsedRun parsed;
  size_t next = 0;
  while (next < arguments.size() && std::string_view(arguments[next]).starts_with("--")) {
    const std::string_view word = std::string_view(arguments[next]).substr(2);
    if (word.empty() || word == "version" || word == "check-hash-based-pycs" ||
        word.starts_with("help-"))
      break;  // python's
    next++;
    if (word == "help") {
      parsed.help = true;
      return parsed;
    }
    if (word == "wait") {
      parsed.options.wait = true;
      continue;
    }
    const size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    if (!takes_value(name))
      return Error{"unknown option --" + std::string(name) + "; see brood " + command + " --help"};
    if (equals == word.npos && next >= arguments.size())
      return Error{"--" + std::string(name) + " needs a value"};
    const std::string_view value =
        equals == word.npos ? std::string_view(arguments[next++]) : word.substr(equals + 1);
    if (Result<void> set = set_option(name, value, parsed.options); !set) return set.error();
  }
  parsed.python = arguments.subspan(next);
  if (Result<void> good = check_combination(parsed.options); !good) return good.error();
  return parsed;
}

}  // namespace brood
