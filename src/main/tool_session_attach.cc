#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "client/cell_text.h"
#include "main/line_editor.h"
#include "main/terminal.h"
#include "main/tool_client.h"
#include "main/tool_session.h"

namespace brood {
namespace {

constexpr std::string_view kEndsLine = "\n\x04";  // Enter, Ctrl-D

enum class Colour { kGreen, kRed, kGrey, kYellow };

const char* code_of(Colour colour) {
  switch (colour) {
    case Colour::kGreen: return "\x1b[32m";
    case Colour::kRed: return "\x1b[31m";
    case Colour::kGrey: return "\x1b[90m";
    case Colour::kYellow: return "\x1b[33m";
  }
  return "";
}

// $XDG_STATE_HOME/brood/history; empty: it cannot be made.
std::string history_file() {
  const char* state = getenv("XDG_STATE_HOME");
  const char* home = getenv("HOME");
  std::string folder;
  if (state && *state == '/')
    folder = state;
  else if (home && *home)
    folder = std::string(home) + "/.local/state";
  if (folder.empty()) return "";
  for (size_t slash = folder.find('/', 1);; slash = folder.find('/', slash + 1)) {
    mkdir(folder.substr(0, slash).c_str(), 0700);
    if (slash == folder.npos) break;
  }
  folder += "/brood";
  mkdir(folder.c_str(), 0700);
  return folder + "/history";
}

// The terminal of one client in one session.
class Attached {
 public:
  Attached(Client& client, RemoteSession& session)
      : client_(client),
        session_(session),
        colours_(!getenv("NO_COLOR") &&
                 std::string_view(getenv("TERM") ? getenv("TERM") : "dumb") != "dumb"),
        editor_(history_file(), {[this] { return wait_while_typing(); },
                                 [this](const std::string& before) { return complete(before); }}) {}

  int run() {
    const SessionInfo info = session_.info();
    next_count_ = info.execution_count + 1;
    const std::string python = info.python.empty() ? "" : ", Python " + info.python;
    print(paint(Colour::kGrey, "session " + info.name + (info.name.empty() ? "" : " ") + "(" +
                                   info.id + ")" + python + "; Ctrl-D leaves it, and it goes on") +
          "\n");
    try {
      replay(info.next_seq);
      while (!over_)
        turn();
    } catch (const ClientError& error) {
      finish_line();
      return fail(error.what(), kLost);
    }
    finish_line();
    return lost_.empty() ? status_ : fail(lost_, kLost);
  }

 private:
  void replay(uint64_t next_seq) {
    constexpr int kPatienceMs = 2'000;  // what is kept is there at once
    while (seen_ + 1 < next_seq && !over_) {
      const std::optional<SessionEvent> event = session_.next_event(kPatienceMs);
      if (!event) return;
      show(*event);
    }
  }

  void turn() {
    if (running_ > 0) return wait_for_cell();
    finish_line();
    editor_.give_back(std::exchange(typed_, {}));
    read_cell();
    typed_ = editor_.take_back();
  }

  // --- a cell runs: what is typed is for input(), or for the next cell ---

  void wait_for_cell() {
    if (input_ != Input::kNone) return answer();
    std::optional<SessionEvent> event;
    const int typing = stdin_ended_ ? -1 : STDIN_FILENO;
    switch (wait_for(session_, client_.descriptor(), signals_, typing, event, &screen_)) {
      case Ready::kSignal: return handle_signal();
      case Ready::kScreen: return stop(screen_.take());
      case Ready::kEvent: return show(*event);
      case Ready::kInput: return keep_typed();
    }
  }

  // Lines are kept until something wants them. Ctrl-D gives them to the cell, as all that there is
  // to be read: sys.stdin.read() returns.
  void keep_typed() {
    char bytes[4096];
    const ssize_t got = read(typing_descriptor(), bytes, sizeof bytes);
    if (got > 0) typed_.append(bytes, static_cast<size_t>(got));
    if (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN))) return;
    if (!typed_.empty()) session_.send_stdin(std::exchange(typed_, {}));
    end_stdin();
  }

