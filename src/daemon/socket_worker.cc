#include "daemon/socket_worker.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/socket.h"
#include "base/sys.h"
#include "wire/frame.h"

namespace brood {
namespace {

using boost::asio::posix::descriptor_base;

constexpr int kMaxAttempts = 5;  // spares may be stale, or die
constexpr int kConnectTimeoutMs = 500;
constexpr auto kAnswerTime = std::chrono::seconds(10);  // of a spare; a busy machine takes its time
constexpr uint32_t kLongestAnswer = 64u << 10;          // bytes; REFUSED holds a reason

// Becomes readable when the other end of `socket` has left or sends no more. It needs `socket` only
// here: epoll looks at the connection, and forgets it when the last process has closed it. So the
// server keeps no copy, and the client sees it when the program closes its own.
Result<Fd> watch_peer(const Fd& socket) {
  Fd poller(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLRDHUP;
  if (!poller || epoll_ctl(poller.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0)
    return sys_error("watch a client");
  return poller;
}

}  // namespace

SocketWorker::SocketWorker(boost::asio::io_context& io, Fd socket, SocketProgram program,
                           Prepare prepare, Patience patience)
    : io_(io),
      socket_(std::move(socket)),
      program_(std::move(program)),
      prepare_(std::move(prepare)),
      patience_(patience),
      client_(io),
      timer_(io) {}

SocketWorker::~SocketWorker() { signal_group(SIGKILL); }

void SocketWorker::start(Ended ended) {
  ended_ = std::move(ended);
  prepare();
}

void SocketWorker::prepare() {
  prepare_(guard_.wrap([this](Result<Preparation> made) {
    if (!made) return end("the environment cannot be had: " + made.error().message);
    if (Result<void> asked = run_in(*made); !asked) try_again(asked.error().message);
  }));
}

Result<void> SocketWorker::run_in(const Preparation& preparation) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return sys_error("make a socket pair");
  Fd ours(pair[0]);
  const Fd theirs(pair[1]);
  Result<Fd> spare = connect_unix(preparation.socket_path, kConnectTimeoutMs);
  if (!spare) return spare.error();
  RunRequest request = preparation.request;
  request.kind = ProgramKind::kCommand;
  request.program = program_.text;
  request.arguments = program_.arguments;
  request.orig_argv = {preparation.request.orig_argv.front(), "-u", "-c", program_.text};
  request.orig_argv.insert(request.orig_argv.end(), program_.arguments.begin(),
                           program_.arguments.end());
  request.unbuffered = true;
  request.descriptor_numbers = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
  const int output = program_.output < 0 ? socket_.get() : program_.output;
  const std::array<int, 5> descriptors = {program_.folder, theirs.get(), socket_.get(), output,
                                          program_.errors};
  if (Result<void> sent =
          send_all(spare->get(), encode_frame(FrameType::kRun, encode(request)), descriptors);
      !sent)
    return sent;
  auto& handler = static_cast<FrameStream::Handler&>(*this);
  connection_ = std::make_unique<FrameStream>(io_, std::move(ours), kLongestAnswer, handler);
  timer_.expires_after(kAnswerTime);
  timer_.async_wait(guard_.wrap([this](auto error) {
    if (!error) try_again("no spare answered");
  }));
  return {};
}

// A zygote that was retired meanwhile, a spare that was stale or died: the next one will do.
// Without its connection a spare that answers late does not begin.
void SocketWorker::try_again(const std::string& why) {
  connection_.reset();
  timer_.cancel();
  if (++attempts_ >= kMaxAttempts) return end("no worker could be had: " + why);
  // A zygote that has just died is not known to be dead yet.
  timer_.expires_after(std::chrono::milliseconds(10 * attempts_ * attempts_));
  timer_.async_wait(guard_.wrap([this](auto error) {
    if (!error) prepare();
  }));
}

void SocketWorker::on_frame(FrameType type, std::string_view payload) {
  if (type == FrameType::kExited) {
    process_.reset();  // what it leaves behind in its group is not ours
    return end("");
  }
  if (pid_ != 0) return;
  if (type == FrameType::kAccepted) {
    Result<Accepted> accepted = decode_accepted(payload);
    Result<void> begun =
        accepted ? begin(static_cast<pid_t>(accepted->pid)) : Result<void>(accepted.error());
    if (!begun) end(begun.error().message);
  } else {
    Result<Refused> refused = decode_refused(payload);
    try_again(refused ? refused->reason : refused.error().message);
  }
}

void SocketWorker::on_end(const std::string&) {
  if (pid_ != 0) return end("");
  try_again("the spare left before it answered");
}

// One that has ended already says so next.
Result<void> SocketWorker::begin(pid_t pid) {
  timer_.cancel();
  process_ = Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process_ && errno != ESRCH) return sys_error("watch the worker " + std::to_string(pid));
  pid_ = pid;
  Result<Fd> watch = watch_peer(socket_);
  if (!watch) return watch.error();
  socket_.reset();
  client_.assign(watch->release());
  client_.async_wait(descriptor_base::wait_read, guard_.wrap([this](auto error) {
    if (!error) on_client_left();
  }));
  return {};
}

void SocketWorker::on_client_left() {
  timer_.expires_after(patience_.until_interrupt);
  timer_.async_wait(guard_.wrap([this](auto error) {
    if (error) return;
    signal_group(SIGINT);
    timer_.expires_after(patience_.until_kill - patience_.until_interrupt);
    timer_.async_wait(guard_.wrap([this](auto failed) {
      if (!failed) signal_group(SIGKILL);
    }));
  }));
}

// The worker leads its process group, whose number is its own until its zygote reaps it.
void SocketWorker::signal_group(int number) {
  pollfd ended{process_.get(), POLLIN, 0};
  if (process_ && poll(&ended, 1, 0) == 0) kill(-pid_, number);
}

void SocketWorker::end(const std::string& why) {
  if (!ended_) return;
  boost::asio::post(io_,
                    guard_.wrap([ended = std::exchange(ended_, nullptr), why] { ended(why); }));
}

}  // namespace brood
