#include "session/sessions.h"

#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "session/members.h"

namespace brood {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr int64_t kRememberEnded = 300 * kSecond;  // so that clients can learn why
constexpr int64_t kRememberRemoved = 5 * kSecond;  // so that joined clients get the last event
constexpr int64_t kStrangersAge = kSecond / 10;
constexpr uint64_t kTasksEach = 16;           // threads of a process that is within its limits
constexpr int64_t kAheadAge = 600 * kSecond;  // unused, then it goes
constexpr int64_t kAheadDelay = kSecond / 5;  // after a session was made
constexpr int kIdDigits = 10;  // of 32: not to be guessed, though nothing depends on that

// A child that has ended and was not reaped yet.
bool has_zombie() {
  siginfo_t info{};
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

}  // namespace

// One joined client.
class Sessions::Joint final : public Subscription {
 public:
  Joint(Session& session, const Caller& caller, Listener& listener, uint64_t after)
      : session_(session),
        caller_(caller),
        alive_(session.watch()),
        listener_(listener),
        id_(session.spec().id),
        cursor_(session.log().join(after)) {
    session.add_listener(listener, true);
  }
  ~Joint() override {
    cursor_.reset();
    if (!alive_.gone()) session_.remove_listener(listener_);
  }

  EventPointer next() override {
    if (!cursor_) return nullptr;
    if (!alive_.gone() && session_.access(caller_) == Session::Access::kNone) return shut_out();
    EventPointer event = cursor_->next();
    if (!alive_.gone()) session_.log_was_read();
    return event;
  }
  const std::string& session() const override { return id_; }

 private:
  // The last event of who may not see the session any more.
  EventPointer shut_out() {
    const uint64_t seq = cursor_->seq();
    cursor_.reset();
    session_.log_was_read();
    return std::make_shared<Event>(
        Event{seq, "ended", 0, R"({"why":"it is no longer shared with you"})", ""});
  }

  Session& session_;
  const Caller caller_;
  const Guard::Watch alive_;
  Listener& listener_;
  const std::string id_;
  std::unique_ptr<EventLog::Cursor> cursor_;
};

Sessions::Sessions(boost::asio::io_context& io, const ServeSettings& settings, std::string node,
                   EnvironmentSource& environments, Cgroups* groups)
    : io_(io),
      settings_(settings),
      node_(std::move(node)),
      environments_(environments),
      groups_(groups),
      reaper_(io),
      timer_(io) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  tick();
}

Sessions::~Sessions() {
  collectors_.clear();
  for (const pid_t pid : copies_)
    reaper_.end(pid);
  while (!ahead_.empty()) {
    const Ahead last = std::move(ahead_.back());
    ahead_.pop_back();
  }
  while (!sessions_.empty())  // one at a time: each asks which processes are the others'
    sessions_.extract(sessions_.begin());
}

// --- time and processes -------------------------------------------------------------------------

void Sessions::tick() {
  timer_.expires_after(kTick);
  timer_.async_wait(guard_.wrap([this](auto error) {
    if (error) return;
    const int64_t now = monotonic_ns();
    for (auto& [id, entry] : sessions_)
      entry.session->tick(now);
    std::erase_if(sessions_, [now](const auto& item) {
      return item.second.forget_ns != 0 && now >= item.second.forget_ns;
    });
    tick_ahead(now);
    sweep_collectors();
    if (groups_) groups_->sweep();
    if (has_zombie()) strangers(true);
    tick();
  }));
}

void Sessions::sweep_collectors() {
  std::erase_if(collectors_, [](const auto& one) { return one->finished(); });
}

const std::vector<pid_t>& Sessions::strangers(bool at_once) {
  const int64_t now = monotonic_ns();
  if (!at_once && now - strangers_ns_ < kStrangersAge) return strangers_;
  strangers_ns_ = now;
  std::set<pid_t> known;
  environments_.collect_processes(known);
  for (auto& [id, entry] : sessions_)
    entry.session->collect_processes(known);
  for (const Ahead& one : ahead_)
    one.session->collect_processes(known);
  strangers_ = reaper_.reap_strangers(known);
  return strangers_;
}

