#include "session/settings.h"

#include <gtest/gtest.h>

#include <cmath>

#include "session/members.h"

namespace brood {
namespace {

using nlohmann::json;

std::string error_of(const json& asked, const SessionLimits& base, bool may_raise = false) {
  Result<SessionLimits> limits = limits_from(asked, base, may_raise);
  return limits ? "no error" : limits.error().message;
}

// As a parser makes them, numbers from 0 on are unsigned.
TEST(Limits, AreThoseOfTheEnvironmentWhenNothingIsAsked) {
  const SessionLimits base{.memory = 100, .cpu = 5};
  EXPECT_EQ(to_json(*limits_from(nullptr, base, false)), to_json(base));
  EXPECT_EQ(to_json(*limits_from(json::object(), base, false)), to_json(base));
}

TEST(Limits, AnybodyMayHaveLess) {
  const SessionLimits base{.memory = 100, .cpu = 0};
  Result<SessionLimits> limits = limits_from({{"memory", 99u}, {"cpu", 7u}}, base, false);
  ASSERT_TRUE(limits);
  EXPECT_EQ(limits->memory, 99u);
  EXPECT_EQ(limits->cpu, 7u);
}

TEST(Limits, OnlyAnAdminMayHaveMore) {
  const SessionLimits base{.memory = 100};
  EXPECT_EQ(error_of({{"memory", 101u}}, base),
            "the limit memory of this environment is 100; a session may only have less");
  EXPECT_NE(error_of({{"memory", 0u}}, base), "no error");  // without limit is more
  EXPECT_EQ(limits_from({{"memory", 101u}}, base, true)->memory, 101u);
  EXPECT_EQ(limits_from({{"memory", 0u}}, base, true)->memory, 0u);
}

TEST(Limits, MistakesAreNamed) {
  EXPECT_EQ(error_of({{"memroy", 1u}}, {}),
            "there is no limit memroy; there are memory, cpu, cell_time, processes, open_files, "
            "file_size, output, output_rate");
  for (const json& value : {json(-1), json(1.5), json("1"), json(), json(true)})
    EXPECT_EQ(error_of({{"cpu", value}}, {}), "the limit cpu is a number from 0 on") << value;
  EXPECT_EQ(error_of(json::array({1}), {}), "limits is an object of numbers");
}

TEST(Limits, OpenFilesLeaveRoomForASession) {
  const std::string text =
      "the limit open_files is 0 for none, or a number from 256 on, as a session has descriptors "
      "of its own";
  EXPECT_EQ(error_of({{"open_files", 255u}}, {}), text);
  EXPECT_EQ(error_of({{"open_files", 1u}}, {}, true), text);
  EXPECT_EQ(limits_from({{"open_files", 256u}}, {}, false)->open_files, 256u);
  EXPECT_EQ(limits_from({{"open_files", 0u}}, {}, false)->open_files, 0u);
}

TEST(Limits, EachHasANameAndKeepsItsValue) {
  json all = json::object();
  uint64_t number = 0;
  const json known = to_json(SessionLimits{});
  for (const auto& [name, value] : known.items())
    all[name] = kLeastOpenFiles + number++;
  EXPECT_EQ(number, sizeof(SessionLimits) / sizeof(uint64_t));
  EXPECT_EQ(to_json(*limits_from(all, {}, false)), all);
}

TEST(Members, AreReadByType) {
  const json head = {{"session", "s"}, {"text", "a"},     {"number", 7u},       {"time", 0.5},
                     {"flag", true},   {"none", nullptr}, {"large", UINT64_MAX}};
  Members members(head, {"text", "number", "time", "flag", "none", "large"});
  EXPECT_EQ(members.text("text"), "a");
  EXPECT_EQ(members.needed_text("text"), "a");
  EXPECT_EQ(members.text("absent", "b"), "b");
  EXPECT_EQ(members.number("number"), 7u);
  EXPECT_EQ(members.number("large"), UINT64_MAX);
  EXPECT_EQ(members.number("none", 9), 9u);  // null: not said
  EXPECT_EQ(members.seconds("time"), 0.5);
  EXPECT_EQ(members.seconds("number"), 7);
  EXPECT_TRUE(members.flag("flag"));
  EXPECT_TRUE(members.flag("absent", true));
  EXPECT_FALSE(members.has("none"));
  EXPECT_FALSE(members.problem());
}

TEST(Members, AnUnknownOneIsAProblem) {
  const json head = {{"cod", "1"}};
  EXPECT_EQ(Members(head, {"code", "by"}).problem()->text,
            "unknown member cod, expected one of code, by");
  EXPECT_EQ(Members(head, {}).problem()->text, "unknown member cod, expected none");
}

TEST(Members, TheFirstMistakeIsTold) {
  const json head = {{"text", 1}, {"number", -1}, {"time", "x"}, {"flag", 0}};
  const auto problem_of = [&](auto read) {
    Members members(head, {"text", "number", "time", "flag", "absent"});
    read(members);
    return members.problem() ? members.problem()->text : "none";
  };
  EXPECT_EQ(problem_of([](Members& m) { m.text("text"), m.number("number"); }),
            "text is 1, expected a text");
  EXPECT_EQ(problem_of([](Members& m) { m.number("number"); }),
            "number is -1, expected a whole number from 0 on");
  EXPECT_EQ(problem_of([](Members& m) { m.seconds("time"); }),
            "time is string, expected a number of seconds from 0 on");
  EXPECT_EQ(problem_of([](Members& m) { m.seconds("number"); }),
            "number is -1, expected a number of seconds from 0 on");
  EXPECT_EQ(problem_of([](Members& m) { m.flag("flag"); }), "flag is 0, expected true or false");
  EXPECT_EQ(problem_of([](Members& m) { m.needed_text("absent"); }),
            "absent is missing, expected a text");
}

TEST(Members, TimeIsFinite) {
  const json head = {{"time", HUGE_VAL}};
  Members members(head, {"time"});
  members.seconds("time");
  EXPECT_TRUE(members.problem());
}

}  // namespace
}  // namespace brood