  void end_stdin() {
    stdin_ended_ = true;
    session_.end_stdin();
    at_line_begin_ = false;
    notice("the cell's standard input has ended; the next cell has another");
  }

  void handle_signal() {
    typed_.clear();          // as the terminal does
    at_line_begin_ = false;  // the terminal shows it: ^C
    if (signals_.take() == SIGQUIT)
      over_ = true;
    else
      session_.interrupt();
  }

  // At Ctrl-Z; or the program goes on, and was stopped otherwise.
  void stop(int number) {
    if (number == SIGWINCH) return;
    if (number == SIGTSTP) {
      screen_.obey(SIGTSTP);
      screen_.forget();
    }
    at_line_begin_ = true;  // the shell has written
  }

  // Somebody else may answer first, or the cell may end: then nobody waits for the line any more.
  void answer() {
    const Input asked = input_;
    if (asked == Input::kPassword) typed_.clear();
    if (typed_.find_first_of(kEndsLine) != typed_.npos) return send_line();
    std::optional<HiddenTyping> typing(std::in_place, STDIN_FILENO, asked == Input::kPassword);
    std::optional<SessionEvent> event;
    while (input_ == asked && !over_) {
      switch (wait_for(session_, client_.descriptor(), signals_, STDIN_FILENO, event, &screen_)) {
        case Ready::kSignal: return handle_signal();
        case Ready::kScreen: {
          const int number = screen_.take();
          if (number == SIGWINCH) break;
          typing.reset();
          stop(number);
          return print(question_);
        }
        case Ready::kEvent: show(*event); break;
        case Ready::kInput: return send_line();
      }
    }
  }

  void send_line() {
    const TypedLine line = take_line();
    if (line.kind == TypedLine::Kind::kSignal) return;
    input_ = Input::kNone;
    at_line_begin_ = true;
    if (line.kind == TypedLine::Kind::kLine) return session_.send_stdin(line.text + "\n");
    end_stdin();
  }

  // What was typed before it was asked for comes first.
  TypedLine take_line() {
    using Kind = TypedLine::Kind;
    const size_t end = typed_.find_first_of(kEndsLine);
    if (end != typed_.npos) {
      const bool ended = end == 0 && typed_[end] != '\n';
      const std::string text = typed_.substr(0, end);
      typed_.erase(0, end + 1);
      return {ended ? Kind::kEnd : Kind::kLine, text};
    }
    TypedLine line = read_line(typing_descriptor(), false, signals_);
    if (line.kind == Kind::kEnd && !typed_.empty()) line.kind = Kind::kLine;
    line.text.insert(0, std::exchange(typed_, {}));
    return line;
  }

  // --- a cell is typed ---

  std::string prompt() const {
    const std::string text = "In [" + std::to_string(next_count_) + "]: ";
    if (code_.empty()) return hide_colour(Colour::kGreen, text);
    return hide_colour(Colour::kGreen, std::string(text.size() - 5, ' ') + "...: ");
  }

  void read_cell() {
    code_.clear();
    for (;;) {
      std::string line;
      const std::string typed = code_.empty() ? "" : next_indent(code_);
      switch (editor_.read(prompt(), typed, line)) {
        case LineEditor::Outcome::kEnd:
          print("\n");
          over_ = true;
          return;
        case LineEditor::Outcome::kLeft: return;
        case LineEditor::Outcome::kLine: break;
      }
      editor_.add(line);
      code_ += line + "\n";
      const bool pasted = line.find('\n') != line.npos;
      if (pasted ? !wants_more(code_) : is_whole_cell(code_)) break;
    }
    if (code_.find_first_not_of(" \t\n") == code_.npos) return;
    own_ = session_.start(code_);
    running_ = own_;
  }

