#include "session/worker_link.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>

#include "base/socket.h"
#include "base/sys.h"
#include "session/frozen.h"
#include "wire/launch.h"
#include "wire/message.h"

namespace brood {
namespace {

using boost::asio::posix::descriptor_base;

constexpr int kPipeSize = 1 << 20;          // bytes; the most that an ordinary user may have
constexpr size_t kReadSize = 256u << 10;    // bytes of output in one event
constexpr size_t kMostAtOnce = 1u << 20;    // bytes of one pipe before others have their turn
constexpr size_t kMostDescriptors = 4;      // of a worker that wait for their message
constexpr uint32_t kLifeFrame = 64u << 10;  // bytes; REFUSED holds a reason
constexpr auto kWordTime = std::chrono::milliseconds(20);
constexpr int kLastRounds = 256;   // of reading what a worker said last: more than a socket holds
constexpr int kWordAttempts = 50;  // times kWordTime: how long a zygote may take to say EXITED

Result<std::pair<Fd, Fd>> make_socket_pair() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return sys_error("make a socket pair");
  return std::pair(Fd(pair[0]), Fd(pair[1]));
}

Result<std::pair<Fd, Fd>> make_pipe() {
  int pair[2];
  if (pipe2(pair, O_CLOEXEC) != 0) return sys_error("make a pipe");
  fcntl(pair[0], F_SETPIPE_SZ, kPipeSize);  // a courtesy: less where the user's sum is used up
  return std::pair(Fd(pair[0]), Fd(pair[1]));
}

}  // namespace

std::array<int, 5> WorkerEnds::numbers() const {
  return {life.get(), control.get(), in.get(), out.get(), err.get()};
}

