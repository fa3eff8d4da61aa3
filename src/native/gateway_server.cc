#include "native/gateway_server.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <utility>

#include "base/tcp.h"
#include "native/gateway_py.h"

namespace brood {

GatewayServer::GatewayServer(boost::asio::io_context& io, Fd listener,
                             EnvironmentSource& environments, Authenticator& authenticator,
                             GatewayOptions options)
    : io_(io),
      environments_(environments),
      authenticator_(authenticator),
      options_(std::move(options)),
      folder_(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)),
      acceptor_(
          io, std::move(listener), [this](Fd socket) { admit(std::move(socket)); },
          [this] { return visitors_.size() + leaving_.size() < options_.visitors; }) {}

GatewayServer::~GatewayServer() = default;

// --- visitors ------------------------------------------------------------------------------------

void GatewayServer::admit(Fd socket) {
  tune_tcp(socket.get());
  GatewayVisitor::Admission admission = admission_of(socket.get());
  const auto place = visitors_.emplace(visitors_.end());
  *place = std::make_unique<GatewayVisitor>(
      io_, std::move(socket), std::move(admission), authenticator_,
      [this, place](GatewayVisitor::End end) { on_visit(place, std::move(end)); });
}

GatewayVisitor::Admission GatewayServer::admission_of(int socket) const {
  GatewayVisitor::Admission admission;
  admission.address = peer_ip(socket);
  admission.patience_ms = options_.patience_ms;
  if (options_.wants_token()) return admission;
  Result<unsigned> user = local_peer_uid(socket);
  if (user && *user == geteuid()) admission.identity = Identity{options_.owner, true};
  return admission;
}

void GatewayServer::on_visit(Visitors::iterator place, GatewayVisitor::End end) {
  if (end.wish)
    start(std::move(end.socket), *end.wish);
  else if (!end.last_words.empty())
    let_go(std::move(end.socket), end.last_words);
  visitors_.erase(place);
  acceptor_.go_on();
}

void GatewayServer::let_go(Fd socket, const std::string& last_words) {
  const auto place = leaving_.emplace(leaving_.end());
  *place = std::make_unique<Farewell>(io_, std::move(socket), last_words, [this, place] {
    leaving_.erase(place);
    acceptor_.go_on();
  });
}

// --- interpreters --------------------------------------------------------------------------------

void GatewayServer::start(Fd socket, const GatewayWish& wish) {
  const std::string name =
      wish.environment.empty() ? environments_.default_name() : wish.environment;
  if (!environments_.has(name))
    return let_go(std::move(socket), refusal(wish.request, ProblemCode::kNotFound,
                                             "there is no environment " + name + " here"));
  if (workers_.size() >= options_.gateways)
    return let_go(std::move(socket),
                  refusal(wish.request, ProblemCode::kLimit,
                          "there are " + std::to_string(workers_.size()) +
                              " gateways at this address, which is the limit (max_gateways)"));
  const auto place = workers_.emplace(
      workers_.end(), io_, std::move(socket), program_for(wish, name),
      [this, name](Prepared prepared) { environments_.prepare(name, std::move(prepared)); },
      SocketWorker::Patience{});
  place->start([this, place, request = wish.request](const std::string& why) {
    on_ended(place, request, why);
  });
  started_++;
}

SocketProgram GatewayServer::program_for(const GatewayWish& wish,
                                         const std::string& environment) const {
  const SessionLimits limits = environments_.terms(environment).limits;
  SocketProgram program;
  program.text = kGatewayProgram;
  program.arguments = {options_.core, wish.engine, std::to_string(wish.request)};
  for (const uint64_t limit : {limits.memory, limits.file_size, limits.open_files})
    program.arguments.push_back(std::to_string(limit));
  program.folder = folder_.get();
  program.errors = STDERR_FILENO;
  return program;
}

void GatewayServer::on_ended(Workers::iterator place, uint64_t request, const std::string& why) {
  if (!why.empty()) {
    spdlog::error("no gateway: {}", why);
    if (Fd socket = place->take_socket())
      let_go(std::move(socket), refusal(request, ProblemCode::kUnavailable, why));
  }
  workers_.erase(place);
}

}  // namespace brood
