#include <future>

#include "http/fake_door.h"
#include "http/messages.h"

namespace brood {
namespace {

struct Message {
  int kind = -1;  // 1 text, 8 close, 9 ping; -1: the connection ended
  std::string bytes;
  json parsed() const { return json::parse(bytes, nullptr, false); }
  int close_code() const {
    if (kind != 8 || bytes.size() < 2) return 0;
    return static_cast<unsigned char>(bytes[0]) * 256 + static_cast<unsigned char>(bytes[1]);
  }
};

// A WebSocket client (RFC 6455) of few words.
class SocketClient : public HttpClient {
 public:
  using HttpClient::HttpClient;

  void send_frame(int kind, const std::string& bytes) {
    std::string out(1, static_cast<char>(0x80 | kind));
    const int digits = bytes.size() < 126 ? 0 : bytes.size() < 65536 ? 2 : 8;  // as few as will do
    out += static_cast<char>(0x80 | (digits == 0 ? bytes.size() : digits == 2 ? 126 : 127));
    for (int shift = 8 * (digits - 1); shift >= 0; shift -= 8)
      out += static_cast<char>(bytes.size() >> shift);
    out += std::string(4, '\0') + bytes;  // the mask changes nothing
    EXPECT_TRUE(send(out));
  }
  void say(const json& message) { send_frame(1, message.dump()); }

