#include "slap/slap_report.h"

#include <gtest/gtest.h>

namespace brood {
namespace {

SlapReport sample() {
  SlapReport report;
  for (int i = 1; i <= 1000; i++)
    report.cell.add(i);
  for (int i = 0; i < 10; i++) {
    report.create.add(2000);
    report.first.add(3000);
  }
  report.create_seconds = 2;
  report.execute_seconds = 3;
  return report;
}

TEST(SlapReport, RatesCountEachPhaseByItself) {
  EXPECT_DOUBLE_EQ(sample().sessions_per_second(), 5);
  EXPECT_DOUBLE_EQ(sample().cells_per_second(), 330);  // the first 10 cells are of the other phase
  EXPECT_DOUBLE_EQ(SlapReport().sessions_per_second(), 0);
  EXPECT_DOUBLE_EQ(SlapReport().cells_per_second(), 0);
}

TEST(SlapReport, TheTableHasAColumnForEachPercentile) {
  const std::string text = sample().text();
  EXPECT_NE(text.find("|   500 us |   900 us |   990 us |     1 ms |"), std::string::npos) << text;
  EXPECT_NE(text.find("5/s"), std::string::npos) << text;
  EXPECT_NE(SlapReport().text().find("|        0 |"), std::string::npos);
}

TEST(SlapReport, AddingKeepsTheFirstTextOfAnError) {
  SlapReport one, two;
  one.add_error("limit", "first");
  two.add_error("limit", "second");
  two.add_error("limit", "third");
  one.add(two);
  EXPECT_EQ(one.errors.at("limit").count, 3u);
  EXPECT_NE(one.text().find("error: limit: 3 times; the first: first"), std::string::npos);
  EXPECT_EQ(one.json()["errors"]["limit"]["count"], 3);
}

TEST(SlapReport, TheCurveRisesToTheSlowest) {
  const nlohmann::json curve = sample().json()["latency"]["cell"]["curve"];
  double share = 0, value = 0;
  for (const auto& point : curve) {
    EXPECT_GT(point[0], share);
    EXPECT_GE(point[1], value);
    share = point[0];
    value = point[1];
  }
  EXPECT_EQ(share, 1);
  EXPECT_EQ(value, 1000);
}

}  // namespace
}  // namespace brood
