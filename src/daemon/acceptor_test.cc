#include "daemon/acceptor.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <list>

#include "base/sanitized.h"
#include "base/socket.h"

namespace brood {
namespace {

using namespace std::chrono_literals;

class AcceptorTest : public testing::Test {
 protected:
  ~AcceptorTest() override { std::filesystem::remove_all(directory_); }

  Fd connect() { return std::move(*connect_unix(path_)); }
  void run(std::chrono::milliseconds time = 30ms) {
    io_.restart();
    io_.run_for(time);
  }

  static std::string make_directory() {
    std::string name = "/tmp/brood-acceptor-XXXXXX";
    return mkdtemp(name.data());
  }

  const std::string directory_ = make_directory();
  const std::string path_ = directory_ + "/socket";
  boost::asio::io_context io_;
  std::list<Fd> admitted_;
  size_t room_ = 100;
  Acceptor acceptor_{io_, std::move(*listen_unix(path_, 100)),
                     [this](Fd socket) { admitted_.push_back(std::move(socket)); },
                     [this] { return admitted_.size() < room_; }};
};

TEST_F(AcceptorTest, WhoDoesNotFitWaitsUntilThereIsRoom) {
  room_ = 2;
  std::list<Fd> clients;
  for (int i = 0; i < 3; i++)
    clients.push_back(connect());
  run();
  EXPECT_EQ(admitted_.size(), 2u);
  admitted_.clear();
  acceptor_.go_on();
  run();
  EXPECT_EQ(admitted_.size(), 1u);
}

TEST_F(AcceptorTest, AllWhoCameAtOnceAreTaken) {
  std::list<Fd> clients;
  for (int i = 0; i < 90; i++)
    clients.push_back(connect());
  run();
  EXPECT_EQ(admitted_.size(), 90u);
}

TEST_F(AcceptorTest, WhenDescriptorsRunOutItTriesAgainLater) {
  if (kSanitized) GTEST_SKIP() << "UBSan needs descriptors, too";
  const Fd client = connect();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{3, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  run();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(admitted_.empty());
  run(1s);
  EXPECT_EQ(admitted_.size(), 1u);
}

TEST_F(AcceptorTest, NobodyComesAfterItIsClosed) {
  const Fd client = connect();
  acceptor_.close();
  run();
  EXPECT_TRUE(admitted_.empty());
  EXPECT_FALSE(connect_unix(path_));
  acceptor_.go_on();
  run();
}

}  // namespace
}  // namespace brood