  Message receive() {
    const std::string start = exactly(2);
    if (start.empty()) return {};
    Message out;
    out.kind = start[0] & 15;
    size_t size = static_cast<unsigned char>(start[1]);
    if (size >= 126) {
      const std::string more = exactly(size == 126 ? 2 : 8);
      size = 0;
      for (const char c : more)
        size = size * 256 + static_cast<unsigned char>(c);
    }
    if (size > 0) out.bytes = exactly(size);
    return out;
  }
  json next() { return receive().parsed(); }
};

class WebSocketTest : public HttpTest {
 protected:
  std::string upgrade(const std::string& more) const {
    return request("GET /v1/sessions/s1/stream?after=3",
                   "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" +
                       more);
  }
  int open(SocketClient& client, const std::string& more = kAnna) {
    EXPECT_TRUE(client.send(upgrade(more)));
    return client.reply().status;
  }
};

TEST_F(WebSocketTest, JoinsAsksAndHears) {
  serve();
  SocketClient client(port_);
  ASSERT_EQ(open(client), 101);
  EXPECT_EQ(client.next(),
            json({{"type", "joined"}, {"session", {{"id", "s1"}}}, {"next_seq", 1}}));
  EXPECT_EQ(api_.last_call(), R"(anna join {"after":3,"session":"s1"})");
  client.say({{"request", 5}, {"method", "execute"}, {"code", "1"}, {"session", "other"}});
  EXPECT_EQ(client.next()["cell"], 7);
  EXPECT_EQ(api_.last_call(), R"(anna execute {"code":"1","session":"s1"})");
  client.say({{"request", 6}, {"method", "stdin"}, {"data", "line\n"}});
  EXPECT_EQ(client.next()["request"], 6);
  EXPECT_EQ(api_.last_call(), "anna stdin {\"session\":\"s1\"} line\n");
  api_.will("message", Answer{{}, "\xff"});
  client.say({{"request", 7}, {"method", "message"}, {"base64", "/w=="}});
  EXPECT_EQ(client.next(), json({{"request", 7}, {"base64", "/w=="}}));
  api_.will("undo", Problem{ProblemCode::kBusy, "a cell runs"});
  client.say({{"request", 8}, {"method", "undo"}});
  EXPECT_EQ(client.next(),
            json({{"request", 8}, {"error", {{"code", "busy"}, {"text", "a cell runs"}}}}));
  api_.happen("display", 7, R"({"data":{"text/plain":"x"}})");
  EXPECT_EQ(client.next(),
            json({{"seq", 1}, {"type", "display"}, {"cell", 7}, {"data", {{"text/plain", "x"}}}}));
}

TEST_F(WebSocketTest, CharactersAreNotCut) {
  serve();
  SocketClient client(port_);
  ASSERT_EQ(open(client), 101);
  client.next();
  api_.happen("stdout", 1, "{}", "a\xe2\x82");
  EXPECT_EQ(client.next()["data"], "a");
  api_.happen("stderr", 1, "{}", "e\xff");
  EXPECT_EQ(client.next()["data"], "e\xEF\xBF\xBD");
  api_.happen("stdout", 1, "{}", "\xac.\xf0\x9f");
  EXPECT_EQ(client.next()["data"], "\xe2\x82\xac.");
  api_.happen("done", 1, R"({"status":"ok"})");
  const json rest = client.next();
  EXPECT_EQ(rest["data"], "\xEF\xBF\xBD");
  EXPECT_EQ(rest["seq"], 3);
  EXPECT_EQ(client.next(), json({{"seq", 4}, {"type", "done"}, {"cell", 1}, {"status", "ok"}}));
}

TEST_F(WebSocketTest, BadMessagesAreAnswered) {
  serve();
  SocketClient client(port_);
  ASSERT_EQ(open(client), 101);
  client.next();
  const std::pair<const char*, int> bad[] = {
      {"nonsense", 0},
      {"[]", 0},
      {"{}", 0},
      {R"({"request":-1,"method":"undo"})", 0},
      {R"({"request":4})", 4},
      {R"({"request":4,"method":"stdin","data":"","base64":""})", 4},
      {R"({"request":4,"method":"join"})", 4},
      {R"({"request":4,"method":"get","path":"x"})", 4},
  };
  for (const auto& [text, number] : bad) {
    client.send_frame(1, text);
    const json answer = client.next();
    EXPECT_EQ(answer["request"], number) << text;
    EXPECT_EQ(answer["error"]["code"], "bad_request") << text;
  }
  EXPECT_EQ(api_.calls().size(), 1u);
}

TEST_F(WebSocketTest, WaitingRequestsAreBounded) {
  serve({.max_requests = 4});
  api_.never_answers("run");
  SocketClient client(port_);
  ASSERT_EQ(open(client), 101);
  client.next();
  for (int i = 0; i < 5; ++i)
    client.say({{"request", i}, {"method", "run"}, {"code", ""}});
  const json answer = client.next();
  EXPECT_EQ(answer["request"], 4);
  EXPECT_EQ(answer["error"]["code"], "limit");
}

// What a client does not read stays in the session's log.
TEST_F(WebSocketTest, ASlowReaderIsNotWrittenTo) {
  serve();
  SocketClient client(port_, 65536);
  ASSERT_EQ(open(client), 101);
  client.next();
  constexpr size_t kEvents = 80;  // 8 MB; the sender's buffer grows to 4 MB
  for (size_t i = 0; i < kEvents; ++i)
    api_.happen("stdout", 1, "{}", std::string(100'000, 'x'));
  size_t before = 0, same = 0;  // until no more is taken, however often the server comes round
  while (same < 10) {
    ASSERT_EQ(ask("GET /healthz").status, 200);
    same = api_.taken() == before ? same + 1 : 0;
    before = api_.taken();
  }
  EXPECT_LT(api_.taken(), kEvents * 3 / 4);
  for (size_t i = 0; i < kEvents; ++i)
    ASSERT_EQ(client.next()["seq"], i + 1);
  EXPECT_EQ(api_.taken(), kEvents);
}

TEST_F(WebSocketTest, WhoMayNotJoinIsToldByTheCloseCode) {
  serve();
  const std::pair<ProblemCode, int> expected[] = {
      {ProblemCode::kNotFound, 4404}, {ProblemCode::kEnded, 4410}, {ProblemCode::kLimit, 1013}};
  for (const auto& [code, close_code] : expected) {
    api_.refuse_join({code, "no"});
    SocketClient client(port_);
    ASSERT_EQ(open(client), 101);
    EXPECT_EQ(client.receive().close_code(), close_code);
  }
}

TEST_F(WebSocketTest, TheEndOfTheSessionClosesIt) {
  serve();
  SocketClient client(port_);
  ASSERT_EQ(open(client), 101);
  client.next();
  api_.happen("ended", 0, R"({"why":"removed"})");
  EXPECT_EQ(client.next()["why"], "removed");
  EXPECT_EQ(client.receive().close_code(), 4410);
  client.send_frame(8, "");
  EXPECT_TRUE(api_.wait_until_left());
}

TEST_F(WebSocketTest, WhoGoesHasLeft) {
  serve();
  {
    SocketClient client(port_);
    ASSERT_EQ(open(client), 101);
    client.next();
    EXPECT_EQ(api_.joined(), 1u);
  }
  EXPECT_TRUE(api_.wait_until_left());
}

TEST_F(WebSocketTest, WhoIsCheckedBeforeAndAsItLasts) {
  serve({.ping_interval = std::chrono::milliseconds(20)});
  const std::string cookie = "Cookie: " + cookie_name_ + "=c-anna\r\n";
  authenticator_.make_cookie({"anna", false});
  const std::pair<std::string, int> expected[] = {
      {"", 401},
      {"Authorization: Bearer wrong\r\n", 401},
      {"Cookie: " + cookie_name_ + "=wrong\r\nOrigin: http://" + host_ + "\r\n", 401},
      {cookie, 403},
      {cookie + "Origin: http://elsewhere.example\r\n", 403},
      {cookie + "Origin: null\r\n", 403},
  };
  for (const auto& [header, status] : expected) {
    SocketClient client(port_);
    EXPECT_EQ(open(client, header), status) << header;
  }
  EXPECT_TRUE(api_.calls().empty());
  SocketClient client(port_);
  ASSERT_EQ(open(client, cookie + "Origin: http://" + host_ + "\r\n"), 101);
  client.next();
  authenticator_.drop_cookie("c-anna");
  Message message = client.receive();
  while (message.kind == 9)
    message = client.receive();
  EXPECT_EQ(message.close_code(), 4401);
}

TEST_F(WebSocketTest, OneThatAnswersNothingIsClosed) {
  serve({.ping_interval = std::chrono::milliseconds(20),
         .ping_timeout = std::chrono::milliseconds(100)});
  SocketClient client(port_);
  ASSERT_EQ(open(client), 101);
  EXPECT_TRUE(client.closed());
}

TEST_F(WebSocketTest, TooLongOrBinaryMessagesEndIt) {
  serve({.max_body = 1000});
  SocketClient longer(port_);
  ASSERT_EQ(open(longer), 101);
  longer.next();
  longer.send_frame(1, std::string(2000, ' '));
  EXPECT_EQ(longer.receive().close_code(), 1009);
  SocketClient binary(port_);
  ASSERT_EQ(open(binary), 101);
  binary.next();
  binary.send_frame(2, "{}");
  EXPECT_EQ(binary.receive().close_code(), 1003);
}

TEST_F(WebSocketTest, AServerThatLeavesSaysSo) {
  serve();
  SocketClient client(port_);
  ASSERT_EQ(open(client), 101);
  client.next();
  std::promise<void> left;
  io_.post([&] { server_->leave([&] { left.set_value(); }); });
  EXPECT_EQ(client.receive().close_code(), 1001);
  client.send_frame(8, "");
  EXPECT_TRUE(client.closed());
  EXPECT_TRUE(api_.wait_until_left());
  EXPECT_EQ(left.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

TEST_F(WebSocketTest, DestroyingTheServerEndsIt) {
  serve();
  SocketClient client(port_);
  ASSERT_EQ(open(client), 101);
  client.next();
  stop();
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(api_.joined(), 0u);
}

TEST_F(WebSocketTest, APlainRequestIsToldToUpgrade) {
  serve();
  EXPECT_EQ(ask("GET /v1/sessions/s1/stream").status, 426);
  EXPECT_EQ(ask("GET /v1/sessions/s1/stream?after=x").status, 400);
}

}  // namespace
}  // namespace brood
