#include "worker/spoken_by_hand.h"

#include <gtest/gtest.h>

namespace brood {
namespace {

TEST(SpokenByHand, NumbersOfMembersAreFound) {
  EXPECT_EQ(number_by_hand(R"({"cell":17,"code":"1"})", "cell"), "17");
  EXPECT_EQ(number_by_hand(R"({"a":"\"cell\":5","cell":6})", "cell"), "6");
  EXPECT_EQ(number_by_hand(R"({"a":"cell","cell":6})", "cell"), "6");
  EXPECT_EQ(number_by_hand(R"({"cell":)", "cell"), "");
  EXPECT_EQ(number_by_hand(R"({"cell":"x"})", "cell"), "");
  EXPECT_EQ(number_by_hand("", "cell"), "");
}

TEST(SpokenByHand, AnErrorIsJsonWhateverItsText) {
  EXPECT_EQ(error_by_hand("a \"b\" \\ \n\x01\xff"),
            R"({"type":"error","name":"RuntimeError","value":"a \"b\" \\ \n??",)"
            R"("traceback":["RuntimeError: a \"b\" \\ \n??\n"]})");
  EXPECT_LT(error_by_hand(std::string(100'000, 'x')).size(), 5000u);
}

TEST(SpokenByHand, AnAnswerKeepsTheNumberOfItsQuestion) {
  EXPECT_EQ(no_answer_by_hand(R"({"ask":3,"code":"ab","cursor":2})"),
            R"({"ask":3,"found":false,"data":{},"signature":"","matches":[],"start":2,"end":2})");
  EXPECT_EQ(no_answer_by_hand("x"),
            R"({"ask":0,"found":false,"data":{},"signature":"","matches":[],"start":0,"end":0})");
}

}  // namespace
}  // namespace brood
