// WorkerLink: the server's side of one live worker of a session: its control socket, its standard
// streams, the connection that stands for the server, and its process. Output that was written
// before a message is delivered before it. Server process, its one thread. After the destructor
// nothing of the owner is called; the process is killed by it, with its process group.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "daemon/asio.h"
#include "daemon/frame_stream.h"
#include "session/reaper.h"
#include "wire/frame.h"

namespace brood {

// The worker's ends, to be sent to it: as docs/protocol.md orders them for RESUME.
struct WorkerEnds {
  Fd life, control, in, out, err;
  std::array<int, 5> numbers() const;
};

class WorkerLink final : private FrameStream::Handler {
 public:
  // Called from the event loop only. Any of them may destroy the link.
  class Owner {
   public:
    virtual void on_output(bool is_error, std::string&& bytes) = 0;
    virtual void on_frame(FrameType type, std::string_view head, std::string_view body,
                          std::vector<Fd>& descriptors) = 0;
    // The worker accepted or refused; only on links that were begun with RUN.
    virtual void on_accepted() = 0;
    virtual void on_refused(const std::string& reason) = 0;
    // The process has ended and everything it wrote was delivered. Nothing: how is not known.
    virtual void on_end(std::optional<ProcessEnd> how) = 0;

   protected:
    ~Owner() = default;
  };

  static Result<std::unique_ptr<WorkerLink>> create(boost::asio::io_context& io, Reaper& reaper,
                                                    Owner& owner, WorkerEnds& theirs);
  ~WorkerLink();
  WorkerLink(const WorkerLink&) = delete;

  // Never waits: what the worker does not take now is kept, at most kMaxUnsent bytes. The
  // descriptors are duplicated. False: that is reached, or the worker is gone.
  static constexpr size_t kMaxUnsent = 16u << 20;
  bool send(FrameType type, std::string_view head, std::string_view body = {},
            std::span<const int> descriptors = {});
  size_t unsent() const { return unsent_; }

  // At most kMaxStdin bytes wait for the program; false: that is reached, or it
  // was ended.
  static constexpr size_t kMaxStdin = 1u << 20;
  bool write_stdin(std::string_view bytes);
  void close_stdin();
  bool stdin_ended() const { return closing_stdin_; }
  // The worker is idle: if its standard input was ended, it gets another one. What was not read of
  // the old one is gone.
  void renew_stdin();

  // While held, nothing is read from the worker: it will wait in its writes.
  void hold(bool on);

  pid_t pid() const { return pid_; }  // 0: not known yet
  void signal_group(int number);      // nothing when the process is not known or has ended
  void signal(int number);
  void kill();
  // The worker sees the end of its control socket behind what was sent: it runs its exit handlers
  // and leaves.
  void hang_up();

 private:
  WorkerLink(boost::asio::io_context& io, Reaper& reaper, Owner& owner, Fd life, Fd control, Fd in,
             Fd out, Fd err);
  struct Pipe {
    boost::asio::posix::stream_descriptor fd;
    bool is_error;
    bool waiting = false;
    bool ended = false;
  };

  // FrameStream::Handler, of life_
  void on_frame(FrameType type, std::string_view payload) override;
  void on_end(const std::string& why) override;

  void wait_pipe(Pipe& pipe);
  enum class Drained { kEmpty, kMore, kDestroyed };
  Drained drain_pipe(Pipe& pipe);
  Drained drain_pipes();
  void wait_control();
  bool read_control();    // false: destroyed or ended
  bool deliver_frames();  // the same
  void write_waiting();
  bool send_waiting();  // false: the worker is gone
  void wait_sendable();
  void learn_process(pid_t pid);
  void wait_process();
  void finish(int attempts);
  void report_end(std::optional<ProcessEnd> how);

  Reaper& reaper_;
  Owner& owner_;
  pid_t pid_ = 0;
  bool held_ = false;
  bool ended_ = false;              // reported
  bool finishing_ = false;          // the process has ended
  std::optional<ProcessEnd> told_;  // by EXITED
  boost::asio::posix::stream_descriptor control_;
  struct Outgoing {
    std::string frame;
    std::vector<Fd> descriptors;
    size_t sent = 0;  // bytes of the frame
  };
  std::deque<Outgoing> outbox_;
  size_t unsent_ = 0;  // bytes in it
  bool sending_ = false, hanging_up_ = false;
  bool waiting_control_ = false;
  FrameParser parser_;
  std::vector<Fd> descriptors_;
  Pipe out_, err_;
  boost::asio::posix::stream_descriptor in_;
  std::string stdin_;  // what waits
  bool writing_ = false, closing_stdin_ = false;
  boost::asio::posix::stream_descriptor process_;
  boost::asio::steady_timer timer_;
  FrameStream life_;
  Guard guard_;
};

}  // namespace brood
