#include "auth/throttle_table.h"

#include <gtest/gtest.h>

#include "base/clock.h"

namespace brood {
namespace {

constexpr int64_t kMillisecond = 1'000'000;

TEST(ThrottleTable, DelaysDoubleUpToFiveSeconds) {
  ThrottleTable table;
  int64_t now = 0;
  for (const int64_t delay : {200, 400, 800, 1600, 3200, 5000, 5000, 5000})
    EXPECT_EQ(table.failed("a", now += kSecond).delay_ns, delay * kMillisecond);
  EXPECT_EQ(table.failed("b", now).delay_ns, 200 * kMillisecond) << "another address";
}

TEST(ThrottleTable, ASuccessShortensTheDelayOnly) {
  ThrottleTable table;
  for (int i = 0; i < 19; ++i) {
    EXPECT_FALSE(table.failed("a", i * kSecond).refused);
    table.succeeded("a");
  }
  const Throttle last = table.failed("a", 20 * kSecond);
  EXPECT_EQ(last.delay_ns, 200 * kMillisecond);
  EXPECT_TRUE(last.refused) << "who knows one password may not try others' without end";
}

TEST(ThrottleTable, RefusesForAMinuteAfterTwentyFailures) {
  ThrottleTable table;
  for (int i = 0; i < 19; ++i)
    EXPECT_FALSE(table.failed("a", i * kSecond).refused);
  EXPECT_FALSE(table.before_attempt("a", 19 * kSecond).refused);
  EXPECT_TRUE(table.failed("a", 19 * kSecond).refused);
  EXPECT_TRUE(table.before_attempt("a", 19 * kSecond).refused);
  EXPECT_TRUE(table.before_attempt("a", 79 * kSecond - 1).refused);
  EXPECT_FALSE(table.before_attempt("a", 79 * kSecond).refused);
  EXPECT_FALSE(table.before_attempt("b", 20 * kSecond).refused);
  EXPECT_TRUE(table.failed("a", 80 * kSecond).refused) << "still twenty within ten minutes";
}

TEST(ThrottleTable, ForgetsAfterTenMinutes) {
  ThrottleTable table;
  for (int i = 0; i < 20; ++i)
    (void)table.failed("a", i * kSecond);
  const Throttle later = table.failed("a", (19 + 600) * kSecond);
  EXPECT_FALSE(later.refused);
  EXPECT_EQ(later.delay_ns, 200 * kMillisecond);
  for (int i = 0; i < 40; ++i)  // few enough at any time
    EXPECT_FALSE(table.failed("slow", i * 35 * kSecond).refused) << i;
}

TEST(ThrottleTable, IsBounded) {
  ThrottleTable table;
  for (int i = 0; i < 20; ++i)
    (void)table.failed("old", i);
  for (int i = 0; i < 20; ++i)
    (void)table.failed("kept", i);
  for (size_t i = 0; i < ThrottleTable::kMaxAddresses - 1; ++i)
    (void)table.failed(std::to_string(i), 30);
  EXPECT_EQ(table.size(), ThrottleTable::kMaxAddresses);
  EXPECT_FALSE(table.before_attempt("old", 40).refused) << "it failed longest ago";
  EXPECT_TRUE(table.before_attempt("kept", 40).refused);
  table.succeeded("old");
  EXPECT_EQ(table.size(), ThrottleTable::kMaxAddresses);
}

}  // namespace
}  // namespace brood
