// brood session: online sessions from the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "brood/client.h"

namespace brood {

// What the command line says; the meaning of a member is that of its option.
struct SessionCommand {
  std::string server, user;
  bool as_json = false;
  std::string id;
  std::vector<std::string> words;
  std::string env, name, code, signal = "INT";
  bool has_code = false, measure = false;
  int checkpoints = -1, steps = 1;
  std::optional<uint64_t> to, at;
  double timeout = 0;
};

inline constexpr int kTimedOut = 124;
inline constexpr int kLost = 125;  // the cell, the session, or what was to be written
inline constexpr int kInterrupted = 130;

// `command` is filled while the command line is parsed, and must outlive it.
void add_session(CLI::App& app, SessionCommand& command, int& status);

Client connect_to_server(const SessionCommand& command);
// The session that `word` names: an id, a name, or, where `short_too`, the beginning of one id.
// Throws ClientError.
SessionInfo find_session(Client& client, const std::string& word, bool short_too = true);

int run_session_exec(const SessionCommand& command);    // tool_session_exec.cc
int run_session_attach(const SessionCommand& command);  // tool_session_attach.cc

}  // namespace brood
