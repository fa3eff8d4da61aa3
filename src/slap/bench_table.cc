#include "slap/bench_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace brood {

void BenchTable::note(std::string what, std::string value) {
  rows_.push_back({std::move(what), std::move(value), "", ""});
}

void BenchTable::add(std::string what, double value, const std::string& bar, bool met,
                     const std::string& unit) {
  rows_.push_back(
      {std::move(what), fmt::format("{:.3g}{}", value, unit), bar, met ? "met" : "MISSED"});
}

void BenchTable::at_most(std::string what, double value, double bar, const std::string& unit) {
  add(std::move(what), value, fmt::format("at most {:g}{}", bar, unit), value <= bar, unit);
}

void BenchTable::at_least(std::string what, double value, double bar, const std::string& unit) {
  add(std::move(what), value, fmt::format("at least {:g}{}", bar, unit), value >= bar, unit);
}

std::string BenchTable::text() const {
  size_t widths[4] = {6, 8, 3, 0};
  for (const Row& row : rows_) {
    const std::string* cells[4] = {&row.what, &row.value, &row.bar, &row.verdict};
    for (size_t i = 0; i < 4; i++)
      widths[i] = std::max(widths[i], cells[i]->size());
  }
  const auto line = [&](const Row& row) {
    return fmt::format("| {:<{}} | {:<{}} | {:<{}} | {:<{}} |\n", row.what, widths[0], row.value,
                       widths[1], row.bar, widths[2], row.verdict, widths[3]);
  };
  std::string out = line({"figure", "measured", "bar", ""});
  out += line({std::string(widths[0], '-'), std::string(widths[1], '-'),
               std::string(widths[2], '-'), std::string(widths[3], '-')});
  for (const Row& row : rows_)
    out += line(row);
  return out;
}

nlohmann::json BenchTable::rows() const {
  nlohmann::json out = nlohmann::json::array();
  for (const Row& row : rows_)
    out.push_back({{"figure", row.what},
                   {"measured", row.value},
                   {"bar", row.bar},
                   {"verdict", row.verdict}});
  return out;
}

}  // namespace brood
