// A visitor of a gateway: address, who says what it is told to, in pieces as small as one byte.
#include "native/gateway_visitor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/socket.h"
#include "native/fake_sessions.h"
#include "native/farewell.h"
#include "wire/message.h"

namespace brood {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

std::string frame_of(FrameType type, const json& head) {
  return encode_frame(type, encode_message(head.dump()));
}
const std::string kHello = frame_of(FrameType::kHello, {{"versions", {1}}});
const std::string kWish =
    frame_of(FrameType::kRequest,
             {{"request", 7}, {"method", "gateway"}, {"env", "analysis"}, {"engine", "python"}});

class GatewayVisitorTest : public testing::Test {
 protected:
  GatewayVisitorTest() {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    client_ = Fd(pair[0]);
    theirs_ = Fd(pair[1]);
    set_timeout(client_.get(), SO_RCVTIMEO, 20'000);
  }

  void visit(GatewayVisitor::Admission admission) {
    admission.address = "192.0.2.1";
    visitor_.emplace(io_, std::move(theirs_), std::move(admission), door_,
                     [this](GatewayVisitor::End end) { end_ = std::move(end); });
  }
  void visit_as_owner() {
    GatewayVisitor::Admission admission;
    admission.identity = Identity{"ada", true};
    visit(std::move(admission));
  }

  bool until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io_.restart();
      io_.run_one_for(20ms);
    }
    return true;
  }
  bool ended() {
    return until([this] { return end_.has_value(); });
  }
  void say(std::string_view bytes) { ASSERT_TRUE(send_all(client_.get(), bytes)); }
  void settle() {
    io_.restart();
    while (io_.run_one_for(5ms) > 0) {
    }
  }

  // The head of the next frame that has come.
  json hear(FrameType type) {
    char header[kFrameHeader];
    EXPECT_TRUE(
        until([&] { return recv(client_.get(), header, 8, MSG_PEEK | MSG_DONTWAIT) == 8; }));
    EXPECT_EQ(recv(client_.get(), header, 8, MSG_WAITALL), 8);
    Result<FrameHeader> decoded = decode_header(std::string_view(header, 8));
    if (!decoded) return {};
    EXPECT_EQ(decoded->type, type);
    std::string payload(decoded->length, '\0');
    EXPECT_EQ(recv(client_.get(), payload.data(), payload.size(), MSG_WAITALL),
              static_cast<ssize_t>(payload.size()));
    return json::parse(decode_message(payload)->head);
  }
  // The code of the error that its last words have.
  std::string refusal_code() {
    if (!ended() || end_->last_words.empty()) return "none";
    const std::string_view payload = std::string_view(end_->last_words).substr(kFrameHeader);
    return json::parse(decode_message(payload)->head)["error"]["code"];
  }

  boost::asio::io_context io_;
  FakeAuthenticator door_;
  Fd client_, theirs_;
  std::optional<GatewayVisitor> visitor_;
  std::optional<GatewayVisitor::End> end_;
};

TEST_F(GatewayVisitorTest, NoByteBehindTheRequestIsRead) {
  visit_as_owner();
  say(kHello + kWish + "what follows");
  EXPECT_EQ(hear(FrameType::kHello)["gateway"], "warm");
  ASSERT_TRUE(ended());
  ASSERT_TRUE(end_->wish);
  EXPECT_EQ(end_->wish->request, 7u);
  EXPECT_EQ(end_->wish->environment, "analysis");
  EXPECT_EQ(end_->wish->engine, "python");
  EXPECT_EQ(fcntl(end_->socket.get(), F_GETFL) & O_NONBLOCK, 0);
  char rest[64];
  EXPECT_EQ(std::string(rest, static_cast<size_t>(read(end_->socket.get(), rest, sizeof rest))),
            "what follows");
}

TEST_F(GatewayVisitorTest, ByteByByte) {
  visit_as_owner();
  for (const char byte : kHello + kWish) {
    EXPECT_FALSE(end_);
    say(std::string_view(&byte, 1));
    settle();
  }
  ASSERT_TRUE(ended());
  EXPECT_TRUE(end_->wish);
}

