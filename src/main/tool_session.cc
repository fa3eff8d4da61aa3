#include "main/tool_session.h"

#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "main/tool_client.h"
#include "main/tool_password.h"
#include "main/tool_printable.h"

namespace brood {
namespace {

using nlohmann::json;

void print_json(const json& value) {
  std::puts(value.dump(2, ' ', false, json::error_handler_t::replace).c_str());
}

int list_sessions(const SessionCommand& command) {
  const std::vector<SessionInfo> all = connect_to_server(command).sessions();
  if (command.as_json) {
    json out = json::array();
    for (const SessionInfo& one : all)
      out.push_back(json::parse(one.json));
    print_json(out);
    return kSuccess;
  }
  if (all.empty()) {
    std::puts("No sessions. Make one: brood session new");
    return kSuccess;
  }
  std::printf("%-20s %-16s %-12s %-9s %5s %7s %11s  %s\n", "ID", "NAME", "ENV", "STATE", "CELLS",
              "CLIENTS", "CHECKPOINTS", "OWNER");
  for (const SessionInfo& one : all)
    std::printf("%-20s %-16s %-12s %-9s %5ju %7ju %11ju  %s\n", printable(one.id).c_str(),
                printable(one.name).c_str(), printable(one.env).c_str(),
                printable(one.state).c_str(), static_cast<uintmax_t>(one.execution_count),
                static_cast<uintmax_t>(one.clients), static_cast<uintmax_t>(one.checkpoints),
                printable(one.owner).c_str());
  return kSuccess;
}

int new_session(const SessionCommand& command) {
  NewSession what;
  what.env = command.env;
  what.name = command.name;
  if (command.checkpoints >= 0) what.checkpoints = command.checkpoints;
  Client client = connect_to_server(command);
  RemoteSession session = client.new_session(what);
  if (command.as_json)
    print_json(json::parse(session.info().json));
  else
    std::puts(session.id().c_str());
  return kSuccess;
}

// Does something with the one session that the command names.
int with_session(const SessionCommand& command, const std::function<void(RemoteSession&)>& act) {
  Client client = connect_to_server(command);
  const SessionInfo info = find_session(client, command.id);
  RemoteSession session = client.attach(info.id, info.next_seq > 0 ? info.next_seq - 1 : 0);
  act(session);
  return kSuccess;
}

int undo(const SessionCommand& command) {
  return with_session(command, [&](RemoteSession& session) {
    const Undone undone = command.to ? session.undo_to(*command.to) : session.undo(command.steps);
    std::printf("back at checkpoint %ju, the state before In [%ju]\n",
                static_cast<uintmax_t>(undone.checkpoint),
                static_cast<uintmax_t>(undone.execution_count + 1));
  });
}

int fork_session(const SessionCommand& command) {
  return with_session(command, [&](RemoteSession& session) {
    std::puts(session.fork(command.name, command.at).id().c_str());
  });
}

std::string first_line(const std::string& code) {
  constexpr size_t kShown = 60;
  const std::string line = code.substr(0, code.find('\n'));
  return line.size() > kShown || line.size() < code.size() ? line.substr(0, kShown) + " ..." : line;
}

int checkpoints(const SessionCommand& command) {
  if (command.as_json) {
    Client client = connect_to_server(command);
    const json asked = {{"session", find_session(client, command.id).id},
                        {"memory", command.measure}};
    print_json(json::parse(client.call("checkpoints", asked.dump()).json));
    return kSuccess;
  }
  return with_session(command, [&](RemoteSession& session) {
    std::printf("%10s %9s", "CHECKPOINT", "FORK");
    if (command.measure) std::printf(" %10s %10s", "PSS", "UNIQUE");
    std::puts("  BEFORE");
    for (const KeptCheckpoint& one : session.checkpoints(command.measure)) {
      std::printf("%10ju %6.2f ms", static_cast<uintmax_t>(one.checkpoint), one.us / 1000);
      if (command.measure)
        std::printf(" %6ju KiB %6ju KiB", static_cast<uintmax_t>(one.pss >> 10),
                    static_cast<uintmax_t>(one.unique >> 10));
      std::printf("  %s\n", printable(first_line(one.code)).c_str());
    }
  });
}

// All of them or none: what a script has put together wrongly does not end half of its sessions.
int remove(const SessionCommand& command) {
  Client client = connect_to_server(command);
  std::set<std::string> ids;
  for (const std::string& word : command.words)
    ids.insert(find_session(client, word, false).id);
  for (const std::string& id : ids)
    client.remove(id);
  return kSuccess;
}

// Runs a command; what a client throws becomes a message and a status.
int guarded(int (*run)(const SessionCommand&), const SessionCommand& command) {
  try {
    return run(command);
  } catch (const ClientError& error) {
    return fail(error.what(), error.code() == "bad_request" ? kUsage : kFailure);
  }
}

int interrupt(const SessionCommand& command) {
  return with_session(command, [](RemoteSession& session) { session.interrupt(); });
}

int send_signal(const SessionCommand& command) {
  return with_session(command, [&](RemoteSession& session) { session.signal(command.signal); });
}

CLI::Validator at_least(int least) {
  const auto check = [least](const std::string& text) {
    double number = 0;
    const bool is_number = CLI::detail::lexical_cast(text, number) && std::isfinite(number);
    if (is_number && number >= least) return std::string();
    return "expected a number from " + std::to_string(least) + " on, not " + text;
  };
  return {check, "", ""};
}

}  // namespace

Client connect_to_server(const SessionCommand& command) {
  ClientOptions options;
  options.address = command.server;
  options.name = "brood " BROOD_VERSION;
  if (!command.user.empty()) {
    Result<std::string> password = ask_password(command.user);
    if (!password) throw ClientError("unauthorized", password.error().message);
    options.credentials.user = command.user;
    options.credentials.password = *password;
  }
  return Client(options);
}

SessionInfo find_session(Client& client, const std::string& word, bool short_too) {
  if (word.empty()) throw ClientError("bad_request", "the id of a session is empty");
  std::vector<SessionInfo> begins;
  const std::vector<SessionInfo> all = client.sessions();
  for (const SessionInfo& one : all)
    if (one.id == word) return one;
  for (const SessionInfo& one : all)
    if (one.name == word || (short_too && one.id.starts_with(word))) begins.push_back(one);
  if (begins.size() == 1) return begins[0];
  if (begins.empty())
    throw ClientError("not_found",
                      "no session has the id or the name " + word + "; see brood session list");
  throw ClientError("not_found", word + " could be " + begins[0].id + " or " + begins[1].id +
                                     "; give more of the id");
}

void add_session(CLI::App& app, SessionCommand& command, int& status) {
  CLI::App* group = app.add_subcommand("session", "online sessions of a brood serve");
  group->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, int (*run)(const SessionCommand&)) {
    CLI::App* made = group->add_subcommand(name, what);
    made->add_option("--server", command.server,
                     "unix:PATH, tcp:HOST:PORT or tls:HOST:PORT; default: BROOD_SERVER, else your "
                     "own server");
    made->add_option("--user", command.user,
                     "log in as this user, with a password; default: with the token in "
                     "BROOD_TOKEN; your own server on a Unix socket needs neither");
    made->callback([&command, &status, run] { status = guarded(run, command); });
    return made;
  };
  const auto add_for_one = [&](const char* name, const char* what,
                               int (*run)(const SessionCommand&)) {
    CLI::App* made = add(name, what, run);
    made->add_option("ID", command.id, "its id, the beginning of it, or its name")->required();
    return made;
  };
  add("list", "the sessions you can join", list_sessions)
      ->add_flag("--json", command.as_json, "for programs");

