#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "base/sys.h"
#include "main/terminal.h"

namespace brood {
namespace {

int g_signal_pipes[_NSIG];  // by number

void on_signal(int number) {
  const int saved = errno;
  const char byte = static_cast<char>(number);
  if (write(g_signal_pipes[number], &byte, 1) < 0) {
  }  // full: enough of them wait
  errno = saved;
}

}  // namespace

CaughtSignals::CaughtSignals(const std::vector<int>& numbers, int flags) {
  int ends[2];
  require(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0, "a pipe for signals");
  reading_ = Fd(ends[0]);
  writing_ = Fd(ends[1]);
  struct sigaction action {
  }, before{};
  action.sa_handler = on_signal;
  action.sa_flags = flags;
  for (const int number : numbers) {
    g_signal_pipes[number] = ends[1];
    sigaction(number, &action, &before);
    before_.emplace_back(number, before);
  }
}

CaughtSignals::~CaughtSignals() {
  for (const auto& [number, before] : before_)
    sigaction(number, &before, nullptr);
}

int CaughtSignals::take() {
  char byte = 0;
  return read(reading_.get(), &byte, 1) == 1 ? byte : 0;
}

void CaughtSignals::forget() {
  while (take() != 0) {
  }
}

void CaughtSignals::obey(int number) {
  struct sigaction caught {};
  for (const auto& [one, before] : before_)
    if (one == number) sigaction(number, &before, &caught);
  raise(number);
  sigaction(number, &caught, nullptr);
}

HiddenTyping::HiddenTyping(int terminal, bool hidden) : terminal_(terminal) {
  if (!hidden || tcgetattr(terminal_, &before_) != 0) return;
  termios quiet = before_;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  changed_ = tcsetattr(terminal_, TCSAFLUSH, &quiet) == 0;
}

HiddenTyping::~HiddenTyping() {
  if (!changed_) return;
  tcsetattr(terminal_, TCSADRAIN, &before_);
  write_terminal("\n");
}

int typing_descriptor() {
  static const Fd kOwn(open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  return kOwn ? kOwn.get() : STDIN_FILENO;
}

Ready wait_for(RemoteSession& session, int descriptor, const TypedSignals& signals, int input,
               std::optional<SessionEvent>& event, const ScreenSignals* screen) {
  for (bool has_input = false;;) {
    pollfd items[4] = {{signals.descriptor(), POLLIN, 0},
                       {screen ? screen->descriptor() : -1, POLLIN, 0},
                       {descriptor, POLLIN, 0},
                       {input, POLLIN, 0}};
    if (poll(items, 2, 0) > 0) return items[0].revents != 0 ? Ready::kSignal : Ready::kScreen;
    event = session.next_event(0);
    if (event) return Ready::kEvent;
    if (has_input) return Ready::kInput;
    // A signal that came before the input, or has interrupted this, is looked for first.
    has_input = poll(items, 4, -1) > 0 && items[3].revents != 0;
  }
}

TypedLine read_line(int input, bool hidden, TypedSignals& signals) {
  const HiddenTyping typing(input, hidden);
  std::string text;
  for (;;) {
    pollfd items[2] = {{signals.descriptor(), POLLIN, 0}, {input, POLLIN, 0}};
    if (poll(items, 2, -1) < 0) continue;
    if (items[0].revents != 0) return {TypedLine::Kind::kSignal, ""};
    char byte = 0;
    const ssize_t got = read(input, &byte, 1);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return {text.empty() ? TypedLine::Kind::kEnd : TypedLine::Kind::kLine, text};
    if (byte == '\n') return {TypedLine::Kind::kLine, text};
    text.push_back(byte);
  }
}

Result<void> write_out(int output, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(output, bytes.data(), bytes.size());
    if (put >= 0) {
      bytes.remove_prefix(static_cast<size_t>(put));
    } else if (errno == EAGAIN) {
      pollfd item{output, POLLOUT, 0};
      poll(&item, 1, -1);
    } else if (errno == EPIPE) {
      return {};
    } else if (errno != EINTR) {
      return sys_error(output == STDERR_FILENO ? "write standard error" : "write standard output");
    }
  }
  return {};
}

void write_terminal(std::string_view bytes) { (void)write_out(STDOUT_FILENO, bytes); }

}  // namespace brood
