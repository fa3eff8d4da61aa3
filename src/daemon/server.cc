#include "daemon/server.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "base/context.h"
#include "base/socket.h"
#include "daemon/frame_stream.h"

namespace brood {
namespace {

constexpr size_t kMaxConnections = 256;
constexpr uint32_t kMaxRequest = 1u << 20;  // bytes; a Launch holds a few variables and names
constexpr auto kFirstFrame = std::chrono::seconds(10);
constexpr auto kNextFrame = std::chrono::seconds(60);  // `brood top` asks once a second

}  // namespace

// One client. Ends when the client leaves, breaks the protocol, or is silent for too long.
class Server::Connection final : private FrameStream::Handler, private WarmWaiter {
 public:
  Connection(Server& server, Fd socket)
      : server_(server),
        deadline_(server.io_),
        stream_(server.io_, std::move(socket), kMaxRequest, *this) {
    expire_after(kFirstFrame);
  }
  ~Connection() { server_.environments_.forget(*this); }

 private:
  void on_frame(FrameType type, std::string_view payload) override {
    expire_after(kNextFrame);
    switch (type) {
      case FrameType::kWarm: return warm(payload, false);
      case FrameType::kWarmWait: return warm(payload, true);
      case FrameType::kCommand: return command(payload);
      default: return server_.drop(*this);
    }
  }
  void on_end(const std::string&) override { server_.drop(*this); }

  void warm(std::string_view payload, bool wait) {
    Result<Launch> launch = decode_launch(payload);
    std::string why;
    if (!launch)
      why = launch.error().message;
    else if (launch->context != server_.context_)
      why = "the daemon runs in another context (user, groups, namespaces or privileges)";
    if (!why.empty()) {
      spdlog::warn("not warmed: {}", why);
      if (wait) on_warmed({false, why});
    } else if (wait) {
      waiting_ = true;
      server_.environments_.wait_for(*launch, *this);
    } else {
      server_.environments_.warm(*launch);
    }
  }

  void on_warmed(const Warmed& warmed) override {
    waiting_ = false;
    Warmed answer = warmed;
    answer.text.resize(std::min(answer.text.size(), size_t{kMaxRequest}));
    stream_.send(FrameType::kWarmed, encode(answer));
    expire_after(kNextFrame);
  }

  void command(std::string_view payload) {
    const CommandAnswer answer = answer_command(payload, server_.facts_, server_.environments_);
    std::string bytes;
    nlohmann::json::to_msgpack(answer.reply, bytes);
    if (bytes.size() > kMaxFramePayload) {
      bytes.clear();
      nlohmann::json::to_msgpack({{"error", "the answer is too long"}}, bytes);
    }
    stream_.send(FrameType::kReply, bytes);
    if (answer.stop) server_.stop_("asked to stop");
  }

  void expire_after(std::chrono::seconds time) {
    deadline_.expires_after(time);
    deadline_.async_wait(guard_.wrap([this](auto error) {
      if (error) return;
      if (waiting_) return expire_after(kNextFrame);
      server_.drop(*this);
    }));
  }

  Server& server_;
  bool waiting_ = false;
  boost::asio::steady_timer deadline_;
  FrameStream stream_;
  Guard guard_;
};

Server::Server(boost::asio::io_context& io, Fd listener, const DaemonFacts& facts,
               Installation installation, Environments& environments,
               std::function<void(const std::string& why)> stop)
    : io_(io),
      facts_(facts),
      installation_(std::move(installation)),
      context_(process_context()),
      environments_(environments),
      stop_(std::move(stop)),
      acceptor_(
          io, std::move(listener), [this](Fd socket) { admit(std::move(socket)); },
          [this] { return connections_.size() < kMaxConnections; }) {}

Server::~Server() = default;

void Server::admit(Fd socket) {
  if (!installation_.unchanged()) {
    acceptor_.close();
    return stop_("brood's files have gone or were replaced");
  }
  Result<unsigned> uid = peer_uid(socket.get());
  if (!uid || *uid != geteuid()) {
    spdlog::warn("a client of another user was dropped");
    return;
  }
  connections_.push_back(std::make_unique<Connection>(*this, std::move(socket)));
}

void Server::drop(Connection& connection) {
  std::erase_if(connections_, [&](const auto& one) { return one.get() == &connection; });
  acceptor_.go_on();
}

}  // namespace brood
