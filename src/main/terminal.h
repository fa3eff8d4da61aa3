// What the commands that talk to a session share: the signals of the user as something to poll, and
// lines typed on a terminal. One thread.
#pragma once

#include <signal.h>
#include <termios.h>

#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "brood/client.h"

namespace brood {

// Standard input, a terminal, as a descriptor that never waits: what poll() has seen there is gone
// when Ctrl-C comes before it is read, and a read would wait for the next key.
int typing_descriptor();

// While it lives, Ctrl-C and Ctrl-\ are bytes to be read instead of the end of the program. One at
// a time.
class TypedSignals {
 public:
  TypedSignals();
  ~TypedSignals();
  TypedSignals(const TypedSignals&) = delete;

  int descriptor() const { return reading_.get(); }
  int take();  // SIGINT, SIGQUIT, or 0: none came

 private:
  Fd reading_, writing_;
  struct sigaction old_interrupt_ {
  }, old_quit_{};
};

// Which of them has something to read: the first one in this order.
enum class Ready { kEvent, kSignal, kInput };
// Waits for an event of the session (put into `event`), a signal, or, unless `input` is -1, input.
Ready wait_for(RemoteSession& session, int descriptor, TypedSignals& signals, int input,
               std::optional<SessionEvent>& event);

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
