#include "main/tool_password.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "base/fd.h"
#include "base/sys.h"
#include "scram/scram.h"

namespace brood {
namespace {

// While it lives, the terminal shows nothing that is typed, and signals wait: one that ends or
// stops the program comes when the terminal is as before.
class QuietTerminal {
 public:
  explicit QuietTerminal(int terminal) : terminal_(terminal) {
    sigset_t held;
    sigemptyset(&held);
    for (const int number : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP})
      sigaddset(&held, number);
    sigprocmask(SIG_BLOCK, &held, &old_mask_);
    signals_ = Fd(signalfd(-1, &held, SFD_CLOEXEC));
    tcgetattr(terminal_, &old_);
    termios quiet = old_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(terminal_, TCSAFLUSH, &quiet);
  }
  ~QuietTerminal() {
    tcsetattr(terminal_, TCSAFLUSH, &old_);
    sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
  }
  QuietTerminal(const QuietTerminal&) = delete;
  QuietTerminal& operator=(const QuietTerminal&) = delete;

  // False: a signal waits.
  bool wait_for_line() const {
    std::array<pollfd, 2> ready{{{terminal_, POLLIN, 0}, {signals_.get(), POLLIN, 0}}};
    while (poll(ready.data(), ready.size(), -1) < 0 && errno == EINTR) {
    }
    return ready[1].revents == 0;
  }

 private:
  int terminal_;
  termios old_{};
  sigset_t old_mask_{};
  Fd signals_;
};

// Up to the end of a line, or of the input.
Result<std::string> read_line(int fd) {
  std::string line;
  for (char c = 0; line.size() <= kMaxScramText;) {
    const ssize_t got = read(fd, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sys_error("read the password");
    if (got == 0 || c == '\n') return line;
    line.push_back(c);
  }
  return Error{"the password is longer than " + std::to_string(kMaxScramText) + " bytes"};
}

Result<std::string> ask(int terminal, const std::string& prompt) {
  for (;;) {
    if (Result<void> shown = write_all(terminal, prompt); !shown) return shown.error();
    std::optional<Result<std::string>> line;
    {
      const QuietTerminal quiet(terminal);
      if (quiet.wait_for_line()) line = read_line(terminal);
    }
    if (Result<void> shown = write_all(terminal, "\n"); !shown) return shown.error();
    if (line) return std::move(*line);  // else it was stopped and goes on
  }
}

}  // namespace

Result<std::string> ask_new_password(const std::string& user) {
  const Fd terminal(open("/dev/tty", O_RDWR | O_CLOEXEC));
  if (!terminal) return Error{"there is no terminal to ask for a password; use --password-stdin"};
  Result<std::string> first = ask(terminal.get(), "New password for " + user + ": ");
  if (!first) return first;
  if (Result<void> good = check_scram_text(*first, "the password"); !good) return good.error();
  Result<std::string> second = ask(terminal.get(), "The same again: ");
  if (second && *second != *first) return Error{"the two passwords differ; nothing is changed"};
  return second;
}

Result<std::string> ask_password(const std::string& user) {
  const Fd terminal(open("/dev/tty", O_RDWR | O_CLOEXEC));
  if (!terminal)
    return Error{"there is no terminal to ask for the password of " + user +
                 "; programs show a token (BROOD_TOKEN)"};
  return ask(terminal.get(), "Password of " + user + ": ");
}

Result<std::string> read_password() { return read_line(STDIN_FILENO); }

}  // namespace brood
