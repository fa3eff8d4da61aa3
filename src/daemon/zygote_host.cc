#include "daemon/zygote_host.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "base/clock.h"

namespace brood {
namespace {

using boost::asio::posix::descriptor_base;

// What a zygote can make the daemon keep; it runs user code, so it is not trusted.
constexpr uint32_t kMaxControlPayload = 1u << 20;  // bytes
constexpr size_t kMaxPrograms = 65536;
constexpr size_t kMaxProgramText = 256;      // bytes; only shown to people
constexpr size_t kMaxOutputTail = 8u << 10;  // bytes

constexpr auto kOrphanLimit = std::chrono::seconds(1);

std::string describe_exit(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return "ended with status " + std::to_string(info.si_status);
  return "ended by signal " + std::to_string(info.si_status);
}

}  // namespace

const char* name_of(ZygoteState state) {
  switch (state) {
    case ZygoteState::kStarting: return "starting";
    case ZygoteState::kReady: return "ready";
    case ZygoteState::kRetiring: return "retiring";
  }
  return "unknown";
}

Result<std::unique_ptr<ZygoteHost>> ZygoteHost::start(boost::asio::io_context& io,
                                                      const InterpreterSpec& interpreter,
                                                      const ZygoteSpec& spec, Owner& owner) {
  Result<ZygoteProcess> process = start_interpreter(interpreter);
  if (!process) return process.error();
  return std::unique_ptr<ZygoteHost>(
      new ZygoteHost(io, std::move(*process), interpreter.python, spec, owner));
}

ZygoteHost::ZygoteHost(boost::asio::io_context& io, ZygoteProcess interpreter, std::string python,
                       const ZygoteSpec& spec, Owner& owner)
    : process_(std::move(interpreter)),
      python_(std::move(python)),
      spec_(spec),
      owner_(owner),
      started_ns_(monotonic_ns()),
      io_(io),
      exit_(io, process_.process.release()),
      output_(io, process_.output.release()),
      control_(io, std::move(process_.control), kMaxControlPayload, *this),
      orphan_timer_(io) {
  control_.send(FrameType::kPrepare, encode(spec_));
  wait_output();
  wait_exit();
}

ZygoteHost::~ZygoteHost() { not_fresh(); }

void ZygoteHost::judge(Verdict verdict) {
  verdicts_.push_back(std::move(verdict));
  if (state_ != ZygoteState::kReady) return not_fresh();
  control_.send(FrameType::kJudge, {});
}

void ZygoteHost::not_fresh() {
  for (Verdict& verdict : std::exchange(verdicts_, {}))
    boost::asio::post(io_, [verdict = std::move(verdict)] { verdict(false); });
}

void ZygoteHost::retire() {
  if (state_ == ZygoteState::kRetiring) return;
  state_ = ZygoteState::kRetiring;
  not_fresh();
  idle_since_ns_ = monotonic_ns();
  control_.send(FrameType::kRetire, {});
}

void ZygoteHost::kill() {
  require(programs_.empty(), "only a zygote without programs is killed");
  syscall(SYS_pidfd_send_signal, exit_.native_handle(), SIGKILL, nullptr, 0);
}

void ZygoteHost::kill_unless_ready() {
  if (state_ == ZygoteState::kStarting && programs_.empty()) kill();
}

void ZygoteHost::on_frame(FrameType type, std::string_view payload) {
  switch (type) {
    case FrameType::kReady: return on_ready_frame(payload);
    case FrameType::kFailed: return on_failed_frame(payload);
    case FrameType::kWorkerStarted: return on_program_frame(true, payload);
    case FrameType::kWorkerEnded: return on_program_frame(false, payload);
    case FrameType::kFresh: return on_fresh_frame();
    case FrameType::kStale: {
      not_fresh();
      Result<ZygoteStale> stale = decode_zygote_stale(payload);
      return owner_.on_stale(*this, stale ? stale->path : std::string("?"));
    }
    default: return broken("unexpected message");
  }
}

void ZygoteHost::on_ready_frame(std::string_view payload) {
  Result<ZygoteReady> report = decode_zygote_ready(payload);
  if (!report) return broken(report.error().message);
  report_ = std::move(*report);
  if (state_ != ZygoteState::kStarting) return;
  state_ = ZygoteState::kReady;
  spares_ = spec_.spares;
  owner_.on_ready(*this);
}

void ZygoteHost::on_fresh_frame() {
  if (verdicts_.empty()) return;
  const Verdict verdict = std::move(verdicts_.front());
  verdicts_.pop_front();
  verdict(true);
}

void ZygoteHost::on_failed_frame(std::string_view payload) {
  Result<ZygoteFailed> failed = decode_zygote_failed(payload);
  if (!failed) return broken(failed.error().message);
  fail(failed->text);
}

void ZygoteHost::on_program_frame(bool started, std::string_view payload) {
  Result<WorkerEvent> event = decode_worker_event(payload);
  if (!event) return broken(event.error().message);
  spares_ = event->spares;
  if (started && programs_.size() < kMaxPrograms) {
    served_++;
    programs_[event->pid] = {event->program.substr(0, kMaxProgramText), monotonic_ns()};
    owner_.on_program_started(*this);
  } else if (!started && programs_.erase(event->pid) > 0) {
    idle_since_ns_ = monotonic_ns();
    owner_.on_program_ended(*this);
  }
}

void ZygoteHost::broken(const std::string& why) {
  spdlog::error("zygote {} (pid {}): {}", key().substr(0, 8), pid(), why);
  owner_.on_stale(*this, "its control connection is broken");
}

// Mostly the process is ending, and will be reaped in a moment.
void ZygoteHost::on_end(const std::string& why) {
  not_fresh();
  orphan_timer_.expires_after(kOrphanLimit);
  orphan_timer_.async_wait(guard_.wrap([this, why](auto error) {
    if (!error) broken(why);
  }));
}

void ZygoteHost::wait_output() {
  output_.async_wait(descriptor_base::wait_read, guard_.wrap([this](auto error) {
    if (error) return;
    read_output();
    if (output_.is_open()) wait_output();
  }));
}

void ZygoteHost::read_output() {
  std::array<char, 4096> buffer;
  for (int round = 0; round < 16; round++) {  // a flood must not starve the others
    const ssize_t got = read(output_.native_handle(), buffer.data(), buffer.size());
    if (got < 0) return;
    if (got == 0) {
      output_.close();
      return;
    }
    const std::string_view text(buffer.data(), static_cast<size_t>(got));
    output_tail_ += text;
    if (output_tail_.size() > kMaxOutputTail)
      output_tail_.erase(0, output_tail_.size() - kMaxOutputTail);
    output_line_ += text;
    log_output_lines(false);
  }
}

void ZygoteHost::log_output_lines(bool all) {
  size_t end;
  while ((end = output_line_.find('\n')) != std::string::npos ||
         output_line_.size() > kMaxOutputTail || (all && !output_line_.empty())) {
    end = std::min(end, output_line_.size());
    spdlog::info("zygote {} (pid {}) wrote: {}", key().substr(0, 8), pid(),
                 output_line_.substr(0, end));
    output_line_.erase(0, end + 1);
  }
}

void ZygoteHost::wait_exit() {
  exit_.async_wait(descriptor_base::wait_read, guard_.wrap([this](auto error) {
    if (!error) reap();
  }));
}

void ZygoteHost::reap() {
  const Guard::Watch watch = guard_.watch();
  control_.drain();
  if (watch.gone()) return;
  if (output_.is_open()) read_output();
  log_output_lines(true);
  siginfo_t info{};
  waitid(P_PIDFD, static_cast<id_t>(exit_.native_handle()), &info, WEXITED);
  programs_.clear();
  const std::string how = describe_exit(info);
  if (state_ == ZygoteState::kStarting && !failed_) {
    fail("the interpreter " + how + " while it was being prepared" +
         (output_tail_.empty() ? std::string() : ":\n" + output_tail_));
    if (watch.gone()) return;
  }
  owner_.on_gone(*this, how);
}

void ZygoteHost::fail(const std::string& text) {
  if (state_ == ZygoteState::kRetiring || failed_) return;
  failed_ = true;
  owner_.on_failed(*this, text);
}

}  // namespace brood
