#include "daemon/frame_stream.h"

#include <sys/socket.h>

#include <memory>

#include "base/socket.h"
#include "daemon/fake_zygote.h"

namespace brood {
namespace {

struct Recorder : FrameStream::Handler {
  void on_frame(FrameType type, std::string_view payload) override {
    types.push_back(type);
    bytes += payload.size();
    if (destroy) destroy->reset();
  }
  void on_end(const std::string& why) override { ended = why; }
  std::vector<FrameType> types;
  size_t bytes = 0;
  std::string ended;
  std::unique_ptr<FrameStream>* destroy = nullptr;
};

class FrameStreamTest : public DaemonTest {
 protected:
  FrameStreamTest() {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ours_.reset(pair[0]);
    theirs_.reset(pair[1]);
  }
  std::unique_ptr<FrameStream> stream(Fd socket, Recorder& recorder) {
    return std::make_unique<FrameStream>(io_, std::move(socket), kMaxFramePayload, recorder);
  }
  Fd ours_, theirs_;
  Recorder here_, there_;
};

TEST_F(FrameStreamTest, KeepsWhatThePeerDoesNotReadYet) {
  auto sender = stream(std::move(ours_), here_);
  const std::string large(kMaxFramePayload, 'x');
  sender->send(FrameType::kReply, large);
  sender->send(FrameType::kReply, "end");
  EXPECT_GT(sender->unsent(), 0u);
  auto receiver = stream(std::move(theirs_), there_);
  ASSERT_TRUE(until([&] { return there_.types.size() == 2; }));
  EXPECT_EQ(there_.bytes, large.size() + 3);
  EXPECT_EQ(sender->unsent(), 0u);
  sender.reset();
  ASSERT_TRUE(until([&] { return !there_.ended.empty(); }));
}

TEST_F(FrameStreamTest, GivesUpOnAPeerThatNeverReads) {
  auto sender = stream(std::move(ours_), here_);
  for (int i = 0; i < 4; i++)
    sender->send(FrameType::kReply, std::string(kMaxFramePayload, 'x'));
  EXPECT_TRUE(until([&] { return !here_.ended.empty(); }));
}

TEST_F(FrameStreamTest, MayBeDestroyedByItsHandler) {
  auto receiver = stream(std::move(theirs_), there_);
  there_.destroy = &receiver;
  const std::string frame = encode_frame(FrameType::kWarm, "x");
  ASSERT_TRUE(send_all(ours_.get(), frame + frame + frame));
  ASSERT_TRUE(until([&] { return !receiver; }));
  EXPECT_EQ(there_.types.size(), 1u);
  EXPECT_EQ(there_.ended, "");
}

TEST_F(FrameStreamTest, DeliversLastWords) {
  auto receiver = stream(std::move(theirs_), there_);
  ASSERT_TRUE(send_all(ours_.get(), encode_frame(FrameType::kFailed, "x")));
  ours_.reset();
  receiver->drain();
  EXPECT_EQ(there_.types.size(), 1u);
  EXPECT_FALSE(there_.ended.empty());
}

}  // namespace
}  // namespace brood
