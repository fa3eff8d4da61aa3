#include "daemon/resolve.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/sys.h"

namespace brood {
namespace {

namespace fs = std::filesystem;

class Resolve : public testing::Test {
 protected:
  Resolve() {
    std::string pattern = testing::TempDir() + "resolve-XXXXXX";
    root_ = fs::canonical(mkdtemp(pattern.data()));
    fs::create_directories(root_ / "home/.config/brood");
    fs::create_directories(root_ / "project");
    fs::create_directories(root_ / "bin");
    write("bin/python3.99", "#!/bin/sh\n");
    fs::permissions(root_ / "bin/python3.99", fs::perms::owner_all);
  }
  ~Resolve() override { fs::remove_all(root_); }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(root_ / name) << text;
    return (root_ / name).string();
  }
  std::string project_file(const std::string& text) { return write("project/brood.toml", text); }
  std::string user_file(const std::string& text) {
    return write("home/.config/brood/config.toml", text);
  }
  Surroundings caller() const {
    return {(root_ / "home").string(), "/nonexistent:" + (root_ / "bin").string(), ""};
  }
  Launch launch(const std::string& config) const {
    Launch out;
    out.python = "/usr/bin/python3";
    out.config_file = config;
    out.config_identity = identify(config.c_str());
    out.variables = {"HOME=" + (root_ / "home").string(), "PATH=" + (root_ / "bin").string()};
    return out;
  }

  fs::path root_;
  RuntimeDir dir_{"/run/x"};
};

TEST_F(Resolve, FindsTheUsersFile) {
  EXPECT_EQ(surroundings({"HOME=/h"}).user_config(), "/h/.config/brood/config.toml");
  EXPECT_EQ(surroundings({"HOME=/h", "XDG_CONFIG_HOME=/c"}).user_config(), "/c/brood/config.toml");
  EXPECT_EQ(surroundings({"HOME=/h", "XDG_CONFIG_HOME=rel"}).user_config(),
            "/h/.config/brood/config.toml");
  EXPECT_EQ(surroundings({}).user_config(), "");
}

TEST_F(Resolve, TakesTheProjectsEnvironment) {
  const std::string file = project_file("[env.a]\npreload = [\"json\"]\n");
  Result<Choice> choice = choose_environment(file, "", caller());
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_FALSE(choice->plain);
  EXPECT_EQ(choice->env.name, "a");
  EXPECT_EQ(choice->import_directory, (root_ / "project").string());
  EXPECT_EQ(choice->consulted, std::vector<std::string>{file});
  EXPECT_FALSE(choice->depends_on_caller);
}

TEST_F(Resolve, IsPlainWhenNothingApplies) {
  Result<Choice> choice = choose_environment(project_file("[env.a]\n[env.b]\n"), "", caller());
  ASSERT_TRUE(choice);
  EXPECT_TRUE(choice->plain);
  EXPECT_EQ(choice->import_directory, "");
}

TEST_F(Resolve, FallsBackToTheUsersFileForANamedOne) {
  const std::string mine = user_file("[env.mine]\ninit = \"x.py\"\n");
  const std::string file = project_file("[env.a]\n");
  Result<Choice> choice = choose_environment(file, "mine", caller());
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->env.name, "mine");
  EXPECT_EQ(choice->env.init_file, (root_ / "home/.config/brood/x.py").string());
  EXPECT_EQ(choice->import_directory, "");
  EXPECT_EQ(choice->consulted, (std::vector<std::string>{file, mine}));
  EXPECT_TRUE(choice->depends_on_caller);
}

TEST_F(Resolve, ListsTheNamesWhenOneIsUnknown) {
  user_file("[env.mine]\n");
  const std::string file = project_file("[env.alpha]\n[env.beta]\n");
  Result<Choice> far = choose_environment(file, "xyzzy", caller());
  ASSERT_FALSE(far);
  EXPECT_EQ(far.error().message,
            "no environment xyzzy in " + file + ", which has alpha, beta, mine");
  Result<Choice> near = choose_environment(file, "alhpa", caller());
  ASSERT_FALSE(near);
  EXPECT_EQ(near.error().message, "no environment alhpa in " + file + ", did you mean \"alpha\"?");
}

TEST_F(Resolve, LooksUpABareNameInThePathOfTheCaller) {
  const std::string file = project_file("[env.a]\npython = \"python3.99\"\n");
  Result<Choice> choice = choose_environment(file, "", caller());
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->env.python, (root_ / "bin/python3.99").string());
  EXPECT_TRUE(choice->depends_on_caller);
  Surroundings elsewhere = caller();
  elsewhere.path = "relative:";
  EXPECT_TRUE(
      choose_environment(file, "", elsewhere)->python_missing.starts_with(file + ":2:10: "));
}

