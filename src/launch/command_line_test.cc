#include "launch/command_line.h"

#include <gtest/gtest.h>

namespace brood {
namespace {

CommandLine parse(std::vector<std::string> words) {
  std::vector<char*> pointers;
  for (std::string& word : words)
    pointers.push_back(word.data());
  return parse_command_line(pointers);
}

using Words = std::vector<std::string>;

TEST(CommandLine, Script) {
  const CommandLine line = parse({"-O", "job.py", "-c", "x"});
  EXPECT_EQ(line.kind, ProgramKind::kScript);
  EXPECT_EQ(line.program, "job.py");
  EXPECT_EQ(line.options, Words{"-O"});
  EXPECT_EQ(line.arguments, (Words{"-c", "x"}));
  EXPECT_EQ(line.cold_reason, "");
}

TEST(CommandLine, CodeGluedToAClusterOfFlags) {
  const CommandLine line = parse({"-uBSc", "print(1)", "a"});
  EXPECT_EQ(line.kind, ProgramKind::kCommand);
  EXPECT_EQ(line.program, "print(1)");
  EXPECT_TRUE(line.unbuffered);
  EXPECT_EQ(line.options, (Words{"-B", "-S"}));
  EXPECT_EQ(line.arguments, Words{"a"});
  EXPECT_EQ(parse({"-cprint(2)"}).program, "print(2)");
}

TEST(CommandLine, ModuleTakesTheRest) {
  const CommandLine line = parse({"-Werror", "-X", "utf8", "-m", "http.server", "--bind", "::"});
  EXPECT_EQ(line.kind, ProgramKind::kModule);
  EXPECT_EQ(line.program, "http.server");
  EXPECT_EQ(line.options, (Words{"-W", "error", "-X", "utf8"}));
  EXPECT_EQ(line.arguments, (Words{"--bind", "::"}));
}

TEST(CommandLine, StandardInput) {
  EXPECT_EQ(parse({}).kind, ProgramKind::kStdin);
  const CommandLine line = parse({"-", "a"});
  EXPECT_EQ(line.kind, ProgramKind::kStdin);
  EXPECT_EQ(line.arguments, Words{"a"});
}

TEST(CommandLine, DoubleDashEndsTheOptions) {
  const CommandLine line = parse({"--", "-odd.py"});
  EXPECT_EQ(line.kind, ProgramKind::kScript);
  EXPECT_EQ(line.program, "-odd.py");
}

TEST(CommandLine, IsolatedModeIgnoresTheEnvironment) {
  EXPECT_TRUE(parse({"-I", "x.py"}).ignore_environment);
  EXPECT_TRUE(parse({"-E", "x.py"}).ignore_environment);
  EXPECT_FALSE(parse({"-s", "x.py"}).ignore_environment);
}

TEST(CommandLine, WhatOnlyPlainPythonCanDoGoesCold) {
  for (const Words& words : {Words{"-V"},
                             {"-h"},
                             {"-i", "x.py"},
                             {"-v", "x.py"},
                             {"-d", "x.py"},
                             {"-x", "x.py"},
                             {"-Z"},
                             {"-c"},
                             {"-W"},
                             {"--version"},
                             {"--help-all"},
                             {"--check-hash-based-pycs", "always", "x.py"},
                             {"-X", "importtime", "x.py"},
                             {"-Xtracemalloc=5", "x.py"},
                             {"-Xperf", "x.py"},
                             {"-Bi", "x.py"}})
    EXPECT_NE(parse(words).cold_reason, "") << words[0];
}

TEST(CommandLine, OptionsAfterTheProgramAreTheProgramsOwn) {
  EXPECT_EQ(parse({"x.py", "-V", "-i"}).cold_reason, "");
  EXPECT_EQ(parse({"-c", "pass", "-i"}).cold_reason, "");
}

}  // namespace
}  // namespace brood