void Sessions::prepare(const std::string& env, Prepared prepared) {
  environments_.prepare(env, std::move(prepared));
}

void Sessions::prepare_current(const std::string& env, Prepared prepared) {
  environments_.prepare(env, guard_.wrap([this, env, prepared](Result<Preparation> made) {
    if (!made) return prepared(std::move(made));
    environments_.confirm(env, *made, guard_.wrap([this, env, prepared, made](bool current) {
      if (current) return prepared(made);
      environments_.prepare(env, prepared);
    }));
  }));
}

void Sessions::on_ended(Session& session) {
  const auto found = sessions_.find(session.spec().id);
  if (found == sessions_.end()) return;  // it was started ahead
  Entry& entry = found->second;
  entry.forget_ns = monotonic_ns() + (entry.removed ? kRememberRemoved : kRememberEnded);
  if (entry.removed) session.remove_folder();
}

size_t Sessions::alive() const {
  return static_cast<size_t>(
      std::count_if(sessions_.begin(), sessions_.end(),
                    [](const auto& item) { return item.second.forget_ns == 0; }));
}

// --- finding and making -------------------------------------------------------------------------

std::variant<Session*, Problem> Sessions::find(const Caller& caller, const nlohmann::json& head,
                                               Session::Access least) {
  const auto id = head.find("session");
  if (id == head.end() || !id->is_string())
    return Problem{ProblemCode::kBadRequest, "session is missing, expected a session's id"};
  const auto found = sessions_.find(id->get<std::string>());
  if (found == sessions_.end() || found->second.removed ||
      found->second.session->access(caller) == Session::Access::kNone)
    return Problem{ProblemCode::kNotFound, "there is no session " + id->get<std::string>()};
  if (const Session::Access has = found->second.session->access(caller); has < least)
    return Problem{ProblemCode::kForbidden,
                   std::string("the session is shared with you for ") +
                       (has == Session::Access::kEdit ? "editing" : "viewing") + "; that needs " +
                       (least == Session::Access::kOwner ? "its owner" : "editing")};
  return found->second.session.get();
}

std::string Sessions::new_id() const {
  static constexpr char kDigits[] = "abcdefghijkmnpqrstuvwxyz23456789";
  static_assert(sizeof kDigits == 33);
  unsigned char random[kIdDigits];
  for (;;) {
    require(getrandom(random, sizeof random, 0) == sizeof random, "random bytes");
    std::string id = node_ + "-";
    for (const unsigned char byte : random)
      id += kDigits[byte % 32];
    if (!sessions_.contains(id)) return id;
  }
}

std::optional<Problem> Sessions::no_room(const Caller& caller) const {
  size_t all = 0, own = 0;
  for (const auto& [id, entry] : sessions_) {
    if (entry.forget_ns != 0 || entry.removed) continue;  // it is gone in a moment
    all++;
    if (entry.session->spec().owner == caller.user) own++;
  }
  if (all >= settings_.max_sessions)
    return Problem{ProblemCode::kLimit,
                   "the server has its " + std::to_string(settings_.max_sessions) + " sessions"};
  if (own >= settings_.max_sessions_per_user && !caller.admin)
    return Problem{ProblemCode::kLimit, "you have your " +
                                            std::to_string(settings_.max_sessions_per_user) +
                                            " sessions; remove one that is not needed"};
  return std::nullopt;
}

