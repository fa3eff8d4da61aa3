#include "slap/slap_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace brood {
namespace {

using nlohmann::json;

constexpr std::array<double, 3> kShares = {0.5, 0.9, 0.99};

std::string row(const char* what, const Samples& samples, double rate) {
  std::string out = fmt::format("| {:<20} | {:>8} | {:>10} |", what, samples.count(),
                                rate > 0 ? fmt::format("{:.0f}/s", rate) : "");
  for (const double share : kShares)
    out += fmt::format(" {:>8} |", samples.empty() ? "" : show_time(samples.percentile(share)));
  return out + fmt::format(" {:>8} |\n", samples.empty() ? "" : show_time(samples.percentile(1)));
}

// Enough of the distribution to draw it: pairs of a share and the microseconds that it stays below.
// Steps of 1 %, and finer ones towards the slowest.
json curve(const Samples& samples) {
  json out = json::array();
  if (samples.empty()) return out;
  for (int percent = 1; percent < 99; percent++)
    out.push_back({percent / 100.0, samples.percentile(percent / 100.0)});
  const auto count = static_cast<double>(samples.count());
  for (double rest = 0.01; rest * count >= 1; rest /= std::sqrt(2.0))
    out.push_back({1 - rest, samples.percentile(1 - rest)});
  out.push_back({1.0, samples.percentile(1)});
  return out;
}

json latency(const Samples& samples) {
  if (samples.empty()) return {{"count", 0}};
  return {{"count", samples.count()},          {"p50_us", samples.percentile(0.5)},
          {"p90_us", samples.percentile(0.9)}, {"p99_us", samples.percentile(0.99)},
          {"max_us", samples.percentile(1)},   {"curve", curve(samples)}};
}

double per_second(size_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

}  // namespace

void SlapReport::add_error(const std::string& kind, const std::string& text) {
  Errors& errors_of_kind = errors[kind];
  if (errors_of_kind.count++ == 0) errors_of_kind.first = text;
}

void SlapReport::add(const SlapReport& other) {
  for (const auto& [mine, theirs] :
       {std::pair(&create, &other.create), {&first, &other.first}, {&cell, &other.cell}})
    for (const double value : theirs->values())
      mine->add(value);
  for (const auto& [kind, more] : other.errors) {
    if (more.count == 0) continue;
    add_error(kind, more.first);
    errors[kind].count += more.count - 1;
  }
}

double SlapReport::sessions_per_second() const {
  return per_second(create.count(), create_seconds);
}

double SlapReport::cells_per_second() const {
  return per_second(cell.count() - std::min(cell.count(), first.count()), execute_seconds);
}

std::string SlapReport::text() const {
  std::string out = fmt::format("| {:<20} | {:>8} | {:>10} | {:>8} | {:>8} | {:>8} | {:>8} |\n", "",
                                "count", "rate", "p50", "p90", "p99", "max");
  out += fmt::format("| {:-<20} | {:->8} | {:->10} | {:->8} | {:->8} | {:->8} | {:->8} |\n", "", "",
                     "", "", "", "", "");
  out += row("session created", create, sessions_per_second());
  out += row("and its first result", first, 0);
  out += row("cell", cell, cells_per_second());
  for (const auto& [kind, what] : errors)
    out += fmt::format("error: {}: {} times; the first: {}\n", kind, what.count, what.first);
  return out;
}

json SlapReport::json() const {
  nlohmann::json kinds = nlohmann::json::object();
  for (const auto& [kind, what] : errors)
    kinds[kind] = {{"count", what.count}, {"first", what.first}};
  return {{"sessions", create.count()},
          {"cells", cell.count()},
          {"sessions_per_second", sessions_per_second()},
          {"cells_per_second", cells_per_second()},
          {"interrupted", interrupted},
          {"latency",
           {{"create", latency(create)}, {"first", latency(first)}, {"cell", latency(cell)}}},
          {"errors", std::move(kinds)}};
}

}  // namespace brood
