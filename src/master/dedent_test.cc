#include "master/dedent.h"

#include <gtest/gtest.h>

namespace brood::master {
namespace {

TEST(Dedent, TakesAwayWhatAllLinesShare) {
  EXPECT_EQ(dedent("\n    a\n      b\n  \n    c"), "\na\n  b\n\nc");
  EXPECT_EQ(dedent("\t a\n\tb\n"), " a\nb\n");
  EXPECT_EQ(dedent(" a\n\tb"), " a\n\tb");
  EXPECT_EQ(dedent("a\n  b"), "a\n  b");
  EXPECT_EQ(dedent(""), "");
  EXPECT_EQ(dedent("  \n "), "\n");
}

}  // namespace
}  // namespace brood::master
