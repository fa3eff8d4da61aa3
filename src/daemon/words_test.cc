#include "daemon/words.h"

#include <gtest/gtest.h>

#include "base/clock.h"

namespace brood {
namespace {

TEST(Words, ReadsDurations) {
  EXPECT_EQ(parse_duration("0"), 0);
  EXPECT_EQ(parse_duration("0s"), 0);
  EXPECT_EQ(parse_duration("90s"), 90 * kSecond);
  EXPECT_EQ(parse_duration("10m"), 600 * kSecond);
  EXPECT_EQ(parse_duration("2h"), 7200 * kSecond);
  EXPECT_EQ(parse_duration("1d"), 86400 * kSecond);
}

TEST(Words, RefusesWhatIsNoDuration) {
  for (const char* text : {"", "s", "10", "-1s", "1.5h", "1 h", "1w", "m10", "+1s", "0x1s",
                           "99999999999999999999s", "4000d", "1h30m"})
    EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(Words, ShowsDurations) {
  EXPECT_EQ(show_duration(0), "0s");
  EXPECT_EQ(show_duration(-5), "0s");
  EXPECT_EQ(show_duration(59 * kSecond), "59s");
  EXPECT_EQ(show_duration(12 * 60 * kSecond), "12m");
  EXPECT_EQ(show_duration(7500 * kSecond), "2h05m");
  EXPECT_EQ(show_duration(4 * 86400 * kSecond), "4d");
}

TEST(Words, SuggestsOnlyWhatIsClose) {
  const std::vector<std::string> keys = {"preload", "python", "spares"};
  EXPECT_EQ(did_you_mean("prelaod", keys), ", did you mean \"preload\"?");
  EXPECT_EQ(did_you_mean("pyhton", keys), ", did you mean \"python\"?");
  EXPECT_EQ(did_you_mean("colour", keys), "");
  const std::vector<std::string> names = {"a", "b"};
  EXPECT_EQ(closest("c", names), "");
}

TEST(Words, KnowsModuleNames) {
  for (const char* name : {"os", "os.path", "_x", "a1.b2", "größe"})
    EXPECT_TRUE(is_module_name(name)) << name;
  for (const char* name : {"", ".", "os.", ".os", "a..b", "1a", "a-b", "a b", "a;b", "a\n"})
    EXPECT_FALSE(is_module_name(name)) << name;
}

TEST(Words, KnowsVariableNames) {
  EXPECT_TRUE(is_variable_name("PATH"));
  EXPECT_FALSE(is_variable_name(""));
  EXPECT_FALSE(is_variable_name("A=B"));
  EXPECT_FALSE(is_variable_name(std::string_view("A\0B", 3)));
}

}  // namespace
}  // namespace brood
