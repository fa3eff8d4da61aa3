#include "zygote/watch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace brood {
namespace {

namespace fs = std::filesystem;

class WatchTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "brood-watch-XXXXXX";
    ASSERT_TRUE(mkdtemp(pattern.data()));
    folder_ = pattern;
    write("module.py", "a = 1\n");
    write("notes.txt", "text\n");
    age(folder_ / "module.py");
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }

  static int64_t now_ns() {
    timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
  }

  // A file written just now counts as changed while it was loaded; ctime cannot be set, only waited
  // for.
  void age(const fs::path& path) {
    const FileIdentity identity = identify(path.c_str());
    while (now_ns() - 11'000'000 <= identity.ctime_ns)
      poll(nullptr, 0, 1);
  }

  std::unique_ptr<Watch> watch(std::vector<std::string> absent = {}) {
    Result<std::unique_ptr<Watch>> made = Watch::create(now_ns());
    EXPECT_TRUE(made);
    Dependencies dependencies{{folder_ / "module.py"}, {folder_}, std::move(absent)};
    Result<void> added = (*made)->add(dependencies);
    EXPECT_TRUE(added) << added.error().message;
    return std::move(*made);
  }

  // What a change does to a fresh watch: the spare's view first, then the zygote's verdict.
  std::string verdict(Watch& watch) {
    const std::string changed = watch.judge();
    EXPECT_EQ(watch.fresh(), changed.empty());
    return changed;
  }

  fs::path folder_;
};

TEST_F(WatchTest, FreshWhileNothingChanges) { EXPECT_TRUE(watch()->fresh()); }

TEST_F(WatchTest, AnUnjudgedEventIsNotFresh) {
  auto watched = watch();
  write("module.py", "a = 2\n");
  EXPECT_FALSE(watched->fresh());
}

TEST_F(WatchTest, AnEditIsAChangeEvenWithTheOldSizeAndTime) {
  auto watched = watch();
  struct stat before;
  stat((folder_ / "module.py").c_str(), &before);
  write("module.py", "a = 2\n");
  const timespec times[2] = {before.st_atim, before.st_mtim};
  utimensat(AT_FDCWD, (folder_ / "module.py").c_str(), times, 0);
  EXPECT_EQ(verdict(*watched), folder_ / "module.py");
}

TEST_F(WatchTest, OtherFilesDoNotMatter) {
  auto watched = watch();
  write("notes.txt", "more\n");
  write("output.csv", "1\n");
  fs::create_directory(folder_ / "__pycache__");
  write(".module.py.swp", "x");
  EXPECT_EQ(verdict(*watched), "");
}

TEST_F(WatchTest, NewNamesThatCanBeImportedMatter) {
  for (const char* name : {"new.py", "new.so", "new.pth"}) {
    auto watched = watch();
    write(name, "");
    EXPECT_EQ(verdict(*watched), folder_ / name);
    fs::remove(folder_ / name);
  }
  auto watched = watch();
  fs::create_directory(folder_ / "package");
  EXPECT_EQ(verdict(*watched), folder_ / "package");
}

TEST_F(WatchTest, RenamingOverAModuleMatters) {
  auto watched = watch();
  write("notes.txt", "a = 3\n");
  fs::rename(folder_ / "notes.txt", folder_ / "module.py");
  EXPECT_EQ(verdict(*watched), folder_ / "module.py");
}

TEST_F(WatchTest, ChmodDoesNotMatterTouchDoes) {
  auto watched = watch();
  fs::permissions(folder_ / "module.py", fs::perms::owner_all);
  EXPECT_EQ(verdict(*watched), "");
  utimensat(AT_FDCWD, (folder_ / "module.py").c_str(), nullptr, 0);
  EXPECT_EQ(verdict(*watched), folder_ / "module.py");
}

TEST_F(WatchTest, AbsentPathsMustStayAbsent) {
  const fs::path deep = folder_ / "lib" / "site" / "packages";
  auto watched = watch({deep});
  fs::create_directories(folder_ / "lib");
  EXPECT_NE(verdict(*watched), "");
}

TEST_F(WatchTest, StaleStaysStale) {
  auto watched = watch();
  write("module.py", "a = 2\n");
  EXPECT_NE(watched->judge(), "");
  EXPECT_EQ(watched->judge(), "");
  EXPECT_FALSE(watched->fresh());
}

TEST_F(WatchTest, AFileThatChangedDuringTheLoadIsRefused) {
  Result<std::unique_ptr<Watch>> made = Watch::create(now_ns());
  ASSERT_TRUE(made);
  write("module.py", "a = 2\n");
  EXPECT_FALSE((*made)->add({{folder_ / "module.py"}, {folder_}, {}}));
}

}  // namespace
}  // namespace brood
