// The methods of docs/protocol.md, section 5. The caller's rights are checked before
// (Sessions::dispatch).
#include <signal.h>
#include <string.h>

#include <algorithm>
#include <cctype>

#include "base/clock.h"
#include "daemon/memory.h"
#include "session/members.h"
#include "session/sessions.h"

namespace brood {
namespace {

constexpr uint64_t kMaxOutput = 16u << 20;  // bytes of one result
constexpr size_t kResultHead = 256u << 10;  // bytes of a result but for its output; its error, too

Answer answer(nlohmann::json head) { return {std::move(head), ""}; }

// A reply that has no members.
Session::Done as_done(const Reply& reply) {
  return [reply](std::optional<Problem> problem) {
    if (problem)
      reply(*problem);
    else
      reply(Answer{});
  };
}

// Of `execute` and `run`.
CellRequest cell_from(Members& members, const Caller& caller) {
  return {members.needed_text("code"), caller.user, members.seconds("timeout"),
          members.flag("checkpoint", true), members.name("tag")};
}

// What a branch is called that is given no name.
std::string name_of_branch(const std::string& name) {
  const std::string branch = "branch of " + name;
  return name.empty() || branch.size() > kMaxName ? name : branch;
}

// Signals have numbers that differ between systems, so names are accepted: "TERM", "SIGTERM".
int signal_number(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    return number < NSIG ? static_cast<int>(number) : 0;
  }
  if (!value.is_string()) return 0;
  std::string name = value.get<std::string>();
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (int number = 1; number < NSIG; number++)
    if (const char* known = sigabbrev_np(number); known && name == known) return number;
  return 0;
}

}  // namespace

void Sessions::list_environments(const Caller&, Request& request, const Reply& reply) {
  const Members members(request.head, {});
  if (members.problem()) return reply(*members.problem());
  nlohmann::json list = environments_.list();
  for (nlohmann::json& one : list)
    one["sessions_ahead"] = count_ahead(one.at("name").get<std::string>());
  reply(answer({{"environments", std::move(list)}}));
}

void Sessions::list_sessions(const Caller& caller, Request& request, const Reply& reply) {
  const Members members(request.head, {});
  if (members.problem()) return reply(*members.problem());
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [id, entry] : sessions_)
    if (!entry.removed && entry.session->access(caller) != Session::Access::kNone)
      list.push_back(entry.session->describe(caller));
  reply(answer({{"sessions", std::move(list)}}));
}

void Sessions::make(const Caller& caller, Request& request, const Reply& reply) {
  if (auto full = no_room(caller)) return reply(*full);
  auto spec = spec_from(caller, request.head);
  if (auto* problem = std::get_if<Problem>(&spec)) return reply(*problem);
  SessionSpec& wanted = std::get<SessionSpec>(spec);
  if (Session* ready = take_ahead(wanted))
    return reply(answer({{"session", ready->describe(caller)}}));
  Result<Folder> folder = Folder::make(settings_.work_folder + "/" + wanted.id);
  if (!folder) return reply(Problem{ProblemCode::kUnavailable, folder.error().message});
  Session* session = add(std::move(wanted), std::move(*folder));
  session->start();
  if (session->state() == Session::State::kEnded) {  // it is known that it cannot be had
    sessions_.at(session->spec().id).removed = true;
    on_ended(*session);
    return reply(session->has_ended());
  }
  reply(answer({{"session", session->describe(caller)}}));
}

void Sessions::info(Session& session, const Caller& caller, Request& request, const Reply& reply) {
  const Members members(request.head, {});
  if (members.problem()) return reply(*members.problem());
  reply(answer({{"session", session.describe(caller)}}));
}

void Sessions::rename(Session& session, const Caller& caller, Request& request,
                      const Reply& reply) {
  Members members(request.head, {"name"});
  members.needed_text("name");
  const std::string name = members.name("name");
  if (members.problem()) return reply(*members.problem());
  session.rename(name);
  reply(answer({{"session", session.describe(caller)}}));
}

void Sessions::remove(Session& session, const Caller& caller, Request& request,
                      const Reply& reply) {
  const Members members(request.head, {});
  if (members.problem()) return reply(*members.problem());
  sessions_.at(session.spec().id).removed = true;
  if (session.state() == Session::State::kEnded)
    on_ended(session);
  else
    session.end("removed by " + caller.user);
  reply(Answer{});
}

// --- cells --------------------------------------------------------------------------------------

void Sessions::execute(Session& session, const Caller& caller, Request& request,
                       const Reply& reply) {
  Members members(request.head, {"code", "timeout", "checkpoint", "tag"});
  CellRequest cell = cell_from(members, caller);
  if (members.problem()) return reply(*members.problem());
  auto number = session.execute(std::move(cell));
  if (auto* problem = std::get_if<Problem>(&number)) return reply(*problem);
  cells_++;
  reply(answer({{"cell", std::get<uint64_t>(number)}}));
}

