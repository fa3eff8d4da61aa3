// brood top: the status, once a second, on the terminal's alternate screen.
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sys.h"
#include "daemon/status_view.h"
#include "daemon/table.h"
#include "main/tool_client.h"
#include "main/tool_status.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr int64_t kRefreshNs = 1'000'000'000;
constexpr size_t kHistory = 60;  // seconds of runs per second, as a line of bars

// The terminal while `brood top` has it: alternate screen, no cursor, keys as they are typed.
class Screen {
 public:
  Screen() { enter(); }
  ~Screen() { leave(); }
  Screen(const Screen&) = delete;

  void enter() {
    if (tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    put("\033[?1049h\033[?25l");
  }
  void leave() {
    put("\033[?25h\033[?1049l");
    tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  // Lines beyond the screen are left out; nothing wraps.
  void show(const std::string& text, size_t rows) {
    std::string out = "\033[H";
    size_t at = 0;
    for (size_t row = 0; row < rows && at < text.size(); row++) {
      const size_t end = std::min(text.find('\n', at), text.size());
      out += (row > 0 ? "\r\n" : "") + text.substr(at, end - at) + "\033[K";
      at = end + 1;
    }
    put(out + "\033[J");
  }

 private:
  static void put(const std::string& text) { (void)write_all(STDOUT_FILENO, text); }
  termios before_{};
};

std::string bars(const std::deque<double>& rates) {
  static constexpr const char* kBars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const double most = rates.empty() ? 0 : *std::max_element(rates.begin(), rates.end());
  std::string out;
  for (const double rate : rates)
    out += kBars[rate <= 0 || most <= 0
                     ? 0
                     : std::min<size_t>(1 + static_cast<size_t>(rate / most * 7.99), 8)];
  return out;
}

class Top {
 public:
  std::string frame(size_t width) {
    Result<json> status =
        ask_daemon({{"command", "status"}}, {{"daemon", nullptr}, {"environments", json::array()}});
    const std::string help = toned("q quits", Tone::kDim, color_);
    if (!status) return status.error().message + "\n" + help;
    if ((*status)["daemon"].is_null()) {
      served_.clear();
      rates_.clear();
      return "No daemon runs; it starts by itself with the next program.\n" + help;
    }
    add_memory(*status);
    ViewStyle style{color_, width, {}};
    measure(*status, style);
    char rate[64];
    std::snprintf(rate, sizeof rate, "%8.1f runs/s  ", history_.empty() ? 0 : history_.back());
    return show_daemon(*status) + "\n" + toned(rate, Tone::kBold, color_) + bars(history_) +
           "\n\n" + show_environments(*status, style) + "\n" + help;
  }

 private:
  // Rates since the last frame; the keys that are new have none yet.
  void measure(const json& status, ViewStyle& style) {
    const int64_t now = monotonic_ns();
    const double seconds = static_cast<double>(now - last_ns_) / 1e9;
    const bool again = seconds < 0.2 && !rates_.empty();  // a changed window size, not a new second
    std::map<std::string, double> served;
    for (const json& env : list_at(status, "environments"))
      served[text_at(env, "key")] = number_at(env, "served");
    if (!again) {
      const double total = number_at(status["daemon"], "served");
      if (last_ns_ != 0) history_.push_back(std::max(0.0, total - total_) / seconds);
      if (history_.size() > kHistory) history_.pop_front();
      rates_.clear();
      for (const auto& [key, count] : served) {
        const auto before = served_.find(key);
        rates_[key] = before == served_.end() ? 0 : std::max(0.0, count - before->second) / seconds;
      }
      total_ = total;
      served_ = std::move(served);
      last_ns_ = now;
    }
    style.rates = rates_;
  }

  const bool color_ = !getenv("NO_COLOR");
  int64_t last_ns_ = 0;
  double total_ = 0;
  std::map<std::string, double> served_, rates_;
  std::deque<double> history_;
};

enum class Input { kNone, kRedraw, kQuit, kSuspend };

Input read_key() {
  char key = 0;
  if (read(STDIN_FILENO, &key, 1) <= 0) return Input::kQuit;
  return key == 'q' || key == 'Q' ? Input::kQuit : Input::kRedraw;
}

Input read_signal(int fd) {
  signalfd_siginfo info{};
  if (read(fd, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return Input::kNone;
  switch (info.ssi_signo) {
    case SIGWINCH:
    case SIGCONT: return Input::kRedraw;
    case SIGTSTP: return Input::kSuspend;
    default: return Input::kQuit;
  }
}

// Waits for a key, a signal or the next refresh.
Input wait_input(int signals, int64_t until_ns) {
  for (;;) {
    const int64_t left = until_ns - monotonic_ns();
    if (left <= 0) return Input::kRedraw;
    pollfd items[] = {{STDIN_FILENO, POLLIN, 0}, {signals, POLLIN, 0}};
    if (poll(items, 2, static_cast<int>(left / 1'000'000) + 1) <= 0) continue;
    const Input input = items[1].revents ? read_signal(signals) : read_key();
    if (input != Input::kNone) return input;
  }
}

winsize window() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return {24, 80, 0, 0};
  return size;
}

}  // namespace

int run_top() {
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
    return fail("top needs a terminal; `brood status` writes to a file or pipe", kUsage);
  sigset_t caught;
  sigemptyset(&caught);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT})
    sigaddset(&caught, number);
  sigprocmask(SIG_BLOCK, &caught, nullptr);
  const Fd signals(signalfd(-1, &caught, SFD_CLOEXEC));
  if (!signals) return fail(sys_error("receive signals").message);
  Top top;
  Screen screen;
  for (;;) {
    const int64_t begin = monotonic_ns();
    const winsize size = window();
    screen.show(top.frame(size.ws_col), size.ws_row);
    const Input input = wait_input(signals.get(), begin + kRefreshNs);
    if (input == Input::kQuit) return kSuccess;
    if (input != Input::kSuspend) continue;
    screen.leave();
    raise(SIGSTOP);
    screen.enter();
  }
}

}  // namespace brood
