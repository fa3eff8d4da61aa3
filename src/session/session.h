// Session: one interpreter with its cells, its checkpoints, its log and who is joined to it. What
// may be asked of it and by whom is the Api's business. Server process, its one thread.
//
//   starting --READY--> idle --CELL--> busy --DONE--> idle
//      ^                                 | worker died, or was ended for a limit
//      +---- RESUME of a checkpoint -----+          ... without one: ended
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "daemon/asio.h"
#include "daemon/preparation.h"
#include "session/api.h"
#include "session/cgroup.h"
#include "session/checkpoint.h"
#include "session/event_log.h"
#include "session/folder.h"
#include "session/settings.h"
#include "session/usage.h"
#include "session/worker_link.h"

namespace brood {

struct SessionSpec {
  std::string id, name, env, owner;
  std::string preparser;
  SessionLimits limits;
  uint32_t checkpoints = 8;
  uint64_t idle_timeout = 0, no_clients_timeout = 0;  // seconds; 0: none
};

struct CellRequest {
  std::string code;
  std::string by;
  double timeout = 0;      // seconds; 0: the session's limit
  bool checkpoint = true;  // if the session keeps any
  std::string tag = {};    // the client's name for it
};

class Session final : private WorkerLink::Owner {
 public:
  // What a session needs of its surroundings.
  class Host {
   public:
    // Makes the environment warm if need be. Calls back from the event loop or at once.
    virtual void prepare(const std::string& env, Prepared prepared) = 0;
    // As prepare(), and what it has loaded is what is on disk now.
    virtual void prepare_current(const std::string& env, Prepared prepared) = 0;
    // A cell has ended, and its events are in the log.
    virtual void on_cell_done(Session& session) = 0;
    // The session has ended: its last event is in the log. It may be destroyed later only.
    virtual void on_ended(Session& session) = 0;
    // Orphans that have come to this process and are nobody's yet.
    // `at_once`: none of them is missed, not even one that came a moment ago.
    virtual const std::vector<pid_t>& strangers(bool at_once) = 0;

   protected:
    ~Host() = default;
  };
  enum class State { kStarting, kIdle, kBusy, kEnded };
  enum class Access { kNone, kView, kEdit, kOwner };
  using Done = std::function<void(std::optional<Problem>)>;

  // `group`: null: there are no control groups.
  Session(boost::asio::io_context& io, Reaper& reaper, const ServeSettings& settings,
          SessionSpec spec, Folder folder, std::unique_ptr<Cgroup> group, Host& host);
  ~Session();
  Session(const Session&) = delete;

  // Exactly one of them, once.
  void start();
  void start_ahead();  // nobody's yet; it is `starting` until it is given away
  void start_as_branch(Session& origin, std::optional<uint64_t> checkpoint, const std::string& by,
                       Done done);

  // --- started ahead ----------------------------------------------------------------------------
  // It only waits for somebody who wants it.
  bool is_ready_ahead() const { return ahead_of_time_ && ready_ahead_; }
  const Preparation& preparation() const { return preparation_; }  // of its first worker
  // Becomes that of `spec`, but for its id; its limits and preparser are those it has. Goes on when
  // it is known whether its worker is what would be forked now.
  void give(SessionSpec spec);
  void confirm(bool current);

  // --- requests ---------------------------------------------------------------------------------
  std::variant<uint64_t, Problem> execute(CellRequest request);  // the cell's number
  std::optional<Problem> write_stdin(std::string_view bytes, bool eof);
  std::optional<Problem> send_message(std::string_view bytes);
  // With a tag: only the cell that has it, which may wait in the queue.
  std::optional<Problem> interrupt(const std::string& tag = {});
  std::optional<Problem> signal(int number);
  void undo(uint64_t checkpoint, const std::string& by, Done done);
  void ask(nlohmann::json head, Reply reply);
  void end(const std::string& why);  // politely: exit handlers run
  // Cells wait while its files are being copied, however many copies there are.
  void hold_cells() { holders_++; }
  void let_cells_go();
  void rename(const std::string& name) { spec_.name = name; }
  void share(const std::string& user, Access access);

  // --- what it is -------------------------------------------------------------------------------
  const SessionSpec& spec() const { return spec_; }
  State state() const { return state_; }
  Access access(const Caller& caller) const;
  nlohmann::json describe(const Caller& caller) const;
  nlohmann::json shares() const;
  Checkpoints& checkpoints() { return checkpoints_; }
  Folder& folder() { return folder_; }
  void remove_folder();  // with what is in it, in the background
  EventLog& log() { return log_; }
  bool has_begun() const { return !python_.empty(); }  // it was ready once
  Problem has_ended() const;                           // what is said of one that has
  pid_t worker() const { return link_ ? link_->pid() : 0; }
  // Its worker and its frozen copies.
  void collect_processes(std::set<pid_t>& processes);
  uint64_t execution_count() const { return execution_count_; }
  Guard::Watch watch() const { return guard_.watch(); }
  void touch();  // a request of a client

  // --- joined clients ---------------------------------------------------------------------------
  void add_listener(Listener& listener, bool counts);
  void remove_listener(Listener& listener);
  void log_was_read();

  // Called a few times a second: limits, time-outs, slow readers.
  void tick(int64_t now_ns);

