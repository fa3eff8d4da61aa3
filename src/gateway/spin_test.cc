#include "gateway/spin.h"

#include <gtest/gtest.h>

#include "gateway/channel_state.h"

namespace brood::gateway {
namespace {

TEST(Spin, FollowsABriefWaitOnly) {
  Spin spin;
  EXPECT_FALSE(spin.wanted());
  spin.waited(Spin::kBrief);
  EXPECT_FALSE(spin.wanted());
  spin.waited(Spin::kBrief - 1);
  EXPECT_TRUE(spin.wanted());
  spin.waited(10 * Spin::kBrief);
  EXPECT_FALSE(spin.wanted());
}

TEST(Spin, FailuresMakeItRare) {
  Spin spin;
  int spins = 0;
  for (int wait = 0; wait < 100'000; ++wait) {  // brief ones, but never as brief as a spin
    const bool spun = spin.wanted();
    spin.waited(Spin::kLongest);
    if (spun) spin.failed();
    spins += spun;
  }
  EXPECT_GT(spins, 10);
  EXPECT_LT(spins, 200);
  for (int wait = 0; wait < 4000; ++wait) {
    const bool spun = spin.wanted();
    spin.waited(1000);
    if (spun) spin.succeeded();
  }
  EXPECT_TRUE(spin.wanted()) << "successes forgive";
}

TEST(ItemQueue, FirstInFirstOut) {
  ItemQueue queue;
  int in = 0, out = 0;
  for (const int more : {1, 3, 200, 1000, 1, 500}) {
    for (int i = 0; i < more; ++i)
      queue.push_back(Payload(std::to_string(in++)));
    for (int i = 0; i < more * 3 / 4 && !queue.empty(); ++i)
      ASSERT_EQ(queue.pop_front().view(), std::to_string(out++));
  }
  while (!queue.empty())
    ASSERT_EQ(queue.pop_front().view(), std::to_string(out++));
  EXPECT_EQ(in, out);
  queue.push_back(Payload(std::string("x")));
  queue.clear();
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace brood::gateway