  // Until the terminal has a character, or the line is to be left.
  bool wait_while_typing() {
    try {
      return wait_for_typing();
    } catch (const ClientError& error) {  // must not go through libedit
      editor_.hide();
      lost_ = error.what();
      over_ = true;
      return false;
    }
  }

  bool wait_for_typing() {
    std::optional<SessionEvent> event;
    for (;;) {
      switch (wait_for(session_, client_.descriptor(), signals_, STDIN_FILENO, event, &screen_)) {
        case Ready::kInput: return true;
        case Ready::kScreen: handle_screen(); continue;
        case Ready::kSignal:
          over_ = signals_.take() == SIGQUIT;
          print(over_ ? "\n" : "^C\n");
          return false;
        case Ready::kEvent: break;
      }
      if (!is_shown(*event)) {
        show(*event);
        continue;
      }
      editor_.hide();
      show(*event);
      finish_line();
      if (over_ || (running_ > 0 && code_.empty() && editor_.empty())) return false;
      editor_.show(prompt());
    }
  }

  void handle_screen() {
    const int number = screen_.take();
    if (number == SIGWINCH) {
      editor_.hide();
    } else {
      if (number == SIGTSTP) {
        editor_.give_terminal();
        screen_.obey(SIGTSTP);
      }
      editor_.take_terminal();
      screen_.forget();
    }
    editor_.show(prompt());
  }

  LineEditor::Completed complete(const std::string& before) {
    if (running_ > 0) return {};
    const std::string all = code_ + before;
    const size_t hidden = count(code_);
    try {
      const Completions found = session_.complete(all, count(all));
      if (found.start < hidden) return {};
      return {found.start - hidden, found.matches};
    } catch (
        const ClientError&) {  // a cell has begun; or the server is gone, as the next wait sees
      return {};
    }
  }

  static size_t count(std::string_view text) {  // code points
    size_t points = 0;
    for (const char c : text)
      points += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    return points;
  }

  // --- what happens in the session ---

  static bool is_shown(const SessionEvent& event) {
    return event.type != "state" && event.type != "checkpoint" && event.type != "forgotten" &&
           event.type != "message";
  }

  void show(const SessionEvent& event) {
    seen_ = event.seq;
    if (event.type == "cell") return begin_cell(event);
    if (event.type == "stdout") return print(event.body);
    if (event.type == "stderr") return print(paint(Colour::kRed, event.body));
    if (event.type == "display") return print_data("", event.data());
    if (event.type == "input") {
      input_ = event.flag("password") ? Input::kPassword : Input::kLine;
      question_ = event.text("prompt");
      return print(question_);
    }
    if (event.type == "result") return print_result(event);
    if (event.type == "error") return print_error(event);
    if (event.type == "done") return end_cell(event);
    if (event.type == "ended") {
      over_ = true;
      const bool exited = event.json.find("\"exit_status\"") != event.json.npos;
      status_ = exited ? static_cast<int>(event.number("exit_status")) & 255 : kLost;
      return notice("the session has ended: " + event.text("why"));
    }
    if (event.type == "notice") return notice(event.text("text"));
    if (event.type == "undone") return show_undone(event);
    if (event.type == "branched") return notice("branched into " + event.text("into"));
    if (event.type == "dropped")
      notice(std::to_string(static_cast<uint64_t>(event.number("bytes"))) +
             " bytes of output are no longer kept");
  }

  void begin_cell(const SessionEvent& event) {
    running_ = event.cell;
    input_ = Input::kNone;
    stdin_ended_ = false;
    const auto number = static_cast<uint64_t>(event.number("execution_count"));
    if (number > 0) next_count_ = number + 1;
    if (event.cell == own_) return;
    finish_line();
    const std::string begin = "In [" + std::to_string(number) + "]: ";
    std::string code = event.text("code");
    code.erase(0, std::min(code.find_first_not_of('\n'), code.size()));
    while (code.ends_with('\n'))
      code.pop_back();
    for (size_t at = code.find('\n'); at != code.npos; at = code.find('\n', at + 1))
      code.insert(at + 1, std::string(begin.size() - 5, ' ') + "...: ");
    print(paint(Colour::kGreen, begin) + code + "\n");
  }