Result<std::unique_ptr<WorkerLink>> WorkerLink::create(boost::asio::io_context& io, Reaper& reaper,
                                                       Owner& owner, WorkerEnds& theirs) {
  auto life = make_socket_pair();
  if (!life) return life.error();
  auto control = make_socket_pair();
  if (!control) return control.error();
  auto in = make_pipe();
  if (!in) return in.error();
  auto out = make_pipe();
  if (!out) return out.error();
  auto err = make_pipe();
  if (!err) return err.error();
  const int on = 1;
  setsockopt(control->first.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  theirs = {std::move(life->second), std::move(control->second), std::move(in->first),
            std::move(out->second), std::move(err->second)};
  return std::unique_ptr<WorkerLink>(
      new WorkerLink(io, reaper, owner, std::move(life->first), std::move(control->first),
                     std::move(in->second), std::move(out->first), std::move(err->first)));
}

WorkerLink::WorkerLink(boost::asio::io_context& io, Reaper& reaper, Owner& owner, Fd life,
                       Fd control, Fd in, Fd out, Fd err)
    : reaper_(reaper),
      owner_(owner),
      control_(io, control.release()),
      out_{boost::asio::posix::stream_descriptor(io, out.release()), false},
      err_{boost::asio::posix::stream_descriptor(io, err.release()), true},
      in_(io, in.release()),
      process_(io),
      timer_(io),
      life_(io, std::move(life), kLifeFrame, *this) {
  out_.fd.non_blocking(true);
  err_.fd.non_blocking(true);
  in_.non_blocking(true);
  wait_pipe(out_);
  wait_pipe(err_);
  wait_control();
}

WorkerLink::~WorkerLink() {
  if (ended_ || !process_.is_open()) return;
  kill();
  reaper_.watch(pid_, Fd(process_.release()));
}

// --- to the worker ------------------------------------------------------------------------------

bool WorkerLink::send(FrameType type, std::string_view head, std::string_view body,
                      std::span<const int> descriptors) {
  std::string frame = encode_frame(type, encode_message(head, body));
  if (unsent_ + frame.size() > kMaxUnsent) return false;
  std::vector<Fd> travelling;
  for (const int number : descriptors)
    if (!travelling.emplace_back(duplicate_above(number, 3))) return false;
  unsent_ += frame.size();
  outbox_.push_back({std::move(frame), std::move(travelling)});
  return sending_ || send_waiting();
}

// A worker that runs a cell does not read: what its socket does not take waits here.
bool WorkerLink::send_waiting() {
  while (!outbox_.empty()) {
    Outgoing& first = outbox_.front();
    std::vector<int> numbers;
    for (const Fd& fd : first.descriptors)
      numbers.push_back(fd.get());
    const ssize_t sent = send_some(control_.native_handle(),
                                   std::string_view(first.frame).substr(first.sent), numbers);
    if (sent < 0 && errno == EAGAIN) {
      wait_sendable();
      return true;
    }
    if (sent < 0) return false;  // it is gone, which its pidfd tells
    first.descriptors.clear();
    first.sent += static_cast<size_t>(sent);
    unsent_ -= static_cast<size_t>(sent);
    if (first.sent == first.frame.size()) outbox_.pop_front();
  }
  if (hanging_up_) shutdown(control_.native_handle(), SHUT_WR);
  return true;
}

void WorkerLink::wait_sendable() {
  sending_ = true;
  control_.async_wait(descriptor_base::wait_write, guard_.wrap([this](auto failed) {
    sending_ = false;
    if (!failed) send_waiting();
  }));
}

bool WorkerLink::write_stdin(std::string_view bytes) {
  if (closing_stdin_ || stdin_.size() + bytes.size() > kMaxStdin) return false;
  stdin_ += bytes;
  if (!writing_) write_waiting();
  return true;
}

void WorkerLink::close_stdin() {
  closing_stdin_ = true;
  if (!writing_) write_waiting();
}

void WorkerLink::renew_stdin() {
  if (!closing_stdin_) return;
  auto pipe = make_pipe();
  if (!pipe) return;  // it stays ended
  const int theirs = pipe->first.get();
  if (!send(FrameType::kStdin, "{}", {}, std::span(&theirs, 1))) return;
  boost::system::error_code ignored;
  in_.close(ignored);
  in_.assign(pipe->second.release());
  in_.non_blocking(true);
  stdin_.clear();
  closing_stdin_ = false;
}

void WorkerLink::write_waiting() {
  boost::system::error_code error;
  while (!stdin_.empty()) {
    const ssize_t sent = write(in_.native_handle(), stdin_.data(), stdin_.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) {
      writing_ = true;
      in_.async_wait(descriptor_base::wait_write, guard_.wrap([this](auto) {
        writing_ = false;
        write_waiting();  // also to another pipe, if there is one by now
      }));
      return;
    }
    if (sent < 0) {  // nobody can read it any more
      stdin_.clear();
      break;
    }
    stdin_.erase(0, static_cast<size_t>(sent));
  }
  if (closing_stdin_ && in_.is_open()) in_.close(error);
}

// --- from the worker ----------------------------------------------------------------------------

void WorkerLink::hold(bool on) {
  if (held_ == on) return;
  held_ = on;
  if (on) return;
  wait_pipe(out_);
  wait_pipe(err_);
  wait_control();
}

void WorkerLink::wait_pipe(Pipe& pipe) {
  if (pipe.waiting || pipe.ended || held_) return;
  pipe.waiting = true;
  pipe.fd.async_wait(descriptor_base::wait_read, guard_.wrap([this, &pipe](auto error) {
    pipe.waiting = false;
    if (error || held_) return;
    if (drain_pipe(pipe) != Drained::kDestroyed) wait_pipe(pipe);
  }));
}

// Reads until the pipe is empty, the owner holds it, or others should have their turn.
WorkerLink::Drained WorkerLink::drain_pipe(Pipe& pipe) {
  // An event has as much memory as it has bytes.
  static const std::unique_ptr<char[]> kBuffer = std::make_unique<char[]>(kReadSize);
  const Guard::Watch watch = guard_.watch();
  size_t most = kMostAtOnce;
  while (!pipe.ended && !held_ && most > 0) {
    const ssize_t got = read(pipe.fd.native_handle(), kBuffer.get(), std::min(kReadSize, most));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return Drained::kEmpty;
    if (got <= 0) {
      pipe.ended = true;
      break;
    }
    most -= static_cast<size_t>(got);
    owner_.on_output(pipe.is_error, std::string(kBuffer.get(), static_cast<size_t>(got)));
    if (watch.gone()) return Drained::kDestroyed;
  }
  return pipe.ended ? Drained::kEmpty : Drained::kMore;
}

WorkerLink::Drained WorkerLink::drain_pipes() {
  for (Pipe* pipe : {&out_, &err_})
    if (const Drained drained = drain_pipe(*pipe); drained != Drained::kEmpty) return drained;
  return Drained::kEmpty;
}

void WorkerLink::wait_control() {
  if (waiting_control_ || held_ || !control_.is_open()) return;
  waiting_control_ = true;
  control_.async_wait(descriptor_base::wait_read, guard_.wrap([this](auto error) {
    waiting_control_ = false;
    if (error || held_) return;
    // What was written before the message comes first.
    switch (drain_pipes()) {
      case Drained::kDestroyed: return;
      case Drained::kMore: return wait_control();
      case Drained::kEmpty: break;
    }
    if (read_control()) wait_control();
  }));
}

bool WorkerLink::read_control() {
  const Received got =
      receive_once(control_.native_handle(), {kReadSize, kMostDescriptors, MSG_DONTWAIT, true},
                   parser_.buffer(), descriptors_);
  if (got.count < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (got.count <= 0) return false;  // the end of the process is seen by its pidfd
  const Guard::Watch watch = guard_.watch();
  if (pid_ == 0 && got.sender > 0) learn_process(got.sender);
  if (watch.gone() || !deliver_frames()) return false;
  if (descriptors_.size() <= kMostDescriptors) return true;
  kill();  // not by our code, which sends one with a checkpoint
  return false;
}

bool WorkerLink::deliver_frames() {
  const Guard::Watch watch = guard_.watch();
  FrameView frame;
  for (;;) {
    const FrameParser::Step step = parser_.next(frame);
    if (step == FrameParser::Step::kPartial) return true;
    Result<MessageView> message = step == FrameParser::Step::kFrame
                                      ? decode_message(frame.payload)
                                      : Result<MessageView>(Error{parser_.error()});
    if (!message) {  // not by our code: something in the program writes to our socket
      kill();
      return false;
    }
    owner_.on_frame(frame.header.type, message->head, message->body, descriptors_);
    if (watch.gone()) return false;
  }
}

// The zygote's and the first worker's words.
void WorkerLink::on_frame(FrameType type, std::string_view payload) {
  if (type == FrameType::kAccepted) {
    Result<Accepted> accepted = decode_accepted(payload);
    if (!accepted) return;
    const Guard::Watch watch = guard_.watch();
    owner_.on_accepted();
    if (!watch.gone()) learn_process(static_cast<pid_t>(accepted->pid));
  } else if (type == FrameType::kRefused) {
    Result<Refused> refused = decode_refused(payload);
    owner_.on_refused(refused ? refused->reason : "a malformed refusal");
  } else if (type == FrameType::kExited && !told_) {
    if (Result<Exited> exited = decode_exited(payload); exited)
      told_ = ProcessEnd{exited->signaled, static_cast<int>(exited->code)};
  }
}

void WorkerLink::on_end(const std::string&) {
  if (pid_ == 0) report_end(told_);  // it had not even begun
}

// --- the process --------------------------------------------------------------------------------

void WorkerLink::learn_process(pid_t pid) {
  if (pid_ != 0) return;
  Fd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return report_end(told_);
  pid_ = pid;
  process_.assign(process.release());
  wait_process();
}

void WorkerLink::wait_process() {
  process_.async_wait(descriptor_base::wait_read, guard_.wrap([this](auto error) {
    if (error) return;
    finishing_ = true;
    finish(kWordAttempts);
  }));
}

// The parent of a first worker is its zygote, which says EXITED; that of all others, and of those
// whose zygote has died, is this process.
void WorkerLink::finish(int attempts) {
  if (std::optional<ProcessEnd> end = reap_process(process_.native_handle())) told_ = end;
  if (!told_) {
    const Guard::Watch watch = guard_.watch();
    life_.drain();
    if (watch.gone()) return;
  }
  if (!told_ && attempts > 0) {
    timer_.expires_after(kWordTime);
    timer_.async_wait(guard_.wrap([this, attempts](auto error) {
      if (!error) finish(attempts - 1);
    }));
    return;
  }
  const Drained drained = held_ ? Drained::kMore : drain_pipes();
  if (drained == Drained::kDestroyed) return;
  if (drained == Drained::kMore) {
    timer_.expires_after(held_ ? kWordTime : std::chrono::milliseconds(0));
    timer_.async_wait(guard_.wrap([this](auto error) {
      if (!error) finish(0);
    }));
    return;
  }
  const Guard::Watch watch = guard_.watch();
  for (int round = 0; round < kLastRounds; round++) {
    pollfd item{control_.native_handle(), POLLIN, 0};
    if (poll(&item, 1, 0) <= 0 || !read_control()) break;
  }
  if (!watch.gone()) report_end(told_);
}

void WorkerLink::report_end(std::optional<ProcessEnd> how) {
  if (ended_) return;
  ended_ = true;
  owner_.on_end(how);
}

void WorkerLink::signal(int number) {
  if (process_.is_open() && !finishing_)
    syscall(SYS_pidfd_send_signal, process_.native_handle(), number, nullptr, 0);
}

// The worker leads its group as long as it is not reaped, which only this object or its zygote do.
void WorkerLink::signal_group(int number) {
  if (pid_ > 1 && !finishing_) ::kill(-pid_, number);
}

void WorkerLink::hang_up() {
  hanging_up_ = true;
  if (!sending_) send_waiting();
}

void WorkerLink::kill() {
  signal_group(SIGKILL);
  signal(SIGKILL);
}

}  // namespace brood
