#include "daemon/startup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/socket.h"
#include "daemon/fake_zygote.h"

namespace brood {
namespace {

class StartupTest : public DaemonTest {};

TEST_F(StartupTest, OnlyOneDaemonServes) {
  Result<std::optional<Fd>> lock = lock_directory(dir_, false);
  ASSERT_TRUE(lock);
  ASSERT_TRUE(*lock);
  Result<Fd> listener = open_listener(dir_);
  ASSERT_TRUE(listener) << listener.error().message;
  Result<std::optional<Fd>> second = lock_directory(dir_, false);
  ASSERT_TRUE(second);
  EXPECT_FALSE(*second);
}

TEST_F(StartupTest, ReplacesWhatADeadDaemonLeft) {
  { ASSERT_TRUE(open_listener(dir_)); }
  Result<Fd> listener = open_listener(dir_);
  ASSERT_TRUE(listener);
  EXPECT_TRUE(connect_unix(dir_.daemon_socket()));
  struct stat st {};
  EXPECT_EQ(stat((dir_.daemon_socket() + ".new").c_str(), &st), -1);
}

TEST_F(StartupTest, RemovesLeftOvers) {
  const std::string stale = dir_.environment_socket("abc");
  const std::string failed = dir_.failure_file("abc");
  const std::string fresh = dir_.resolved_file("new");
  const std::string old = dir_.resolved_file("old");
  for (const std::string& path : {stale, failed, fresh, old})
    std::ofstream(path) << "x";
  const timespec long_ago[2] = {{1, 0}, {1, 0}};
  utimensat(AT_FDCWD, old.c_str(), long_ago, 0);
  remove_left_overs(dir_);
  EXPECT_FALSE(identify(stale.c_str()).exists());
  EXPECT_FALSE(identify(failed.c_str()).exists());
  EXPECT_TRUE(identify(fresh.c_str()).exists());
  EXPECT_FALSE(identify(old.c_str()).exists());
}

TEST_F(StartupTest, DoesNotLeaveAnInheritedSocketToAnotherDaemon) {
  Result<std::optional<Fd>> lock = lock_directory(dir_, false);
  ASSERT_TRUE(lock && *lock);
  sign_lock((*lock)->get());
  Result<Fd> listener = open_listener(dir_);
  Result<std::optional<Fd>> second = lock_directory(dir_, true);
  ASSERT_FALSE(second);
  EXPECT_TRUE(second.error().message.ends_with("kill " + std::to_string(getpid())));
}

TEST_F(StartupTest, TakesASocketOnlyIfItIsMeantForThisProcess) {
  setenv("LISTEN_PID", "1", 1);
  setenv("LISTEN_FDS", "1", 1);
  EXPECT_FALSE(inherited_listener());
  EXPECT_EQ(getenv("LISTEN_FDS"), nullptr);
}

TEST_F(StartupTest, RefusesALockThatIsALink) {
  ASSERT_EQ(symlink("/etc/passwd", (dir_.path + "/daemon.lock").c_str()), 0);
  EXPECT_FALSE(lock_directory(dir_, false));
}

}  // namespace
}  // namespace brood
