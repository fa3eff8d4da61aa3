#include "launch/command_line.h"

#include <cstring>
#include <string_view>

namespace brood {
namespace {

// Flags without a value that a zygote can be started with.
constexpr std::string_view kWarmFlags = "bBEIOPqRsS";
// Flags that show something and leave, trace start-up, or go on at a prompt.
constexpr std::string_view kColdFlags = "dhiJtvVx?";

bool cold_x_option(std::string_view value) {
  for (std::string_view name : {"importtime", "tracemalloc", "showrefcount", "showalloccount",
                                "perf", "perf_jit", "presite", "pycache_stats"})
    if (value == name ||
        (value.starts_with(name) && value.size() > name.size() && value[name.size()] == '='))
      return true;
  return false;
}

class Parser {
 public:
  explicit Parser(std::span<char* const> arguments) : arguments_(arguments) {}

  CommandLine parse() {
    while (line_.cold_reason.empty() && !program_known_ && next_ < arguments_.size()) {
      const std::string_view word = arguments_[next_];
      if (word == "-" || word.empty() || word[0] != '-') break;
      next_++;
      if (word == "--") break;
      if (word.starts_with("--"))
        cold(word);
      else
        read_cluster(word.substr(1));
    }
    if (!program_known_) read_program();
    for (; next_ < arguments_.size(); next_++)
      line_.arguments.emplace_back(arguments_[next_]);
    return std::move(line_);
  }

 private:
  void cold(std::string_view option) {
    line_.cold_reason = "the option " + std::string(option) + " needs an interpreter of its own";
  }

  void read_cluster(std::string_view flags) {
    for (size_t i = 0; i < flags.size() && line_.cold_reason.empty() && !program_known_; i++) {
      const char flag = flags[i];
      if (flag == 'c' || flag == 'm' || flag == 'W' || flag == 'X') {
        read_value(flag, flags.substr(i + 1));
        return;
      }
      read_flag(flag);
    }
  }

  void read_flag(char flag) {
    if (flag == 'u') {
      line_.unbuffered = true;
      return;
    }
    if (kColdFlags.find(flag) != kColdFlags.npos || kWarmFlags.find(flag) == kWarmFlags.npos) {
      cold(std::string("-") + flag);
      return;
    }
    if (flag == 'E' || flag == 'I') line_.ignore_environment = true;
    line_.options.push_back(std::string("-") + flag);
  }

  void read_value(char flag, std::string_view glued) {
    if (glued.empty() && next_ >= arguments_.size()) {
      cold(std::string("-") + flag);  // python prints the usage
      return;
    }
    const std::string value(glued.empty() ? std::string_view(arguments_[next_++]) : glued);
    if (flag == 'c' || flag == 'm') {
      line_.kind = flag == 'c' ? ProgramKind::kCommand : ProgramKind::kModule;
      line_.program = value;
      program_known_ = true;
    } else if (flag == 'X' && cold_x_option(value)) {
      cold("-X " + value);
    } else {
      line_.options.push_back(std::string("-") + flag);
      line_.options.push_back(value);
    }
  }

  void read_program() {
    if (next_ >= arguments_.size()) return;
    const std::string_view word = arguments_[next_++];
    if (word == "-") return;
    line_.kind = ProgramKind::kScript;
    line_.program = word;
  }

  std::span<char* const> arguments_;
  size_t next_ = 0;
  bool program_known_ = false;
  CommandLine line_;
};

}  // namespace

CommandLine parse_command_line(std::span<char* const> arguments) {
  return Parser(arguments).parse();
}

}  // namespace brood