TEST_F(GatewayVisitorTest, ATokenIsProvedFirst) {
  visit({});
  Result<ScramClient> scram = ScramClient::make("token", "sesame");
  ASSERT_TRUE(scram);
  say(kHello);
  EXPECT_FALSE(hear(FrameType::kHello).contains("user"));
  say(frame_of(FrameType::kAuth,
               {{"mechanism", "SCRAM-SHA-256"}, {"data", scram->first_message()}}));
  const std::string first = hear(FrameType::kAuth)["data"];
  say(frame_of(FrameType::kAuth, {{"data", *scram->final_message(first)}}));
  const json last = hear(FrameType::kAuth);
  EXPECT_TRUE(scram->verify(last["data"].get<std::string>()));
  EXPECT_EQ(last["user"], "token");
  say(kWish);
  ASSERT_TRUE(ended());
  EXPECT_TRUE(end_->wish);
}

TEST_F(GatewayVisitorTest, AWrongProofIsAnsweredLate) {
  door_.set_delay(100'000'000);
  visit({});
  Result<ScramClient> scram = ScramClient::make("token", "open sesame");
  ASSERT_TRUE(scram);
  say(kHello);
  hear(FrameType::kHello);
  say(frame_of(FrameType::kAuth,
               {{"mechanism", "SCRAM-SHA-256"}, {"data", scram->first_message()}}));
  const std::string first = hear(FrameType::kAuth)["data"];
  const auto begin = std::chrono::steady_clock::now();
  say(frame_of(FrameType::kAuth, {{"data", *scram->final_message(first)}}) + kWish);
  EXPECT_EQ(refusal_code(), "unauthorized");
  EXPECT_FALSE(end_->wish);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 100ms);
  EXPECT_EQ(door_.address(), "192.0.2.1");
}

TEST_F(GatewayVisitorTest, WithoutAProofNothingIsToBeHad) {
  visit({});
  say(kHello + kWish);
  EXPECT_EQ(refusal_code(), "unauthorized");
}

TEST_F(GatewayVisitorTest, WhoSaysNothingIsLetGo) {
  GatewayVisitor::Admission admission;
  admission.patience_ms = 50;
  visit(std::move(admission));
  say(kHello.substr(0, kHello.size() - 1));
  EXPECT_EQ(refusal_code(), "timeout");
}

TEST_F(GatewayVisitorTest, WhoLeavesIsForgotten) {
  visit_as_owner();
  say(kHello.substr(0, 10));
  client_.reset();
  ASSERT_TRUE(ended());
  EXPECT_FALSE(end_->wish);
  EXPECT_EQ(end_->last_words, "");
}

TEST_F(GatewayVisitorTest, WhatIsNoFrame) {
  visit_as_owner();
  say("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(refusal_code(), "bad_request");
}

TEST_F(GatewayVisitorTest, AfterItsEndNothingIsCalled) {
  visit_as_owner();
  say(kHello + kWish);
  visitor_.reset();
  settle();
  EXPECT_FALSE(end_);
}

TEST(Refusal, FitsIntoAFrameOfThisDoor) {
  const std::string frame =
      refusal(7, ProblemCode::kUnavailable, std::string(100'000, '\1') + "the point");
  EXPECT_LE(frame.size(), 8200u);
  const json head = json::parse(decode_message(std::string_view(frame).substr(kFrameHeader))->head);
  EXPECT_EQ(head["request"], 7);
  EXPECT_TRUE(head["error"]["text"].get<std::string>().ends_with("the point"));
}

TEST_F(GatewayVisitorTest, LastWordsArriveAlthoughThereIsMoreToRead) {
  say(std::string(100'000, 'x'));
  bool gone = false;
  Farewell farewell(io_, std::move(theirs_), "why", [&gone] { gone = true; });
  char text[8];
  EXPECT_EQ(read(client_.get(), text, sizeof text), 3);
  EXPECT_EQ(read(client_.get(), text, sizeof text), 0);
  settle();
  EXPECT_FALSE(gone);
  client_.reset();
  EXPECT_TRUE(until([&gone] { return gone; }));
}

}  // namespace
}  // namespace brood
