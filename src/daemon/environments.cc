#include "daemon/environments.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/clock.h"
#include "daemon/words.h"

namespace brood {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kFirstRetry = kSecond;
constexpr int64_t kLongestRetry = 60 * kSecond;
// The run that found no zygote takes place without one; the zygote shall not compete with it.
constexpr int64_t kColdRunFirst = kSecond / 20;
constexpr int64_t kPrepareLimit = 300 * kSecond;  // a preload that takes longer hangs
constexpr int64_t kLeaveLimit = 5 * kSecond;      // for a retired zygote in which nothing runs
// An edit often comes as several: a replacement waits a moment, and longer while each becomes stale
// at once.
constexpr int64_t kFirstRestartDelay = kSecond / 10;
constexpr int64_t kLongestRestartDelay = 2 * kSecond;
constexpr int64_t kShortLife = 2 * kSecond;
constexpr int64_t kCrashLoop =
    10 * kSecond;  // a zygote that died this young is not started again at once
constexpr size_t kMaxFailedEnvironments = 64;  // remembered for people
constexpr size_t kLeastKeyDigits = 4;

std::string short_key(const std::string& key) { return key.substr(0, 8); }

bool same_file_other_state(const std::string& path, const FileIdentity& state,
                           const std::string& other_path, const FileIdentity& other_state) {
  return !path.empty() && path == other_path && state != other_state;
}

int64_t last_use(const Environment& env, int64_t now) {
  return env.current && !env.current->programs().empty() ? now : env.used_ns;
}

}  // namespace

std::string Environment::label() const {
  if (!name.empty()) return name;
  if (!launch.preload.empty()) return join(launch.preload, ",");
  if (!launch.init_file.empty()) return launch.init_file.substr(launch.init_file.rfind('/') + 1);
  return "plain";
}

Environments::Environments(boost::asio::io_context& io, const RuntimeDir& dir,
                           const DaemonConfig& config, std::string module_path)
    : io_(io),
      dir_(dir),
      config_(config),
      module_path_(std::move(module_path)),
      used_ns_(monotonic_ns()),
      timer_(io) {}

// --- what clients ask for -----------------------------------------------------------------------

void Environments::warm(const Launch& launch) {
  Environment& env = note(launch);
  if (env.alive()) return;
  const bool edited =
      !env.init_file.empty() && identify(env.init_file.c_str()) != env.init_identity;
  if (used_ns_ < env.retry_ns && !edited) return;
  env.start_ns = used_ns_ + kColdRunFirst;
  schedule();
}

void Environments::wait_for(const Launch& launch, WarmWaiter& waiter) {
  Environment& env = note(launch);
  if (env.current) return waiter.on_warmed({true, ""});
  env.waiters.push_back(&waiter);
  if (!env.upcoming) begin(environment_key(launch), env);
  schedule();
}

void Environments::forget(WarmWaiter& waiter) {
  for (auto& [key, env] : environments_)
    std::erase(env.waiters, &waiter);
}

size_t Environments::retire_matching(const std::string& which) {
  size_t count = 0;
  for (auto& [key, env] : environments_) {
    const bool by_key = which.size() >= kLeastKeyDigits && key.starts_with(which);
    if (!by_key && env.label() != which) continue;
    if (env.alive()) count++;
    env.failures = 0;
    env.retry_ns = 0;
    retire(key, env);
  }
  prune();
  schedule();
  return count;
}

void Environments::retire_all() {
  for (auto& [key, env] : environments_) {
    if (env.upcoming) env.upcoming->kill_unless_ready();
    retire(key, env);
  }
}

int64_t Environments::used_ns() const {
  const int64_t now = monotonic_ns();
  int64_t latest = used_ns_;
  for (const auto& [key, env] : environments_)
    latest = std::max(latest, env.upcoming ? now : last_use(env, now));
  for (const auto& zygote : retiring_)
    if (!zygote->programs().empty()) latest = now;
  return latest;
}

