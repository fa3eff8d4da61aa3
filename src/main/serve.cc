#include "main/serve.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <vector>

#include "auth/accounts.h"
#include "auth/door_files.h"
#include "auth/file_authenticator.h"
#include "auth/tls.h"
#include "base/clock.h"
#include "base/socket.h"
#include "base/sys.h"
#include "daemon/environments.h"
#include "daemon/execnet_server.h"
#include "daemon/spawn.h"
#include "daemon/startup.h"
#include "http/page.h"
#include "http/server.h"
#include "main/serve_demo.h"
#include "main/serve_environments.h"
#include "main/serve_options.h"
#include "main/serve_process.h"
#include "native/gateway_server.h"
#include "native/native_server.h"
#include "session/sessions.h"

namespace brood {
namespace {

constexpr auto kGoodbye = std::chrono::seconds(3);  // for browsers to hear that the server leaves

constexpr int kMistake = 2;  // in the command line or the configuration

int give_up(const std::string& message, int status = 1) {
  std::fprintf(stderr, "brood serve: %s\n", message.c_str());
  return status;
}

void open_log(const std::string& level) {
  auto logger =
      std::make_shared<spdlog::logger>("serve", std::make_shared<spdlog::sinks::stderr_sink_st>());
  const char* variable = getenv("BROOD_LOG");
  logger->set_level(spdlog::level::from_str(!level.empty()          ? level
                                            : variable && *variable ? variable
                                                                    : "warning"));
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
  spdlog::set_default_logger(logger);
}

ServeSettings settings_of(const ServeConfig& config, const std::string& work) {
  ServeSettings settings;
  settings.work_folder = work;
  settings.max_sessions = config.max_sessions;
  settings.max_sessions_per_user = config.max_sessions_per_user;
  settings.sessions_ahead = config.sessions_ahead;
  settings.checkpoints = config.checkpoints;
  settings.idle_timeout = static_cast<uint64_t>(config.idle_timeout_ns / kSecond);
  settings.no_clients_timeout = static_cast<uint64_t>(config.no_clients_timeout_ns / kSecond);
  settings.interrupt_grace_ns = config.interrupt_grace_ns;
  settings.file_limit = config.file_limit;
  settings.limits = config.limits;
  return settings;
}

// Beside the extension module: PREFIX/lib/brood/python/brood/gateways/core.
std::string gateway_core() {
  const std::string module = module_path();
  const std::filesystem::path core =
      module.substr(0, module.rfind('/')) + "/python/brood/gateways/core";
  std::error_code ignored;
  return std::filesystem::weakly_canonical(core, ignored).string();
}

// Who can reach a gateway can run code: from elsewhere only with a token, which somebody must have.
Result<void> check_gateways(const ServePlan& plan, FileAuthenticator& door) {
  for (const Address& address : plan.addresses) {
    if (address.kind != Address::Kind::kGateway) continue;
    Result<bool> own = is_loopback(address);
    if (!own) return own.error();
    if (*own || door.has_tokens()) continue;
    return Error{address.text() +
                 " can be reached from other machines, and nobody has a token to show there: make "
                 "one (brood token new), or choose it (BROOD_TOKEN), or use gateway:127.0.0.1:" +
                 address.port};
  }
  return {};
}

// The first label of the host's name, in session ids: so that a router in front of several servers
// knows whose a session is.
std::string node_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  std::string node;
  for (const char* at = name; *at && *at != '.' && node.size() < 16; at++)
    if ((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9')) node += *at;
  return node.empty() ? "node" : node;
}

// Until its listener is taken, the file of a socket belongs to this.
struct Opened {
  Opened(Address where, Fd socket) : address(std::move(where)), listener(std::move(socket)) {}
  ~Opened() {
    if (listener && address.kind == Address::Kind::kUnix) unlink(address.path.c_str());
  }
  Opened(Opened&&) noexcept = default;

  Address address;
  Fd listener;
};

class Serve {
 public:
  Serve(ServePlan plan, ServeFolder folder, std::unique_ptr<FileAuthenticator> door,
        std::unique_ptr<TlsContext> tls, std::optional<CgroupPlace> place)
      : plan_(std::move(plan)),
        folder_(std::move(folder)),
        door_(std::move(door)),
        tls_(std::move(tls)),
        signals_(io_, SIGTERM, SIGINT, SIGHUP),
        goodbye_(io_),
        groups_(place ? std::make_unique<Cgroups>(io_, std::move(*place)) : nullptr),
        zygotes_(io_, folder_.dir, daemon_config(plan_), module_path()) {}

  ~Serve() {
    execnet_.clear();
    gateways_.clear();
    native_.clear();
    http_.clear();
    sessions_.reset();
    zygotes_.retire_all();
    groups_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_.work, ignored);
    unlink(socket_path().c_str());
    for (const Address& address : plan_.addresses)
      if (address.kind == Address::Kind::kUnix) unlink(address.path.c_str());
  }

  Result<void> open(std::vector<Opened> opened) {
    auto offers = ServeEnvironments::make(plan_.file ? &*plan_.file : nullptr, plan_.config,
                                          plan_.python, zygotes_, folder_.dir);
    if (!offers) return offers.error();
    offers_ = std::move(*offers);
    raise_open_files();
    sessions_ = std::make_unique<Sessions>(io_, settings_of(plan_.config, folder_.work),
                                           node_name(), *offers_, groups_.get());
    unlink(socket_path().c_str());
    Result<Fd> own = listen_unix(socket_path(), kServeBacklog);
    if (!own) return own.error();
    add_native(NativeKind::kUnix, std::move(*own));
    for (Opened& one : opened)
      add_door(one.address, std::move(one.listener));
    offers_->warm_default();
    wait_signal();
    return {};
  }

  void run() { io_.run(); }

 private:
  static DaemonConfig daemon_config(const ServePlan& plan) {
    DaemonConfig config;
    config.for_gateways =
        std::any_of(plan.addresses.begin(), plan.addresses.end(),
                    [](const Address& address) { return address.kind == Address::Kind::kGateway; });
    config.idle_exit_ns = 0;
    config.for_sessions = true;
    return config;
  }
  std::string socket_path() const { return folder_.dir.path + "/sessions.sock"; }

  SSL_CTX* share_tls() const { return tls_ ? tls_->share() : nullptr; }

  void add_native(NativeKind kind, Fd listener) {
    NativeOptions options;
    options.owner = kOwnerUser;
    native_.push_back(std::make_unique<NativeServer>(
        io_, std::move(listener), kind, [this] { return share_tls(); }, *sessions_, *door_,
        std::move(options)));
  }

  void add_gateways(const Address& address, Fd listener) {
    GatewayOptions options;
    options.core = gateway_core();
    options.owner = kOwnerUser;
    Result<bool> own = is_loopback(address);
    options.wants_token = [this, others = !own || !*own] { return others || door_->has_tokens(); };
    options.gateways = plan_.config.max_gateways;
    gateways_.emplace_back(
        address.text(), std::make_unique<GatewayServer>(io_, std::move(listener), *offers_, *door_,
                                                        std::move(options)));
  }

  void add_execnet(const Address& address, Fd listener) {
    const auto prepare = [this](Prepared prepared) {
      offers_->prepare(offers_->default_name(), std::move(prepared));
    };
    execnet_.emplace_back(address.text(),
                          std::make_unique<ExecnetServer>(io_, std::move(listener), prepare,
                                                          plan_.config.max_gateways));
  }

  void add_door(const Address& address, Fd listener) {
    if (address.kind == Address::Kind::kExecnet) return add_execnet(address, std::move(listener));
    if (address.kind == Address::Kind::kGateway) return add_gateways(address, std::move(listener));
    if (!address.is_http())
      return add_native(address.kind == Address::Kind::kUnix  ? NativeKind::kUnix
                        : address.kind == Address::Kind::kTcp ? NativeKind::kTcp
                                                              : NativeKind::kTls,
                        std::move(listener));
    HttpOptions options;
    options.host_names = plan_.config.hosts;
    if (is_wildcard(address)) options.host_names.push_back(machine_name());
    options.secure = address.has_tls();
    options.version = BROOD_VERSION;
    options.page = page_files();
    options.max_file = plan_.config.file_limit;
    options.more_metrics = [this] { return gateway_metrics(); };
    std::function<SSL_CTX*()> tls;
    if (address.has_tls()) tls = [this] { return share_tls(); };
    http_.push_back(std::make_unique<HttpServer>(io_, std::move(listener), std::move(tls),
                                                 *sessions_, *door_, std::move(options)));
  }

  std::string gateway_metrics() const {
    std::string now = "# HELP brood_gateways Gateways by address.\n# TYPE brood_gateways gauge\n";
    std::string ever =
        "# HELP brood_gateways_total Gateways that were begun.\n"
        "# TYPE brood_gateways_total counter\n";
    const auto count = [&](const auto& doors) {
      for (const auto& [address, server] : doors) {
        now += fmt::format("brood_gateways{{address=\"{}\"}} {}\n", address, server->gateways());
        ever +=
            fmt::format("brood_gateways_total{{address=\"{}\"}} {}\n", address, server->started());
      }
    };
    count(execnet_);
    count(gateways_);
    return execnet_.empty() && gateways_.empty() ? "" : now + ever;
  }

  void wait_signal() {
    signals_.async_wait([this](auto error, int number) {
      if (error) return;
      if (number == SIGHUP)
        reload();
      else
        leave();
      wait_signal();
    });
  }

  void reload() {
    if (Result<void> done = door_->reload(); !done) spdlog::error("{}", done.error().message);
    if (!tls_) return;
    if (Result<void> done = tls_->reload(); !done) spdlog::error("{}", done.error().message);
  }

  // A second signal does not wait.
  void leave() {
    if (leaving_ || http_.empty()) return io_.stop();
    leaving_ = true;
    execnet_.clear();
    gateways_.clear();
    native_.clear();
    goodbye_.expires_after(kGoodbye);
    goodbye_.async_wait([this](auto) { io_.stop(); });
    for (const auto& server : http_)
      server->leave([this, left = &doors_left_] {
        if (++*left == http_.size()) io_.stop();
      });
  }

  boost::asio::io_context io_{1};
  ServePlan plan_;
  ServeFolder folder_;
  std::unique_ptr<FileAuthenticator> door_;
  std::unique_ptr<TlsContext> tls_;
  boost::asio::signal_set signals_;
  boost::asio::steady_timer goodbye_;
  std::unique_ptr<Cgroups> groups_;
  Environments zygotes_;
  std::unique_ptr<ServeEnvironments> offers_;
  std::unique_ptr<Sessions> sessions_;
  std::vector<std::pair<std::string, std::unique_ptr<ExecnetServer>>> execnet_;  // by address
  std::vector<std::pair<std::string, std::unique_ptr<GatewayServer>>> gateways_;
  std::vector<std::unique_ptr<NativeServer>> native_;
  std::vector<std::unique_ptr<HttpServer>> http_;
  size_t doors_left_ = 0;
  bool leaving_ = false;
};

std::string take_token(bool& made) {
  const char* given = getenv("BROOD_TOKEN");
  made = !given || !*given;
  std::string token = made ? random_token() : given;
  unsetenv("BROOD_TOKEN");
  return token;
}

Result<std::unique_ptr<TlsContext>> open_tls(const ServeCommand& command, const ServePlan& plan) {
  bool wanted = false;
  std::vector<std::string> names = {"localhost", "127.0.0.1", "::1"};
  for (const Address& address : plan.addresses) {
    wanted = wanted || address.has_tls();
    if (!address.host.empty()) names.push_back(address.host);
    if (const std::string name = machine_name(); !name.empty() && is_wildcard(address))
      names.push_back(name);
  }
  if (!wanted) return std::unique_ptr<TlsContext>();
  names.insert(names.end(), plan.config.hosts.begin(), plan.config.hosts.end());
  TlsFiles files{plan.config.certificate, plan.config.key};
  if (command.self_signed && files.certificate.empty()) {
    Result<TlsFiles> made = make_self_signed(plan.door_folder, names);
    if (!made) return made.error();
    files = *made;
  }
  return TlsContext::load(files);
}

Result<void> become_whom_it_serves(const ServeCommand& command, ServePlan& plan,
                                   std::unique_ptr<TlsContext>& tls) {
  // A key that is given may be root's alone. One that is made is the user's, who reads it again.
  const bool makes_key = command.self_signed && plan.config.certificate.empty();
  const auto secure = [&]() -> Result<void> {
    Result<std::unique_ptr<TlsContext>> opened = open_tls(command, plan);
    if (!opened) return opened.error();
    tls = std::move(*opened);
    return {};
  };
  if (!makes_key)
    if (Result<void> done = secure(); !done) return done;
  if (!plan.config.user.empty()) {
    if (Result<void> done = become_user(plan.config.user); !done) return done;
    if (Result<std::string> own = default_door_folder(); own && command.door_folder.empty())
      plan.door_folder = *own;
  }
  return makes_key ? secure() : Result<void>();
}

// Ports below 1024 need root; files are to belong to whom the server becomes.
Result<void> open_addresses(ServePlan& plan, bool files, std::vector<Opened>& opened) {
  for (Address& address : plan.addresses) {
    if ((address.kind == Address::Kind::kUnix) != files) continue;
    Result<Fd> listener = listen_on(address);
    if (!listener) return listener.error();
    opened.emplace_back(address, std::move(*listener));
  }
  return {};
}

void say_ready(const ServePlan& plan, int ready_fd) {
  if (ready_fd < 0) return;
  std::string line;
  for (const Address& address : plan.addresses)
    line += (line.empty() ? "" : " ") + address.text();
  (void)static_cast<bool>(write_all(ready_fd, line + "\n"));
  if (ready_fd > STDERR_FILENO) close(ready_fd);
}

void greet(const ServePlan& plan, const std::string& token, bool token_is_new) {
  for (Address address : plan.addresses) {
    address.host = reachable_host(address);
    if (!address.is_http()) {
      std::printf("%s\n", address.text().c_str());
      continue;
    }
    const bool v6 = address.host.find(':') != address.host.npos;
    const std::string place = std::string(address.has_tls() ? "https://" : "http://") +
                              (v6 ? "[" + address.host + "]" : address.host) + ":" + address.port;
    std::printf("%s/%s\n", place.c_str(), token_is_new ? ("?token=" + token).c_str() : "");
  }
  if (!token_is_new) std::printf("The token is that of BROOD_TOKEN.\n");
  std::fflush(stdout);
}

}  // namespace

int run_serve(int argc, char** argv) {
  int status = 0;
  const std::optional<ServeCommand> command = parse_serve(argc, argv, status);
  if (!command) return status;
  if (command->ready_fd >= 0 && fcntl(command->ready_fd, F_GETFD) < 0)
    return give_up("--ready-fd " + std::to_string(command->ready_fd) +
                   " is no open descriptor; the one who starts the server opens it");
  open_standard_streams();
  umask(077);
  reset_signals();
  open_log(command->log_level);
  Result<ServePlan> plan = plan_serve(*command);
  if (!plan) return give_up(plan.error().message, kMistake);
  bool token_is_new = false;
  const std::string token = take_token(token_is_new);
  std::unique_ptr<TlsContext> tls;
  std::vector<Opened> opened;
  if (Result<void> done = open_addresses(*plan, false, opened); !done)
    return give_up(done.error().message);
  Result<uid_t> user = user_number(plan->config.user);
  if (!user) return give_up(user.error().message);
  auto place = CgroupPlace::claim(plan->config.cgroup, *user);
  if (!place) return give_up(place.error().message);
  if (Result<void> done = become_whom_it_serves(*command, *plan, tls); !done)
    return give_up(done.error().message);
  if (Result<void> done = open_addresses(*plan, true, opened); !done)
    return give_up(done.error().message);
  if (is_demo(*command) && plan->file) {
    Result<std::string> python = choose_demo_python(*plan->file);
    if (!python) return give_up(python.error().message);
    plan->python = std::move(*python);
  }
  auto door = FileAuthenticator::open({plan->door_folder, token, kOwnerUser, token_is_new});
  if (!door) return give_up(door.error().message);
  if (Result<void> good = check_gateways(*plan, **door); !good)
    return give_up(good.error().message, kMistake);
  Result<ServeFolder> folder = claim_folder(plan->config.work_folder);
  if (!folder) return give_up(folder.error().message);
  const ServePlan shown = *plan;
  Serve serve(std::move(*plan), std::move(*folder), std::move(*door), std::move(tls),
              std::move(*place));
  if (Result<void> done = serve.open(std::move(opened)); !done)
    return give_up(done.error().message);
  greet(shown, token, token_is_new);
  say_ready(shown, command->ready_fd);
  serve.run();
  return 0;
}

}  // namespace brood
