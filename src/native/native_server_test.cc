#include "native/native_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "native/fake_sessions.h"
#include "native/head.h"
#include "wire/message.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr int kPatienceMs = 20'000;

struct Got {
  FrameType type{};
  json head;
  std::string body;
};

// A client that says what it is told to.
class Client {
 public:
  explicit Client(Fd socket) : socket_(std::move(socket)) {
    set_timeout(socket_.get(), SO_RCVTIMEO, kPatienceMs);
    set_timeout(socket_.get(), SO_SNDTIMEO, kPatienceMs);
  }
  bool send_bytes(std::string_view bytes) { return bool(send_all(socket_.get(), bytes)); }
  bool send(FrameType type, const json& head, std::string_view body = {}) {
    return send_bytes(encode_frame(type, encode_message(head.dump(), body)));
  }
  bool request(uint64_t number, const std::string& method, json head = json::object(),
               std::string_view body = {}) {
    head["request"] = number;
    head["method"] = method;
    return send(FrameType::kRequest, head, body);
  }
  // Nothing: the connection has ended.
  std::optional<Got> receive() {
    FrameView frame;
    std::vector<Fd> none;
    while (parser_.next(frame) != FrameParser::Step::kFrame) {
      Result<size_t> got = receive_some(socket_.get(), 1 << 20, parser_.buffer(), none);
      if (!got || *got == 0) return std::nullopt;
    }
    Result<MessageView> message = decode_message(frame.payload);
    if (!message) return std::nullopt;
    return Got{frame.header.type, json::parse(message->head), std::string(message->body)};
  }
  json answer() {
    std::optional<Got> got = receive();
    return got && got->type == FrameType::kAnswer ? got->head : json();
  }
  // The error code of an answer, then whether the connection has ended.
  std::string last_words() {
    const json head = answer();
    if (!head.is_object() || head["request"] != 0 || receive()) return "no end";
    return head["error"]["code"];
  }
  json hello() {
    send(FrameType::kHello, {{"versions", {1}}, {"client", "a test"}});
    std::optional<Got> got = receive();
    return got && got->type == FrameType::kHello ? got->head : json();
  }
  int fd() const { return socket_.get(); }

 private:
  Fd socket_;
  FrameParser parser_;
};

NativeOptions small_options() {
  NativeOptions options;
  options.owner = "ada";
  options.sessions = 2;
  options.outstanding = 4;
  return options;
}

class NativeServerTest : public testing::Test {
 protected:
  Client connect() { return Client(std::move(*connect_unix(service_.path()))); }
  Client known() {
    Client client = connect();
    EXPECT_EQ(client.hello()["user"], "ada");
    return client;
  }
  std::string make_session() {
    return service_.in_loop([this] { return service_.api().make(); });
  }
  void publish(const std::string& id, const std::string& type, const std::string& body) {
    service_.in_loop([&] { service_.api().publish(id, type, "{}", body, 1); });
  }

  FakeService service_{NativeKind::kUnix, small_options()};
};

TEST_F(NativeServerTest, TheOwnerIsKnownByTheSocket) {
  Client client = connect();
  const json hello = client.hello();
  EXPECT_EQ(hello["version"], 1);
  EXPECT_EQ(hello["role"], "admin");
  EXPECT_EQ(hello["limits"]["frame"], kMaxFramePayload);
  EXPECT_EQ(hello["auth"], json::array({"SCRAM-SHA-256"}));
  ASSERT_TRUE(client.request(1, "echo", {{"x", 3}}, std::string("a\0b", 3)));
  std::optional<Got> got = client.receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->type, FrameType::kAnswer);
  EXPECT_EQ(got->head, (json{{"request", 1}, {"x", 3}}));
  EXPECT_EQ(got->body, std::string("a\0b", 3));
  service_.in_loop([this] {
    EXPECT_EQ(service_.api().last_caller().user, "ada");
    EXPECT_TRUE(service_.api().last_caller().admin);
  });
}

