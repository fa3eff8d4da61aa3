// What the commands that talk to a session share: the signals of the user as something to poll, and
// lines typed on a terminal. One thread.
#pragma once

#include <signal.h>
#include <termios.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "brood/client.h"

namespace brood {

// Standard input, a terminal, as a descriptor that never waits: what poll() has seen there is gone
// when Ctrl-C comes before it is read, and a read would wait for the next key.
int typing_descriptor();

// While it lives, these signals are bytes to be read, and do nothing else. Each signal is caught by
// one of them at a time.
class CaughtSignals {
 public:
  CaughtSignals(const std::vector<int>& numbers, int flags);  // as for sigaction()
  ~CaughtSignals();
  CaughtSignals(const CaughtSignals&) = delete;

  int descriptor() const { return reading_.get(); }
  int take();     // the signal's number, or 0: none came
  void forget();  // those that came
  // Does what it would have done; a stop returns when the program goes on.
  void obey(int number);

 private:
  Fd reading_, writing_;
  std::vector<std::pair<int, struct sigaction>> before_;
};

// Ctrl-C and Ctrl-\.
class TypedSignals : public CaughtSignals {
 public:
  TypedSignals() : CaughtSignals({SIGINT, SIGQUIT}, 0) {}
};

// Ctrl-Z, its end, and another size of the terminal.
class ScreenSignals : public CaughtSignals {
 public:
  ScreenSignals() : CaughtSignals({SIGTSTP, SIGCONT, SIGWINCH}, SA_RESTART) {}
};

// What a wait ends with: the first one in this order.
enum class Ready { kSignal, kScreen, kEvent, kInput };
// Waits for an event of the session (put into `event`), a signal, or, unless `input` is -1, input.
Ready wait_for(RemoteSession& session, int descriptor, const TypedSignals& signals, int input,
               std::optional<SessionEvent>& event, const ScreenSignals* screen = nullptr);

// While it lives nothing that is typed is shown, if `hidden`, and it is a terminal.
class HiddenTyping {
 public:
  HiddenTyping(int terminal, bool hidden);
  ~HiddenTyping();
  HiddenTyping(const HiddenTyping&) = delete;

 private:
  const int terminal_;
  termios before_{};
  bool changed_ = false;
};

// One line from `input` without its end; with `hidden`, and a terminal, without echo.
struct TypedLine {
  enum class Kind { kLine, kEnd, kSignal } kind = Kind::kEnd;
  std::string text;
};
TypedLine read_line(int input, bool hidden, TypedSignals& signals);

// Standard output or standard error. A reader that has gone is nobody to tell, and no error.
Result<void> write_out(int output, std::string_view bytes);
// Standard output, a terminal: who reads from it, too, sees when it is gone.
void write_terminal(std::string_view bytes);

}  // namespace brood
