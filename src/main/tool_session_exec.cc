#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <sstream>
#include <utility>

#include "base/sys.h"
#include "base/utf8.h"
#include "main/terminal.h"
#include "main/tool_client.h"
#include "main/tool_session.h"

namespace brood {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr double kAlone = 5;           // seconds that a session of its own outlives this program
constexpr size_t kMaxCode = 4u << 20;  // bytes: the longest head of a request

std::string read_stdin() {
  std::string out;
  char bytes[65536];
  for (ssize_t got; (got = read(STDIN_FILENO, bytes, sizeof bytes)) > 0;) {
    out.append(bytes, static_cast<size_t>(got));
    if (out.size() > kMaxCode) throw ClientError("bad_request", "the code is longer than 4 MiB");
  }
  return out;
}

std::string read_source(const std::string& file) {
  if (file == "-") return read_stdin();
  Result<std::string> code = read_file(file, kMaxCode);
  if (!code) throw ClientError("bad_request", code.error().message);
  return *code;
}

// A cell is text: what python3 would decode as the file's first lines say must be UTF-8 here.
std::string read_code(const std::string& file) {
  std::string code = read_source(file);
  if (code.starts_with(kByteOrderMark)) code.erase(0, kByteOrderMark.size());
  if (is_utf8(code)) return code;
  std::istringstream lines(code);
  size_t number = 0;
  for (std::string line; is_utf8(line) && std::getline(lines, line);)
    number++;
  const std::string name = file == "-" ? "standard input" : file;
  throw ClientError("bad_request", name + ", line " + std::to_string(number) +
                                       ": expected UTF-8; convert it, for example with iconv -f "
                                       "LATIN1 -t UTF-8");
}

int status_of(const std::string& status) {
  if (status == "ok") return kSuccess;
  if (status == "error") return kFailure;
  if (status == "interrupted") return kInterrupted;
  if (status == "timeout") return kTimedOut;
  return kLost;
}

// One cell, from its start to its end.
class Execution {
 public:
  // `input`: where input() reads from; -1: nowhere.
  Execution(Client& client, RemoteSession& session, int input)
      : client_(client), session_(session), input_(input) {}

  int run(const std::string& code, double timeout) {
    CellOptions options;
    options.timeout = timeout;
    cell_ = session_.start(code, options);
    try {
      while (status_ < 0)
        turn();
    } catch (const ClientError& error) {
      return fail(error.what(), kLost);
    }
    return output_lost_ ? kLost : status_;
  }

 private:
  void turn() {
    std::optional<SessionEvent> event;
    switch (wait_for(session_, client_.descriptor(), signals_, -1, event)) {
      case Ready::kSignal: return interrupt();
      case Ready::kEvent: return show(*event);
      case Ready::kScreen:
      case Ready::kInput: return;
    }
  }

  // The second one leaves; the cell goes on to its end.
  void interrupt() {
    if (signals_.take() == SIGQUIT || interrupts_++ > 0) {
      status_ = kInterrupted;
      return;
    }
    session_.interrupt();
  }

  // The cell goes on: what it does is worth more than what it says.
  void put(int output, std::string_view bytes) {
    const Result<void> written = write_out(output, bytes);
    if (written || std::exchange(output_lost_, true)) return;
    fail(written.error().message);
  }

  void show(const SessionEvent& event) {
    if (event.type == "ended") return end(event);
    if (event.cell != cell_) return;
    if (event.type == "stdout") put(STDOUT_FILENO, event.body);
    if (event.type == "stderr") put(STDERR_FILENO, event.body);
    if (event.type == "display" || event.type == "result") show_data(event.data());
    if (event.type == "error")
      for (const std::string& line : event.traceback())
        put(STDERR_FILENO, line.ends_with('\n') ? line : line + "\n");
    if (event.type == "input") answer(event);
    if (event.type == "done") done(event);
  }

  void show_data(const MimeData& data) {
    const auto text = data.find("text/plain");
    if (text != data.end()) put(STDOUT_FILENO, text->second + "\n");
  }

  void answer(const SessionEvent& event) {
    if (input_ < 0) return session_.end_stdin();
    if (isatty(input_)) put(STDOUT_FILENO, event.text("prompt"));
    const TypedLine line = read_line(input_, event.flag("password"), signals_);
    if (line.kind == TypedLine::Kind::kLine) session_.send_stdin(line.text + "\n");
    if (line.kind == TypedLine::Kind::kEnd) session_.end_stdin();
  }

  void done(const SessionEvent& event) {
    const std::string status = event.text("status");
    if (status == "exit") return;  // "ended" follows
    status_ = status_of(status);
    const std::string why = event.text("why");
    if (status == "cancelled") {
      fail("the cell did not run: " + why);
      return;
    }
    if (status_ != kTimedOut && status_ != kLost) return;
    std::string message = "the cell was stopped (" + status + ")" + (why.empty() ? "" : ": " + why);
    if (event.flag("undone")) message += "; the session is back at the state before it";
    fail(message);
  }

  void end(const SessionEvent& event) {
    if (event.json.find("\"exit_status\"") != event.json.npos) {
      status_ = static_cast<int>(event.number("exit_status")) & 255;
      return;
    }
    status_ = fail("the session has ended: " + event.text("why"), kLost);
  }

  Client& client_;
  RemoteSession& session_;
  const int input_;
  TypedSignals signals_;
  uint64_t cell_ = 0;
  int interrupts_ = 0;
  bool output_lost_ = false;  // has been told
  int status_ = -1;           // of this program; -1: the cell runs
};

// Ends the session that was made for one cell, whatever becomes of it.
class Temporary {
 public:
  explicit Temporary(RemoteSession* session) : session_(session) {}
  ~Temporary() {
    if (!session_) return;
    try {
      session_->remove();
    } catch (const ClientError&) {  // it has ended by itself, or with the server
    }
  }
  Temporary(const Temporary&) = delete;

 private:
  RemoteSession* session_;
};

}  // namespace

int run_session_exec(const SessionCommand& command) {
  const bool temporary = !command.env.empty();
  const size_t ids = temporary ? 0 : 1;
  if (command.words.size() < ids)
    throw ClientError("bad_request",
                      "exec needs the id of a session, or --env NAME for one of "
                      "its own");
  if (command.words.size() > ids + (command.has_code ? 0 : 1))
    throw ClientError("bad_request", "exec takes one of -c CODE and FILE" +
                                         std::string(temporary ? ", and no id with --env" : ""));
  const std::string file = command.words.size() > ids ? command.words[ids] : "-";
  Client client = connect_to_server(command);
  const std::string code = command.has_code ? command.code : read_code(file);
  const bool typed = !command.has_code && file == "-";  // standard input was the code
  const Fd terminal(typed ? open("/dev/tty", O_RDWR | O_CLOEXEC) : -1);
  NewSession what;
  what.env = command.env;
  what.no_clients_timeout = kAlone;  // also when a signal ends this program
  const SessionInfo info = temporary ? SessionInfo{} : find_session(client, command.words[0]);
  RemoteSession session = temporary ? client.new_session(what)
                                    : client.attach(info.id, info.next_seq ? info.next_seq - 1 : 0);
  const Temporary end(temporary ? &session : nullptr);
  return Execution(client, session, typed ? terminal.get() : STDIN_FILENO)
      .run(code, command.timeout);
}

}  // namespace brood
