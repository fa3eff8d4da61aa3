// For tests: an HttpServer on a loopback port in a thread of its own, an Api and an Authenticator
// that do what the test says, and a client that blocks (at most ten seconds).
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/socket.h"
#include "http/server.h"

namespace brood {

using nlohmann::json;

// What the Api was asked. Compared as text: "anna new {...} body".
struct ScriptedApi final : public Api {
  struct Stream;  // events of the one session
  using Outcome = std::variant<Answer, Problem>;

  explicit ScriptedApi(boost::asio::io_context& io) : io_(io) {}

  void call(const Caller& caller, Request request, Reply reply) override {
    std::unique_lock lock(mutex_);
    calls_.push_back(caller.user + (caller.admin ? "!" : "") + " " + request.method + " " +
                     request.head.dump() + (request.body.empty() ? "" : " " + request.body));
    changed_.notify_all();
    const auto queued = outcomes_.find(request.method);
    if (silent_.count(request.method)) return;
    if (queued != outcomes_.end() && !queued->second.empty()) {
      Outcome outcome = std::move(queued->second.front());
      queued->second.pop_front();
      io_.post([reply = std::move(reply), outcome = std::move(outcome)] { reply(outcome); });
      return;
    }
    const uint64_t next_seq = next_seq_;
    lock.unlock();  // who gets the answer may call again
    reply(Answer{{{"session", {{"id", "s/1"}, {"next_seq", next_seq}}}, {"cell", 7}, {"us", 5}},
                 ""});  // answers at once
  }

  std::variant<Joined, Problem> join(const Caller& caller, const json& head,
                                     Listener& listener) override {
    const std::lock_guard lock(mutex_);
    calls_.push_back(caller.user + " join " + head.dump());
    if (join_problem_) return *join_problem_;
    listeners_.insert(&listener);
    return Joined{{{{"session", {{"id", "s1"}}}, {"next_seq", next_seq_}}, ""},
                  std::make_unique<Cursor>(*this, listener)};
  }

  std::string metrics() const override { return "brood_sessions 1\n"; }

  // --- the test's side, from its thread
  // -----------------------------------------------------------

  void will(const std::string& method, Outcome outcome) {
    const std::lock_guard lock(mutex_);
    outcomes_[method].push_back(std::move(outcome));
  }
  void never_answers(const std::string& method) {
    const std::lock_guard lock(mutex_);
    silent_.insert(method);
  }
  void refuse_join(const Problem& problem) {
    const std::lock_guard lock(mutex_);
    join_problem_ = problem;
  }
  void happen(const std::string& type, uint64_t cell, const std::string& head,
              const std::string& body = "") {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::make_shared<const Event>(Event{next_seq_++, type, cell, head, body}));
    io_.post([this] { tell(); });
  }
  std::vector<std::string> calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  std::string last_call() {
    const std::lock_guard lock(mutex_);
    return calls_.empty() ? "" : calls_.back();
  }
  bool wait_for_calls(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10),
                             [&] { return calls_.size() >= count; });
  }
  size_t taken() {
    const std::lock_guard lock(mutex_);
    return taken_;
  }
  size_t joined() {
    const std::lock_guard lock(mutex_);
    return listeners_.size();
  }
  bool wait_until_left() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return listeners_.empty(); });
  }

 private:
  // Reads everything from the first event on.
  struct Cursor final : public Subscription {
    Cursor(ScriptedApi& api, Listener& listener) : api_(api), listener_(listener) {}
    ~Cursor() override {
      const std::lock_guard lock(api_.mutex_);
      api_.listeners_.erase(&listener_);
      api_.changed_.notify_all();
    }
    EventPointer next() override {
      const std::lock_guard lock(api_.mutex_);
      if (at_ == api_.events_.size()) return nullptr;
      ++api_.taken_;
      return api_.events_[at_++];
    }
    const std::string& session() const override { return session_; }
    ScriptedApi& api_;
    Listener& listener_;
    size_t at_ = 0;
    const std::string session_ = "s1";
  };

  void tell() {
    std::set<Listener*> listeners;
    {
      const std::lock_guard lock(mutex_);
      listeners = listeners_;
    }
    for (Listener* one : listeners)
      one->on_events();
  }

  boost::asio::io_context& io_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> calls_;
  std::map<std::string, std::deque<Outcome>> outcomes_;
  std::set<std::string> silent_;
  std::optional<Problem> join_problem_;
  std::vector<EventPointer> events_;
  std::set<Listener*> listeners_;
  uint64_t next_seq_ = 1;
  size_t taken_ = 0;
};

// Knows the tokens "root" (an admin) and "anna", and anna's password "pass".
struct ScriptedAuthenticator final : public Authenticator {
  std::unique_ptr<ScramExchange> scram() override { return nullptr; }
  std::optional<Identity> check_token(std::string_view token) override {
    if (token == "root") return Identity{"root", true};
    if (token == "anna") return Identity{"anna", false};
    return std::nullopt;
  }
  std::optional<Identity> check_password(std::string_view user, std::string_view pass) override {
    if (user == "anna" && pass == "pass") return Identity{"anna", false};
    return std::nullopt;
  }
  std::string make_cookie(const Identity& identity) override {
    const std::lock_guard lock(mutex_);
    cookies_["c-" + identity.user] = identity;
    return "c-" + identity.user;
  }
  std::optional<Identity> check_cookie(std::string_view cookie) override {
    const std::lock_guard lock(mutex_);
    const auto found = cookies_.find(std::string(cookie));
    return found == cookies_.end() ? std::nullopt : std::optional(found->second);
  }
  void drop_cookie(std::string_view cookie) override {
    const std::lock_guard lock(mutex_);
    cookies_.erase(std::string(cookie));
  }
  Throttle before_attempt(const std::string&) override { return {0, failures_ >= refuse_after_}; }
  Throttle failed(const std::string& address) override {
    address_ = address;
    ++failures_;
    return {delay_ns_, false};
  }
  void succeeded(const std::string&) override { failures_ = 0; }
  Result<void> reload() override { return {}; }

