// The table of a benchmark: figures, and figures with a bar. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace brood {

class BenchTable {
 public:
  // A figure without a bar.
  void note(std::string what, std::string value);
  void at_most(std::string what, double value, double bar, const std::string& unit);
  void at_least(std::string what, double value, double bar, const std::string& unit);

  // A Markdown table: figure, measured, bar, met or missed.
  std::string text() const;
  nlohmann::json rows() const;

 private:
  struct Row {
    std::string what, value, bar, verdict;
  };
  void add(std::string what, double value, const std::string& bar, bool met,
           const std::string& unit);
  std::vector<Row> rows_;
};

}  // namespace brood