 private:
  struct Waiting {
    uint64_t cell;
    CellRequest request;
  };
  struct Running {
    uint64_t cell = 0;
    CellRequest request;
    uint64_t execution_count = 0;
    bool first = false;     // nothing has run before it
    bool may_wait = false;  // its checkpoint has not been made: its code does not run yet
    int64_t begin_ns = 0;
    uint64_t output = 0;  // bytes so far
    bool output_cut = false;
    std::string status;  // why it is being ended; empty: it is not
    std::string why;
    int64_t kill_ns = 0;  // then it is killed; 0: never
    bool killed = false;
  };

  // WorkerLink::Owner
  void on_output(bool is_error, std::string&& bytes) override;
  void on_frame(FrameType type, std::string_view head, std::string_view body,
                std::vector<Fd>& descriptors) override;
  void on_accepted() override;
  void on_refused(const std::string& reason) override;
  void on_end(std::optional<ProcessEnd> how) override;

  void emit(std::string type, const nlohmann::json& head, uint64_t cell = 0);
  void emit_raw(std::string type, std::string head, std::string body, uint64_t cell);
  void wake_listeners();
  void set_state(State state);
  void say_state();

  void prepare();
  void run_in(const Preparation& preparation);
  std::optional<Problem> copy_worker(Session& origin, Frozen* frozen);
  void try_again(const std::string& why);
  std::string set_up_head() const;
  void on_ready(const nlohmann::json& head);
  void join_group(uint64_t threads, uint64_t children);
  void become_idle(uint64_t threads, uint64_t children);
  void pump();
  void begin_cell(Waiting waiting);
  void on_checkpoint(const nlohmann::json& head, std::string_view body,
                     std::vector<Fd>& descriptors);
  void on_event(nlohmann::json members, size_t size);
  uint64_t count_output(uint64_t bytes);
  void on_answer(nlohmann::json members);
  void on_done(const nlohmann::json& head);
  void cell_over(const std::string& status, const std::string& why, bool undone);
  void cancel_queue(const std::string& why);
  void cancel(const Waiting& waiting, const std::string& why);
  void forget(const std::vector<uint64_t>& cells);

  void interrupt_cell();
  void stop_cell(const std::string& status, const std::string& why, bool at_once);
  void recover(std::optional<ProcessEnd> how);
  std::optional<Problem> no_undo_to(uint64_t checkpoint);
  void go_back(uint64_t checkpoint, const std::string& by, Done done);
  bool resume(uint64_t checkpoint, const std::string& why, const std::string& by);
  bool resume(Checkpoint taken, const std::string& why, const std::string& by);
  void freeze_ahead();
  void drop_ahead();
  void keep_checkpoint(Checkpoint made);
  void drop_link();
  void kill_others(pid_t worker);
  Belongings belongings(pid_t worker, bool at_once);
  void finish(const std::string& why, std::optional<ProcessEnd> how);
  void check_limits(int64_t now_ns);
  void hold_if_full();

  boost::asio::io_context& io_;
  Reaper& reaper_;
  const ServeSettings& settings_;
  SessionSpec spec_;
  Folder folder_;
  std::unique_ptr<Cgroup> group_;
  bool in_group_ = false;       // the worker is, and so will be its copies
  uint64_t out_of_memory_ = 0;  // of the group, when the cell began
  Host& host_;
  State state_ = State::kStarting;
  std::map<std::string, Access> shares_;
  EventLog log_;
  Checkpoints checkpoints_;
  // The state of now, before the next cell, of a session that is new, was resumed or branched. It
  // makes that cell's checkpoint, unless something else changes the state before.
  enum class Ahead { kNone, kAwaited, kVoid, kThere } ahead_state_ = Ahead::kNone;
  Checkpoint ahead_;
  std::unique_ptr<WorkerLink> link_;
  bool accepted_ = false;
  Preparation preparation_;
  bool ahead_of_time_ = false;  // nobody's yet
  bool ready_ahead_ = false;    // READY was said, and it was not idle yet
  bool fresh_ = true;           // no cell has begun: it can be started anew
  bool pristine_ = false;       // and its worker is still as a zygote makes them
  int attempts_ = 0;            // to start, one after the other
  int64_t idle_ns_ = 0;         // when the last of them was idle
  boost::asio::steady_timer retry_;
  int64_t start_ns_ = 0;  // since when READY is awaited; 0: it is not
  std::string python_;
  std::deque<Waiting> queue_;
  size_t holders_ = 0;
  // Held too by branches of this session that are not known by their number yet, and by this one
  // of its origin.
  std::shared_ptr<char> here_ = std::make_shared<char>(), leaving_;
  std::optional<Running> running_;
  uint64_t last_cell_ = 0;
  uint64_t execution_count_ = 0;
  struct Resuming {
    uint64_t checkpoint = 0;
    std::string why, by;
  };
  std::optional<Resuming> resuming_;
  std::vector<Done> waiting_for_idle_;           // of undo and fork
  std::map<uint64_t, Done> waiting_for_zygote_;  // of undo
  uint64_t last_undo_ = 0;
  std::map<uint64_t, Reply> asked_;
  uint64_t last_ask_ = 0;
  std::string why_ending_;  // it was told to end
  std::string why_ended_;   // it has ended; empty: it has not
  int64_t end_ns_ = 0;      // then it is killed
  struct Joined {
    Listener* listener;
    bool counts;
  };
  std::list<Joined> listeners_;
  size_t clients_ = 0;
  bool waking_ = false;
  double created_;
  double used_;
  int64_t used_ns_, no_clients_since_ns_;
  Usage usage_;
  int64_t rate_window_ns_ = 0;
  uint64_t rate_bytes_ = 0;
  bool rate_held_ = false;
  Guard guard_;
};

const char* name_of(Session::State state);
const char* name_of(Session::Access access);

}  // namespace brood
