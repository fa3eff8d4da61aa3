// For tests: an Api with a few sessions that execute nothing, an Authenticator with one password,
// and a thread that serves both on a real socket.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <map>
#include <thread>
#include <vector>

#include "base/socket.h"
#include "native/native_server.h"
#include "scram/crypto.h"
#include "scram/scram.h"

namespace brood {

// The event loop's thread.
class FakeApi final : public Api {
 public:
  explicit FakeApi(boost::asio::io_context& io) : io_(io) {}

  // "echo" answers at once with what it got, "hold" when "release" is called. "execute" makes the
  // events of a cell that prints its code; "die" as the code ends the session.
  void call(const Caller& caller, Request request, Reply reply) override {
    calls_++;
    last_caller_ = caller;
    const nlohmann::json& head = request.head;
    if (request.method == "echo") return reply(Answer{head, request.body});
    if (request.method == "hold") return held_.push_back(std::move(reply));
    if (request.method == "release") return release(reply);
    if (request.method == "big")
      return reply(Answer{{}, std::string(head.value("size", size_t{0}), 'x')});
    if (request.method == "new") return reply(Answer{{{"session", describe(make())}}, {}});
    if (request.method == "sessions") return reply(list());
    const auto found = sessions_.find(head.value("session", ""));
    if (found == sessions_.end())
      return reply(Problem{ProblemCode::kNotFound, "there is no such session"});
    if (request.method == "execute") return execute(found->second, head.value("code", ""), reply);
    if (request.method == "stdin") {
      found->second.typed += request.body;
      return reply(Answer{});
    }
    if (request.method == "info") return reply(Answer{{{"session", describe(found->first)}}, {}});
    reply(Problem{ProblemCode::kBadRequest, "there is no method " + request.method});
  }

  std::variant<Joined, Problem> join(const Caller&, const nlohmann::json& head,
                                     Listener& listener) override {
    const auto found = sessions_.find(head.value("session", ""));
    if (found == sessions_.end())
      return Problem{ProblemCode::kNotFound, "there is no such session"};
    Session& session = found->second;
    const uint64_t after = head.value("after", uint64_t{0});
    return Joined{
        Answer{{{"session", describe(found->first)}, {"next_seq", session.events.size() + 1}}, {}},
        std::make_unique<Reader>(*this, found->first, session, listener, after)};
  }

  std::string metrics() const override { return ""; }

  std::string make() {
    const std::string id = "s" + std::to_string(sessions_.size() + 1);
    sessions_[id];
    return id;
  }
  void publish(const std::string& id, std::string type, std::string head, std::string body = "",
               uint64_t cell = 0) {
    Session& session = sessions_[id];
    session.events.push_back(std::make_shared<Event>(
        Event{session.events.size() + 1, std::move(type), cell, std::move(head), std::move(body)}));
    const std::vector<Listener*> listeners = session.listeners;
    for (Listener* listener : listeners)
      listener->on_events();
  }
  size_t joined(const std::string& id) { return sessions_[id].listeners.size(); }
  const std::string& typed(const std::string& id) { return sessions_[id].typed; }
  size_t calls() const { return calls_; }
  size_t pulled() const { return pulled_; }  // bytes of bodies
  const Caller& last_caller() const { return last_caller_; }

 private:
  struct Session {
    std::vector<EventPointer> events;
    std::vector<Listener*> listeners;
    std::string typed;
    uint64_t cells = 0;
  };

  class Reader final : public Subscription {
   public:
    Reader(FakeApi& api, std::string id, Session& session, Listener& listener, uint64_t next)
        : api_(api), id_(std::move(id)), session_(session), listener_(listener), next_(next) {
      session_.listeners.push_back(&listener_);
    }
    ~Reader() override { std::erase(session_.listeners, &listener_); }
    EventPointer next() override {
      if (next_ >= session_.events.size()) return nullptr;
      api_.pulled_ += session_.events[next_]->body.size();
      return session_.events[next_++];
    }
    const std::string& session() const override { return id_; }

   private:
    FakeApi& api_;
    const std::string id_;
    Session& session_;
    Listener& listener_;
    uint64_t next_;
  };

  nlohmann::json describe(const std::string& id) {
    return {{"id", id}, {"name", "name-" + id}, {"state", "idle"}, {"env", "plain"}};
  }
  Answer list() {
    nlohmann::json all = nlohmann::json::array();
    for (const auto& [id, session] : sessions_)
      all.push_back(describe(id));
    return {{{"sessions", all}}, {}};
  }
  void release(const Reply& reply) {
    for (const Reply& one : std::exchange(held_, {}))
      one(Answer{{{"held", true}}, {}});
    reply(Answer{});
  }
  void execute(Session& session, const std::string& code, const Reply& reply) {
    const uint64_t cell = ++session.cells;
    reply(Answer{{{"cell", cell}}, {}});
    std::string id;
    for (const auto& [name, one] : sessions_)
      if (&one == &session) id = name;
    boost::asio::post(io_, [this, id, cell, code] {
      publish(id, "cell", nlohmann::json{{"code", code}, {"execution_count", cell}}.dump(), "",
              cell);
      if (code == "die") return publish(id, "ended", R"({"why": "asked to"})");
      publish(id, "stdout", "{}", code + "\n", cell);
      publish(id, "stderr", "{}", "warned\n", cell);
      publish(id, "result", R"({"data": {"text/plain": "42"}})", "", cell);
      publish(id, "done", R"({"status": "ok", "ms": 1.5})", "", cell);
    });
  }

