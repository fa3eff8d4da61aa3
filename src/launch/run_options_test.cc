#include "launch/run_options.h"

#include <gtest/gtest.h>

namespace brood {
namespace {

class RunOptionsTest : public testing::Test {
 protected:
  Result<ParsedRun> parse(std::vector<std::string> words) {
    words_ = std::move(words);
    pointers_.clear();
    for (std::string& word : words_)
      pointers_.push_back(word.data());
    return parse_run_options(pointers_);
  }
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

TEST_F(RunOptionsTest, OwnOptionsThenPythons) {
  Result<ParsedRun> run =
      parse({"--env", "x", "--wait", "--python=/p", "-O", "job.py", "--env", "y"});
  ASSERT_TRUE(run);
  EXPECT_EQ(run->options.env_name, "x");
  EXPECT_EQ(run->options.python, "/p");
  EXPECT_TRUE(run->options.wait);
  ASSERT_EQ(run->python.size(), 4u);
  EXPECT_STREQ(run->python[0], "-O");
}

TEST_F(RunOptionsTest, PreloadIsAListAndMayRepeat) {
  Result<ParsedRun> run = parse({"--preload", "numpy,,pandas", "--preload=json", "x.py"});
  ASSERT_TRUE(run);
  EXPECT_EQ(run->options.preload, (std::vector<std::string>{"numpy", "pandas", "json"}));
}

TEST_F(RunOptionsTest, PythonsLongOptionsAreLeftToPython) {
  EXPECT_EQ(parse({"--version"})->python.size(), 1u);
  EXPECT_EQ(parse({"--", "x.py"})->python.size(), 2u);
}

TEST_F(RunOptionsTest, Mistakes) {
  EXPECT_FALSE(parse({"--preloads", "x", "y.py"}));
  EXPECT_FALSE(parse({"--env"}));
  EXPECT_FALSE(parse({"--env=", "x.py"}));
  EXPECT_FALSE(parse({"--env", "a", "--preload", "b", "x.py"}));
}

TEST_F(RunOptionsTest, Help) { EXPECT_TRUE(parse({"--help"})->help); }

}  // namespace
}  // namespace brood
