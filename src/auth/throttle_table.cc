#include "auth/throttle_table.h"

#include <algorithm>

namespace brood {
namespace {

int64_t delay_after(size_t failures) {
  constexpr size_t kDoublings = 5;  // 0.2 s * 2^5 is more than the longest delay
  const int64_t factor = int64_t{1} << std::min(failures - 1, kDoublings);
  return std::min(ThrottleTable::kFirstDelayNs * factor, ThrottleTable::kMaxDelayNs);
}

}  // namespace

Throttle ThrottleTable::before_attempt(const std::string& address, int64_t now) const {
  const auto found = by_address_.find(address);
  return Throttle{0, found != by_address_.end() && now < found->second->refused_until};
}

ThrottleTable::Entry& ThrottleTable::touch(const std::string& address) {
  if (const auto found = by_address_.find(address); found != by_address_.end()) {
    entries_.splice(entries_.begin(), entries_, found->second);
    return entries_.front();
  }
  if (entries_.size() >= kMaxAddresses) {
    by_address_.erase(entries_.back().address);
    entries_.pop_back();
  }
  entries_.push_front(Entry{address, {}, 0, 0});
  by_address_.emplace(address, entries_.begin());
  return entries_.front();
}

Throttle ThrottleTable::failed(const std::string& address, int64_t now) {
  Entry& entry = touch(address);
  if (!entry.failures.empty() && entry.failures.back() <= now - kWindowNs) entry.in_a_row = 0;
  while (!entry.failures.empty() && entry.failures.front() <= now - kWindowNs)
    entry.failures.pop_front();
  entry.failures.push_back(now);
  if (entry.failures.size() > kMaxFailures) entry.failures.pop_front();
  ++entry.in_a_row;
  if (entry.failures.size() >= kMaxFailures) entry.refused_until = now + kRefusedNs;
  return Throttle{delay_after(entry.in_a_row), now < entry.refused_until};
}

void ThrottleTable::succeeded(const std::string& address) {
  if (const auto found = by_address_.find(address); found != by_address_.end())
    found->second->in_a_row = 0;
}

}  // namespace brood
