// ZygoteHost: the daemon's side of one zygote process, from exec until it is reaped. It starts,
// listens and signals; which zygotes there should be is decided by Environments.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "daemon/asio.h"
#include "daemon/frame_stream.h"
#include "daemon/spawn.h"
#include "wire/control.h"

namespace brood {

enum class ZygoteState { kStarting, kReady, kRetiring };
const char* name_of(ZygoteState state);

// A program that runs in a worker of the zygote.
struct RunningProgram {
  std::string program;
  int64_t since_ns = 0;
};

class ZygoteHost final : private FrameStream::Handler {
 public:
  // Called from the event loop, never from within a call into the host. Each may destroy the host.
  class Owner {
   public:
    virtual void on_ready(ZygoteHost& zygote) = 0;
    // It could not be prepared, or cannot serve any more; it leaves (or has left).
    virtual void on_failed(ZygoteHost& zygote, const std::string& text) = 0;
    virtual void on_stale(ZygoteHost& zygote, const std::string& path) = 0;
    virtual void on_program_started(ZygoteHost& zygote) = 0;
    virtual void on_program_ended(ZygoteHost& zygote) = 0;
    // Reaped; always the last one. `how`: "ended by signal 9", "ended with status 1".
    virtual void on_gone(ZygoteHost& zygote, const std::string& how) = 0;

   protected:
    ~Owner() = default;
  };

  static Result<std::unique_ptr<ZygoteHost>> start(boost::asio::io_context& io,
                                                   const InterpreterSpec& interpreter,
                                                   const ZygoteSpec& spec, Owner& owner);
  ~ZygoteHost();  // leaves the process alone; it sees the end of its control socket
  ZygoteHost(const ZygoteHost&) = delete;

  void retire();  // accept nobody, finish the running programs, leave
  void kill();    // only when nothing runs in it
  // For a daemon that leaves: one that is still loading, and may go on for ever, is killed.
  void kill_unless_ready();

  const std::string& key() const { return spec_.key; }
  const ZygoteSpec& spec() const { return spec_; }
  const std::string& python() const { return python_; }
  ZygoteState state() const { return state_; }
  pid_t pid() const { return process_.pid; }
  int64_t started_ns() const { return started_ns_; }
  // Whether what it has loaded is still what is on disk. Answered from the event loop, once; no
  // when it leaves before it has answered.
  using Verdict = std::function<void(bool fresh)>;
  void judge(Verdict verdict);
  // Since when a retired one has nothing left to do.
  int64_t idle_since_ns() const { return idle_since_ns_; }
  const ZygoteReady& report() const { return report_; }
  uint32_t spares() const { return spares_; }
  uint64_t served() const { return served_; }
  const std::map<uint32_t, RunningProgram>& programs() const { return programs_; }

 private:
  ZygoteHost(boost::asio::io_context& io, ZygoteProcess interpreter, std::string python,
             const ZygoteSpec& spec, Owner& owner);
  void on_frame(FrameType type, std::string_view payload) override;
  void on_end(const std::string& why) override;
  void on_ready_frame(std::string_view payload);
  void on_failed_frame(std::string_view payload);
  void on_fresh_frame();
  void on_program_frame(bool started, std::string_view payload);
  void broken(const std::string& why);
  void not_fresh();
  void wait_output();
  void read_output();
  void log_output_lines(bool all);
  void wait_exit();
  void reap();
  void fail(const std::string& text);

  ZygoteProcess process_;
  const std::string python_;
  const ZygoteSpec spec_;
  Owner& owner_;
  ZygoteState state_ = ZygoteState::kStarting;
  bool failed_ = false;
  int64_t started_ns_;
  int64_t idle_since_ns_ = 0;
  ZygoteReady report_;
  uint32_t spares_ = 0;
  uint64_t served_ = 0;
  std::map<uint32_t, RunningProgram> programs_;
  boost::asio::io_context& io_;
  std::deque<Verdict> verdicts_;  // asked for, in order
  std::string output_tail_;       // the newest it wrote, for a failure's text
  std::string output_line_;       // what has not been logged yet
  boost::asio::posix::stream_descriptor exit_;
  boost::asio::posix::stream_descriptor output_;
  FrameStream control_;
  boost::asio::steady_timer
      orphan_timer_;  // runs while the control connection is gone and the process is not
  Guard guard_;
};

}  // namespace brood
