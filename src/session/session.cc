#include "session/session.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/clock.h"
#include "base/socket.h"
#include "base/sys.h"

namespace brood {
namespace {

constexpr int kMaxAttempts = 5;       // to start a worker: spares may be stale, or die
constexpr int64_t kSteady = kSecond;  // a worker that was idle for so long had started well
constexpr int kConnectTimeoutMs = 500;
constexpr int64_t kStartTime = 30 * kSecond;  // from RUN, RESUME or BRANCH to READY
constexpr int64_t kEndGrace = 2 * kSecond;    // for exit handlers

std::string signal_text(int number) {
  const char* name = sigabbrev_np(number);
  return "signal " + std::to_string(number) + (name ? " (SIG" + std::string(name) + ")" : "");
}

// What a resumed or branched state lacks.
std::string not_carried(uint64_t threads, uint64_t children) {
  const auto count = [](uint64_t n, const std::string& one, const std::string& many) {
    return n == 0 ? "" : std::to_string(n) + (n == 1 ? one : many);
  };
  const std::string both = threads > 0 && children > 0 ? " and " : "";
  return "a checkpoint does not carry " +
         count(threads, " thread that was running", " threads that were running") + both +
         count(children, " child process", " child processes");
}

// What an end that nobody here has caused says.
std::string end_text(const std::optional<ProcessEnd>& how) {
  if (!how) return "its process ended, it is not known how";
  if (!how->signaled) return "its process ended with status " + std::to_string(how->code);
  if (how->code == SIGKILL)
    return "its process was killed (SIGKILL), not by brood: perhaps the system ran out of memory";
  return "its process died of " + signal_text(how->code);
}

}  // namespace

const char* name_of(Session::State state) {
  switch (state) {
    case Session::State::kStarting: return "starting";
    case Session::State::kIdle: return "idle";
    case Session::State::kBusy: return "busy";
    case Session::State::kEnded: return "ended";
  }
  return "";
}

const char* name_of(Session::Access access) {
  switch (access) {
    case Session::Access::kNone: return "none";
    case Session::Access::kView: return "view";
    case Session::Access::kEdit: return "edit";
    case Session::Access::kOwner: return "owner";
  }
  return "";
}

Session::Session(boost::asio::io_context& io, Reaper& reaper, const ServeSettings& settings,
                 SessionSpec spec, Folder folder, std::unique_ptr<Cgroup> group, Host& host)
    : io_(io),
      reaper_(reaper),
      settings_(settings),
      spec_(std::move(spec)),
      folder_(std::move(folder)),
      group_(std::move(group)),
      host_(host),
      log_(settings.log),
      retry_(io),
      created_(wall_seconds()),
      used_(created_),
      used_ns_(monotonic_ns()),
      no_clients_since_ns_(used_ns_) {}

Session::~Session() {
  drop_link();
  group_.reset();
  remove_folder();
}

void Session::remove_folder() {
  Result<pid_t> pid = folder_.start_removal();
  if (pid && *pid > 0) reaper_.watch(*pid, Fd(static_cast<int>(syscall(SYS_pidfd_open, *pid, 0))));
}

// --- starting -----------------------------------------------------------------------------------

void Session::start() {
  say_state();
  prepare();
}

void Session::start_ahead() {
  ahead_of_time_ = true;
  start();
}

void Session::give(SessionSpec spec) {
  ahead_of_time_ = false;
  spec.id = spec_.id;
  spec_ = std::move(spec);
  created_ = wall_seconds();
  touch();
  no_clients_since_ns_ = used_ns_;
  start_ns_ = used_ns_;
}

// Meanwhile its worker may have died, and another one been asked for.
void Session::confirm(bool current) {
  if (state_ == State::kEnded || !fresh_ || running_) return;
  if (current) {
    if (ready_ahead_) become_idle(0, 0);
    return;
  }
  drop_link();
  drop_ahead();
  ahead_state_ = Ahead::kNone;
  ready_ahead_ = false;
  resuming_.reset();
  if (state_ != State::kStarting) set_state(State::kStarting);
  prepare();
}

void Session::prepare() {
  start_ns_ = 0;  // an environment takes the time it takes
  host_.prepare(spec_.env, guard_.wrap([this](Result<Preparation> preparation) {
    if (state_ == State::kEnded) return;
    // For who goes back it was to be had once: perhaps somebody has killed its zygote.
    const bool goes_back = resuming_ && resuming_->checkpoint != 0;
    if (!preparation && goes_back && attempts_ + 1 < kMaxAttempts)
      return try_again(preparation.error().message);
    if (!preparation)
      return finish("its environment cannot be had: " + preparation.error().message, std::nullopt);
    run_in(*preparation);
  }));
}

void Session::run_in(const Preparation& preparation) {
  preparation_ = preparation;
  start_ns_ = monotonic_ns();
  accepted_ = false;
  in_group_ = false;
  pristine_ = true;
  WorkerEnds ends;
  Result<std::unique_ptr<WorkerLink>> link =
      WorkerLink::create(io_, reaper_, static_cast<WorkerLink::Owner&>(*this), ends);
  if (!link) return finish(link.error().message, std::nullopt);
  Result<Fd> socket = connect_unix(preparation.socket_path, kConnectTimeoutMs);
  if (!socket) return try_again(socket.error().message);
  RunRequest request = preparation.request;
  request.kind = ProgramKind::kSession;
  request.program = spec_.id;
  request.descriptor_numbers = {0, 1, 2, kControlDescriptor};
  const std::array<int, 6> descriptors = {folder_.descriptor(), ends.life.get(),
                                          ends.in.get(),        ends.out.get(),
                                          ends.err.get(),       ends.control.get()};
  Result<void> sent =
      send_all(socket->get(), encode_frame(FrameType::kRun, encode(request)), descriptors);
  if (!sent) return try_again(sent.error().message);
  link_ = std::move(*link);
  link_->send(FrameType::kSetup, set_up_head());
}

std::string Session::set_up_head() const {
  return nlohmann::json{{"session", spec_.id},
                        {"preparser", spec_.preparser},
                        {"limits",
                         {{"memory", spec_.limits.memory},
                          {"file_size", spec_.limits.file_size},
                          {"open_files", spec_.limits.open_files}}}}
      .dump();
}

// A zygote that was retired meanwhile, a spare that was stale or died: the next one will do.
void Session::try_again(const std::string& why) {
  drop_link();
  if (++attempts_ >= kMaxAttempts) return finish("no worker could be had: " + why, std::nullopt);
  // A zygote that has just died is not known to be dead yet.
  retry_.expires_after(std::chrono::milliseconds(10 * attempts_ * attempts_));
  retry_.async_wait(guard_.wrap([this](auto error) {
    if (!error && state_ != State::kEnded) prepare();
  }));
}

void Session::on_accepted() { accepted_ = true; }

void Session::on_refused(const std::string& reason) { try_again(reason); }

void Session::on_ready(const nlohmann::json& head) {
  python_ = head.value("python", "");
  start_ns_ = 0;
  const uint64_t threads = head.value("threads", uint64_t{0});
  const uint64_t children = head.value("children", uint64_t{0});
  if (group_ && !in_group_) return join_group(threads, children);
  become_idle(threads, children);
}

// Nothing of the user's runs yet: what it starts later is in the group, too.
void Session::join_group(uint64_t threads, uint64_t children) {
  const pid_t worker = link_->pid();
  group_->join(worker, guard_.wrap([this, worker, threads, children](const Result<void>& done) {
    if (state_ == State::kEnded || !link_ || link_->pid() != worker) return;
    if (!done) emit("notice", {{"text", "not in its control group: " + done.error().message}});
    in_group_ = true;
    become_idle(threads, children);
  }));
}

void Session::become_idle(uint64_t threads, uint64_t children) {
  leaving_.reset();
  start_ns_ = 0;
  ready_ahead_ = ahead_of_time_;
  if (ahead_of_time_) return freeze_ahead();
  const std::optional<Resuming> resumed = std::exchange(resuming_, std::nullopt);
  if (resumed && resumed->checkpoint != 0)
    emit("undone", {{"checkpoint", resumed->checkpoint},
                    {"execution_count", execution_count_},
                    {"why", resumed->why},
                    {"by", resumed->by}});
  if (threads + children > 0) emit("notice", {{"text", not_carried(threads, children)}});
  set_state(State::kIdle);
  idle_ns_ = monotonic_ns();
  std::vector<Done> waiting;
  waiting.swap(waiting_for_idle_);
  if (resumed || pristine_) freeze_ahead();
  for (Done& done : waiting)
    done(std::nullopt);
  pump();
}

void Session::freeze_ahead() {
  if (spec_.checkpoints == 0) return;
  if (pristine_) {  // no copy: there can be any number of them
    ahead_ = {};
    ahead_.cell = last_cell_ + 1;
    ahead_.execution_count = 1;
    ahead_.created = wall_seconds();
    ahead_state_ = Ahead::kThere;
  } else if (link_ && link_->send(FrameType::kFreeze, "{}")) {
    ahead_state_ = Ahead::kAwaited;
  }
}

// The state of now is another one than that which was frozen ahead.
void Session::drop_ahead() {
  pristine_ = false;
  if (ahead_state_ == Ahead::kAwaited) ahead_state_ = Ahead::kVoid;
  if (ahead_state_ != Ahead::kThere) return;
  ahead_state_ = Ahead::kNone;
  ahead_.frozen.reset();
}

void Session::start_as_branch(Session& origin, std::optional<uint64_t> checkpoint,
                              const std::string& by, Done done) {
  const Checkpoint* from = checkpoint ? origin.checkpoints_.find(*checkpoint) : nullptr;
  const bool anew = from && !from->frozen;
  if (!anew)
    if (auto problem = copy_worker(origin, from ? from->frozen.get() : nullptr))
      return done(std::move(problem));
  fresh_ = anew || origin.fresh_;
  last_cell_ = origin.last_cell_;
  execution_count_ = from ? from->execution_count - 1 : origin.execution_count_;
  log_.inherit(origin.log_, from ? from->cell : origin.last_cell_ + 1);
  origin.emit("branched", {{"into", spec_.id},
                           {"checkpoint", from ? nlohmann::json(from->cell) : nlohmann::json()},
                           {"by", by}});
  resuming_ = Resuming{};
  waiting_for_idle_.push_back(std::move(done));
  if (anew) prepare();
}

// Its worker is a copy of the origin's, or of a frozen one.
std::optional<Problem> Session::copy_worker(Session& origin, Frozen* frozen) {
  WorkerEnds ends;
  Result<std::unique_ptr<WorkerLink>> link =
      WorkerLink::create(io_, reaper_, static_cast<WorkerLink::Owner&>(*this), ends);
  if (!link) return Problem{ProblemCode::kLimit, link.error().message};
  const std::string head = nlohmann::json{{"session", spec_.id}}.dump();
  const std::string folders = origin.folder_.path() + '\0' + folder_.path();
  const std::array<int, 5> numbers = ends.numbers();
  const bool sent = frozen ? frozen->send(FrameType::kBranch, head, folders, numbers)
                           : origin.link_->send(FrameType::kBranch, head, folders, numbers);
  if (!sent) return Problem{ProblemCode::kUnavailable, "the session's process is gone"};
  link_ = std::move(*link);
  leaving_ = origin.here_;
  start_ns_ = monotonic_ns();
  return std::nullopt;
}

// --- the worker's end ---------------------------------------------------------------------------

void Session::drop_link() {
  if (!link_) return;
  const pid_t worker = link_->pid();
  link_->kill();
  kill_others(worker);
  link_.reset();
}

// What has the session's folder as its working directory is the session's, and so is what is in its
// control group. Nothing is, while there is a copy whose number is not known: it is there, too. A
// copy can tell its number at any moment, so what is known is taken out of the list last.
Belongings Session::belongings(pid_t worker, bool at_once) {
  Belongings where{worker, host_.strangers(at_once), "", nullptr};
  const bool known = checkpoints_.all_known() && ahead_.is_known() && here_.use_count() == 1;
  const auto leave_out_copies = [this](std::vector<pid_t> found) {
    std::set<pid_t> copies;
    collect_processes(copies);
    std::erase_if(found, [&copies](pid_t pid) { return copies.contains(pid); });
    return found;
  };
  where.strangers = leave_out_copies(std::move(where.strangers));
  if (!known) return where;
  where.folder = folder_.path();
  if (group_)
    where.members = [this, leave_out_copies] { return leave_out_copies(group_->members()); };
  return where;
}

void Session::kill_others(pid_t worker) { usage_.kill_others(belongings(worker, true)); }

void Session::on_end(std::optional<ProcessEnd> how) {
  if (state_ == State::kStarting && !accepted_ && !resuming_)
    return try_again("the worker left before it began");
  kill_others(link_->pid());
  link_.reset();
  ready_ahead_ = false;
  if (ahead_of_time_) return finish("its process ended before it was wanted", how);
  for (auto& [number, reply] : std::exchange(asked_, {}))
    reply(Problem{ProblemCode::kUnavailable, "the session's process ended"});
  if (!why_ending_.empty()) return finish(why_ending_, how);
  if (ahead_state_ != Ahead::kThere) ahead_state_ = Ahead::kNone;  // it will not come any more
  recover(how);
}

// Goes on from the newest checkpoint, or anew if nothing has run yet, or ends.
void Session::recover(std::optional<ProcessEnd> how) {
  if (state_ == State::kIdle && monotonic_ns() - idle_ns_ >= kSteady) attempts_ = 0;
  std::string status = "crashed", why = end_text(how);
  if (running_ && (running_->killed || !running_->status.empty())) {  // it was us
    status = running_->status.empty() ? "killed" : running_->status;
    why = running_->why;
  }
  if (ahead_state_ == Ahead::kThere && resume(std::exchange(ahead_, {}), why, "")) return;
  if (running_ && status == "crashed" && group_ && group_->out_of_memory() > out_of_memory_) {
    status = "memory";
    why = "the kernel ended it: the session has used all memory of its control group";
  }
  const bool has_checkpoint = checkpoints_.size() > 0;
  if (running_ && running_->first && running_->may_wait) {  // it has not begun
    fresh_ = true;
    execution_count_ = 0;
  }
  if (running_ && has_checkpoint && checkpoints_.newest()->cell != running_->cell)
    why += "; it has no checkpoint of its own: the session goes back to its state before cell " +
           std::to_string(checkpoints_.newest()->cell);
  if (running_) cell_over(status, why, has_checkpoint || fresh_);
  cancel_queue("the cell before it was undone");
  if (fresh_ && checkpoints_.size() == 0) {
    set_state(State::kStarting);
    return try_again(why);
  }
  while (has_checkpoint && checkpoints_.newest())
    if (resume(checkpoints_.newest()->cell, why, "")) return;
  if (fresh_) {  // the last one that could be tried was that of the first cell
    set_state(State::kStarting);
    return try_again(why);
  }
  finish(why, how);
}

bool Session::resume(uint64_t checkpoint, const std::string& why, const std::string& by) {
  drop_link();  // while all frozen copies are known: what is nobody's ends with the worker
  std::vector<uint64_t> dropped;
  Checkpoint taken = checkpoints_.take(checkpoint, dropped);
  dropped.push_back(taken.cell);
  forget(dropped);
  return resume(std::move(taken), why, by);
}

// There is no worker any more.
bool Session::resume(Checkpoint taken, const std::string& why, const std::string& by) {
  drop_ahead();
  ahead_state_ = Ahead::kNone;
  execution_count_ = taken.execution_count - 1;
  fresh_ = execution_count_ == 0;
  if (!taken.frozen) {
    resuming_ = Resuming{taken.cell, why, by};
    set_state(State::kStarting);
    if (attempts_++ == 0)
      prepare();
    else
      try_again(why);
    return true;
  }
  WorkerEnds ends;
  Result<std::unique_ptr<WorkerLink>> link =
      WorkerLink::create(io_, reaper_, static_cast<WorkerLink::Owner&>(*this), ends);
  if (!link) return false;
  if (!taken.frozen->send(FrameType::kResume, nlohmann::json{{"session", spec_.id}}.dump(), {},
                          ends.numbers()))
    return false;
  taken.frozen->release();
  link_ = std::move(*link);
  resuming_ = Resuming{taken.cell, why, by};
  start_ns_ = monotonic_ns();
  set_state(State::kStarting);
  return true;
}

void Session::forget(const std::vector<uint64_t>& cells) {
  if (!cells.empty()) emit("forgotten", {{"checkpoints", cells}});
}

void Session::end(const std::string& why) {
  if (state_ == State::kEnded) return;
  why_ending_ = why;
  cancel_queue("the session ends");
  if (!link_ || link_->pid() == 0 || state_ != State::kIdle) return finish(why, std::nullopt);
  // Exit handlers run, as at the end of a program.
  end_ns_ = monotonic_ns() + kEndGrace;
  link_->hang_up();
}

void Session::finish(const std::string& why, std::optional<ProcessEnd> how) {
  if (state_ == State::kEnded) return;
  const Guard::Watch watch = guard_.watch();
  leaving_.reset();
  if (running_) cell_over("killed", why, false);
  why_ended_ = why;
  cancel_queue("the session has ended: " + why);
  drop_link();
  checkpoints_.clear();
  drop_ahead();
  group_.reset();
  nlohmann::json head = {{"why", why}};
  if (how) head[how->signaled ? "signal" : "exit_status"] = how->code;
  state_ = State::kEnded;
  emit("ended", head);
  for (Done& done : std::exchange(waiting_for_idle_, {}))
    done(Problem{ProblemCode::kUnavailable, why});
  for (auto& [number, done] : std::exchange(waiting_for_zygote_, {}))
    done(Problem{ProblemCode::kUnavailable, why});
  if (watch.gone()) return;
  for (auto& [number, reply] : std::exchange(asked_, {}))
    reply(has_ended());
  if (!watch.gone()) host_.on_ended(*this);
}

// --- what time does -----------------------------------------------------------------------------

void Session::collect_processes(std::set<pid_t>& processes) {
  if (link_) processes.insert(link_->pid());
  checkpoints_.collect_processes(processes);
  if (ahead_.pid() > 0) processes.insert(ahead_.pid());
}

void Session::touch() {
  used_ = wall_seconds();
  used_ns_ = monotonic_ns();
}

void Session::tick(int64_t now_ns) {
  if (state_ == State::kEnded) return;
  const auto passed = [now_ns](int64_t since, uint64_t seconds) {
    return seconds != 0 && now_ns - since >= static_cast<int64_t>(seconds) * kSecond;
  };
  const bool alone = clients_ == 0 && !ahead_of_time_;  // one that was started ahead waits
  if (state_ != State::kBusy && passed(used_ns_, spec_.idle_timeout) && alone)
    return end("not used for " + std::to_string(spec_.idle_timeout) + " s");
  if (alone && passed(std::max(no_clients_since_ns_, used_ns_), spec_.no_clients_timeout))
    return end("no client for " + std::to_string(spec_.no_clients_timeout) + " s");
  if (end_ns_ != 0 && now_ns >= end_ns_) return finish(why_ending_, std::nullopt);
  if (start_ns_ != 0 && now_ns - start_ns_ >= kStartTime) {
    start_ns_ = 0;
    if (fresh_) return try_again("the worker did not begin in time");
    if (link_ && link_->pid() > 0) return link_->kill();
    drop_link();
    return recover(std::nullopt);
  }
  if (running_) check_limits(now_ns);
  if (rate_held_ && now_ns - rate_window_ns_ >= kSecond) rate_held_ = false;
  log_.move_on(now_ns);
  hold_if_full();
}

void Session::check_limits(int64_t now_ns) {
  Running& cell = *running_;
  if (cell.kill_ns != 0 && now_ns >= cell.kill_ns && !cell.killed) {
    cell.killed = true;
    if (link_) link_->kill();
    return;
  }
  const double limit =
      cell.request.timeout > 0 && spec_.limits.cell_time > 0
          ? std::min(cell.request.timeout, static_cast<double>(spec_.limits.cell_time))
          : std::max(cell.request.timeout, static_cast<double>(spec_.limits.cell_time));
  if (limit > 0 && static_cast<double>(now_ns - cell.begin_ns) >= limit * 1e9)
    stop_cell("timeout", "it took longer than " + nlohmann::json(limit).dump() + " s", false);
  const SessionLimits& limits = spec_.limits;
  if (!link_ || (limits.memory == 0 && limits.cpu == 0 && limits.processes == 0)) return;
  UsageSample use = usage_.measure(belongings(link_->pid(), false));
  if (group_) use.cpu_ns = group_->cpu_ns().value_or(use.cpu_ns);
  const auto over = [](uint64_t value, uint64_t most) { return most != 0 && value > most; };
  if (over(use.memory, limits.memory))
    stop_cell("memory",
              "its processes have more than " + std::to_string(limits.memory) +
                  " bytes of memory of their own",
              true);
  if (over(use.processes, limits.processes))
    stop_cell("processes",
              "there were " + std::to_string(use.processes) + " processes, " +
                  std::to_string(limits.processes) + " are allowed",
              true);
  if (over(use.cpu_ns, limits.cpu * static_cast<uint64_t>(kSecond)) && limits.cpu != 0)
    stop_cell("cpu",
              "the session has used its " + std::to_string(limits.cpu) + " s of processor time",
              false);
}

// The cell gets an interrupt and some time, or is killed at once; what it ends with is `status`.
void Session::stop_cell(const std::string& status, const std::string& why, bool at_once) {
  if (!running_ || !link_ || !running_->status.empty()) return;
  running_->status = status;
  running_->why = why;
  if (at_once) {
    running_->killed = true;
    return link_->kill();
  }
  interrupt_cell();
}

// A signal that comes before the cell's first line is not taken for it; the frame is, there.
void Session::interrupt_cell() {
  if (running_->kill_ns == 0) {
    running_->kill_ns = monotonic_ns() + settings_.interrupt_grace_ns;
    link_->send(FrameType::kInterrupt, nlohmann::json{{"cell", running_->cell}}.dump());
  }
  link_->signal_group(SIGINT);
}

}  // namespace brood