TEST_F(NativeServerTest, AHelloWithoutACommonVersionEnds) {
  for (const json& versions : {json{2, 3}, json::array(), json("1"), json()}) {
    Client client = connect();
    client.send(FrameType::kHello, {{"versions", versions}});
    EXPECT_EQ(client.last_words(), "bad_request") << versions;
  }
}

TEST_F(NativeServerTest, BreakingTheProtocolEndsWithAnError) {
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  const std::vector<std::string> bad{
      std::string(64, '\xff'),
      std::string("\x01\x00\x90\x00\x42\x00\x01\x00", 8),                 // over 8 MiB
      encode_frame(FrameType::kRequest, "ab"),                            // no head length
      encode_frame(FrameType::kRequest, std::string("\xff\0\0\0{}", 6)),  // too long a head
      encode_frame(FrameType::kRequest, encode_message("[]")),
      encode_frame(FrameType::kRequest, encode_message("{\"request\": 1, \"method\": \"\xff\"}")),
      encode_frame(FrameType::kRequest, encode_message("{\"request\": 1, \"a\": " + deep + "}")),
      encode_frame(FrameType::kRequest, encode_message("{\"method\": \"echo\"}")),
      encode_frame(FrameType::kRequest, encode_message("{\"request\": 0, \"method\": \"echo\"}")),
      encode_frame(FrameType::kRequest, encode_message("{\"request\": -1, \"method\": \"echo\"}")),
      encode_frame(FrameType::kHello, encode_message("{\"versions\": [1]}")),
      encode_frame(FrameType::kEvent, encode_message("{}")),
      encode_frame(FrameType::kRun, encode_message("{}")),
  };
  for (const std::string& bytes : bad) {
    Client client = known();
    ASSERT_TRUE(client.send_bytes(bytes));
    EXPECT_EQ(client.last_words(), "bad_request") << bytes;
  }
  Client client = known();
  client.request(1, "");
  EXPECT_EQ(client.answer()["error"]["code"], "bad_request");
  client.request(2, "echo");
  EXPECT_EQ(client.answer()["request"], 2);
}

