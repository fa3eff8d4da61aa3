// Samples of times and what is said of them. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace brood {

class Samples {
 public:
  void add(double microseconds) { values_.push_back(microseconds); }
  size_t count() const { return values_.size(); }
  bool empty() const { return values_.empty(); }
  const std::vector<double>& values() const { return values_; }

  // The smallest value that at least `share` (0-1] of the samples do not exceed (nearest rank). Not
  // on no samples.
  double percentile(double share) const;
  double median() const { return percentile(0.5); }

 private:
  std::vector<double> values_;
};

// 1234.5 -> "1.23 ms"; three digits.
std::string show_time(double microseconds);

}  // namespace brood
