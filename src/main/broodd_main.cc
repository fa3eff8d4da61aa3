// broodd: the daemon. One per user; starts and watches the zygotes, and tells what it knows of
// them.
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/sys.h"
#include "daemon/asio.h"
#include "daemon/environments.h"
#include "daemon/server.h"
#include "daemon/startup.h"
#include "main/serve.h"

namespace brood {
namespace {

constexpr size_t kLogSize = 1u << 20;  // bytes; one older file is kept
constexpr size_t kLogFiles = 1;

struct Options {
  bool background = false;
  std::string log_level;
};

void open_log(const RuntimeDir& dir, const Options& options, const std::string& configured) {
  std::vector<spdlog::sink_ptr> sinks;
  if (!options.background) sinks.push_back(std::make_shared<spdlog::sinks::stderr_sink_st>());
  std::string problem;
  try {
    sinks.push_back(std::make_shared<spdlog::sinks::rotating_file_sink_st>(dir.log_file(), kLogSize,
                                                                           kLogFiles));
  } catch (const spdlog::spdlog_ex& error) {
    problem = error.what();
  }
  auto logger = std::make_shared<spdlog::logger>("broodd", sinks.begin(), sinks.end());
  const char* variable = getenv("BROOD_LOG");
  const std::string level = !options.log_level.empty() ? options.log_level
                            : variable && *variable    ? variable
                                                       : configured;
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::info);
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
  spdlog::set_default_logger(logger);
  if (!problem.empty()) spdlog::warn("no log file: {}", problem);
}

// A mistake in the user's file must not keep the daemon from serving; whoever runs a program is
// told of it.
DaemonConfig read_daemon_config(std::string& problem) {
  const Surroundings here = surroundings_here();
  const std::string path = here.user_config();
  if (path.empty() || access(path.c_str(), F_OK) != 0) return {};
  Result<ConfigFile> file = read_config(path, here.home);
  if (file) return file->daemon;
  problem = file.error().message;
  return {};
}

class Daemon {
 public:
  Daemon(const RuntimeDir& dir, const DaemonConfig& config, Fd listener, bool inherited)
      : dir_(dir),
        config_(config),
        inherited_(inherited),
        signals_(io_, SIGTERM, SIGINT, SIGHUP),
        idle_timer_(io_),
        environments_(io_, dir, config, module_path()),
        server_(io_, std::move(listener), {dir.path, monotonic_ns(), config.max_environments},
                Installation(read_link("/proc/self/exe"), module_path()), environments_,
                [this](const std::string& why) { stop(why); }) {
    signals_.async_wait([this](auto error, int number) {
      if (!error) stop("signal " + std::to_string(number));
    });
    watch_idle();
  }

  void run() { io_.run(); }

 private:
  void stop(const std::string& why) {
    spdlog::info("leaving: {}", why);
    if (!inherited_) unlink(dir_.daemon_socket().c_str());
    environments_.retire_all();
    io_.stop();
  }

  void watch_idle() {
    if (config_.idle_exit_ns == 0) return;
    const int64_t left = environments_.used_ns() + config_.idle_exit_ns - monotonic_ns();
    if (left <= 0)
      return stop("not used for " + std::to_string(config_.idle_exit_ns / 1'000'000'000) + " s");
    idle_timer_.expires_after(std::chrono::nanoseconds(left));
    idle_timer_.async_wait([this](auto error) {
      if (!error) watch_idle();
    });
  }

  boost::asio::io_context io_{1};
  const RuntimeDir dir_;
  const DaemonConfig config_;
  const bool inherited_;  // from systemd, which owns the file, too
  boost::asio::signal_set signals_;
  boost::asio::steady_timer idle_timer_;
  Environments environments_;
  Server server_;
};

int fail(const std::string& message) {
  std::fprintf(stderr, "broodd: %s\n", message.c_str());
  return 1;
}

int serve(const Options& options) {
  umask(077);
  reset_signals();
  const RuntimeDir dir = runtime_dir();
  if (Result<void> made = create(dir); !made) return fail(made.error().message);
  Fd listener = inherited_listener();
  const bool inherited = static_cast<bool>(listener);
  Result<std::optional<Fd>> lock = lock_directory(dir, inherited);
  if (!lock) return fail(lock.error().message);
  if (!*lock) return 0;  // another daemon serves
  if (!inherited) {
    Result<Fd> opened = open_listener(dir);
    if (!opened) return fail(opened.error().message);
    listener = std::move(*opened);
  }
  remove_left_overs(dir);
  const int keep[] = {(*lock)->get(), listener.get()};
  if (options.background)
    if (Result<void> done = go_to_background(dir, keep); !done) return fail(done.error().message);
  sign_lock((*lock)->get());
  if (chdir("/") != 0) return fail(sys_error("change to /").message);
  std::string problem;
  const DaemonConfig config = read_daemon_config(problem);
  open_log(dir, options, config.log_level);
  if (!problem.empty()) spdlog::warn("{}; the defaults apply", problem);
  spdlog::info("broodd " BROOD_VERSION " (pid {}) serves {}", getpid(), dir.path);
  Daemon(dir, config, std::move(listener), inherited).run();
  return 0;
}

}  // namespace
}  // namespace brood

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "serve") return brood::run_serve(argc - 1, argv + 1);
  brood::Options options;
  CLI::App app{
      "broodd keeps Python interpreters warm. It is started by itself when brood needs it.",
      "broodd"};
  app.add_flag("--background", options.background, "leave the terminal; return when it serves");
  app.add_option("--log-level", options.log_level, "how much is logged (BROOD_LOG says the same)")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error", "critical", "off"}));
  app.set_version_flag("--version", "broodd " BROOD_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return brood::serve(options);
}
