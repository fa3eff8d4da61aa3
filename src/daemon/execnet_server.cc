#include "daemon/execnet_server.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <utility>

#include "base/tcp.h"
#include "daemon/execnet_py.h"

namespace brood {

ExecnetServer::ExecnetServer(boost::asio::io_context& io, Fd listener, Prepare prepare, size_t most)
    : io_(io),
      prepare_(std::move(prepare)),
      folder_(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)),
      acceptor_(
          io, std::move(listener), [this](Fd socket) { admit(std::move(socket)); },
          [this, most] { return workers_.size() < most; }) {}

ExecnetServer::~ExecnetServer() = default;

void ExecnetServer::admit(Fd socket) {
  Result<unsigned> user = local_peer_uid(socket.get());
  if (!user) return spdlog::debug("a client of execnet: {}", user.error().message);
  if (*user != geteuid())
    return spdlog::warn("a client of execnet is sent away: it is user {}", *user);
  tune_tcp(socket.get());
  SocketProgram program{kExecnetProgram, {}, folder_.get(), STDERR_FILENO, STDERR_FILENO};
  const auto place = workers_.emplace(workers_.end(), io_, std::move(socket), std::move(program),
                                      prepare_, SocketWorker::Patience{});
  started_++;
  place->start([this, place](const std::string& why) {
    if (!why.empty()) spdlog::error("no gateway of execnet: {}", why);
    workers_.erase(place);
    acceptor_.go_on();
  });
}

}  // namespace brood