std::variant<SessionSpec, Problem> Sessions::spec_from(const Caller& caller,
                                                       const nlohmann::json& head) {
  Members members(head,
                  {"env", "name", "checkpoints", "limits", "idle_timeout", "no_clients_timeout"});
  SessionSpec spec = usual_spec(members.text("env", environments_.default_name()));
  spec.name = members.name("name");
  const uint64_t checkpoints = members.number("checkpoints", spec.checkpoints);
  spec.idle_timeout = members.number("idle_timeout", spec.idle_timeout);
  spec.no_clients_timeout = members.number("no_clients_timeout", spec.no_clients_timeout);
  if (members.problem()) return *members.problem();
  if (!environments_.has(spec.env))
    return Problem{ProblemCode::kNotFound, "there is no environment " + spec.env};
  if (checkpoints > kMaxCheckpoints)
    return Problem{ProblemCode::kBadRequest,
                   "checkpoints is at most " + std::to_string(kMaxCheckpoints)};
  spec.checkpoints = static_cast<uint32_t>(checkpoints);
  Result<SessionLimits> limits =
      limits_from(head.value("limits", nlohmann::json()), spec.limits, caller.admin);
  if (!limits) return Problem{ProblemCode::kBadRequest, limits.error().message};
  spec.limits = *limits;
  spec.owner = caller.user;
  spec.id = new_id();
  return spec;
}

// What a request that says nothing else gets. Nobody's, and without an id.
SessionSpec Sessions::usual_spec(const std::string& env) const {
  SessionSpec spec;
  spec.env = env;
  spec.checkpoints = settings_.checkpoints;
  spec.idle_timeout = settings_.idle_timeout;
  spec.no_clients_timeout = settings_.no_clients_timeout;
  EnvironmentSource::Terms terms = environments_.terms(env);
  spec.limits = terms.limits;
  spec.preparser = std::move(terms.preparser);
  return spec;
}

std::unique_ptr<Session> Sessions::construct(SessionSpec spec, Folder folder) {
  std::unique_ptr<Cgroup> group = make_group(spec);
  return std::make_unique<Session>(io_, reaper_, settings_, std::move(spec), std::move(folder),
                                   std::move(group), static_cast<Session::Host&>(*this));
}

Session* Sessions::add(SessionSpec spec, Folder folder) {
  Entry& entry = sessions_[spec.id];
  entry.session = construct(std::move(spec), std::move(folder));
  created_++;
  return entry.session.get();
}

// --- sessions that are started before they are wanted -------------------------------------------

// One that was started with just these terms; null: there is none.
Session* Sessions::take_ahead(const SessionSpec& wanted) {
  due_ahead_.try_emplace(wanted.env, monotonic_ns());
  const auto found = std::find_if(ahead_.begin(), ahead_.end(), [&wanted](const Ahead& one) {
    const SessionSpec& spec = one.session->spec();
    return spec.env == wanted.env && spec.limits == wanted.limits &&
           spec.preparser == wanted.preparser && one.session->is_ready_ahead();
  });
  if (found == ahead_.end()) return nullptr;
  const std::string id = found->session->spec().id;
  Session* const session = found->session.get();
  sessions_[id].session = std::move(found->session);
  ahead_.erase(found);
  created_++;
  session->give(wanted);
  environments_.confirm(wanted.env, session->preparation(), guard_.wrap([this, id](bool current) {
    if (const auto given = sessions_.find(id); given != sessions_.end())
      given->second.session->confirm(current);
  }));
  return session;
}

// Those that can be given away; "": of all environments.
uint64_t Sessions::count_ahead(const std::string& env) const {
  return static_cast<uint64_t>(
      std::count_if(ahead_.begin(), ahead_.end(), [&env](const Ahead& one) {
        return one.session->is_ready_ahead() && (env.empty() || one.session->spec().env == env);
      }));
}

void Sessions::start_ahead(const std::string& env) {
  due_ahead_.erase(env);
  auto there =
      static_cast<size_t>(std::count_if(ahead_.begin(), ahead_.end(), [&env](const Ahead& one) {
        return one.session->spec().env == env && one.session->state() != Session::State::kEnded;
      }));
  for (; there < settings_.sessions_ahead; there++) {
    SessionSpec spec = usual_spec(env);
    spec.id = new_id();
    Result<Folder> folder = Folder::make(settings_.work_folder + "/" + spec.id);
    if (!folder) return;  // whoever wants a session is told why there is none
    ahead_.push_back({construct(std::move(spec), std::move(*folder)), monotonic_ns()});
    ahead_.back().session->start_ahead();
  }
}

