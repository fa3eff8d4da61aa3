#include "slap/sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/require.h"

namespace brood {

double Samples::percentile(double share) const {
  require(!values_.empty(), "samples to take a percentile of");
  std::vector<double> sorted = values_;
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  const auto place =
      sorted.begin() + static_cast<std::ptrdiff_t>(std::clamp<size_t>(rank, 1, sorted.size()) - 1);
  std::nth_element(sorted.begin(), place, sorted.end());
  return *place;
}

std::string show_time(double microseconds) {
  if (microseconds < 1000) return fmt::format("{:.3g} us", microseconds);
  if (microseconds < 1'000'000) return fmt::format("{:.3g} ms", microseconds / 1000);
  return fmt::format("{:.3g} s", microseconds / 1'000'000);
}

}  // namespace brood