// The record for the launch, which is used now.
Environment& Environments::note(const Launch& launch) {
  used_ns_ = monotonic_ns();
  Environment& env = environments_[environment_key(launch)];
  env.launch = launch;
  env.used_ns = used_ns_;
  return env;
}

// --- starting -----------------------------------------------------------------------------------

// An environment that was not there: others may have to make room for it.
void Environments::begin(const std::string& key, Environment& env) {
  retire_older_states(env.launch);
  if (make_room(key)) return start(key, env);
  env.start_ns = 0;
  const std::string refusal =
      "there are " + std::to_string(config_.max_environments) +
      " environments, and all of them are being prepared; try again in a moment";
  spdlog::warn("not warmed: {}", refusal);
  tell(env, {false, refusal});
}

void Environments::start(const std::string& key, Environment& env) {
  env.start_ns = 0;
  Result<ZygotePlan> plan = plan_zygote(env.launch, dir_);
  if (!plan) {
    fail(key, env, plan.error().message);
    env.retry_ns = 0;  // reading a file again costs nothing
    return;
  }
  env.name = plan->env_name;
  env.python = plan->python;
  env.lifetime = plan->lifetime;
  const InterpreterSpec interpreter{plan->python, env.launch.options,
                                    merge_variables(env.launch.variables, plan->spec.overrides),
                                    module_path_};
  env.init_file = plan->spec.init_file;
  env.init_identity = identify(env.init_file.c_str());
  plan->spec.for_sessions = config_.for_sessions;
  plan->spec.for_gateways = config_.for_gateways;
  Result<std::unique_ptr<ZygoteHost>> zygote =
      ZygoteHost::start(io_, interpreter, plan->spec, *this);
  if (!zygote) return fail(key, env, zygote.error().message);
  env.upcoming = std::move(*zygote);
  spdlog::info("zygote {} (pid {}): preparing {} with {}", short_key(key), env.upcoming->pid(),
               env.name.empty() ? "the plain environment" : "environment " + env.name, env.python);
}

void Environments::on_ready(ZygoteHost& zygote) {
  const std::string& key = zygote.key();
  Environment& env = environments_.at(key);
  const ZygoteReady& report = zygote.report();
  spdlog::info("zygote {} (pid {}): ready after {} ms, fork {} us, with image {} us",
               short_key(key), zygote.pid(), report.preload_us / 1000, report.fork_us,
               report.image_fork_us);
  if (env.current) retire_current(env);  // its socket has been replaced already
  env.current = std::move(env.upcoming);
  env.failure.clear();
  env.failures = 0;
  env.retry_ns = 0;
  unlink(dir_.failure_file(key).c_str());
  tell(env, {true, ""});
  schedule();
}

void Environments::tell(Environment& env, const Warmed& warmed) {
  std::vector<WarmWaiter*> waiters;
  waiters.swap(env.waiters);
  for (WarmWaiter* waiter : waiters)
    waiter->on_warmed(warmed);
}

// --- failing ------------------------------------------------------------------------------------

void Environments::on_failed(ZygoteHost& zygote, const std::string& text) {
  const std::string key = zygote.key();
  auto found = environments_.find(key);
  if (found == environments_.end()) return;
  Environment& env = found->second;
  if (env.upcoming.get() == &zygote) {
    move_to_retiring(env.upcoming);
  } else if (env.current.get() == &zygote) {
    unpublish(key);
    retire_current(env);
  } else {
    return;
  }
  fail(key, env, text);
  schedule();
}

void Environments::fail(const std::string& key, Environment& env, const std::string& text) {
  spdlog::warn("zygote {}: failed: {}", short_key(key), text);
  const int64_t now = monotonic_ns();
  const int64_t delay = std::min(kFirstRetry << std::min(env.failures, 16u), kLongestRetry);
  env.failures++;
  env.failed_ns = now;
  env.retry_ns = now + delay;
  if (!env.current) {
    env.failure = text;
    if (Result<void> written = replace_file(dir_.failure_file(key), text); !written)
      spdlog::error("{}", written.error().message);
  }
  tell(env, {false, text});
}

