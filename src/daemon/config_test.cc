#include "daemon/config.h"

#include <gtest/gtest.h>

#include "base/clock.h"

namespace brood {
namespace {

Result<ConfigFile> project(const std::string& text) {
  return parse_config(text, "/p/brood.toml", ConfigKind::kProject, "/home/u");
}
Result<ConfigFile> user(const std::string& text) {
  return parse_config(text, "/home/u/.config/brood/config.toml", ConfigKind::kUser, "/home/u");
}
std::string error_of(const std::string& text) {
  Result<ConfigFile> file = project(text);
  return file ? "no error" : file.error().message;
}
std::string user_error_of(const std::string& text) {
  Result<ConfigFile> file = user(text);
  return file ? "no error" : file.error().message;
}

TEST(Config, ReadsEveryKey) {
  Result<ConfigFile> file = project(R"(
default = "analysis"
[env.analysis]
python = "venv/bin/python"
preload = ["numpy", "matplotlib.pyplot"]
init = "~/init.py"
variables = { MODE = "batch", EMPTY = "" }
spares = 8
max_age = "2h"
idle_exit = "0"
image = "off"
ignore_variables = ["DISPLAY"]
allow_threads = true
allow_sockets = true
watch = ["data/model.bin", "/etc/hosts"]
[env.other]
python = "python3.12"
)");
  ASSERT_TRUE(file) << file.error().message;
  const EnvironmentConfig* env = default_environment(*file);
  ASSERT_TRUE(env);
  EXPECT_EQ(env->name, "analysis");
  EXPECT_EQ(env->python, "/p/venv/bin/python");
  EXPECT_EQ(env->preload, (std::vector<std::string>{"numpy", "matplotlib.pyplot"}));
  EXPECT_EQ(env->init_file, "/home/u/init.py");
  EXPECT_EQ(env->variables, (std::vector<std::string>{"EMPTY=", "MODE=batch"}));
  EXPECT_EQ(env->spares, 8u);
  EXPECT_EQ(env->lifetime.max_age_ns, 7200 * kSecond);
  EXPECT_EQ(env->lifetime.idle_exit_ns, 0);
  EXPECT_EQ(env->image, ImageMode::kOff);
  EXPECT_EQ(env->ignore_variables, std::vector<std::string>{"DISPLAY"});
  EXPECT_TRUE(env->allow_threads);
  EXPECT_TRUE(env->allow_sockets);
  EXPECT_EQ(env->watch, (std::vector<std::string>{"/p/data/model.bin", "/etc/hosts"}));
  EXPECT_TRUE(file->uses_home);
  EXPECT_EQ(file->find("other")->python, "python3.12");
}

TEST(Config, HasDefaults) {
  Result<ConfigFile> file = project("[env.a]\n");
  ASSERT_TRUE(file);
  const EnvironmentConfig& env = file->environments.front();
  EXPECT_EQ(env.spares, 4u);
  EXPECT_EQ(env.lifetime.max_age_ns, 24 * 3600 * kSecond);
  EXPECT_EQ(env.lifetime.idle_exit_ns, 1800 * kSecond);
  EXPECT_EQ(env.image, ImageMode::kAuto);
  EXPECT_FALSE(env.allow_threads);
  EXPECT_FALSE(file->uses_home);
}

TEST(Config, ChoosesTheDefault) {
  const auto chosen = [](const std::string& text) {
    Result<ConfigFile> file = project(text);
    const EnvironmentConfig* env = default_environment(*file);
    return env ? env->name : "none";
  };
  EXPECT_EQ(chosen(""), "none");
  EXPECT_EQ(chosen("[env.only]"), "only");
  EXPECT_EQ(chosen("[env.a]\n[env.b]"), "none");
  EXPECT_EQ(chosen("[env.a]\n[env.default]"), "default");
  EXPECT_EQ(chosen("default = \"b\"\n[env.a]\n[env.b]"), "b");
}

TEST(Config, SaysWhereAMistakeIs) {
  EXPECT_EQ(error_of("[env.a]\nprelaod = []\n"),
            "/p/brood.toml:2:1: unknown key \"prelaod\" in [env.a], did you mean \"preload\"?");
  EXPECT_EQ(error_of("colour = 1\n"),
            "/p/brood.toml:1:1: unknown key \"colour\", expected one of default, env, serve");
  EXPECT_EQ(error_of("[env.a]\nspares = 257"),
            "/p/brood.toml:2:10: spares is 257, expected an integer from 1 to 256");
  EXPECT_EQ(error_of("[env.a]\nspares = \"4\""),
            "/p/brood.toml:2:10: spares is \"4\", expected an integer from 1 to 256");
  EXPECT_EQ(error_of("[env.a]\npreload = \"numpy\""),
            "/p/brood.toml:2:11: preload is \"numpy\", expected a list of module names");
  EXPECT_EQ(error_of("[env.a]\npreload = [\n  \"numpy\",\n  \"a b\",\n]"),
            "/p/brood.toml:4:3: an item of preload is \"a b\", expected a module name");
  EXPECT_EQ(error_of("[env.a]\nallow_threads = 1"),
            "/p/brood.toml:2:17: allow_threads is 1, expected true or false");
  EXPECT_EQ(error_of("[env.a]\nimage = true"),
            "/p/brood.toml:2:9: image is a boolean, expected \"auto\", \"on\" or \"off\"");
  EXPECT_EQ(error_of("[env.a.variables]\nX = 1"),
            "/p/brood.toml:2:5: variables.X is 1, expected a string");
  EXPECT_EQ(error_of("env = 3"), "/p/brood.toml:1:7: env is 3, expected tables [env.NAME]");
}

TEST(Config, RefusesWrongValues) {
  for (const char* text :
       {"[env.a]\nmax_age = \"1 hour\"", "[env.a]\nmax_age = 60", "[env.a]\nidle_exit = \"-1s\"",
        "[env.a]\npython = 3", "[env.a]\npython = \"\"", "[env.a]\ninit = [\"x\"]",
        "[env.a]\nwatch = \"x\"", "[env.a]\nwatch = [1]", "[env.a]\nignore_variables = [\"A=B\"]",
        "[env.a]\nvariables = { \"A=B\" = \"x\" }", "[env.a]\nvariables = [\"A\"]", "[env]\na = 1",
        "env.\"\" = {}", "default = 1", "default = \"\"", "[env.a]\ninit = \"a\\u0000b\"",
        "[env.a]\nspares = 0", "[env.a]\nspares = 1.5", "[env.a]\nmax_age = 1979-05-27"})
    EXPECT_NE(error_of(text), "no error") << text;
}

TEST(Config, LeavesASessionItsOwnDescriptors) {
  EXPECT_EQ(error_of("[serve.limits]\nopen_files = 255"),
            "/p/brood.toml:2:14: open_files is 255, expected 0 for no limit, or a number from 256 "
            "on, as a session has descriptors of its own");
  EXPECT_NE(error_of("[env.a.limits]\nopen_files = 64"), "no error");
  EXPECT_EQ(error_of("[serve.limits]\nopen_files = 256"), "no error");
  EXPECT_EQ(error_of("[serve.limits]\nopen_files = 0"), "no error");
}

TEST(Config, TellsSyntaxErrorsWithTheirPlace) {
  EXPECT_TRUE(error_of("a = ").starts_with("/p/brood.toml:1:")) << error_of("a = ");
  EXPECT_TRUE(error_of("[env.a]\nx = [1,\n").starts_with("/p/brood.toml:2:"))
      << error_of("[env.a]\nx = [1,\n");
  EXPECT_TRUE(error_of("[env.a]\n[env.a]\n").starts_with("/p/brood.toml:2:"));
  EXPECT_NE(error_of("\xff\xfe"), "no error");
  for (const char* text :
       {"[.a]", "[=]", "[[[a]]]", "[#a]", "[\n]", "[", "[[", "x = {.a = 1}", "=", "x.="})
    EXPECT_TRUE(error_of(text).starts_with("/p/brood.toml:")) << text;
  for (const char letter : {'[', '{', '"', '=', '.', '\''})
    EXPECT_NE(error_of(std::string(100'000, letter)), "no error") << letter;
  EXPECT_NE(error_of("x = " + std::string(100'000, '[')), "no error");
  EXPECT_NE(error_of("x" + std::string(100'000, '.') + "y = 1"), "no error");
}

TEST(Config, RefusesADefaultThatIsNotThere) {
  EXPECT_EQ(
      error_of("default = \"x\"\n[env.a]\n"),
      "/p/brood.toml:1:11: default is \"x\", expected one of the environments of this file: a");
}

TEST(Config, NeedsHomeForTilde) {
  Result<ConfigFile> file =
      parse_config("[env.a]\ninit = \"~/x\"", "/p/brood.toml", ConfigKind::kProject, "");
  ASSERT_FALSE(file);
  EXPECT_NE(file.error().message.find("HOME"), std::string::npos);
}

TEST(Config, HasTheDaemonInTheUsersFileOnly) {
  Result<ConfigFile> file =
      user("[daemon]\nidle_exit = \"5m\"\nmax_environments = 3\nlog_level = \"debug\"\n");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->daemon.idle_exit_ns, 300 * kSecond);
  EXPECT_EQ(file->daemon.max_environments, 3u);
  EXPECT_EQ(file->daemon.log_level, "debug");
  EXPECT_NE(error_of("[daemon]\n"), "no error");
  EXPECT_NE(user_error_of("[daemon]\nlog_level = \"loud\""), "no error");
  EXPECT_NE(user_error_of("[daemon]\nmax_environments = 0"), "no error");
  EXPECT_NE(user_error_of("daemon = 1"), "no error");
}

TEST(Config, KnowsWhoseFileItIs) {
  EXPECT_EQ(kind_of("/p/brood.toml"), ConfigKind::kProject);
  EXPECT_EQ(kind_of("/home/u/.config/brood/config.toml"), ConfigKind::kUser);
}

}  // namespace
}  // namespace brood
