#include "base/socket.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace brood {
namespace {

class SocketTest : public testing::Test {
 protected:
  SocketTest() {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0)
      mine_ = Fd(pair[0]), theirs_ = Fd(pair[1]);
  }
  Received receive(const Receive& most) {
    return receive_once(mine_.get(), most, bytes_, descriptors_);
  }

  Fd mine_, theirs_;
  std::string bytes_ = "before ";
  std::vector<Fd> descriptors_;
};

TEST_F(SocketTest, BytesAndDescriptorsAreAppended) {
  const std::array<int, 2> sent = {0, theirs_.get()};
  ASSERT_TRUE(send_all(theirs_.get(), "bytes", sent));
  const Received got = receive({100});
  EXPECT_EQ(got.count, 5);
  EXPECT_EQ(bytes_, "before bytes");
  EXPECT_EQ(descriptors_.size(), 2u);
  EXPECT_EQ(got.sender, 0);
  EXPECT_FALSE(got.descriptors_lost);
}

TEST_F(SocketTest, NoMoreThanIsAskedFor) {
  const std::array<int, 3> sent = {0, 0, 0};
  ASSERT_TRUE(send_all(theirs_.get(), "bytes", sent));
  const Received got = receive({2, 1});
  EXPECT_EQ(got.count, 2);
  EXPECT_EQ(bytes_, "before by");
  EXPECT_EQ(descriptors_.size(), 2u);  // an even number: the kernel's alignment
  EXPECT_TRUE(got.descriptors_lost);
}

TEST_F(SocketTest, TheKernelTellsTheSenderWhereAsked) {
  const int on = 1;
  ASSERT_EQ(setsockopt(mine_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
  const std::array<int, 1> sent = {0};
  ASSERT_TRUE(send_all(theirs_.get(), "bytes", sent));
  const Received got = receive({100, 0, 0, true});
  EXPECT_EQ(got.sender, getpid());
  EXPECT_TRUE(descriptors_.empty());
  EXPECT_TRUE(got.descriptors_lost);
}

TEST_F(SocketTest, NothingYetAndTheEnd) {
  EXPECT_EQ(receive({100, 1, MSG_DONTWAIT}).count, -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(bytes_, "before ");
  theirs_.reset();
  EXPECT_EQ(receive({100}).count, 0);
  EXPECT_EQ(bytes_, "before ");
}

}  // namespace
}  // namespace brood