TEST_F(NativeServerTest, ARequestBeforeHelloIsUnauthorized) {
  Client client = connect();
  client.request(1, "echo");
  EXPECT_EQ(client.last_words(), "unauthorized");
  Client long_winded = connect();  // before it is known a client says little
  long_winded.send(FrameType::kHello, {{"versions", {1}}, {"client", std::string(20'000, 'x')}});
  EXPECT_EQ(long_winded.last_words(), "bad_request");
  EXPECT_EQ(service_.in_loop([this] { return service_.api().calls(); }), 0u);
}

TEST_F(NativeServerTest, AnswersKeepTheOrderOfThoseThatCanBeAnswered) {
  Client client = known();
  std::string bytes;
  auto add = [&](int number, const char* method) {
    const json head = {{"request", number}, {"method", method}};
    bytes += encode_frame(FrameType::kRequest, encode_message(head.dump()));
  };
  add(1, "echo");
  add(2, "hold");
  add(3, "echo");
  add(4, "release");
  add(5, "echo");
  ASSERT_TRUE(client.send_bytes(bytes));
  std::vector<int> order;
  for (int i = 0; i < 5; i++)
    order.push_back(client.answer().value("request", -1));
  EXPECT_EQ(order, (std::vector<int>{1, 3, 2, 4, 5}));
}

TEST_F(NativeServerTest, RequestsThatWaitAreBounded) {
  Client client = known();
  for (uint64_t i = 1; i <= 6; i++)
    client.request(i, "hold");
  for (const int number : {5, 6}) {
    const json answer = client.answer();
    EXPECT_EQ(answer["request"], number);
    EXPECT_EQ(answer["error"]["code"], "limit");
  }
  Client other = known();
  other.request(1, "release");
  EXPECT_EQ(other.answer()["request"], 1);
  for (int i = 1; i <= 4; i++)
    EXPECT_EQ(client.answer()["held"], true);
  client.request(7, "echo");
  EXPECT_EQ(client.answer()["request"], 7);
}

TEST_F(NativeServerTest, RequestsOfEightMebibytes) {
  Client client = known();
  std::string body(kMaxFramePayload - 100, 'b');
  body.back() = 'e';
  std::thread writer([&] { client.request(1, "echo", {}, body); });
  std::optional<Got> got = client.receive();
  writer.join();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->body, body);
  client.request(2, "big", {{"size", kMaxFramePayload}});
  EXPECT_EQ(client.answer()["error"]["code"], "limit");
}

TEST_F(NativeServerTest, NotReadingAnswersStopsTheReadingOfRequests) {
  Client client = known();
  constexpr int kRequests = 100;
  constexpr size_t kSize = 1u << 20;
  for (uint64_t i = 1; i <= kRequests; i++)
    ASSERT_TRUE(client.request(i, "big", {{"size", kSize}}));
  Client other = known();  // whose answer comes after everything of the first was looked at
  other.request(1, "echo");
  EXPECT_EQ(other.answer()["request"], 1);
  EXPECT_LT(service_.in_loop([this] { return service_.api().calls(); }), 20u);
  for (int i = 1; i <= kRequests; i++) {
    std::optional<Got> got = client.receive();
    ASSERT_TRUE(got);
    EXPECT_EQ(got->head["request"], i);
    EXPECT_EQ(got->body.size(), kSize);
  }
}

TEST_F(NativeServerTest, EventsComeAfterTheAnswerToJoinAndEndWithLeave) {
  const std::string id = make_session();
  publish(id, "stdout", "before");
  Client client = known();
  client.request(1, "join", {{"session", id}});
  EXPECT_EQ(client.answer()["next_seq"], 2);
  std::optional<Got> event = client.receive();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->type, FrameType::kEvent);
  EXPECT_EQ(event->head, (json{{"session", id}, {"seq", 1}, {"type", "stdout"}, {"cell", 1}}));
  EXPECT_EQ(event->body, "before");
  service_.in_loop(
      [&] { service_.api().publish(id, "notice", R"( { "text": "caf\u00e9" } )", "", 0); });
  event = client.receive();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->head["text"], "caf\xc3\xa9");
  client.request(2, "join", {{"session", id}});
  EXPECT_EQ(client.answer()["error"]["code"], "bad_request");
  client.request(3, "leave", {{"session", id}});
  EXPECT_EQ(client.answer(), (json{{"request", 3}}));
  publish(id, "stdout", "unseen");
  client.request(4, "leave", {{"session", id}});
  EXPECT_EQ(client.answer()["error"]["code"], "not_found");
  client.request(5, "join", {{"session", id}, {"after", 3}});
  EXPECT_EQ(client.answer()["next_seq"], 4);
  client.request(6, "join", {{"session", "nonsense"}});
  EXPECT_EQ(client.answer()["error"]["code"], "not_found");
}

TEST_F(NativeServerTest, ASessionThatHasEndedIsNoLongerJoined) {
  const std::string id = make_session();
  Client client = known();
  client.request(1, "join", {{"session", id}});
  EXPECT_EQ(client.answer()["request"], 1);
  publish(id, "ended", "");
  std::optional<Got> event = client.receive();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->head["type"], "ended");
  client.request(2, "echo");
  EXPECT_EQ(client.answer()["request"], 2);
  EXPECT_EQ(service_.in_loop([&] { return service_.api().joined(id); }), 0u);
}

