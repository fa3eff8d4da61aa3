// Small pure functions on words: durations, suggestions, names.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace brood {

// "90s", "10m", "2h", "1d" or "0" to nanoseconds; nothing for anything else, or for more than ten
// years.
std::optional<int64_t> parse_duration(std::string_view text);

// "4096", "64KiB", "2GiB" to bytes; nothing for anything else.
std::optional<uint64_t> parse_size(std::string_view text);

// For people: "3s", "12m", "2h05m", "4d".
std::string show_duration(int64_t nanoseconds);

// The candidate that was probably meant by `typed`; empty when none is close.
std::string closest(std::string_view typed, std::span<const std::string> candidates);

// `, did you mean "x"?`, or empty.
std::string did_you_mean(std::string_view typed, std::span<const std::string> candidates);

// "a, b, c"
std::string join(std::span<const std::string> words, std::string_view between = ", ");

// A dotted Python module name. Letters beyond ASCII are taken as they are.
bool is_module_name(std::string_view text);

// What may name an environment variable: no '=' and no NUL, not empty.
bool is_variable_name(std::string_view text);

}  // namespace brood
