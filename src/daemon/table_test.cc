#include "daemon/table.h"

#include <gtest/gtest.h>

namespace brood {
namespace {

TEST(Table, AlignsColumns) {
  Table table({"NAME", ">RUNS"});
  table.add({{"a"}, {"1"}});
  table.add({{"größer"}, {"1234"}});
  EXPECT_EQ(table.render(false, 0),
            "NAME    RUNS\n"
            "a          1\n"
            "größer  1234\n");
}

TEST(Table, CutsLongLines) {
  Table table({"A", "B"});
  table.add({{"äöü"}, {"12345"}});
  table.add_text({"a long text"});
  EXPECT_EQ(table.render(false, 6), "A    B\näöü  1\na long\n");
  EXPECT_EQ(table.render(false, 1), "A\nä\na\n");
}

TEST(Table, ColorsWithoutCountingTheCodes) {
  Table table({"A"});
  table.add({{"x", Tone::kBad}});
  EXPECT_EQ(table.render(true, 0), "\033[1mA\033[0m\n\033[31mx\033[0m\n");
}

TEST(Table, MakesTextHarmless) {
  EXPECT_EQ(harmless("a\033[2Jb\n\x7f"), "a?[2Jb??");
  EXPECT_EQ(harmless("gr\xc3\xb6\xc3\x9f"
                     "e"),
            "größe");
  EXPECT_EQ(harmless("\xc3"), "?");
  EXPECT_EQ(harmless("\xff\x80x"), "??x");
  EXPECT_EQ(harmless("\xc2\x9bx"), "?x");  // CSI in one character
  EXPECT_EQ(harmless("a\xe2\x80\xae"
                     "b"),
            "a?b");  // right to left
}

TEST(Table, ShowsMebibytes) { EXPECT_EQ(show_mebibytes(1'310'720), "1.2 MiB"); }

}  // namespace
}  // namespace brood
