// What a load on sessions measured, and how it is told. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "slap/sample.h"

namespace brood {

struct SlapReport {
  struct Errors {
    uint64_t count = 0;
    std::string first;  // its text
  };

  Samples create;  // until the session is there and joined; microseconds, as all of them
  Samples first;   // from the same moment to the end of its first cell
  Samples cell;    // from the request to the end, of all cells
  std::map<std::string, Errors> errors;  // by the protocol's code, or "cell " and its status
  double create_seconds = 0, execute_seconds = 0;  // of the first and the second phase
  bool interrupted = false;

  void add_error(const std::string& kind, const std::string& text);
  void add(const SlapReport& other);  // samples and errors

  double sessions_per_second() const;
  double cells_per_second() const;  // in the second phase; 0: each session had but one cell
  std::string text() const;         // a Markdown table; then the errors
  nlohmann::json json() const;
};

}  // namespace brood
