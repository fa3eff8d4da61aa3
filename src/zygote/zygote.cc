#include "zygote/zygote.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <variant>

#include "base/clock.h"
#include "base/scheduling.h"
#include "base/signals.h"
#include "base/socket.h"
#include "base/sys.h"
#include "wire/control.h"
#include "wire/frame.h"
#include "wire/launch.h"
#include "worker/become.h"
#include "worker/program.h"
#include "worker/session.h"
#include "worker/spare.h"
#include "zygote/image.h"
#include "zygote/preload.h"
#include "zygote/settle.h"
#include "zygote/spare_pool.h"
#include "zygote/watch.h"

namespace brood {
namespace {

constexpr int kHighDescriptors = 700;  // brood's own, above what a preload would use
constexpr rlim_t kEnoughDescriptors = 1024;
constexpr uint64_t kFirstSerial = uint64_t{1} << 32;  // above all descriptor numbers
constexpr int kTrialForks = 5;
// A fork that is this cheap has next to no page tables to copy; then children would only pay for
// the image's faults.
constexpr uint64_t kWorthAnImageUs = 80;
constexpr int kMaxSpareDeaths = 8;  // in a row

struct InZygote {
  pid_t child;
};
struct InWorker {};

// A handler, not a signalfd: threads that a preload left running do not block SIGCHLD and would
// swallow it.
int child_event = -1;

void on_child(int) {
  const int saved = errno;
  const uint64_t one = 1;
  (void)!write(child_event, &one, sizeof one);
  errno = saved;
}

void hear_of_children(int event) {
  child_event = event;
  struct sigaction action {};
  action.sa_handler = on_child;
  action.sa_flags = SA_RESTART;
  sigaction(SIGCHLD, &action, nullptr);
}

void become_worker() {
  signal(SIGCHLD, SIG_DFL);
  set_blocked_signals(0);
}

// fork() with all that CPython needs around it. Returns twice, as two types; an Error is in the
// zygote.
std::variant<InZygote, InWorker, Error> fork_python() {
  PyOS_BeforeFork();
  const pid_t child = fork();
  if (child == 0) {
    PyOS_AfterFork_Child();
    return InWorker{};
  }
  const int saved = errno;
  PyOS_AfterFork_Parent();
  if (child < 0) return sys_error("fork", saved);
  return InZygote{child};
}

// Microseconds, the median of a few bare forks.
uint64_t measure_fork() {
  std::array<int64_t, kTrialForks> times;
  for (int64_t& time : times) {
    const int64_t begin = monotonic_ns();
    const pid_t child = fork();
    if (child == 0) _exit(0);
    time = monotonic_ns() - begin;
    if (child > 0) waitpid(child, nullptr, 0);
  }
  std::sort(times.begin(), times.end());
  return static_cast<uint64_t>(times[kTrialForks / 2] / 1000);
}

// A zygote that is still loading reads no control socket, and nobody runs in it: when the daemon
// ends, the kernel ends it, too. `control`: closed by a daemon that had ended before.
void die_with_daemon(int control) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  pollfd item{control, POLLRDHUP, 0};
  if (poll(&item, 1, 0) > 0 && item.revents & (POLLRDHUP | POLLHUP)) _exit(0);
}

void outlive_daemon() { prctl(PR_SET_PDEATHSIG, 0); }

// A daemon that was started under `ulimit -n 256` has less room.
int high_descriptors() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= kEnoughDescriptors)
    return kHighDescriptors;
  return static_cast<int>(files.rlim_cur / 2);
}

// Programs have the limit of their clients.
void allow_descriptors() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= kEnoughDescriptors) return;
  files.rlim_cur = std::min(files.rlim_max, kEnoughDescriptors);
  setrlimit(RLIMIT_NOFILE, &files);
}

class Zygote {
 public:
  explicit Zygote(Fd control) : control_(std::move(control)), pool_(0) {}

  // Zygote process: loads and serves until it is retired; then leaves. In a worker it leaves, too.
  [[noreturn]] void run() {
    if (Result<void> ready = prepare(); !ready) {
      send(FrameType::kFailed, encode(ZygoteFailed{ready.error().message}));
      _exit(1);
    }
    for (;;) {
      refill();
      if (retiring_ && workers_.empty() && pool_.waiting() == 0) _exit(0);
      wait_for_events();
    }
  }

