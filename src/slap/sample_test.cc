#include "slap/sample.h"

#include <gtest/gtest.h>

namespace brood {
namespace {

TEST(Samples, PercentileIsTheNearestRank) {
  Samples samples;
  for (int i = 100; i >= 1; i--)
    samples.add(i);
  EXPECT_EQ(samples.percentile(0.5), 50);
  EXPECT_EQ(samples.percentile(0.99), 99);
  EXPECT_EQ(samples.percentile(1), 100);
  EXPECT_EQ(samples.percentile(0.001), 1);
}

TEST(Samples, OneSampleIsEveryPercentile) {
  Samples samples;
  samples.add(7);
  EXPECT_EQ(samples.median(), 7);
  EXPECT_EQ(samples.percentile(0.99), 7);
}

TEST(ShowTime, ChoosesTheUnit) {
  EXPECT_EQ(show_time(12.34), "12.3 us");
  EXPECT_EQ(show_time(1234), "1.23 ms");
  EXPECT_EQ(show_time(2'500'000), "2.5 s");
}

}  // namespace
}  // namespace brood