// The next one is started when the first cell of the last one has ended, or after a while: not
// while somebody waits for his session.
void Sessions::on_cell_done(Session& session) {
  if (!due_ahead_.contains(session.spec().env)) return;
  boost::asio::post(io_, guard_.wrap([this, env = session.spec().env] {
    if (due_ahead_.contains(env)) start_ahead(env);
  }));
}

void Sessions::tick_ahead(int64_t now) {
  for (Ahead& one : ahead_)
    one.session->tick(now);
  for (auto at = ahead_.begin(); at != ahead_.end();) {
    const auto one = at++;
    if (one->session->state() != Session::State::kEnded && now - one->since_ns < kAheadAge)
      continue;
    const std::unique_ptr<Session> last = std::move(one->session);
    ahead_.erase(one);
    if (last->state() == Session::State::kEnded && last->has_begun())  // another one may live
      due_ahead_.try_emplace(last->spec().env, now);
  }
  std::vector<std::string> due;
  for (const auto& [env, since] : due_ahead_)
    if (now - since >= kAheadDelay) due.push_back(env);
  for (const std::string& env : due)
    start_ahead(env);
}

// Its bounds are wide: frozen copies are in it, too, and what the session may use is measured. They
// hold what happens between two looks.
std::unique_ptr<Cgroup> Sessions::make_group(const SessionSpec& spec) {
  if (!groups_) return nullptr;
  const uint64_t copies = 1 + spec.checkpoints;
  auto made = groups_->make(
      spec.id, {spec.limits.memory * copies, (spec.limits.processes + copies) * kTasksEach *
                                                 (spec.limits.processes == 0 ? 0 : 1)});
  if (made) return std::move(*made);
  spdlog::warn("session {} has no control group: {}", spec.id, made.error().message);
  return nullptr;
}

// Without waiting: others have sessions, too. Neither of the two runs a cell meanwhile.
void Sessions::copy_files(Session& from, Session& to, Session::Done done) {
  if (from.folder().is_empty()) return done(std::nullopt);
  const Problem failed{ProblemCode::kUnavailable, "the session's files could not be copied"};
  Result<pid_t> pid = from.folder().start_copy(to.folder());
  if (!pid) return done(failed);
  copies_.insert(*pid);
  from.hold_cells();
  to.hold_cells();
  reaper_.watch(*pid, Fd(static_cast<int>(syscall(SYS_pidfd_open, *pid, 0))),
                guard_.wrap([this, pid = *pid, one = from.spec().id, other = to.spec().id, failed,
                             done = std::move(done)](std::optional<ProcessEnd> how) {
                  copies_.erase(pid);
                  let_cells_go(one);
                  let_cells_go(other);
                  const bool good = how && !how->signaled && how->code == 0;
                  done(good ? std::nullopt : std::optional(failed));
                }));
}

void Sessions::let_cells_go(const std::string& session) {
  if (const auto found = sessions_.find(session); found != sessions_.end())
    found->second.session->let_cells_go();
}

// --- the door -----------------------------------------------------------------------------------

std::variant<Api::Joined, Problem> Sessions::join(const Caller& caller, const nlohmann::json& head,
                                                  Listener& listener) {
  auto found = find(caller, head, Session::Access::kView);
  if (auto* problem = std::get_if<Problem>(&found)) return *problem;
  Session& session = *std::get<Session*>(found);
  Members members(head, {"after"});
  const uint64_t oldest = session.log().first_seq() - 1;
  const uint64_t after = members.number("after", oldest);
  if (members.problem()) return *members.problem();
  session.touch();
  Joined joined;
  joined.subscription = std::make_unique<Joint>(session, caller, listener, after);
  joined.answer.head = {{"session", session.describe(caller)},
                        {"next_seq", session.log().next_seq()}};
  return joined;
}

void Sessions::call(const Caller& caller, Request request, Reply reply) {
  if (!request.head.is_object())
    return reply(Problem{ProblemCode::kBadRequest, "a request's members are a JSON object"});
  try {
    dispatch(caller, request, reply);
  } catch (const nlohmann::json::exception& error) {
    reply(
        Problem{ProblemCode::kBadRequest, std::string("a member cannot be read: ") + error.what()});
  }
}