  boost::asio::io_context& io_;
  std::map<std::string, Session> sessions_;
  std::vector<Reply> held_;
  size_t calls_ = 0, pulled_ = 0;
  Caller last_caller_;
};

// Knows the user "ada", whose password is "lovelace", and the token "sesame".
class FakeAuthenticator final : public Authenticator {
 public:
  std::unique_ptr<ScramExchange> scram() override { return std::make_unique<Exchange>(); }
  std::optional<Identity> check_token(std::string_view) override { return std::nullopt; }
  std::optional<Identity> check_password(std::string_view, std::string_view) override {
    return std::nullopt;
  }
  std::string make_cookie(const Identity&) override { return ""; }
  std::optional<Identity> check_cookie(std::string_view) override { return std::nullopt; }
  void drop_cookie(std::string_view) override {}
  Throttle before_attempt(const std::string&) override { return {0, failures_ >= 3}; }
  Throttle failed(const std::string& address) override {
    failures_++;
    address_ = address;
    return {delay_ns_, false};
  }
  void succeeded(const std::string&) override { failures_ = 0; }
  Result<void> reload() override { return {}; }

  const std::string& address() const { return address_; }
  void set_delay(int64_t ns) { delay_ns_ = ns; }

 private:
  class Exchange final : public ScramExchange {
   public:
    Result<Step> step(std::string_view message) override {
      if (first_.nonce.empty()) return begin(message);
      Result<ScramClientFinal> last = parse_scram_client_final(message);
      if (!last || last->nonce != nonce_) return Error{"authentication failed"};
      const std::string signed_text =
          scram_auth_message(first_.bare, server_first_, last->without_proof);
      if (!scram_proof_matches(keys_, signed_text, last->proof))
        return Error{"authentication failed"};
      return Step{format_scram_server_final(keys_, signed_text),
                  Identity{first_.user, first_.user == "token"}};
    }

   private:
    Result<Step> begin(std::string_view message) {
      Result<ScramClientFirst> first = parse_scram_client_first(message);
      if (!first) return first.error();
      first_ = *first;
      keys_ = derive_scram_keys(first_.user == "token" ? "sesame" : "lovelace", "some salt",
                                kMinScramIterations);
      nonce_ = first_.nonce + scram_nonce();
      server_first_ = format_scram_server_first(nonce_, keys_);
      return Step{server_first_, std::nullopt};
    }
    ScramClientFirst first_;
    ScramKeys keys_;
    std::string nonce_, server_first_;
  };

  int failures_ = 0;
  int64_t delay_ns_ = 0;
  std::string address_;
};

// Serves in a thread of its own; everything but the sockets is reached by in_loop().
class FakeService {
 public:
  FakeService(NativeKind kind, NativeOptions options, std::function<SSL_CTX*()> context = {})
      : api_(io_) {
    char pattern[] = "/tmp/brood-unit-XXXXXX";
    directory_ = mkdtemp(pattern);
    server_ = std::make_unique<NativeServer>(io_, listen(kind), kind, std::move(context), api_,
                                             authenticator_, std::move(options));
    thread_ = std::thread([this] { io_.run(); });
  }
  ~FakeService() {
    stop();
    io_.stop();
    thread_.join();
    std::filesystem::remove_all(directory_);
  }

  template <typename Function>
  auto in_loop(Function function) {
    std::packaged_task<decltype(function())()> task(std::move(function));
    auto future = task.get_future();
    boost::asio::post(io_, [&task] { task(); });
    return future.get();
  }
  void stop() {
    in_loop([this] { server_.reset(); });
  }

  FakeApi& api() { return api_; }
  FakeAuthenticator& authenticator() { return authenticator_; }
  size_t connections() {
    return in_loop([this] { return server_->connections(); });
  }
  std::string path() const { return directory_ + "/socket"; }
  uint16_t port() const { return port_; }

 private:
  Fd listen(NativeKind kind) {
    if (kind == NativeKind::kUnix) return std::move(*listen_unix(path(), 16));
    Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd.get(), 16), 0);
    EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    return fd;
  }

  boost::asio::io_context io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_ =
      boost::asio::make_work_guard(io_);
  FakeApi api_;
  FakeAuthenticator authenticator_;
  std::string directory_;
  uint16_t port_ = 0;
  std::unique_ptr<NativeServer> server_;
  std::thread thread_;
};

}  // namespace brood
