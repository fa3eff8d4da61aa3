// Sessions: all of them, and what clients may ask of them: the Api. Server process, its one thread.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "daemon/asio.h"
#include "session/api.h"
#include "session/collector.h"
#include "session/reaper.h"
#include "session/session.h"
#include "session/settings.h"

namespace brood {

// The environments that the server offers. Implemented by main, which knows how a launch is
// described.
class EnvironmentSource {
 public:
  // docs/protocol.md: the method `environments`.
  virtual nlohmann::json list() = 0;
  virtual bool has(const std::string& name) = 0;
  virtual std::string default_name() = 0;
  struct Terms {
    SessionLimits limits;
    std::string preparser;
  };
  virtual Terms terms(const std::string& name) = 0;
  virtual void prepare(const std::string& name, Prepared prepared) = 0;
  // Whether `made` is what prepare() would give now, and what its zygote has loaded is still what
  // is on disk. From the event loop, or at once.
  virtual void confirm(const std::string& name, const Preparation& made,
                       std::function<void(bool)> verdict) = 0;
  // The zygotes' processes: somebody else reaps them.
  virtual void collect_processes(std::set<pid_t>& processes) = 0;

 protected:
  ~EnvironmentSource() = default;
};

class Sessions final : public Api, private Session::Host {
 public:
  // `groups`: null: none are to be had.
  Sessions(boost::asio::io_context& io, const ServeSettings& settings, std::string node,
           EnvironmentSource& environments, Cgroups* groups);
  ~Sessions() override;

  void call(const Caller& caller, Request request, Reply reply) override;
  std::variant<Joined, Problem> join(const Caller& caller, const nlohmann::json& head,
                                     Listener& listener) override;
  std::string metrics() const override;

  size_t alive() const;

 private:
  class Joint;
  using Method = void (Sessions::*)(const Caller&, Request&, const Reply&);
  using SessionMethod = void (Sessions::*)(Session&, const Caller&, Request&, const Reply&);
  struct Entry {
    std::unique_ptr<Session> session;
    int64_t forget_ns = 0;  // when an ended one goes; 0: it has not ended
    bool removed = false;   // not to be seen any more
  };

  // Session::Host
  void prepare(const std::string& env, Prepared prepared) override;
  void prepare_current(const std::string& env, Prepared prepared) override;
  void on_cell_done(Session& session) override;
  void on_ended(Session& session) override;
  const std::vector<pid_t>& strangers(bool at_once) override;

  std::variant<Session*, Problem> find(const Caller& caller, const nlohmann::json& head,
                                       Session::Access least);
  Session* add(SessionSpec spec, Folder folder);
  std::unique_ptr<Session> construct(SessionSpec spec, Folder folder);
  std::unique_ptr<Cgroup> make_group(const SessionSpec& spec);
  Session* take_ahead(const SessionSpec& wanted);
  uint64_t count_ahead(const std::string& env) const;
  void start_ahead(const std::string& env);
  void tick_ahead(int64_t now);
  void copy_files(Session& from, Session& to, Session::Done done);
  void let_cells_go(const std::string& session);
  std::optional<Problem> no_room(const Caller& caller) const;
  std::string new_id() const;
  std::variant<SessionSpec, Problem> spec_from(const Caller& caller, const nlohmann::json& head);
  SessionSpec usual_spec(const std::string& env) const;

  // The methods of docs/protocol.md.
  void list_environments(const Caller&, Request&, const Reply&);
  void list_sessions(const Caller&, Request&, const Reply&);
  void make(const Caller&, Request&, const Reply&);
  void info(Session&, const Caller&, Request&, const Reply&);
  void rename(Session&, const Caller&, Request&, const Reply&);
  void remove(Session&, const Caller&, Request&, const Reply&);
  void execute(Session&, const Caller&, Request&, const Reply&);
  void run(Session&, const Caller&, Request&, const Reply&);
  void write_stdin(Session&, const Caller&, Request&, const Reply&);
  void message(Session&, const Caller&, Request&, const Reply&);
  void interrupt(Session&, const Caller&, Request&, const Reply&);
  void signal(Session&, const Caller&, Request&, const Reply&);
  void undo(Session&, const Caller&, Request&, const Reply&);
  void fork(Session&, const Caller&, Request&, const Reply&);
  void checkpoints(Session&, const Caller&, Request&, const Reply&);
  void ask(Session&, const Caller&, Request&, const Reply&);
  void files(Session&, const Caller&, Request&, const Reply&);
  void put(Session&, const Caller&, Request&, const Reply&);
  void get(Session&, const Caller&, Request&, const Reply&);
  void erase(Session&, const Caller&, Request&, const Reply&);
  void share(Session&, const Caller&, Request&, const Reply&);

  void dispatch(const Caller& caller, Request& request, const Reply& reply);
  void tick();
  void sweep_collectors();

  boost::asio::io_context& io_;
  const ServeSettings settings_;
  const std::string node_;
  EnvironmentSource& environments_;
  Cgroups* const groups_;
  Reaper reaper_;
  std::map<std::string, Entry> sessions_;
  struct Ahead {
    std::unique_ptr<Session> session;
    int64_t since_ns;
  };
  std::list<Ahead> ahead_;
  std::map<std::string, int64_t> due_ahead_;  // environment -> since when one more is wanted
  std::list<std::unique_ptr<Collector>> collectors_;
  std::set<pid_t> copies_;  // processes that copy files
  std::vector<pid_t> strangers_;
  int64_t strangers_ns_ = 0;
  boost::asio::steady_timer timer_;
  uint64_t created_ = 0, cells_ = 0, undone_ = 0, forked_ = 0;
  Guard guard_;
};

}  // namespace brood