void Environments::on_stale(ZygoteHost& zygote, const std::string& path) {
  const std::string key = zygote.key();
  auto found = environments_.find(key);
  if (found == environments_.end()) return;
  Environment& env = found->second;
  const bool current = env.current.get() == &zygote;
  if (!current && env.upcoming.get() != &zygote) return;  // retired already
  spdlog::info("zygote {} (pid {}): stale: {}", short_key(key), zygote.pid(), path);
  const int64_t now = monotonic_ns();
  const bool short_life = now - zygote.started_ns() < kShortLife;
  env.restart_delay_ns =
      short_life ? std::clamp(2 * env.restart_delay_ns, kFirstRestartDelay, kLongestRestartDelay)
                 : kFirstRestartDelay;
  if (current)
    retire_current(env);
  else
    move_to_retiring(env.upcoming);
  const int64_t idle = env.lifetime.idle_exit_ns;
  const bool in_use = idle == 0 || now - env.used_ns < idle || !env.waiters.empty();
  if (in_use && !env.upcoming) env.start_ns = now + env.restart_delay_ns;
  schedule();
}

void Environments::on_gone(ZygoteHost& zygote, const std::string& how) {
  const std::string key = zygote.key();
  // Where it was about to listen, if it died just then.
  unlink((zygote.spec().socket_path + ".new-" + std::to_string(zygote.pid())).c_str());
  auto found = environments_.find(key);
  if (found == environments_.end()) return forget_retired(zygote);
  Environment& env = found->second;
  if (env.current.get() == &zygote) {
    spdlog::warn("zygote {} (pid {}): {}", short_key(key), zygote.pid(), how);
    const bool short_life = monotonic_ns() - zygote.started_ns() < kCrashLoop;
    retire_current(env);
    if (short_life) fail(key, env, "its zygote " + how);
  } else if (env.upcoming.get() == &zygote) {
    move_to_retiring(env.upcoming);
  }
  forget_retired(zygote);
  if (!env.current && !env.upcoming) unpublish(key);  // it may have published while it was retired
  prune();
  schedule();
}

void Environments::on_program_started(ZygoteHost& zygote) {
  served_++;
  note_use(zygote);
}

void Environments::note_use(const ZygoteHost& zygote) {
  used_ns_ = monotonic_ns();
  if (auto found = environments_.find(zygote.key()); found != environments_.end())
    found->second.used_ns = used_ns_;
}

void Environments::on_program_ended(ZygoteHost& zygote) {
  note_use(zygote);
  if (zygote.state() == ZygoteState::kRetiring) schedule();
}

// --- retiring -----------------------------------------------------------------------------------

void Environments::move_to_retiring(std::unique_ptr<ZygoteHost>& zygote) {
  zygote->retire();
  retiring_.push_back(std::move(zygote));
}

void Environments::retire_current(Environment& env) {
  env.served += env.current->served();
  move_to_retiring(env.current);
}

void Environments::retire(const std::string& key, Environment& env) {
  env.start_ns = 0;
  tell(env, {false, "the environment was retired"});
  if (!env.current && !env.upcoming) return;
  spdlog::info("zygote {}: retired", short_key(key));
  unpublish(key);
  if (env.current) retire_current(env);
  if (env.upcoming) move_to_retiring(env.upcoming);
}

void Environments::forget_retired(ZygoteHost& zygote) {
  std::erase_if(retiring_, [&zygote](const auto& one) { return one.get() == &zygote; });
}

void Environments::unpublish(const std::string& key) {
  unlink(dir_.environment_socket(key).c_str());
}

// The same configuration file, init file or interpreter in another state: what it was before is of
// no use any more.
void Environments::retire_older_states(const Launch& launch) {
  for (auto& [key, env] : environments_) {
    const Launch& old = env.launch;
    if (!same_file_other_state(old.config_file, old.config_identity, launch.config_file,
                               launch.config_identity) &&
        !same_file_other_state(old.init_file, old.init_identity, launch.init_file,
                               launch.init_identity) &&
        !same_file_other_state(old.python, old.python_file, launch.python, launch.python_file))
      continue;
    retire(key, env);
    env.failure.clear();
    unlink(dir_.failure_file(key).c_str());
  }
}

