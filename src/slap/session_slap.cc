#include "slap/session_slap.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/sys.h"
#include "brood/client.h"
#include "slap/slap_report.h"
#include "slap/spawn.h"

namespace brood {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTurnMs = 100;           // how long a thread waits before it looks at `stop`
constexpr double kOrphanSeconds = 60;  // after which the server ends the sessions of a dead client
constexpr int kConnectTimeoutMs = 30'000;

double microseconds(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

// What all threads share.
struct Progress {
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> sessions{0}, cells{0}, errors{0};
};

// One connection with its session and at most one running cell.
class Connection {
 public:
  Connection(const SessionSlapOptions& options, Progress& progress, SlapReport& report)
      : options_(options), progress_(progress), report_(report) {}

  // Connects, makes the session and runs its first cell to the end.
  void create() {
    guarded([this] {
      ClientOptions where;
      where.address = options_.server;
      where.name = "brood slap session";
      where.timeout_ms = kConnectTimeoutMs;
      client_ = std::make_unique<Client>(where);
      NewSession what;
      what.env = options_.env;
      what.name = "slap";
      what.no_clients_timeout = kOrphanSeconds;
      if (options_.checkpoints >= 0) what.checkpoints = options_.checkpoints;
      const Clock::time_point begin = Clock::now();
      session_ = client_->new_session(what);
      report_.create.add(microseconds(begin));
      progress_.sessions++;
      start();
      while (runs() && !progress_.stop)
        take(session_->next_event(kTurnMs));
      if (done_ == 1) report_.first.add(microseconds(begin));
    });
  }

  // Starts the next cell; nothing when there is none left.
  void start() {
    if (!session_ || started_ == options_.executions) return;
    guarded([this] {
      begin_ = Clock::now();
      cell_ = session_->start(options_.code);
      started_++;
    });
  }

  // Takes the events that are here; starts the next cell when one has ended.
  void turn() {
    guarded([this] {
      while (runs()) {
        const std::optional<SessionEvent> event = session_->next_event(0);
        if (!event) return;
        take(event);
        if (!runs()) start();
      }
    });
  }

  bool runs() const { return cell_ != 0; }
  int descriptor() const { return client_->descriptor(); }

  void remove() {
    if (session_) guarded([this] { session_->remove(); });
    session_.reset();
    client_.reset();
  }

 private:
  // A session that fails is not used any more, but for being removed.
  template <typename Action>
  void guarded(const Action& action) {
    try {
      action();
    } catch (const ClientError& error) {
      fail(error.code(), error.what());
      started_ = options_.executions;
      cell_ = 0;
      if (error.code() == "connection") session_.reset();
    }
  }

  void fail(const std::string& kind, const std::string& text) {
    report_.add_error(kind, text);
    progress_.errors++;
  }

  void take(const std::optional<SessionEvent>& event) {
    if (!event) return;
    if (event->type == "ended") throw ClientError("ended", event->text("why"));
    if (event->cell != cell_ || !runs()) return;
    if (event->type == "input") session_->end_stdin();
    if (event->type == "error") why_ = event->text("name") + ": " + event->text("value");
    if (event->type != "done") return;
    const std::string status = event->text("status");
    if (status == "exit") return;  // "ended" follows
    report_.cell.add(microseconds(begin_));
    progress_.cells++;
    cell_ = 0;
    done_++;
    if (status != "ok") fail("cell " + status, status == "error" ? why_ : event->text("why"));
  }

  const SessionSlapOptions& options_;
  Progress& progress_;
  SlapReport& report_;
  std::unique_ptr<Client> client_;
  std::optional<RemoteSession> session_;
  Clock::time_point begin_;
  uint64_t cell_ = 0;  // the running one; 0: none
  int started_ = 0, done_ = 0;
  std::string why_;  // the exception of the cell
};

// What one thread does. Each phase runs in a thread of its own.
class Worker {
 public:
  Worker(const SessionSlapOptions& options, Progress& progress)
      : options_(options), progress_(progress) {}

  void create() {
    for (int i = 0; i < options_.connections && !progress_.stop; i++) {
      connections_.push_back(std::make_unique<Connection>(options_, progress_, report_));
      connections_.back()->create();
    }
  }

  void execute() {
    for (const auto& connection : connections_)
      if (!connection->runs()) connection->start();
    std::vector<Connection*> running;
    std::vector<pollfd> ready;
    while (!progress_.stop) {
      running.clear();
      ready.clear();
      for (const auto& connection : connections_) {
        if (connection->runs()) connection->turn();  // what came while a request was answered
        if (!connection->runs()) continue;
        running.push_back(connection.get());
        ready.push_back({connection->descriptor(), POLLIN, 0});
      }
      if (running.empty()) return;
      (void)poll(ready.data(), ready.size(), kTurnMs);
    }
  }

  void remove() {
    for (const auto& connection : connections_)
      connection->remove();
  }

  const SlapReport& report() const { return report_; }

 private:
  const SessionSlapOptions& options_;
  Progress& progress_;
  SlapReport report_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

class Slap {
 public:
  explicit Slap(const SessionSlapOptions& options) : terminal_(isatty(STDERR_FILENO)) {
    sigemptyset(&signals_);
    for (const int number : {SIGINT, SIGTERM, SIGHUP})
      sigaddset(&signals_, number);
    pthread_sigmask(SIG_BLOCK, &signals_, &old_signals_);
    for (int i = 0; i < options.threads; i++)
      workers_.push_back(std::make_unique<Worker>(options, progress_));
  }
  ~Slap() { pthread_sigmask(SIG_SETMASK, &old_signals_, nullptr); }
  Slap(const Slap&) = delete;

  SlapReport run() {
    SlapReport report;
    report.create_seconds = phase("making sessions", &Worker::create);
    if (!progress_.stop) report.execute_seconds = phase("running cells", &Worker::execute);
    phase("removing sessions", &Worker::remove);
    if (terminal_) fmt::print(stderr, "\r\x1b[K");
    for (const auto& worker : workers_)
      report.add(worker->report());
    report.interrupted = progress_.stop;
    return report;
  }

 private:
  // Runs it on all threads; returns the seconds that took.
  double phase(const char* name, void (Worker::*action)()) {
    const Clock::time_point begin = Clock::now();
    Clock::time_point end;  // of the last one
    std::atomic<size_t> left = workers_.size();
    std::vector<std::thread> threads;
    for (const auto& worker : workers_)
      threads.emplace_back([&left, &end, action, one = worker.get()] {
        (one->*action)();
        if (--left == 0) end = Clock::now();
      });
    while (left > 0)
      wait(name);
    for (std::thread& thread : threads)
      thread.join();
    return std::chrono::duration<double>(end - begin).count();
  }

  // Ten milliseconds, or until a signal comes.
  void wait(const char* name) {
    const timespec turn{0, 10'000'000};
    if (sigtimedwait(&signals_, nullptr, &turn) > 0) {
      if (progress_.stop) _exit(128 + SIGINT);
      progress_.stop = true;
    }
    if (!terminal_ || Clock::now() - shown_ < std::chrono::milliseconds(kTurnMs)) return;
    shown_ = Clock::now();
    fmt::print(stderr, "\r\x1b[K{}: {} sessions, {} cells, {} errors", name,
               progress_.sessions.load(), progress_.cells.load(), progress_.errors.load());
  }

  const bool terminal_;
  Progress progress_;
  sigset_t signals_{}, old_signals_{};
  Clock::time_point shown_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

// Each connection is an open file.
void raise_open_files() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

nlohmann::json as_json(const SessionSlapOptions& options, const SlapReport& report) {
  nlohmann::json out = report.json();
  out["threads"] = options.threads;
  out["connections"] = options.connections;
  out["executions"] = options.executions;
  out["env"] = options.env;
  out["code"] = options.code;
  return out;
}

Result<void> write(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << "\n" << std::flush;
  if (!file) return Error{"cannot write " + path};
  return {};
}

Result<void> draw(const SessionSlapOptions& options, const std::string& report) {
  std::string path = "/tmp/brood-slap-XXXXXX";
  const Fd file(mkostemp(path.data(), O_CLOEXEC));
  if (!file) return sys_error("make a temporary file");
  Result<void> written = write(path, report);
  Result<Finished> drawn =
      written
          ? run_command(
                {{options.python, options.scripts + "/bench_slap_plot.py", path, options.plot}, {}},
                Output::kDiscard)
          : written.error();
  unlink(path.c_str());
  if (!drawn) return drawn.error();
  if (drawn->status != 0)
    return Error{"no plot: that needs an interpreter with matplotlib; --python names one"};
  return {};
}

}  // namespace

int session_slap(const SessionSlapOptions& options) {
  raise_open_files();
  const SlapReport report = Slap(options).run();
  fmt::print("{}", report.text());
  const std::string text =
      as_json(options, report).dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
  Result<void> kept;
  if (!options.json.empty()) kept = write(options.json, text);
  if (kept && !options.plot.empty()) kept = draw(options, text);
  if (!kept) fmt::print(stderr, "brood slap: {}\n", kept.error().message);
  if (report.interrupted) return 128 + SIGINT;
  return kept && report.errors.empty() ? 0 : 1;
}

}  // namespace brood
