// brood's C++ client: online sessions of Python, on a `brood serve`. Blocking; a Client and
// everything made from it belong to one thread at a time. What goes wrong is thrown as ClientError.
//
//   brood::Client client;                                   // BROOD_SERVER, else the user's own
//   brood::RemoteSession session = client.new_session();
//   brood::CellResult result = session.execute("6 * 7");
//   std::cout << result.text() << '\n';                     // 42
//
// Methods, members and events are those of brood's protocol (docs/protocol.md, section 5).
// Link with brood::client (CMake: find_package(brood)) or with `pkg-config --libs brood`.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace brood {

// code(): one of the protocol's ("not_found", "busy", "ended", "limit", "unauthorized", ...), or
// "connection": the server cannot be reached, cannot be trusted, or has left.
class ClientError : public std::runtime_error {
 public:
  ClientError(std::string code, const std::string& text)
      : std::runtime_error(text), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

struct Credentials {
  std::string token;           // or:
  std::string user, password;  // neither crosses the wire (SCRAM-SHA-256)
};

struct ClientOptions {
  // "unix:PATH", "tcp:HOST:PORT" or "tls:HOST:PORT". Empty: the variable BROOD_SERVER, else the
  // user's own server. A TLS certificate is checked with the system's store, or BROOD_CAFILE.
  std::string address;
  // Without: the token in the variable BROOD_TOKEN. A Unix socket of the own user needs none.
  Credentials credentials;
  std::string name = "brood C++ client";  // for people who look at the server
  int timeout_ms = 10'000;                // for connecting and logging in
};

using MimeData = std::map<std::string, std::string>;  // JSON formats as their text

struct SessionInfo {
  std::string id, name, env, owner, access, state, python;
  uint64_t execution_count = 0, cell = 0, queued = 0, clients = 0, checkpoints = 0, next_seq = 0;
  double created = 0, used = 0;  // seconds since the epoch
  std::string json;              // the whole description
};

struct SessionEvent {
  std::string session, type;
  uint64_t seq = 0, cell = 0;
  std::string body;  // of stdout, stderr and message
  std::string json;  // the whole head

  // Members of the head; empty or 0 if there is none of that kind.
  std::string text(std::string_view member) const;
  double number(std::string_view member) const;
  bool flag(std::string_view member) const;
  MimeData data() const;                       // of display and result
  std::vector<std::string> traceback() const;  // of error
};

struct CellResult {
  std::string status;  // "ok", "error", "interrupted", "timeout", ... or "ended": with the session
  std::string why;
  bool undone = false;
  uint64_t cell = 0, execution_count = 0;
  double ms = 0;
  MimeData result;  // empty: none
  std::string error_name, error_value;
  std::vector<std::string> traceback;

  bool ok() const { return status == "ok"; }
  std::string text() const;  // the result as text/plain
};

// Called while execute() waits, in its thread. They may use the session, too.
struct CellCallbacks {
  std::function<void(std::string_view)> on_stdout, on_stderr;
  std::function<void(const SessionEvent&)> on_display;
  // input() and getpass(): the line, without its end; nothing: end of file. Without this callback
  // the cell gets end of file.
  std::function<std::optional<std::string>(const std::string& prompt, bool password)> on_input;
  std::function<void(const SessionEvent&)> on_event;  // every one, before the others
};

struct CellOptions {
  double timeout = 0;  // seconds; 0: the session's own
  std::optional<bool> checkpoint;
};

struct NewSession {
  std::string env, name;                                   // empty: the server's choice
  std::optional<int> checkpoints;                          // how many are kept; 0: none
  std::optional<double> idle_timeout, no_clients_timeout;  // seconds; 0: never
};

struct Undone {
  uint64_t checkpoint = 0, execution_count = 0;
};

struct KeptCheckpoint {
  uint64_t checkpoint = 0, execution_count = 0;
  double created = 0, us = 0;    // seconds since the epoch; microseconds that it took
  uint64_t pss = 0, unique = 0;  // bytes, when measured
  std::string code;              // of the cell it precedes
};

struct Completions {
  uint64_t start = 0, end = 0;  // what a match replaces, in code points
  std::vector<std::string> matches;
};

struct Inspection {
  bool found = false;
  std::string signature;
  MimeData data;
};

struct RemoteFile {
  std::string name, type;  // "file", "folder" or "other"
  uint64_t size = 0;
  double mtime = 0;
};

class RemoteSession;

class Client {
 public:
  explicit Client(const ClientOptions& options = {});
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  const std::string& user() const;
  const std::string& role() const;  // "admin" or "user"

  std::vector<SessionInfo> sessions();
  RemoteSession new_session(const NewSession& what = {});
  // Joins the session: its events come from now on, first those newer than `after` that are kept.
  RemoteSession attach(const std::string& id, uint64_t after = 0);
  void remove(const std::string& id);

  // Any method of the protocol but join and leave. `members`: a JSON object. Bodies: raw bytes.
  struct Reply {
    std::string json, body;
  };
  Reply call(const std::string& method, const std::string& members, std::string_view body = {});

  // The next event of any joined session; nothing: none within the time (-1: wait for it).
  std::optional<SessionEvent> next_event(int timeout_ms = -1);
  // For poll(2) and the like: readable when there may be events. First take those that are here
  // already: next_event(0) until it has none.
  int descriptor() const;

  class Implementation;

 private:
  std::shared_ptr<Implementation> implementation_;
};

// One joined session. Copies stand for the same session; the connection lives as long as one of
// them. The session itself goes on without clients, until remove().
class RemoteSession {
 public:
  const std::string& id() const { return id_; }
  SessionInfo info();

  // Runs code and waits until it has ended.
  CellResult execute(const std::string& code, const CellCallbacks& callbacks = {},
                     const CellOptions& options = {});
  // Only starts it; returns the cell's number. Events tell the rest.
  uint64_t start(const std::string& code, const CellOptions& options = {});
  // The next event of this session; those of others are kept.
  std::optional<SessionEvent> next_event(int timeout_ms = -1);

  void send_stdin(std::string_view bytes);
  void end_stdin();
  void send_message(std::string_view bytes);
  void interrupt();
  void signal(const std::string& name_or_number);  // busy while the session starts
  Undone undo(int steps = 1);
  Undone undo_to(uint64_t checkpoint);
  // A second session with the state of this one, or of one of its checkpoints. It is joined, too.
  RemoteSession fork(const std::string& name = "", std::optional<uint64_t> at = std::nullopt);
  std::vector<KeptCheckpoint> checkpoints(bool measure = false);
  Completions complete(const std::string& code, uint64_t cursor);
  Inspection inspect(const std::string& code, uint64_t cursor);
  std::vector<RemoteFile> files(const std::string& folder = "");
  void put_file(const std::string& path, std::string_view bytes);
  std::string get_file(const std::string& path);
  void leave();
  void remove();

 private:
  friend class Client;
  RemoteSession(std::shared_ptr<Client::Implementation> client, std::string id);
  std::shared_ptr<Client::Implementation> client_;
  std::string id_;
};

}  // namespace brood
