#include "launch/daemon_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/clock.h"
#include "base/socket.h"
#include "wire/frame.h"

namespace brood {
namespace {

constexpr int kDaemonStartMs = 5000;
constexpr int kAskTimeoutMs = 50;  // a program waits for it

// In a child of the client: nothing of the client's may stay open in a daemon.
[[noreturn]] void become_daemon(const std::string& path) {
  setsid();
  close_range(3, ~0U, 0);
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++)
    dup2(null, fd);
  if (null > 2) close(null);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (chdir("/") != 0) _exit(1);
  execl(path.c_str(), path.c_str(), "--background", static_cast<char*>(nullptr));
  _exit(127);
}

constexpr rlim_t kLeastDescriptors = 256;

// A worker cannot have more than its zygote, a zygote no more than the daemon.
Result<void> fit_to_start_daemon() {
  errno = 0;
  if (getpriority(PRIO_PROCESS, 0) > 0)
    return Error{"the daemon is not started from a process with a raised nice value"};
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < kLeastDescriptors)
    return Error{"the daemon is not started from a process that may open only " +
                 std::to_string(files.rlim_max) + " descriptors"};
  return {};
}

Result<Warmed> ask_and_wait(const RuntimeDir& dir, const Launch& launch) {
  Result<Fd> socket = connect_daemon(dir, kDaemonStartMs);
  if (!socket) return socket.error();
  const std::string frame = encode_frame(FrameType::kWarmWait, encode(launch));
  if (Result<void> sent = send_all(socket->get(), frame); !sent) return sent.error();
  FrameParser parser;
  FrameView view;
  std::vector<Fd> none;
  for (;;) {
    const FrameParser::Step step = parser.next(view);
    if (step == FrameParser::Step::kMalformed) return Error{parser.error()};
    if (step == FrameParser::Step::kFrame) break;
    Result<size_t> got = receive_some(socket->get(), 65536, parser.buffer(), none);
    if (!got) return got.error();
    if (*got == 0) return Error{"the daemon left before the environment was warm"};
  }
  if (view.header.type != FrameType::kWarmed) return Error{"the daemon gave an unexpected answer"};
  return decode_warmed(view.payload);
}

}  // namespace

std::string installed(const char* part) {
  std::string self = read_link("/proc/self/exe");
  for (int up = 0; up < 2; up++)
    self.resize(self.rfind('/') == self.npos ? 0 : self.rfind('/'));
  // brood-tool lives one folder deeper, in libexec/brood.
  if (self.ends_with("/libexec")) self.resize(self.size() - 8);
  return self + "/" + part;
}

bool daemon_was_leaving(const Error& error) {
  return error.code == ECONNRESET || error.code == EPIPE;
}

Result<void> start_daemon() {
  if (Result<void> fit = fit_to_start_daemon(); !fit) return fit;
  const std::string path = installed("bin/broodd");
  if (access(path.c_str(), X_OK) != 0) return sys_error("execute " + path);
  const pid_t child = fork();
  if (child < 0) return sys_error("fork");
  if (child == 0) become_daemon(path);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return Error{"broodd did not start; see `brood logs`, or run broodd by hand"};
  return {};
}

Result<Fd> connect_daemon(const RuntimeDir& dir, int timeout_ms) {
  if (Result<void> made = create(dir); !made) return made.error();
  Result<Fd> socket = connect_unix(dir.daemon_socket());
  if (socket) return socket;
  if (Result<void> started = start_daemon(); !started) return started.error();
  const int64_t deadline = monotonic_ns() + int64_t{timeout_ms} * 1'000'000;
  do {
    socket = connect_unix(dir.daemon_socket());
    if (socket) return socket;
    poll(nullptr, 0, 2);
  } while (monotonic_ns() < deadline);
  return socket;
}

void ask_for_zygote(const RuntimeDir& dir, const Launch& launch) {
  const std::string frame = encode_frame(FrameType::kWarm, encode(launch));
  if (!create(dir)) return;
  Result<Fd> daemon = connect_unix(dir.daemon_socket(), kAskTimeoutMs);
  if (daemon) {
    (void)send_all(daemon->get(), frame);
    return;
  }
  const int why = daemon.error().code;
  if ((why != ENOENT && why != ECONNREFUSED) || !fit_to_start_daemon()) return;
  // Nobody listens. A grandchild starts the daemon and delivers the request; the client goes on.
  const pid_t child = fork();
  if (child != 0) {
    while (child > 0 && waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return;
  }
  if (fork() != 0) _exit(0);
  setsid();
  close_range(0, ~0U, 0);
  if (Result<Fd> socket = connect_daemon(dir, kDaemonStartMs); socket)
    (void)send_all(socket->get(), frame);
  _exit(0);
}

Result<void> wait_for_zygote(const RuntimeDir& dir, const Launch& launch) {
  Result<Warmed> warmed = ask_and_wait(dir, launch);
  if (!warmed && daemon_was_leaving(warmed.error())) warmed = ask_and_wait(dir, launch);
  if (!warmed) return warmed.error();
  if (!warmed->ok) return Error{warmed->text};
  return {};
}

}  // namespace brood