void Sessions::run(Session& session, const Caller& caller, Request& request, const Reply& reply) {
  Members members(request.head, {"code", "timeout", "checkpoint", "tag", "max_output"});
  CellRequest cell = cell_from(members, caller);
  const uint64_t most = std::min(members.number("max_output", kMaxOutput), kMaxOutput);
  if (members.problem()) return reply(*members.problem());
  const uint64_t before = session.log().next_seq() - 1;
  auto number = session.execute(std::move(cell));
  if (auto* problem = std::get_if<Problem>(&number)) return reply(*problem);
  cells_++;
  sweep_collectors();
  collectors_.push_back(std::make_unique<Collector>(
      session, before, std::get<uint64_t>(number), most,
      request.max_answer - std::min(request.max_answer, kResultHead), reply));
}

void Sessions::write_stdin(Session& session, const Caller&, Request& request, const Reply& reply) {
  Members members(request.head, {"eof"});
  const bool eof = members.flag("eof");
  if (members.problem()) return reply(*members.problem());
  as_done(reply)(session.write_stdin(request.body, eof));
}

void Sessions::message(Session& session, const Caller&, Request& request, const Reply& reply) {
  const Members members(request.head, {});
  if (members.problem()) return reply(*members.problem());
  as_done(reply)(session.send_message(request.body));
}

void Sessions::interrupt(Session& session, const Caller&, Request& request, const Reply& reply) {
  Members members(request.head, {"tag"});
  const std::string tag = members.name("tag");
  if (members.problem()) return reply(*members.problem());
  as_done(reply)(session.interrupt(tag));
}

void Sessions::signal(Session& session, const Caller&, Request& request, const Reply& reply) {
  const Members members(request.head, {"signal"});
  if (members.problem()) return reply(*members.problem());
  const int number = signal_number(request.head.value("signal", nlohmann::json()));
  if (number == 0)
    return reply(Problem{ProblemCode::kBadRequest,
                         "signal is a number from 1 to 64, or a name such as \"TERM\""});
  as_done(reply)(session.signal(number));
}

// --- checkpoints --------------------------------------------------------------------------------

void Sessions::undo(Session& session, const Caller& caller, Request& request, const Reply& reply) {
  Members members(request.head, {"steps", "to"});
  const uint64_t steps = members.number("steps", 1);
  uint64_t to = members.number("to");
  if (members.problem()) return reply(*members.problem());
  if (members.has("to") && members.has("steps"))
    return reply(
        Problem{ProblemCode::kBadRequest, "expected one of steps (so many cells) and to (there)"});
  if (steps == 0)
    return reply(
        Problem{ProblemCode::kBadRequest, "steps is 0, expected a whole number from 1 on"});
  if (session.state() == Session::State::kEnded) return reply(session.has_ended());
  if (!members.has("to")) {
    const Checkpoint* back = session.checkpoints().back(steps);
    if (!back)
      return reply(Problem{ProblemCode::kNotFound,
                           "there are only " + std::to_string(session.checkpoints().size()) +
                               " checkpoints to go back to"});
    to = back->cell;
  }
  undone_++;
  session.undo(to, caller.user, [reply, to, &session](std::optional<Problem> problem) {
    if (problem) return reply(*problem);
    reply(answer({{"checkpoint", to}, {"execution_count", session.execution_count()}}));
  });
}

void Sessions::fork(Session& session, const Caller& caller, Request& request, const Reply& reply) {
  Members members(request.head, {"at", "name"});
  const uint64_t at = members.number("at");
  const std::string name = members.name("name");
  if (members.problem()) return reply(*members.problem());
  if (auto full = no_room(caller)) return reply(*full);
  if (session.state() == Session::State::kEnded) return reply(session.has_ended());
  if (!members.has("at") && session.state() == Session::State::kStarting)
    return reply(Problem{ProblemCode::kBusy, "the session is starting; branch when it is idle"});
  if (!members.has("at") && session.state() != Session::State::kIdle)
    return reply(Problem{ProblemCode::kBusy,
                         "a cell runs; branch from a checkpoint (at), or interrupt it first"});
  if (members.has("at") && !session.checkpoints().find(at))
    return reply(Problem{ProblemCode::kNotFound,
                         "there is no checkpoint " + std::to_string(at) + " (any more)"});
  const int64_t begin = monotonic_ns();
  SessionSpec spec = session.spec();
  spec.id = new_id();
  spec.owner = caller.user;
  spec.name = name.empty() ? name_of_branch(spec.name) : name;
  Result<Folder> folder = Folder::make(settings_.work_folder + "/" + spec.id);
  if (!folder) return reply(Problem{ProblemCode::kUnavailable, folder.error().message});
  Session* branch = add(std::move(spec), std::move(*folder));
  forked_++;
  const std::optional<uint64_t> from = members.has("at") ? std::optional(at) : std::nullopt;
  const std::string id = branch->spec().id;
  const Session::Done done = [this, id, begin, caller, reply,
                              left = std::make_shared<int>(2)](std::optional<Problem> bad) {
    if (*left == 0) return;  // the other one has failed
    if (!bad && --*left > 0) return;
    *left = 0;
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) return reply(Problem{ProblemCode::kEnded, "it was removed"});
    Entry& entry = found->second;
    if (!bad)
      return reply(answer(
          {{"session", entry.session->describe(caller)}, {"us", (monotonic_ns() - begin) / 1000}}));
    entry.removed = true;
    entry.session->end(bad->text);
    entry.forget_ns = monotonic_ns();
    reply(*bad);
  };
  copy_files(session, *branch, done);
  branch->start_as_branch(session, from, caller.user, done);
}

