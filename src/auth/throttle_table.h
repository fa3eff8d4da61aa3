// ThrottleTable: failed logins by address, and how long the next answers wait for it. Passive: the
// time is given. Any process, one thread.
//
// A failure's answer is held back for 0.2 s, twice as long after each further failure, at most 5 s.
// After 20 failures within 10 minutes the address is refused for a minute, and again after each
// further failure while that many lie within 10 minutes. A success shortens the delays again but
// does not forget the failures: somebody who has one password may not try others' without end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <string>
#include <unordered_map>

#include "auth/auth.h"

namespace brood {

class ThrottleTable {
 public:
  static constexpr size_t kMaxAddresses =
      4096;  // beyond, the one that failed longest ago is dropped
  static constexpr size_t kMaxFailures = 20;
  static constexpr int64_t kWindowNs = 600'000'000'000;
  static constexpr int64_t kRefusedNs = 60'000'000'000;
  static constexpr int64_t kFirstDelayNs = 200'000'000;
  static constexpr int64_t kMaxDelayNs = 5'000'000'000;

  // Times: nanoseconds of any clock that does not go back.
  Throttle before_attempt(const std::string& address, int64_t now) const;
  Throttle failed(const std::string& address, int64_t now);
  void succeeded(const std::string& address);

  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string address;
    std::deque<int64_t> failures;  // when; the newest kMaxFailures within the window
    size_t in_a_row = 0;           // since the last success
    int64_t refused_until = 0;
  };
  Entry& touch(const std::string& address);

  std::list<Entry> entries_;  // the one that failed last comes first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_address_;
};

}  // namespace brood