TEST_F(NativeServerTest, JoinedSessionsAreBoundedAndTakeTurns) {
  Client client = known();
  std::vector<std::string> ids;
  for (int i = 0; i < 3; i++) {
    ids.push_back(make_session());
    for (int k = 0; k < 50; k++)
      publish(ids.back(), "stdout", std::string(100'000, 'o'));
  }
  client.request(1, "join", {{"session", ids[0]}});
  client.request(2, "join", {{"session", ids[1]}});
  client.request(3, "join", {{"session", ids[2]}});
  std::vector<std::string> order;
  while (order.size() < 100) {
    std::optional<Got> got = client.receive();
    ASSERT_TRUE(got);
    if (got->type == FrameType::kEvent) order.push_back(got->head["session"]);
    const bool refused = got->head.contains("error");
    EXPECT_EQ(refused, got->head.value("request", 0) == 3);
  }
  const auto second = std::find(order.begin(), order.end(), ids[1]);
  EXPECT_LT(second - order.begin(), 20);  // what was written before it joined
  EXPECT_EQ(second[1], ids[0]);
  EXPECT_EQ(second[2], ids[1]);
}

TEST_F(NativeServerTest, EventsArePulledAsTheClientReads) {
  const std::string id = make_session();
  constexpr size_t kPiece = 50'000, kPieces = 1000;
  Client client = known();
  client.request(1, "join", {{"session", id}});
  EXPECT_EQ(client.answer()["request"], 1);
  service_.in_loop([&] {
    for (size_t i = 0; i < kPieces; i++)
      service_.api().publish(id, "stdout", "{}", std::string(kPiece, char('a' + i % 26)), 1);
  });
  const size_t pulled = service_.in_loop([this] { return service_.api().pulled(); });
  EXPECT_GT(pulled, 256u << 10);
  EXPECT_LT(pulled, 2u << 20);  // the queue and the socket's buffers
  for (size_t i = 0; i < kPieces; i++) {
    std::optional<Got> event = client.receive();
    ASSERT_TRUE(event);
    ASSERT_EQ(event->head["seq"], i + 1);
    ASSERT_EQ(event->body, std::string(kPiece, char('a' + i % 26)));
  }
}

TEST_F(NativeServerTest, AnEventThatIsLongerThanAFrameIsReplacedByANotice) {
  const std::string id = make_session();
  Client client = known();
  client.request(1, "join", {{"session", id}});
  EXPECT_EQ(client.answer()["request"], 1);
  publish(id, "stdout", std::string(kMaxFramePayload, 'x'));
  std::optional<Got> event = client.receive();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->head["type"], "notice");
  EXPECT_EQ(event->head["seq"], 1);
}

TEST_F(NativeServerTest, AClientThatLeavesTakesItsSessionsWithIt) {
  const std::string id = make_session();
  {
    Client client = known();
    client.request(1, "join", {{"session", id}});
    client.request(2, "hold");
    EXPECT_EQ(client.answer()["request"], 1);
    publish(id, "stdout", std::string(4u << 20, 'x'));
  }
  Client other = known();
  while (service_.connections() != 1)  // the end of the first one may come a turn later
    std::this_thread::yield();
  EXPECT_EQ(service_.in_loop([&] { return service_.api().joined(id); }), 0u);
  other.request(1, "release");  // answers nobody
  EXPECT_EQ(other.answer()["request"], 1);
}

TEST_F(NativeServerTest, TheEndOfTheServerEndsItsConnections) {
  const std::string id = make_session();
  Client client = known();
  client.request(1, "join", {{"session", id}});
  EXPECT_EQ(client.answer()["request"], 1);
  service_.stop();
  EXPECT_FALSE(client.receive());
  publish(id, "stdout", "nobody");
  EXPECT_FALSE(connect_unix(service_.path()));
}

// --- authentication ------------------------------------------------------------------------------

class NativeTcpTest : public testing::Test {
 protected:
  static NativeOptions options(int authentication_ms) {
    NativeOptions made = small_options();
    made.connections = 2;
    made.authentication_ms = authentication_ms;
    return made;
  }
  static Client connect_to(uint16_t port) {
    Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return Client(std::move(fd));
  }
  Client connect() { return connect_to(service_.port()); }

  // Logs in; the server's last AUTH, or null when it was refused.
  static json log_in(Client& client, const std::string& user, const std::string& password) {
    EXPECT_FALSE(client.hello().contains("user"));
    Result<ScramClient> scram = ScramClient::make(user, password);
    client.send(FrameType::kAuth,
                {{"mechanism", "SCRAM-SHA-256"}, {"data", scram->first_message()}});
    std::optional<Got> got = client.receive();
    if (!got || got->type != FrameType::kAuth) return {};
    Result<std::string> proof = scram->final_message(got->head["data"].get<std::string>());
    client.send(FrameType::kAuth, {{"data", *proof}});
    got = client.receive();
    if (!got || got->type != FrameType::kAuth) return got ? got->head : json();
    EXPECT_TRUE(scram->verify(got->head["data"].get<std::string>()));
    return got->head;
  }

  FakeService service_{NativeKind::kTcp, options(10'000)};
};

TEST_F(NativeTcpTest, ScramOpensTheDoor) {
  Client client = connect();
  const json welcome = log_in(client, "ada", "lovelace");
  EXPECT_EQ(welcome["user"], "ada");
  EXPECT_EQ(welcome["role"], "user");
  client.request(1, "echo");
  EXPECT_EQ(client.answer()["request"], 1);
  client.send(FrameType::kAuth, {{"mechanism", "SCRAM-SHA-256"}, {"data", "n,,n=ada,r=x"}});
  EXPECT_EQ(client.last_words(), "bad_request");
}

TEST_F(NativeTcpTest, NobodyIsKnownByATcpSocket) {
  Client client = connect();
  EXPECT_FALSE(client.hello().contains("user"));
  client.request(1, "echo");
  EXPECT_EQ(client.last_words(), "unauthorized");
}

TEST_F(NativeTcpTest, FailuresAreDelayedAndThenRefused) {
  constexpr int64_t kDelay = 50'000'000;
  service_.in_loop([this] { service_.authenticator().set_delay(kDelay); });
  for (int i = 0; i < 3; i++) {
    Client client = connect();
    const int64_t before = monotonic_ns();
    const json refusal = log_in(client, "ada", "wrong");
    EXPECT_EQ(refusal["error"]["code"], "unauthorized");
    EXPECT_GE(monotonic_ns() - before, kDelay);
    EXPECT_FALSE(client.receive());
  }
  EXPECT_EQ(service_.in_loop([this] { return service_.authenticator().address(); }), "127.0.0.1");
  Client client = connect();
  client.hello();
  client.send(FrameType::kAuth, {{"mechanism", "SCRAM-SHA-256"}, {"data", "n,,n=ada,r=x"}});
  EXPECT_EQ(client.last_words(), "unauthorized");
}

TEST_F(NativeTcpTest, AuthOutOfTurnEnds) {
  Client early = connect();
  early.send(FrameType::kAuth, {{"mechanism", "SCRAM-SHA-256"}, {"data", "n,,n=ada,r=x"}});
  EXPECT_EQ(early.last_words(), "bad_request");
  Client plain = connect();
  plain.hello();
  plain.send(FrameType::kAuth, {{"mechanism", "PLAIN"}, {"data", "ada"}});
  EXPECT_EQ(plain.last_words(), "bad_request");
  Client dataless = connect();
  dataless.hello();
  dataless.send(FrameType::kAuth, {{"mechanism", "SCRAM-SHA-256"}, {"data", 3}});
  EXPECT_EQ(dataless.last_words(), "bad_request");
}

TEST_F(NativeTcpTest, SilenceEnds) {
  FakeService impatient(NativeKind::kTcp, options(50));
  Client silent = connect_to(impatient.port());
  EXPECT_EQ(silent.last_words(), "timeout");
}

TEST_F(NativeTcpTest, ConnectionsBeyondTheLimitWaitForTheirTurn) {
  Client first = connect();
  Client second = connect();
  first.hello();
  second.hello();
  Client third = connect();
  third.send(FrameType::kHello, {{"versions", {1}}});
  EXPECT_EQ(service_.connections(), 2u);
  shutdown(first.fd(), SHUT_RDWR);
  std::optional<Got> got = third.receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->type, FrameType::kHello);
}

}  // namespace
}  // namespace brood