void Sessions::checkpoints(Session& session, const Caller&, Request& request, const Reply& reply) {
  Members members(request.head, {"memory"});
  const bool measure = members.flag("memory");
  if (members.problem()) return reply(*members.problem());
  nlohmann::json live = nlohmann::json::object();
  if (const pid_t worker = measure ? session.worker() : 0; worker > 0)
    if (const std::optional<MemoryUse> memory = memory_of(worker))
      live = {{"pss", memory->pss}, {"unique", memory->unique}};
  reply(answer({{"checkpoints", session.checkpoints().describe(measure)}, {"live", live}}));
}

// --- questions ----------------------------------------------------------------------------------

void Sessions::ask(Session& session, const Caller&, Request& request, const Reply& reply) {
  Members members(request.head, {"code", "cursor"});
  const std::string code = members.needed_text("code");
  const uint64_t cursor = members.number("cursor");
  if (members.problem()) return reply(*members.problem());
  session.ask({{"what", request.method}, {"code", code}, {"cursor", cursor}}, reply);
}

// --- files --------------------------------------------------------------------------------------

void Sessions::files(Session& session, const Caller&, Request& request, const Reply& reply) {
  Members members(request.head, {"path"});
  const std::string path = members.text("path");
  if (members.problem()) return reply(*members.problem());
  auto listed = session.folder().list(path);
  if (auto* problem = std::get_if<Problem>(&listed)) return reply(*problem);
  reply(answer({{"files", std::get<nlohmann::json>(listed)}}));
}

void Sessions::put(Session& session, const Caller&, Request& request, const Reply& reply) {
  Members members(request.head, {"path", "offset"});
  const std::string path = members.needed_text("path");
  const uint64_t offset = members.number("offset");
  if (members.problem()) return reply(*members.problem());
  session.touch();
  auto size = session.folder().put(path, offset, request.body, settings_.file_limit);
  if (auto* problem = std::get_if<Problem>(&size)) return reply(*problem);
  reply(answer({{"size", std::get<uint64_t>(size)}}));
}

void Sessions::get(Session& session, const Caller&, Request& request, const Reply& reply) {
  Members members(request.head, {"path", "offset", "length"});
  const std::string path = members.needed_text("path");
  const uint64_t offset = members.number("offset"), length = members.number("length");
  if (members.problem()) return reply(*members.problem());
  session.touch();
  auto got = session.folder().get(path, offset, length);
  if (auto* problem = std::get_if<Problem>(&got)) return reply(*problem);
  auto& piece = std::get<Folder::Piece>(got);
  reply(Answer{{{"size", piece.size}, {"eof", piece.eof}}, std::move(piece.bytes)});
}

void Sessions::erase(Session& session, const Caller&, Request& request, const Reply& reply) {
  Members members(request.head, {"path"});
  const std::string path = members.needed_text("path");
  if (members.problem()) return reply(*members.problem());
  auto done = session.folder().erase(path);
  if (auto* problem = std::get_if<Problem>(&done)) return reply(*problem);
  reply(Answer{});
}

void Sessions::share(Session& session, const Caller&, Request& request, const Reply& reply) {
  Members members(request.head, {"with", "access"});
  const std::string with = members.needed_text("with"), access = members.needed_text("access");
  if (members.problem()) return reply(*members.problem());
  Session::Access value = Session::Access::kNone;
  if (access == "edit")
    value = Session::Access::kEdit;
  else if (access == "view")
    value = Session::Access::kView;
  else if (access != "none")
    return reply(Problem{ProblemCode::kBadRequest, "access is \"edit\", \"view\" or \"none\""});
  session.share(with, value);
  reply(answer({{"shares", session.shares()}}));
}

}  // namespace brood