  CLI::App* made = add("new", "make a session and print its id", new_session);
  made->add_option("--env", command.env, "the environment");
  made->add_option("--name", command.name, "a name for people");
  made->add_option("--checkpoints", command.checkpoints, "how many are kept; 0: none")
      ->check(at_least(0));
  made->add_flag("--json", command.as_json, "print its description");

  add_for_one("attach", "work in a session from this terminal", run_session_attach);

  CLI::App* exec = add("exec", "run code in a session and print what it prints", run_session_exec);
  exec->add_option("-c", command.code, "the code")->each([&command](const std::string&) {
    command.has_code = true;
  });
  exec->add_option("--env", command.env, "in a session of its own, which ends with it");
  exec->add_option("--timeout", command.timeout, "seconds")->check(at_least(0));
  exec->add_option("ID FILE", command.words,
                   "the session (not with --env), and the file with the code; - or none: standard "
                   "input")
      ->expected(0, 2);

  add_for_one("interrupt", "interrupt the running cell", interrupt);
  add_for_one("signal", "send a signal", send_signal)
      ->add_option("SIGNAL", command.signal, "number or name")
      ->required();
  CLI::App* back = add_for_one("undo", "go back to the state before the last cell", undo);
  back->add_option("--steps", command.steps, "so many cells back")->check(at_least(1));
  back->add_option("--to", command.to, "to this checkpoint")
      ->check(at_least(1))
      ->excludes("--steps");
  CLI::App* branch = add_for_one("fork", "make a second session with its state", fork_session);
  branch->add_option("--name", command.name, "a name for people");
  branch->add_option("--at", command.at, "with the state of this checkpoint")->check(at_least(1));
  CLI::App* kept = add_for_one("checkpoints", "the states that can be gone back to", checkpoints);
  kept->add_flag("--memory", command.measure, "measure what they cost");
  kept->add_flag("--json", command.as_json, "for programs");
  add("rm", "end sessions", remove)
      ->add_option("ID", command.words, "their ids or names")
      ->required();
}

}  // namespace brood
