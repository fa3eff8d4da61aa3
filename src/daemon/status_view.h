// What `brood status` and `brood top` show: the daemon's answer, completed with the memory of its
// processes, as text.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace brood {

// Adds "memory" to every zygote and program, and "spare_memory" to every zygote (from /proc, in the
// caller's process).
void add_memory(nlohmann::json& status);

struct ViewStyle {
  bool color = false;
  size_t width = 0;                     // columns; 0: any
  std::map<std::string, double> rates;  // runs per second by key; shown if not empty
};

// A line about the daemon, then the table.
std::string show_daemon(const nlohmann::json& status);
std::string show_environments(const nlohmann::json& status, const ViewStyle& style);

// Values of a list, for people: "a, b, c".
std::string show_list(const nlohmann::json& list);

// Lenient access: an answer of another version must not end the program.
std::string text_at(const nlohmann::json& map, const char* key);
double number_at(const nlohmann::json& map, const char* key);
const nlohmann::json& list_at(const nlohmann::json& map, const char* key);

}  // namespace brood
