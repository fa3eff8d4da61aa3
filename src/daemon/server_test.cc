#include "daemon/server.h"

#include <poll.h>
#include <sys/socket.h>

#include "base/context.h"
#include "base/socket.h"
#include "daemon/fake_zygote.h"

namespace brood {
namespace {

using nlohmann::json;

class ServerTest : public DaemonTest {
 protected:
  ServerTest()
      : environments_(io_, dir_, DaemonConfig{}, "/nonexistent/_brood.abi3.so"),
        server_(io_, listener(), {dir_.path, 0, 16},
                Installation(dir_.path + "/fake-python", dir_.path + "/module"), environments_,
                [this](const std::string& why) { stopped_ = why; }) {}

  Fd listener() {
    Result<Fd> fd = listen_unix(dir_.daemon_socket(), 8);
    return std::move(*fd);
  }
  Launch allowed(const std::string& mode) {
    Launch out = launch(mode);
    out.context = process_context();
    return out;
  }

  // A client, driven by the same thread as the server.
  struct Client {
    Fd socket;
    FrameParser parser;
    bool closed = false;
  };
  Client connect() { return {std::move(*connect_unix(dir_.daemon_socket())), {}, false}; }
  void send(Client& client, const std::string& bytes) {
    ASSERT_TRUE(send_all(client.socket.get(), bytes));
  }
  bool receive(Client& client, FrameView& frame) {
    return until([&] {
      pollfd item{client.socket.get(), POLLIN, 0};
      std::vector<Fd> none;
      if (poll(&item, 1, 0) > 0) {
        Result<size_t> got = receive_some(client.socket.get(), 65536, client.parser.buffer(), none);
        client.closed = !got || *got == 0;
      }
      return client.parser.next(frame) == FrameParser::Step::kFrame || client.closed;
    });
  }
  bool is_dropped(const std::string& bytes) {
    Client client = connect();
    send(client, bytes);
    FrameView frame;
    return receive(client, frame) && client.closed;
  }
  json ask(Client& client, const json& command) {
    std::string bytes;
    json::to_msgpack(command, bytes);
    send(client, encode_frame(FrameType::kCommand, bytes));
    FrameView frame;
    if (!receive(client, frame) || client.closed) return nullptr;
    EXPECT_EQ(frame.header.type, FrameType::kReply);
    return json::from_msgpack(frame.payload, true, false);
  }
  Warmed wait_warm(const Launch& launch) {
    Client client = connect();
    send(client, encode_frame(FrameType::kWarmWait, encode(launch)));
    FrameView frame;
    EXPECT_TRUE(receive(client, frame));
    Result<Warmed> warmed = decode_warmed(frame.payload);
    return warmed ? *warmed : Warmed{};
  }

  std::string stopped_;  // why
  Environments environments_;
  Server server_;
};

TEST_F(ServerTest, WarmsAndAnswers) {
  EXPECT_TRUE(wait_warm(allowed("serve")).ok);
  const Warmed failed = wait_warm(allowed("fail"));
  EXPECT_FALSE(failed.ok);
  EXPECT_EQ(failed.text, "no such module");
}

TEST_F(ServerTest, WarmsForAClientThatLeftAtOnce) {
  {
    Client client = connect();
    send(client, encode_frame(FrameType::kWarm, encode(allowed("serve"))));
  }
  EXPECT_TRUE(until([&] { return !environments_.all().empty(); }));
}

TEST_F(ServerTest, RefusesAnotherContext) {
  Launch other = launch("serve");
  other.context = "uid=0";
  const Warmed answer = wait_warm(other);
  EXPECT_FALSE(answer.ok);
  EXPECT_NE(answer.text.find("another context"), std::string::npos);
  EXPECT_TRUE(environments_.all().empty());
}

TEST_F(ServerTest, ReportsStatus) {
  ASSERT_TRUE(wait_warm(allowed("busy")).ok);
  ASSERT_TRUE(until([&] { return environments_.served() == 1; }));
  Client client = connect();
  const json status = ask(client, {{"command", "status"}});
  EXPECT_EQ(status["daemon"]["pid"], getpid());
  ASSERT_EQ(status["environments"].size(), 1u);
  const json& env = status["environments"][0];
  EXPECT_EQ(env["key"], environment_key(allowed("busy")));
  EXPECT_EQ(env["label"], "plain");
  EXPECT_EQ(env["state"], "ready");
  EXPECT_EQ(env["zygotes"][0]["fork_us"], 300);
  EXPECT_EQ(env["zygotes"][0]["programs"][0]["pid"], 4242);
  const json one = ask(client, {{"command", "show"}, {"which", "plain"}});  // the same connection
  EXPECT_EQ(one["environments"].size(), 1u);
  const json none = ask(client, {{"command", "explain"}, {"key", "0123"}});
  EXPECT_EQ(none["state"], "none");
  const json retired = ask(client, {{"command", "retire"}, {"which", "plain"}});
  EXPECT_EQ(retired["retired"], 1);
}

TEST_F(ServerTest, AnswersWrongCommands) {
  Client client = connect();
  EXPECT_TRUE(ask(client, {{"command", "dance"}}).contains("error"));
  EXPECT_TRUE(ask(client, {{"command", 3}}).contains("error"));
  EXPECT_TRUE(ask(client, json::array({1})).contains("error"));
  EXPECT_TRUE(ask(client, {{"command", std::string(5000, 'x')}}).contains("error"));
  FrameView frame;
  send(client, encode_frame(FrameType::kCommand, std::string(4000, '\x91')));  // nested lists
  ASSERT_TRUE(receive(client, frame));
  send(client, encode_frame(FrameType::kCommand, "\xc1"));
  ASSERT_TRUE(receive(client, frame));
  EXPECT_FALSE(client.closed);
}

TEST_F(ServerTest, DropsWhoBreaksTheProtocol) {
  EXPECT_TRUE(is_dropped(std::string(64, '\xff')));
  EXPECT_TRUE(is_dropped(encode_frame(FrameType::kRun, "")));
  EXPECT_TRUE(
      is_dropped(std::string("\x01\x00\x10\x00\x10\x00\x01\x00", 8)));  // a frame over 1 MiB
  EXPECT_TRUE(is_dropped(std::string("\x00\x00\x00\x00\x10\x00\x02\x00", 8)));  // another version
}

TEST_F(ServerTest, StopsWhenAsked) {
  Client client = connect();
  EXPECT_EQ(ask(client, {{"command", "stop"}})["pid"], getpid());
  EXPECT_EQ(stopped_, "asked to stop");
}

TEST_F(ServerTest, StopsWhenItsFilesWereReplaced) {
  {
    Client client = connect();
    EXPECT_TRUE(ask(client, {{"command", "status"}}).contains("daemon"));
  }
  ASSERT_TRUE(replace_file(dir_.path + "/module", "another"));
  Client client = connect();
  EXPECT_TRUE(until([&] { return !stopped_.empty(); }));
  EXPECT_NE(stopped_.find("replaced"), std::string::npos);
}

TEST_F(ServerTest, ForgetsAWaiterThatLeft) {
  {
    Client client = connect();
    send(client, encode_frame(FrameType::kWarmWait, encode(allowed("hang"))));
    ASSERT_TRUE(until([&] { return !environments_.all().empty(); }));
    EXPECT_EQ(environments_.all().begin()->second.waiters.size(), 1u);
  }
  EXPECT_TRUE(until([&] { return environments_.all().begin()->second.waiters.empty(); }));
}

}  // namespace
}  // namespace brood
