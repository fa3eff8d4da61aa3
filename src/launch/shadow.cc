#include "launch/shadow.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <string>

#include "base/clock.h"
#include "base/socket.h"
#include "base/sys.h"
#include "wire/launch.h"

namespace brood {
namespace {

// A zygote that is alive says at once how its worker ended; one that is stopped must not hang the
// client.
constexpr int kLastWordMs = 10'000;
// How often the client of a program whose stderr is a pipe looks whether the program still has it.
constexpr int kFirstLookMs = 20;
constexpr int kLongestLookMs = 1000;

[[noreturn]] void die_of(int signal_number) {
  const rlimit no_core{0, 0};  // the worker has written one already, if at all
  setrlimit(RLIMIT_CORE, &no_core);
  signal(signal_number, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal_number);
  raise(signal_number);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  _exit(128 + signal_number);
}

Fd open_pidfd(pid_t pid) { return Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

// Children that this process had before it executed brood-python: nobody else can wait for them.
void reap_children() {
  while (waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

bool readable(const Fd& fd) {
  pollfd item{fd.get(), POLLIN, 0};
  return poll(&item, 1, 0) > 0;
}

class Shadow {
 public:
  Shadow(Fd connection, pid_t zygote, pid_t worker, FrameParser parser)
      : connection_(std::move(connection)),
        worker_(worker),
        zygote_pid_(zygote),
        parser_(std::move(parser)) {
    hold_stderr();
    pidfd_ = open_pidfd(worker);
    zygote_ = open_pidfd(zygote);
    sigset_t all;
    sigfillset(&all);
    signals_ = Fd(signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
    reap_children();
    let_go_of_descriptors();
  }

  [[noreturn]] void run() {
    for (;;) {
      read_answers();
      const bool ended = !pidfd_ || readable(pidfd_);
      if (ended) wait_for_last_word();
      pollfd items[] = {
          {connection_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}, {pidfd_.get(), POLLIN, 0}};
      if (poll(items, std::size(items), next_look_ms_) < 0 && errno != EINTR) lost();
      if (next_look_ms_ > 0) look_at_stderr();
      if (items[1].revents) forward_signals();
      if (items[0].revents) receive();
    }
  }

 private:
  // The program has its own; what it closes must be closed: readers and writers at the other ends
  // wait for that.
  void let_go_of_descriptors() {
    int kept[] = {connection_.get(), pidfd_.get(), zygote_.get(), signals_.get(), stderr_.get()};
    std::sort(std::begin(kept), std::end(kept));
    int next = 0;
    for (const int fd : kept) {
      if (fd > next) close_range(static_cast<unsigned>(next), static_cast<unsigned>(fd) - 1, 0);
      next = std::max(next, fd + 1);
    }
    close_range(static_cast<unsigned>(next), ~0U, 0);
  }

  // stderr alone is kept, for lost(). A reader of that pipe waits, too: it is let go soon after the
  // program's is closed.
  void hold_stderr() {
    struct stat st;
    if (fstat(STDERR_FILENO, &st) != 0) return;
    stderr_ = Fd(STDERR_FILENO);
    if (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)) return;
    stderr_link_ = read_link("/proc/self/fd/2");
    next_look_ms_ = kFirstLookMs;
  }

  void look_at_stderr() {
    const std::string proc = "/proc/" + std::to_string(worker_);
    const std::string link = read_link((proc + "/fd/2").c_str());
    // A process that is killed gives up its memory, then its descriptors, and only then its pidfd
    // tells. So while it has an executable, what was read of its descriptors was true.
    const bool certain = !read_link((proc + "/exe").c_str()).empty() && worker_alive();
    if (link == stderr_link_ || !certain) {
      next_look_ms_ = std::min(2 * next_look_ms_, kLongestLookMs);
    } else {
      stderr_.reset();
      next_look_ms_ = -1;
    }
  }

  // The worker says how it ended, or, when it was killed or left by os._exit(), its zygote does. An
  // end of the stream alone says nothing: a program may close all its descriptors.
  void receive() {
    std::vector<Fd> none;
    Result<size_t> got = receive_some(connection_.get(), 4096, parser_.buffer(), none);
    if (!got || *got == 0) connection_.reset();
  }

  [[noreturn]] void wait_for_last_word() {
    const int64_t deadline = monotonic_ns() + kLastWordMs * int64_t{1'000'000};
    while (connection_) {
      const bool zygote_gone = !zygote_ || readable(zygote_);
      const int64_t left = zygote_gone ? 0 : (deadline - monotonic_ns()) / 1'000'000;
      // A pidfd of a process that has gone stays readable: it would be reported for ever.
      pollfd items[] = {{connection_.get(), POLLIN, 0},
                        {zygote_gone ? -1 : zygote_.get(), POLLIN, 0}};
      const int ready = poll(items, std::size(items), static_cast<int>(std::max<int64_t>(left, 0)));
      if (items[0].revents) receive();
      read_answers();
      if (ready == 0) break;
    }
    lost();
  }

  void read_answers() {
    FrameView frame;
    while (parser_.next(frame) == FrameParser::Step::kFrame) {
      if (frame.header.type == FrameType::kExited) {
        Result<Exited> exited = decode_exited(frame.payload);
        if (!exited) lost();
        if (exited->signaled) die_of(static_cast<int>(exited->code));
        _exit(static_cast<int>(exited->code));
      }
      if (frame.header.type == FrameType::kStopped) stop_with_worker(frame.payload);
    }
  }

  // The worker and its zygote are gone. Whether the program came to its end is not known, so it is
  // not run again.
  [[noreturn]] void lost() {
    dprintf(stderr_.get(),
            "brood: lost the program (worker %d): it was started and its process has vanished "
            "together with\n"
            "brood: its zygote, so how it ended is not known; it is not run a second time\n",
            static_cast<int>(worker_));
    _exit(kStatusUnknown);
  }

  void stop_with_worker(std::string_view payload) {
    Result<Stopped> stopped = decode_stopped(payload);
    const int number = stopped ? static_cast<int>(stopped->signal) : SIGSTOP;
    // The default action of the same signal, so that the shell names it; SIGSTOP if that one cannot
    // stop us.
    if (number == SIGTSTP || number == SIGTTIN || number == SIGTTOU) {
      signal(number, SIG_DFL);
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, number);
      raise(number);
      sigprocmask(SIG_UNBLOCK, &set, nullptr);  // stops here
      sigprocmask(SIG_BLOCK, &set, nullptr);
      // A process group that no shell controls cannot be stopped by these; nor, then, may its
      // program be.
      sigset_t pending;
      if (sigpending(&pending) == 0 && sigismember(&pending, SIGCONT) == 0) kill(-worker_, SIGCONT);
    } else {
      raise(SIGSTOP);
    }
    // Continued. SIGCONT itself is pending in signals_ and goes to the worker from there.
  }

  void forward_signals() {
    signalfd_siginfo info;
    while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
      forward(info);
  }

  void forward(const signalfd_siginfo& info) {
    const int number = static_cast<int>(info.ssi_signo);
    if (number == SIGCHLD) return reap_children();
    if (number == SIGPIPE || number == SIGURG) return;
    // The worker was continued by somebody; the zygote only passes that on.
    if (number == SIGCONT && static_cast<pid_t>(info.ssi_pid) == zygote_pid_) return;
    // What the terminal or the shell sends to a job reaches all its processes; what a person sends
    // with kill, one.
    const bool to_job = info.ssi_code == SI_KERNEL || number == SIGCONT || number == SIGHUP;
    if (to_job && worker_alive() && kill(-worker_, number) == 0) return;
    syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0);
  }

  // A process group's number is safe to use while its leader has not been reaped.
  bool worker_alive() const { return pidfd_ && !readable(pidfd_); }

  Fd connection_;
  Fd pidfd_;
  Fd zygote_;
  Fd signals_;
  Fd stderr_;
  pid_t worker_;
  pid_t zygote_pid_;
  std::string stderr_link_;
  int next_look_ms_ = -1;  // -1: never
  FrameParser parser_;
};

}  // namespace

void shadow(Fd connection, pid_t zygote, pid_t worker, FrameParser parser) {
  Shadow(std::move(connection), zygote, worker, std::move(parser)).run();
}

}  // namespace brood