TEST_F(Resolve, PlansAZygote) {
  const std::string file = project_file(
      "[env.a]\npreload = [\"json\"]\ninit = \"i.py\"\nspares = 7\nwatch = [\"w\"]\n"
      "ignore_variables = [\"DISPLAY\"]\nvariables = { X = \"1\" }\n");
  Launch asked = launch(file);
  Result<ZygotePlan> plan = plan_zygote(asked, dir_);
  ASSERT_TRUE(plan) << plan.error().message;
  const ZygoteSpec& spec = plan->spec;
  EXPECT_EQ(plan->env_name, "a");
  EXPECT_EQ(plan->python, "/usr/bin/python3");
  EXPECT_EQ(spec.key, environment_key(asked));
  EXPECT_EQ(spec.socket_path, "/run/x/env/" + spec.key);
  ASSERT_EQ(spec.preload.size(), plan->plain_modules + 1);
  EXPECT_EQ(spec.preload.back(), "json");
  EXPECT_EQ(spec.init_file, (root_ / "project/i.py").string());
  EXPECT_EQ(spec.spares, 7u);
  EXPECT_EQ(spec.overrides, std::vector<std::string>{"X=1"});
  EXPECT_EQ(spec.ignored_variables, (std::vector<std::string>{"DISPLAY", "X"}));
  EXPECT_EQ(spec.watched_files, (std::vector<std::string>{file, (root_ / "project/w").string()}));
}

TEST_F(Resolve, PlansAPlainZygote) {
  Result<ZygotePlan> plan = plan_zygote(launch(""), dir_);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->env_name, "");
  EXPECT_EQ(plan->spec.preload.size(), plan->plain_modules);
  EXPECT_TRUE(plan->spec.watched_files.empty());
}

TEST_F(Resolve, TakesWhatTheCommandLineSays) {
  Launch asked = launch("");
  asked.preload = {"decimal"};
  asked.init_file = "/x/init.py";
  Result<ZygotePlan> plan = plan_zygote(asked, dir_);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->spec.preload.back(), "decimal");
  EXPECT_EQ(plan->spec.init_file, "/x/init.py");
}

TEST_F(Resolve, ObeysAChosenInterpreter) {
  const std::string file = project_file("[env.a]\npython = \"../bin/python3.99\"\n");
  Launch asked = launch(file);
  EXPECT_EQ(plan_zygote(asked, dir_)->python, (root_ / "project/../bin/python3.99").string());
  asked.python_chosen = true;
  EXPECT_EQ(plan_zygote(asked, dir_)->python, "/usr/bin/python3");
}

TEST_F(Resolve, AMissingInterpreterIsAMistakeUnlessAnotherIsChosen) {
  const std::string file = project_file("[env.a]\npython = \"/other/python\"\n");
  Launch asked = launch(file);
  const Result<ZygotePlan> plan = plan_zygote(asked, dir_);
  ASSERT_FALSE(plan);
  EXPECT_TRUE(plan.error().message.starts_with(file + ":2:10: ")) << plan.error().message;
  EXPECT_EQ(resolve_for_cold(asked, caller()).resolved.error, plan.error().message);
  EXPECT_FALSE(resolve_for_cold(asked, caller()).cacheable);
  asked.python_chosen = true;
  EXPECT_TRUE(plan_zygote(asked, dir_));
  EXPECT_EQ(resolve_for_cold(asked, caller()).resolved.error, "");
}

TEST_F(Resolve, RefusesAFileThatChangedMeanwhile) {
  Launch asked = launch(project_file("[env.a]\n"));
  project_file("[env.a]\nspares = 2\n");
  EXPECT_FALSE(plan_zygote(asked, dir_));
}

TEST_F(Resolve, ResolvesForAColdRun) {
  const std::string file =
      project_file("[env.a]\npython = \"/bin/sh\"\ninit = \"i.py\"\nvariables = { X = \"1\" }\n");
  const ColdResolution cold = resolve_for_cold(launch(file), caller());
  EXPECT_TRUE(cold.cacheable);
  EXPECT_EQ(cold.resolved.error, "");
  EXPECT_EQ(cold.resolved.python, "/bin/sh");
  EXPECT_EQ(cold.resolved.env_name, "a");
  EXPECT_EQ(cold.resolved.init_file, (root_ / "project/i.py").string());
  EXPECT_EQ(cold.resolved.import_directory, (root_ / "project").string());
  EXPECT_EQ(cold.resolved.overrides, std::vector<std::string>{"X=1"});
}

TEST_F(Resolve, TellsAMistakeToAColdRun) {
  const std::string file = project_file("[env.a]\nspares = 0\n");
  const ColdResolution cold = resolve_for_cold(launch(file), caller());
  EXPECT_FALSE(cold.cacheable);
  EXPECT_TRUE(cold.resolved.error.starts_with(file + ":2:10: ")) << cold.resolved.error;
}

}  // namespace
}  // namespace brood