// Room for one more: the least recently used one retires. False: all are being prepared just now.
bool Environments::make_room(const std::string& key) {
  size_t alive = 0;
  Environment* oldest = nullptr;
  std::string oldest_key;
  for (auto& [other, env] : environments_) {
    if (other == key || !env.alive()) continue;
    alive++;
    if (env.upcoming && !env.current) continue;
    if (!oldest || last_use(env, monotonic_ns()) < last_use(*oldest, monotonic_ns())) {
      oldest = &env;
      oldest_key = other;
    }
  }
  if (alive < config_.max_environments) return true;
  if (!oldest) return false;
  retire(oldest_key, *oldest);
  return true;
}

// Records without a zygote are kept only for what they say about a failure, and not too many of
// them.
void Environments::prune() {
  std::vector<std::pair<int64_t, std::string>> failed;
  for (auto it = environments_.begin(); it != environments_.end();) {
    const Environment& env = it->second;
    if (!env.alive() && env.waiters.empty() && env.failure.empty()) {
      it = environments_.erase(it);
      continue;
    }
    if (!env.alive()) failed.emplace_back(env.failed_ns, it->first);
    ++it;
  }
  if (failed.size() <= kMaxFailedEnvironments) return;
  std::sort(failed.begin(), failed.end());
  failed.resize(failed.size() - kMaxFailedEnvironments);
  for (const auto& [when, key] : failed) {
    environments_.erase(key);
    unlink(dir_.failure_file(key).c_str());
  }
}

// --- time ---------------------------------------------------------------------------------------

int64_t Environments::maintain_current(const std::string& key, Environment& env, int64_t now) {
  int64_t due = kNever;
  if (const int64_t idle = env.lifetime.idle_exit_ns; idle > 0) {
    const int64_t end = last_use(env, now) + idle;
    if (end <= now) {
      retire(key, env);
      return kNever;
    }
    due = end;
  }
  if (const int64_t age = env.lifetime.max_age_ns; age > 0 && !env.upcoming) {
    const int64_t end = std::max(env.current->started_ns() + age, env.retry_ns);
    if (end <= now) start(key, env);
    due = std::min(due, end <= now ? now + kLongestRetry : end);
  }
  return due;
}

int64_t Environments::maintain(const std::string& key, Environment& env, int64_t now) {
  int64_t due = kNever;
  if (env.current) due = maintain_current(key, env, now);
  if (env.start_ns != 0 && !env.upcoming) {
    if (env.start_ns <= now)
      begin(key, env);
    else
      due = std::min(due, env.start_ns);
  }
  if (env.upcoming) {
    const int64_t end = env.upcoming->started_ns() + kPrepareLimit;
    if (end > now) return std::min(due, end);
    move_to_retiring(env.upcoming);
    fail(key, env, "the preload took longer than five minutes");
  }
  return due;
}

int64_t Environments::maintain(int64_t now) {
  int64_t due = kNever;
  for (auto& [key, env] : environments_)
    due = std::min(due, maintain(key, env, now));
  for (const auto& zygote : retiring_) {
    if (!zygote->programs().empty()) continue;
    const int64_t end = zygote->idle_since_ns() + kLeaveLimit;
    if (end <= now) {
      spdlog::warn("zygote {} (pid {}): does not leave, killed", short_key(zygote->key()),
                   zygote->pid());
      zygote->kill();
      due = std::min(due, now + kLeaveLimit);
    } else {
      due = std::min(due, end);
    }
  }
  prune();
  return due;
}

void Environments::schedule() {
  const int64_t now = monotonic_ns();
  const int64_t due = maintain(now);
  timer_.cancel();
  if (due == kNever) return;
  timer_.expires_after(std::chrono::nanoseconds(std::max<int64_t>(due - now, 1'000'000)));
  timer_.async_wait(guard_.wrap([this](auto error) {
    if (!error) schedule();
  }));
}

}  // namespace brood
