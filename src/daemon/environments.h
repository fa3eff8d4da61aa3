// Environments: which zygotes there are. Starts, replaces, retires and forgets them; the one place
// that decides. Daemon process, its one thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/runtime_dir.h"
#include "daemon/asio.h"
#include "daemon/resolve.h"
#include "daemon/zygote_host.h"
#include "wire/launch.h"

namespace brood {

// Waits for an environment to be warm; see Environments::wait_for.
class WarmWaiter {
 public:
  virtual void on_warmed(const Warmed& warmed) = 0;

 protected:
  ~WarmWaiter() = default;
};

// All that is known of one key.
struct Environment {
  Launch launch;
  std::string name;  // of the configuration; empty: plain
  std::string python;
  std::string init_file;
  FileIdentity init_identity;  // when it was last loaded; another state is worth another try
  Lifetime lifetime;
  std::unique_ptr<ZygoteHost> current;   // serves
  std::unique_ptr<ZygoteHost> upcoming;  // is being prepared; replaces `current`
  std::vector<WarmWaiter*> waiters;
  int64_t used_ns = 0;
  uint64_t served = 0;  // by zygotes that are gone
  std::string failure;  // why there is no zygote
  int64_t failed_ns = 0;
  uint32_t failures = 0;         // in a row
  int64_t retry_ns = 0;          // not before
  int64_t start_ns = 0;          // a zygote is to be started then; 0: none
  int64_t restart_delay_ns = 0;  // grows while every replacement becomes stale at once

  bool alive() const { return current || upcoming || start_ns != 0; }
  // For people: the configured name, "plain", or what was asked for on the command line.
  std::string label() const;
};

class Environments : private ZygoteHost::Owner {
 public:
  Environments(boost::asio::io_context& io, const RuntimeDir& dir, const DaemonConfig& config,
               std::string module_path);
  Environments(const Environments&) = delete;

  // Prepares the environment, after a moment in which the client's cold run has the processors,
  // unless it is there or under way, or has failed a moment ago.
  void warm(const Launch& launch);
  // The same, but tries again at once after a failure; the waiter is told when it is ready or has
  // failed, possibly before this returns.
  void wait_for(const Launch& launch, WarmWaiter& waiter);
  void forget(WarmWaiter& waiter);

  // Retires the environments whose label is `which` or whose key begins with it (at least four
  // digits). Returns how many.
  size_t retire_matching(const std::string& which);
  // Retires all and removes their sockets; programs that run go on, and their zygotes leave after
  // them.
  void retire_all();

  // When something was last asked of any environment or ended in it; now, while a program runs.
  int64_t used_ns() const;

  const std::map<std::string, Environment>& all() const { return environments_; }
  const std::vector<std::unique_ptr<ZygoteHost>>& retiring() const { return retiring_; }
  uint64_t served() const { return served_; }  // programs, since the daemon began

 private:
  void on_ready(ZygoteHost& zygote) override;
  void on_failed(ZygoteHost& zygote, const std::string& text) override;
  void on_stale(ZygoteHost& zygote, const std::string& path) override;
  void on_program_started(ZygoteHost& zygote) override;
  void on_program_ended(ZygoteHost& zygote) override;
  void on_gone(ZygoteHost& zygote, const std::string& how) override;

  void note_use(const ZygoteHost& zygote);
  Environment& note(const Launch& launch);
  void begin(const std::string& key, Environment& env);
  void start(const std::string& key, Environment& env);
  void fail(const std::string& key, Environment& env, const std::string& text);
  void tell(Environment& env, const Warmed& warmed);
  void retire(const std::string& key, Environment& env);
  void retire_current(Environment& env);
  void move_to_retiring(std::unique_ptr<ZygoteHost>& zygote);
  void unpublish(const std::string& key);
  void retire_older_states(const Launch& launch);
  bool make_room(const std::string& key);
  void prune();
  void forget_retired(ZygoteHost& zygote);

  // Everything that time alone causes; returns when to come again.
  int64_t maintain(int64_t now);
  int64_t maintain(const std::string& key, Environment& env, int64_t now);
  int64_t maintain_current(const std::string& key, Environment& env, int64_t now);
  void schedule();

  boost::asio::io_context& io_;
  const RuntimeDir dir_;
  const DaemonConfig config_;
  const std::string module_path_;
  std::map<std::string, Environment> environments_;  // by key
  std::vector<std::unique_ptr<ZygoteHost>> retiring_;
  int64_t used_ns_;
  uint64_t served_ = 0;
  boost::asio::steady_timer timer_;
  Guard guard_;
};

}  // namespace brood
