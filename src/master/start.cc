#include "master/start.h"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>

#include "base/clock.h"
#include "base/sys.h"
#include "base/utf8.h"
#include "master/dial.h"
#include "master/greeting.h"
#include "master/stage.h"

namespace brood::master {
namespace {

constexpr size_t kMaxSaid = 64 << 10;  // bytes that are kept of what a program says
constexpr int64_t kLinger = kSecond;   // for the last words of a program that has closed the link
// It is started from a terminal and keeps it, but Ctrl-C is not for it.
constexpr char kIgnoreInterrupts[] = "trap '' INT; exec \"$@\"";

std::string_view payload() { return {reinterpret_cast<const char*>(kPayload), sizeof kPayload}; }

// user@host:pid of this process, in characters that no shell minds.
std::string master_name() {
  passwd entry{};
  passwd* user = nullptr;
  char strings[4096];
  getpwuid_r(getuid(), &entry, strings, sizeof strings, &user);
  char host[HOST_NAME_MAX + 1] = "";
  gethostname(host, sizeof host - 1);
  std::string name = (user != nullptr ? user->pw_name : std::to_string(getuid())) + "@" + host +
                     ":" + std::to_string(getpid());
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@.:_-";
  for (char& letter : name)
    if (kPlain.find(letter) == std::string_view::npos) letter = '_';
  return name;
}

// What has been reached: an interpreter that waits for the payload, or a context.
enum class Way { kStage, kContext };

// --- ways to an interpreter ----------------------------------------------------------------------

Result<void> start_program(Started& started, std::vector<std::string> words, bool leads) {
  if (!leads) {
    const std::vector<std::string> shell{"/bin/sh", "-c", kIgnoreInterrupts, "sh"};
    words.insert(words.begin(), shell.begin(), shell.end());
  }
  int link[2], complaints[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) != 0)
    return sys_error("make a socket");
  started.link.reset(link[0]);
  const Fd its_link(link[1]);
  if (pipe2(complaints, O_CLOEXEC) != 0) return sys_error("make a pipe");
  started.complaints.reset(complaints[0]);
  const Fd its_complaints(complaints[1]);
  Result<std::unique_ptr<Process>> process =
      Process::start(words, its_link.get(), its_complaints.get(), leads);
  if (!process) return process.error();
  started.process = std::move(*process);
  return {};
}

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Result<void> start_ssh(Started& started, const Spec& spec, const std::string& master) {
  const std::string python = spec.python.empty() ? "python3" : spec.python;
  std::vector<std::string> words{"ssh"};
  if (!spec.ssh_config.empty()) words = words + std::vector<std::string>{"-F", spec.ssh_config};
  words = words + split_words(spec.target);
  words.push_back(python + " -c '" + kStage + "' " + master);
  return start_program(started, std::move(words), false);
}

Result<Way> start_socket(Started& started, const Spec& spec, const std::string& master,
                         int64_t deadline) {
  const std::string source = "import sys;sys.argv.append(\"" + master + "\");" + kStage;
  Result<Dialled> there = dial(spec, source, deadline);
  if (!there) return there.error();
  started.link = std::move(there->link);
  return there->is_context ? Way::kContext : Way::kStage;
}

std::string real_path(const std::string& path) {
  char resolved[PATH_MAX];
  return realpath(path.c_str(), resolved) != nullptr ? resolved : "";
}

// Where the command brood is, and the Python files that were installed with it.
struct Installed {
  std::string program, core;
};

Result<Installed> find_brood() {
  const char* path = getenv("PATH");
  std::string folders = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  for (size_t begin = 0; begin <= folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    const std::string program = folders.substr(begin, end - begin) + "/brood";
    begin = end + 1;
    if (access(program.c_str(), X_OK) != 0) continue;
    const std::string folder = real_path(program);
    const std::string core =
        real_path(folder.substr(0, folder.rfind('/')) + "/../lib/brood/python/brood/gateways/core");
    if (!core.empty()) return Installed{program, core};
  }
  return Error{"the command brood, with its files, is not in PATH"};
}

Result<void> start_warm(Started& started, const Spec& spec) {
  Result<Installed> brood = find_brood();
  if (!brood) return brood.error();
  std::vector<std::string> words{brood->program, "run"};
  if (!spec.environment.empty())
    words = words + std::vector<std::string>{"--env", spec.environment};
  if (!spec.python.empty())
    words = words + std::vector<std::string>{"--python", split_words(spec.python).front()};
  words = words + std::vector<std::string>{"-c", kBoot, brood->core, "", ""};
  return start_program(started, std::move(words), true);
}

Result<Way> reach(Started& started, const Spec& spec, const std::string& master, int64_t deadline) {
  if (spec.transport == Transport::kSocket) return start_socket(started, spec, master, deadline);
  const std::vector<std::string> python =
      spec.python.empty() ? std::vector<std::string>{"python3"} : split_words(spec.python);
  const std::vector<std::string> stage{"-c", kStage, master};
  const std::vector<std::string> sudo{"sudo", "-u", spec.target, "--"};
  const bool warm = spec.transport == Transport::kWarm;
  Result<void> reached = warm                                ? start_warm(started, spec)
                         : spec.transport == Transport::kSsh ? start_ssh(started, spec, master)
                         : spec.transport == Transport::kSudo
                             ? start_program(started, sudo + python + stage, false)
                             : start_program(started, python + stage, true);
  if (!reached) return reached.error();
  return warm ? Way::kContext : Way::kStage;
}

// --- the greeting --------------------------------------------------------------------------------

// Reads what is there; false: nothing more will come.
bool read_more(int fd, std::string& bytes) {
  char buffer[16 << 10];
  const ssize_t got = read(fd, buffer, sizeof buffer);
  if (got > 0) bytes.append(buffer, static_cast<size_t>(got));
  return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

class Exchange {
 public:
  Exchange(Started& started, std::string to_send, int64_t deadline)
      : started_(started), to_send_(std::move(to_send)), deadline_(deadline) {
    for (int fd : {started.link.get(), started.complaints.get()})
      if (fd >= 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  }

  // Until the child's GREET is complete.
  Result<void> run(int timeout_ms) {
    while (monotonic_ns() < deadline_) {
      wait(deadline_);
      write_some();
      listen();
      std::string bytes;
      const bool more = read_more(started_.link.get(), bytes);
      Result<std::optional<Dict>> greet = incoming_.feed(bytes);
      if (!greet) return failed(greet.error().message);
      if (*greet) {
        started_.greet = std::move(**greet);
        started_.ahead = incoming_.ahead();
        return {};
      }
      if (!more) return failed("ended before it said a word of brood's");
    }
    return failed("no answer within " + std::to_string(timeout_ms) + " ms");
  }

 private:
  void wait(int64_t until) {
    constexpr int64_t kMillisecond = 1'000'000;
    const auto events = static_cast<short>(to_send_.empty() ? POLLIN : POLLIN | POLLOUT);
    pollfd polled[2] = {{started_.link.get(), events, 0}, {started_.complaints.get(), POLLIN, 0}};
    const int64_t left = std::max<int64_t>(until - monotonic_ns(), 0) / kMillisecond + 1;
    poll(polled, 2, static_cast<int>(left));
  }

  void write_some() {
    if (to_send_.empty()) return;
    const ssize_t sent =
        send(started_.link.get(), to_send_.data(), to_send_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) to_send_.erase(0, static_cast<size_t>(sent));
    if (sent < 0 && errno != EAGAIN && errno != EINTR) to_send_.clear();  // the end is read
  }

  void listen() {
    if (!started_.complaints) return;
    if (!read_more(started_.complaints.get(), started_.said)) started_.complaints.reset();
    if (started_.said.size() > kMaxSaid) started_.said.resize(kMaxSaid);
  }

  // Waits a little for the program's last words and its status.
  Error failed(std::string text) {
    started_.link.reset();
    const int64_t end = monotonic_ns() + kLinger;
    std::optional<int> status;
    if (started_.process) status = started_.process->wait(text.starts_with("ended") ? end : 0);
    while (started_.complaints && status && monotonic_ns() < end) {
      wait(end);
      listen();
    }
    listen();
    if (status)
      text += *status < 0 ? ", killed by signal " + std::to_string(-*status)
                          : ", exit status " + std::to_string(*status);
    for (const std::string& words : {incoming_.banner(), started_.said}) {
      Utf8Stream utf8;
      std::string shown = utf8.next(words) + utf8.flush();
      shown.erase(shown.find_last_not_of(" \t\r\n") + 1);
      shown.erase(0, shown.find_first_not_of(" \t\r\n"));
      if (!shown.empty()) text += ": " + shown;
    }
    return {text};
  }

  Started& started_;
  std::string to_send_;
  const int64_t deadline_;
  GreetingReader incoming_;
};

}  // namespace

Result<Started> start(const Spec& spec, Dict greet, uint32_t context, int timeout_ms) {
  const int64_t deadline = monotonic_ns() + timeout_ms * (kSecond / 1000);
  const std::string master = master_name();
  greet.items.emplace_back("master", master);
  Started started;
  const auto failed = [&](const Error& error) {
    return Error{spec.where() + ": " + error.message, error.code};
  };
  Result<Way> way = reach(started, spec, master, deadline);
  if (!way) return failed(way.error());
  std::string first(*way == Way::kStage ? payload() : "");
  Exchange exchange(started, first + encode_greet(context, 0, greet), deadline);
  if (Result<void> done = exchange.run(timeout_ms); !done) return failed(done.error());
  if (const Value* error = started.greet.find("error"); error != nullptr)
    return failed({error->as_text() != nullptr ? *error->as_text() : error->to_text()});
  return started;
}

}  // namespace brood::master