 private:
  struct Worker {
    bool hot = false;
    bool took_client = false;
    bool client_left = false;
    Fd connection;        // the client's: its end means the client is dead
    uint64_t serial = 0;  // of the connection, in the poller
  };

  void send(FrameType type, const std::string& payload) {
    if (control_) (void)send_all(control_.get(), encode_frame(type, payload));
  }

  Result<ZygoteSpec> read_spec() {
    std::vector<Fd> none;
    FrameView frame;
    for (;;) {
      const FrameParser::Step step = parser_.next(frame);
      if (step == FrameParser::Step::kFrame && frame.header.type == FrameType::kPrepare)
        return decode_zygote_spec(frame.payload);
      if (step != FrameParser::Step::kPartial) return Error{"no specification from the daemon"};
      Result<size_t> got = receive_some(control_.get(), 65536, parser_.buffer(), none);
      if (!got || *got == 0) return Error{"the daemon left"};
    }
  }

  Result<void> prepare() {
    Result<ZygoteSpec> spec = read_spec();
    if (!spec) return spec.error();
    spec_ = std::move(*spec);
    if (Result<void> good = load(); !good) return good;
    if (Result<void> good = open_sockets(); !good) return good;
    make_and_measure_image();
    rehearse_once();
    return publish();
  }

  // Everything it allocated for itself is freed when it returns: before the image, for freeing
  // writes all over the heap.
  Result<void> load() {
    const int64_t begin = monotonic_ns();
    Result<std::unique_ptr<Watch>> watch = Watch::create(process_start_ns());
    if (!watch) return watch.error();
    watch_ = std::move(*watch);
    Result<Program> program = Program::load();
    if (!program) return program.error();
    program_ = std::make_unique<Program>(std::move(*program));
    Result<Cells> cells = Cells::load();
    if (!cells) return cells.error();
    cells_ = std::make_unique<Cells>(std::move(*cells));
    Result<Preloaded> loaded = preload(spec_, {control_.get(), watch_->descriptor()});
    if (!loaded) return loaded.error();
    for (const std::string& path : spec_.watched_files)
      loaded->dependencies.files.push_back(path);
    if (!spec_.init_file.empty()) {
      loaded->dependencies.files.push_back(spec_.init_file);
      loaded->dependencies.folders.push_back(
          spec_.init_file.substr(0, std::max<size_t>(spec_.init_file.rfind('/'), 1)));
    }
    if (!spec_.import_directory.empty())
      loaded->dependencies.folders.push_back(spec_.import_directory);
    if (Result<void> good = watch_->add(loaded->dependencies); !good) {
      send(FrameType::kStale, encode(ZygoteStale{good.error().message}));
      _exit(0);
    }
    if (Result<void> good = program_->freeze(); !good) return good;
    cells_->practise(spec_.for_sessions);
    ready_.preload_us = static_cast<uint64_t>((monotonic_ns() - begin) / 1000);
    fill_report(*loaded);
    fill_context(*loaded);
    return {};
  }

  void fill_report(const Preloaded& loaded) {
    ready_.modules = loaded.modules;
    ready_.watched_directories = watch_->watched_folders();
    ready_.polled_files = watch_->polled_files();
    for (const Variable& item : loaded.variables)
      ready_.read_variables.push_back(item.name);
    ready_.output = loaded.output;
    if (PyObject* version = PySys_GetObject("version")) {
      const std::string text = to_bytes(version);
      ready_.python_version = text.substr(0, text.find(' '));
    }
  }

  void fill_context(const Preloaded& loaded) {
    context_.kept_descriptors = loaded.open_descriptors;
    context_.overrides = spec_.overrides;
    for (const Variable& item : loaded.variables)
      context_.bound_variables.emplace_back(item.name, item.value);
    for (const Variable& item : loaded.changes)
      context_.changed_variables.emplace_back(item.name, item.value);
    context_.fresh = [watch = watch_.get()] { return watch->fresh(); };
  }

