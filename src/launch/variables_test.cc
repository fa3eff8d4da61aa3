#include "launch/variables.h"

#include <gtest/gtest.h>

#include "base/pointers.h"

namespace brood {
namespace {

TEST(StartupVariables, OnlyThoseThatCount) {
  std::vector<std::string> items{"SECRET_TOKEN=x",     "PYTHONPATH=/lib", "HOME=/h",
                                 "PYTHONUNBUFFERED=1", "LC_ALL=C",        "EDITOR=vi"};
  EXPECT_EQ(startup_variables(pointers(items).data(), false),
            (std::vector<std::string>{"HOME=/h", "LC_ALL=C", "PYTHONPATH=/lib"}));
  EXPECT_EQ(startup_variables(pointers(items).data(), true),
            (std::vector<std::string>{"HOME=/h", "LC_ALL=C"}));
}

TEST(StartupVariables, ColdOnes) {
  std::vector<std::string> set{"PYTHONINSPECT=1"}, empty{"PYTHONINSPECT="},
      relative{"PYTHONPATH=lib"}, other{"PYTHONPATH=/lib"};
  EXPECT_EQ(cold_variable(pointers(set).data()), "PYTHONINSPECT");
  EXPECT_EQ(cold_variable(pointers(empty).data()), "");
  EXPECT_EQ(cold_variable(pointers(relative).data()),
            "PYTHONPATH");  // means another folder for every caller
  EXPECT_EQ(cold_variable(pointers(other).data()), "");
  std::vector<std::string> warns{"PYTHONCOERCECLOCALE=warn"}, coerces{"PYTHONCOERCECLOCALE=1"};
  EXPECT_EQ(cold_variable(pointers(warns).data()), "PYTHONCOERCECLOCALE");
  EXPECT_EQ(cold_variable(pointers(coerces).data()), "");
}

}  // namespace
}  // namespace brood
