#include "zygote/spare_pool.h"

#include <gtest/gtest.h>

namespace brood {
namespace {

constexpr int64_t kMs = 1'000'000;

TEST(SparePool, FillsUpAtOnceWhenEmpty) {
  SparePool pool(4);
  EXPECT_EQ(pool.next_fork(0), 0);
  pool.forked(true);
  EXPECT_EQ(pool.next_fork(0), 0);  // fewer than half
}

TEST(SparePool, ARunInItsFirstMillisecondsIsNotDisturbed) {
  SparePool pool(4);
  for (int i = 0; i < 4; i++)
    pool.forked(true);
  EXPECT_EQ(pool.next_fork(100 * kMs), std::nullopt);
  pool.taken(true, 100 * kMs);
  EXPECT_EQ(pool.next_fork(101 * kMs), 2 * kMs);
  EXPECT_EQ(pool.next_fork(103 * kMs), 0);
}

TEST(SparePool, AReserveThatRunsLowIsFilledAtOnce) {
  SparePool pool(4);
  for (int i = 0; i < 4; i++)
    pool.forked(true);
  for (int i = 0; i < 3; i++)
    pool.taken(true, 100 * kMs);
  EXPECT_EQ(pool.next_fork(100 * kMs), 0);
}

TEST(SparePool, OnlyTheFirstFewAreHot) {
  SparePool pool(100);
  for (uint32_t i = 0; i < SparePool::kMostHot; i++) {
    EXPECT_TRUE(pool.next_is_hot());
    pool.forked(true);
  }
  EXPECT_FALSE(pool.next_is_hot());
  pool.forked(false);
  pool.taken(false, 0);
  EXPECT_FALSE(pool.next_is_hot());
  pool.taken(true, 0);
  EXPECT_TRUE(pool.next_is_hot());
}

TEST(SparePool, NoneWhenDrained) {
  SparePool pool(4);
  pool.forked(true);
  pool.drain();
  pool.died(true);
  EXPECT_EQ(pool.next_fork(0), std::nullopt);
}

}  // namespace
}  // namespace brood