  std::mutex mutex_;
  std::map<std::string, Identity> cookies_;
  std::string address_;  // of the last failure
  int failures_ = 0;
  int refuse_after_ = 1000;
  int64_t delay_ns_ = 0;
};

struct HttpReply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  json parsed() const { return json::parse(body, nullptr, false); }
};

// A connection that blocks.
class HttpClient {
 public:
  // `receive_buffer`: bytes that the kernel keeps for it; 0: as many as it likes.
  explicit HttpClient(uint16_t port, int receive_buffer = 0)
      : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0)
      setsockopt(fd(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    set_timeout(socket_.get(), SO_RCVTIMEO, 10'000);
    set_timeout(socket_.get(), SO_SNDTIMEO, 10'000);
    EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }

  int fd() const { return socket_.get(); }
  bool send(std::string_view bytes) {
    return ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == ssize_t(bytes.size());
  }
  void finish_sending() { shutdown(fd(), SHUT_WR); }

  // False at the end of the stream, an error or the time-out.
  bool fill() {
    char bytes[65536];
    const ssize_t got = recv(fd(), bytes, sizeof(bytes), 0);
    if (got > 0) unread_.append(bytes, static_cast<size_t>(got));
    ended_ = got == 0 || (got < 0 && errno == ECONNRESET);
    return got > 0;
  }
  // Everything until the server closes; `closed` tells that from a time-out.
  std::string rest() {
    while (fill()) {
    }
    return std::exchange(unread_, {});
  }
  bool closed() {
    while (fill()) {
    }
    return ended_;
  }
  std::string until(std::string_view end) {
    while (unread_.find(end) == std::string::npos)
      if (!fill()) return "";
    return take(unread_.find(end) + end.size());
  }

  std::string exactly(size_t size) {
    while (unread_.size() < size)
      if (!fill()) return "";
    return take(size);
  }

  HttpReply reply(bool with_body = true) {
    HttpReply out;
    const std::string header = until("\r\n\r\n");
    if (header.size() < 12) return out;
    out.status = std::stoi(header.substr(9, 3));
    size_t at = header.find("\r\n") + 2;
    while (at + 2 < header.size()) {
      const size_t end = header.find("\r\n", at), colon = header.find(": ", at);
      std::string name = header.substr(at, colon - at);
      for (char& c : name)
        c = static_cast<char>(tolower(c));
      out.headers[name] = header.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    const auto length = out.headers.find("content-length");
    if (!with_body || length == out.headers.end()) return out;
    const size_t size = std::stoul(length->second);
    out.body = exactly(size);
    return out;
  }

 private:
  std::string take(size_t size) {
    std::string out = unread_.substr(0, size);
    unread_.erase(0, size);
    return out;
  }
  Fd socket_;
  std::string unread_;
  bool ended_ = false;
};

class HttpTest : public testing::Test {
 protected:
  ~HttpTest() override { stop(); }

  void serve(HttpOptions options = {}, std::function<ssl_ctx_st*()> tls = {}) {
    Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(listen(listener.get(), 64), 0);
    getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    host_ = "127.0.0.1:" + std::to_string(port_);
    cookie_name_ = "brood-" + std::to_string(port_);
    server_ = std::make_unique<HttpServer>(io_, std::move(listener), std::move(tls), api_,
                                           authenticator_, std::move(options));
    thread_ = std::thread([this] {
      const auto work = boost::asio::make_work_guard(io_);
      io_.run();
    });
  }
  void stop() {
    if (!thread_.joinable()) return;
    io_.post([this] {
      server_.reset();
      io_.post([this] { io_.stop(); });
    });
    thread_.join();
  }

  // "GET /x", the standard Host, more header lines ("A: b\r\n"), a JSON body if there is one.
  std::string request(const std::string& line, const std::string& more = "",
                      const std::string& body = "") const {
    std::string out = line + " HTTP/1.1\r\nHost: " + host_ + "\r\n" + more;
    if (!body.empty()) {
      if (more.find("Content-Type") == std::string::npos)
        out += "Content-Type: application/json\r\n";
      out += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    }
    return out + "\r\n" + body;
  }
  HttpReply ask(const std::string& line, const std::string& more = kAnna,
                const std::string& body = "") const {
    HttpClient client(port_);
    EXPECT_TRUE(client.send(request(line, more, body)));
    return client.reply(!line.starts_with("HEAD"));
  }
  HttpReply ask_raw(const std::string& bytes) const {
    HttpClient client(port_);
    EXPECT_TRUE(client.send(bytes));
    return client.reply();
  }

  static constexpr const char* kAnna = "Authorization: Bearer anna\r\n";
  static constexpr const char* kRoot = "Authorization: Bearer root\r\n";

  boost::asio::io_context io_;
  ScriptedApi api_{io_};
  ScriptedAuthenticator authenticator_;
  uint16_t port_ = 0;
  std::string host_, cookie_name_;
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
};

}  // namespace brood