void Sessions::dispatch(const Caller& caller, Request& request, const Reply& reply) {
  using Access = Session::Access;
  struct Entry {
    SessionMethod method;
    Access least;
  };
  static const std::map<std::string, Method> kMethods = {
      {"environments", &Sessions::list_environments},
      {"sessions", &Sessions::list_sessions},
      {"new", &Sessions::make}};
  static const std::map<std::string, Entry> kSessionMethods = {
      {"info", {&Sessions::info, Access::kView}},
      {"rename", {&Sessions::rename, Access::kOwner}},
      {"remove", {&Sessions::remove, Access::kOwner}},
      {"execute", {&Sessions::execute, Access::kEdit}},
      {"run", {&Sessions::run, Access::kEdit}},
      {"stdin", {&Sessions::write_stdin, Access::kEdit}},
      {"message", {&Sessions::message, Access::kEdit}},
      {"interrupt", {&Sessions::interrupt, Access::kEdit}},
      {"signal", {&Sessions::signal, Access::kEdit}},
      {"undo", {&Sessions::undo, Access::kEdit}},
      {"fork", {&Sessions::fork, Access::kEdit}},
      {"checkpoints", {&Sessions::checkpoints, Access::kView}},
      {"complete", {&Sessions::ask, Access::kEdit}},
      {"inspect", {&Sessions::ask, Access::kEdit}},
      {"files", {&Sessions::files, Access::kView}},
      {"put", {&Sessions::put, Access::kEdit}},
      {"get", {&Sessions::get, Access::kView}},
      {"delete", {&Sessions::erase, Access::kEdit}},
      {"share", {&Sessions::share, Access::kOwner}}};
  if (const auto found = kMethods.find(request.method); found != kMethods.end())
    return (this->*found->second)(caller, request, reply);
  const auto found = kSessionMethods.find(request.method);
  if (found == kSessionMethods.end())
    return reply(Problem{ProblemCode::kBadRequest, "there is no method " + request.method});
  auto session = find(caller, request.head, found->second.least);
  if (auto* problem = std::get_if<Problem>(&session)) return reply(*problem);
  (this->*found->second.method)(*std::get<Session*>(session), caller, request, reply);
}

std::string Sessions::metrics() const {
  std::map<std::string, size_t> states = {{"starting", 0}, {"idle", 0}, {"busy", 0}, {"ended", 0}};
  size_t checkpoints = 0, bytes = 0;
  for (const auto& [id, entry] : sessions_) {
    states[name_of(entry.session->state())]++;
    checkpoints += entry.session->checkpoints().size();
    bytes += entry.session->log().bytes();
  }
  std::string out;
  const auto metric = [&out](const char* name, const char* kind, const char* help) {
    out += std::string("# HELP ") + name + " " + help + "\n# TYPE " + name + " " + kind + "\n";
  };
  const auto number = [&](const char* name, const char* kind, const char* help, uint64_t value) {
    metric(name, kind, help);
    out += std::string(name) + " " + std::to_string(value) + "\n";
  };
  number("brood_sessions_ahead", "gauge", "Sessions that wait until somebody wants one.",
         count_ahead(""));
  metric("brood_sessions", "gauge", "Sessions by state.");
  for (const auto& [state, count] : states)
    out += "brood_sessions{state=\"" + state + "\"} " + std::to_string(count) + "\n";
  number("brood_checkpoints", "gauge", "Frozen copies of sessions.", checkpoints);
  number("brood_log_bytes", "gauge", "Events kept, in bytes.", bytes);
  number("brood_sessions_created_total", "counter", "Sessions made, branches included.", created_);
  number("brood_branches_total", "counter", "Sessions that were branched from another.", forked_);
  number("brood_cells_total", "counter", "Cells that were accepted.", cells_);
  number("brood_undos_total", "counter", "Requests to go back to a checkpoint.", undone_);
  return out;
}

}  // namespace brood