  void end_cell(const SessionEvent& event) {
    const std::string status = event.text("status");
    const std::string why = event.text("why");
    if (event.cell == running_) {
      running_ = 0;
      input_ = Input::kNone;
    }
    if (status == "cancelled") return notice("a cell that waited did not run: " + why);
    if (status == "ok" || status == "error" || status == "interrupted" || status == "exit") return;
    notice("the cell was stopped (" + status + ")" + (why.empty() ? "" : ": " + why));
  }

  void show_undone(const SessionEvent& event) {
    const auto number = static_cast<uint64_t>(event.number("execution_count"));
    next_count_ = number + 1;
    notice("undone: back at the state before In [" + std::to_string(next_count_) + "]");
  }

  void print_result(const SessionEvent& event) {
    finish_line();
    const auto number = static_cast<uint64_t>(event.number("execution_count"));
    print_data(paint(Colour::kRed, "Out[" + std::to_string(number) + "]: "), event.data());
  }

  void print_data(const std::string& begin, const MimeData& data) {
    const auto text = data.find("text/plain");
    if (text == data.end() || text->second.empty()) return;
    const bool lines = !begin.empty() && text->second.find('\n') != text->second.npos;
    print(begin + (lines ? "\n" : "") + text->second + "\n");
  }

  void print_error(const SessionEvent& event) {
    finish_line();
    for (const std::string& line : event.traceback())
      print(paint(Colour::kRed, line.ends_with('\n') ? line.substr(0, line.size() - 1) : line) +
            "\n");
  }

  void notice(const std::string& text) {
    finish_line();
    print(paint(Colour::kYellow, "[" + text + "]") + "\n");
  }

  // --- the screen ---

  void print(const std::string& text) {
    if (text.empty()) return;
    write_terminal(text);
    at_line_begin_ = text.ends_with('\n') || text.ends_with("\n\x1b[0m");
  }
  void finish_line() {
    if (!at_line_begin_) print("\n");
  }
  std::string paint(Colour colour, const std::string& text) const {
    return colours_ ? code_of(colour) + text + "\x1b[0m" : text;
  }
  // As libedit wants it: what has no width is between marks.
  std::string hide_colour(Colour colour, const std::string& text) const {
    return colours_ ? std::string("\1") + code_of(colour) + "\1" + text + "\1\x1b[0m\1" : text;
  }

  Client& client_;
  RemoteSession& session_;
  const bool colours_;
  TypedSignals signals_;
  ScreenSignals screen_;
  LineEditor editor_;
  std::string code_;  // of the cell that is being typed
  enum class Input { kNone, kLine, kPassword } input_ = Input::kNone;  // what the cell waits for
  std::string question_;                                               // of that input
  std::string typed_;         // bytes that were typed while a cell ran
  bool stdin_ended_ = false;  // the running cell's
  uint64_t own_ = 0;          // the last cell that was typed here
  uint64_t running_ = 0;      // the cell that runs; 0: none
  uint64_t seen_ = 0;         // the last event's number
  uint64_t next_count_ = 1;   // for the prompt
  bool at_line_begin_ = true;
  bool over_ = false;
  std::string lost_;       // why the server is gone
  int status_ = kSuccess;  // of this program
};

}  // namespace

int run_session_attach(const SessionCommand& command) {
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
    throw ClientError("bad_request", "attach needs a terminal; without one use brood session exec");
  Client client = connect_to_server(command);
  RemoteSession session = client.attach(find_session(client, command.id).id);
  return Attached(client, session).run();
}

}  // namespace brood