  Result<void> open_sockets() {
    temporary_path_ = spec_.socket_path + ".new-" + std::to_string(getpid());
    Result<Fd> listener = listen_unix(temporary_path_, 1024);
    if (!listener) return listener.error();
    listener_ = duplicate_above(listener->get(), high_descriptors());
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) != 0)
      return sys_error("make a socket pair");
    Fd ours(pair[0]), theirs(pair[1]);
    notices_ = duplicate_above(ours.get(), high_descriptors());
    spare_notices_ = duplicate_above(theirs.get(), high_descriptors());
    Fd child_events(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    child_events_ = duplicate_above(child_events.get(), high_descriptors());
    hear_of_children(child_events_.get());
    Fd poller(epoll_create1(EPOLL_CLOEXEC));
    poller_ = duplicate_above(poller.get(), high_descriptors());
    if (!listener_ || !notices_ || !spare_notices_ || !child_events_ || !poller_)
      return sys_error("open the zygote's descriptors");
    for (int fd : {control_.get(), notices_.get(), child_events_.get(), watch_->descriptor()})
      if (fd >= 0) add_to_poller(fd, EPOLLIN, static_cast<uint64_t>(fd));
    context_.zygote = getpid();
    context_.listener = listener_.get();
    context_.notices = spare_notices_.get();
    pool_ = SparePool(std::clamp(spec_.spares, 1u, kMaxSpares));
    return {};
  }

  void add_to_poller(int fd, uint32_t events, uint64_t what) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = what;
    epoll_ctl(poller_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  void make_and_measure_image() {
    settle_heap();
    ready_.fork_us = measure_fork();
    const bool worth_it = spec_.image == ImageMode::kOn || ready_.fork_us >= kWorthAnImageUs;
    if (spec_.image == ImageMode::kOff || !worth_it) return;
    Result<ImageReport> image = make_image();
    if (!image) return;
    ready_.image_bytes = image->bytes;
    ready_.image_fork_us = measure_fork();
  }

  // What an empty program touches, every program touches.
  void rehearse_once() {
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) != 0) return;
    Fd results(pair[0]), result(pair[1]);
    auto outcome = fork_python();
    if (std::holds_alternative<InWorker>(outcome)) {
      become_worker();
      rehearse(context_, *program_, spec_.for_sessions ? cells_.get() : nullptr, result.get());
    }
    result.reset();
    std::string bytes;
    char buffer[65536];
    for (;;) {
      const ssize_t got = read(results.get(), buffer, sizeof buffer);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      bytes.append(buffer, static_cast<size_t>(got));
    }
    context_.hot_pages.resize(bytes.size() / sizeof(PageRun));
    std::memcpy(context_.hot_pages.data(), bytes.data(),
                context_.hot_pages.size() * sizeof(PageRun));
    if (std::holds_alternative<InZygote>(outcome))
      waitpid(std::get<InZygote>(outcome).child, nullptr, 0);
  }

  Result<void> publish() {
    fork_spare();
    outlive_daemon();  // from now on it sees the end of its control socket
    if (rename(temporary_path_.c_str(), spec_.socket_path.c_str()) != 0) {
      const Error error = sys_error("publish " + spec_.socket_path);
      unlink(temporary_path_.c_str());
      return error;
    }
    published_ = true;
    socket_file_ = identify(spec_.socket_path.c_str());
    send(FrameType::kReady, encode(ready_));
    return {};
  }

  // Only the file that is ours: a successor may have put its own there.
  void unpublish() {
    if (!published_) return;
    published_ = false;
    if (identify(spec_.socket_path.c_str()).inode == socket_file_.inode)
      unlink(spec_.socket_path.c_str());
  }

  // No new programs; the spares go, the programs run to their end.
  void retire() {
    if (retiring_) return;
    retiring_ = true;
    unpublish();
    // Wakes the spares that wait in accept(), and they leave; one that has just taken a client runs
    // its program.
    if (listener_) shutdown(listener_.get(), SHUT_RD);
    listener_.reset();
    pool_.drain();
  }

  void refill() {
    while (!retiring_) {
      const std::optional<int64_t> due = pool_.next_fork(monotonic_ns());
      if (!due || *due > 0) return;
      if (!fork_spare()) return;
    }
  }

  bool fork_spare() {
    const bool hot = pool_.next_is_hot();
    const Temperature temperature = hot ? Temperature::kHot : Temperature::kReserve;
    auto outcome = fork_python();
    if (std::holds_alternative<InWorker>(outcome)) {
      become_worker();
      be_spare(context_, *program_, *cells_, temperature);
    }
    if (!std::holds_alternative<InZygote>(outcome)) {
      poll(nullptr, 0, 20);  // out of processes or memory: not in a busy loop
      return false;
    }
    workers_[std::get<InZygote>(outcome).child].hot = hot;
    pool_.forked(hot);
    return true;
  }

  void wait_for_events() {
    const std::optional<int64_t> due = retiring_ ? std::nullopt : pool_.next_fork(monotonic_ns());
    const int timeout = due ? static_cast<int>((*due + 999'999) / 1'000'000) : -1;
    std::array<epoll_event, 32> events;
    const int count =
        epoll_wait(poller_.get(), events.data(), static_cast<int>(events.size()), timeout);
    for (int i = 0; i < count; i++)
      handle(events[static_cast<size_t>(i)].data.u64);
  }

  // `what`: the number of one of brood's descriptors, or a connection's serial.
  void handle(uint64_t what) {
    if (what >= kFirstSerial) return client_left(what);
    const int fd = static_cast<int>(what);
    if (fd == control_.get()) return read_control();
    if (fd == notices_.get()) return read_notices();
    if (fd == child_events_.get()) return reap();
    if (fd == watch_->descriptor()) return judge();
  }

  void read_control() {
    std::vector<Fd> none;
    Result<size_t> got = receive_some(control_.get(), 65536, parser_.buffer(), none);
    if (!got || *got == 0) {  // the daemon is gone
      control_.reset();
      return retire();
    }
    FrameView frame;
    while (parser_.next(frame) == FrameParser::Step::kFrame) {
      if (frame.header.type == FrameType::kRetire) retire();
      if (frame.header.type == FrameType::kJudge) answer_judge();
    }
  }

  void answer_judge() {
    judge();
    if (!retiring_ && !watch_->fresh()) judge();  // a file that is compared, not watched
    if (!retiring_) send(FrameType::kFresh, {});
  }

  void judge() {
    const std::string changed = watch_->judge();
    if (changed.empty() || retiring_) return;
    unpublish();
    send(FrameType::kStale, encode(ZygoteStale{changed}));
    retire();
  }

  void read_notices() {
    for (;;) {
      std::string bytes;
      std::vector<Fd> descriptors;
      pollfd item{notices_.get(), POLLIN, 0};
      if (poll(&item, 1, 0) <= 0) return;
      Result<size_t> got = receive_some(notices_.get(), sizeof(Notice), bytes, descriptors);
      if (!got || *got != sizeof(Notice) || descriptors.size() != 1) return;
      Notice notice;
      std::memcpy(&notice, bytes.data(), sizeof notice);
      took_client(notice, std::move(descriptors[0]));
    }
  }

  void took_client(const Notice& notice, Fd connection) {
    const auto found = workers_.find(notice.pid);
    if (found == workers_.end() || found->second.took_client) return;
    Worker& worker = found->second;
    worker.took_client = true;
    worker.connection = duplicate_above(connection.get(), high_descriptors());
    if (!worker.connection) worker.connection = std::move(connection);
    worker.serial = next_serial_++;
    by_connection_[worker.serial] = notice.pid;
    add_to_poller(worker.connection.get(), EPOLLRDHUP, worker.serial);
    pool_.taken(worker.hot, monotonic_ns());
    WorkerEvent event;
    event.pid = static_cast<uint32_t>(notice.pid);
    event.program = notice.program;
    event.spares = pool_.waiting();
    send(FrameType::kWorkerStarted, encode(event));
  }

  // A client does not hang up while its program runs: it was killed, and so is the program, as it
  // would have been. A client that left in the regular way has its program's status; what is killed
  // then is a process on its way out.
  void client_left(uint64_t serial) {
    const auto found = by_connection_.find(serial);
    if (found == by_connection_.end()) return;
    forget_connection(workers_[found->second]);
    workers_[found->second].client_left = true;
    kill(found->second, SIGKILL);
  }

  // Spares hold copies of the connection, so that closing ours would not end its events.
  void forget_connection(const Worker& worker) {
    epoll_ctl(poller_.get(), EPOLL_CTL_DEL, worker.connection.get(), nullptr);
  }

  void reap() {
    uint64_t count;
    (void)!read(child_events_.get(), &count, sizeof count);
    for (;;) {
      int status = 0;
      const pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED);
      if (pid <= 0) return;
      read_notices();  // the one of this worker, if it took a client, is in the queue by now
      const auto found = workers_.find(pid);
      if (found == workers_.end()) continue;
      if (WIFSTOPPED(status))
        tell(found->second, FrameType::kStopped,
             encode(Stopped{static_cast<uint32_t>(WSTOPSIG(status))}));
      else if (WIFCONTINUED(status))
        continue_client(found->second);
      else
        ended(found, status);
    }
  }

  // The client stopped together with its program. When somebody continued the program itself, it
  // must go on, too.
  static void continue_client(const Worker& worker) {
    ucred client{};
    socklen_t size = sizeof client;
    if (worker.connection && !worker.client_left &&
        getsockopt(worker.connection.get(), SOL_SOCKET, SO_PEERCRED, &client, &size) == 0 &&
        client.pid > 0)
      kill(client.pid, SIGCONT);
  }

  void tell(const Worker& worker, FrameType type, const std::string& payload) {
    if (!worker.connection) return;
    const std::string frame = encode_frame(type, payload);
    // A client that does not read must not stop the zygote.
    ::send(worker.connection.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  void ended(std::unordered_map<pid_t, Worker>::iterator found, int status) {
    Worker& worker = found->second;
    WorkerEvent event;
    event.pid = static_cast<uint32_t>(found->first);
    event.signaled = WIFSIGNALED(status) && !worker.client_left;
    event.code = static_cast<uint32_t>(event.signaled ? WTERMSIG(status) : WEXITSTATUS(status));
    if (worker.took_client) {
      tell(worker, FrameType::kExited, encode(Exited{event.signaled, event.code}));
      if (!worker.client_left) forget_connection(worker);
      by_connection_.erase(worker.serial);
      deaths_ = 0;
    } else {
      pool_.died(worker.hot);
      if (!retiring_ && ++deaths_ >= kMaxSpareDeaths) give_up(event);
    }
    event.spares = pool_.waiting();
    const bool took_client = worker.took_client;
    workers_.erase(found);
    if (!took_client) return;
    send(FrameType::kWorkerEnded, encode(event));
    if (watch_->polled_files() > 0) judge();
  }

  // Spares that die by themselves would be forked again for ever.
  [[noreturn]] void give_up(const WorkerEvent& event) {
    unpublish();
    send(FrameType::kFailed,
         encode(ZygoteFailed{
             "spares of this environment die before they take a program: the last one ended " +
             std::string(event.signaled ? "by signal " : "with status ") +
             std::to_string(event.code)}));
    _exit(1);
  }

  Fd control_, listener_, notices_, spare_notices_, child_events_, poller_;
  FrameParser parser_;
  ZygoteSpec spec_;
  ZygoteReady ready_;
  std::unique_ptr<Watch> watch_;
  std::unique_ptr<Program> program_;
  std::unique_ptr<Cells> cells_;
  SpareContext context_;
  SparePool pool_;
  std::unordered_map<pid_t, Worker> workers_;  // spares, too
  std::unordered_map<uint64_t, pid_t>
      by_connection_;  // by serial: a descriptor's number is used again
  uint64_t next_serial_ = kFirstSerial;
  std::string temporary_path_;
  FileIdentity socket_file_;
  int deaths_ = 0;
  bool published_ = false;
  bool retiring_ = false;
};

}  // namespace

void serve(int control) {
  // glibc's posix_spawn leaves them ignored; programs would inherit that.
  for (int number : kInternalSignals)
    set_disposition(number, Disposition::kDefault);
  allow_descriptors();
  Fd own(control);
  Fd high = duplicate_above(control, high_descriptors());
  if (high) own = std::move(high);
  die_with_daemon(own.get());
  signal(SIGINT, SIG_IGN);
  stand_back();
  // A byte written to a huge page would copy 2 MiB into a child. Programs get their setting back.
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  Zygote(std::move(own)).run();
}

}  // namespace brood
