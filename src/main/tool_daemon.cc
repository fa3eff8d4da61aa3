#include "main/tool_daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "base/sys.h"
#include "daemon/status_view.h"
#include "main/tool_client.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr int kStopMs = 10'000;
constexpr int kFollowMs = 200;
constexpr size_t kMaxLog = 4u << 20;  // bytes; the daemon keeps it shorter

std::string last_lines(const std::string& text, unsigned lines) {
  size_t at = text.size();
  for (unsigned found = 0; at > 0; at--)
    if (text[at - 1] == '\n' && at != text.size() && ++found == lines) break;
  return lines == 0 ? "" : text.substr(at);
}

// Prints what is added to the file; when another one has its name, goes on with that.
int follow_log(const std::string& path, off_t from) {
  Fd file;
  FileIdentity opened;
  for (;;) {
    const FileIdentity now = identify(path.c_str());
    if (now.exists() && (!file || now.inode != opened.inode)) {
      file = Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
      opened = now;
      if (file && from > 0) lseek(file.get(), from, SEEK_SET);
      from = 0;
    }
    std::array<char, 65536> buffer;
    ssize_t got = 0;
    while (file && (got = read(file.get(), buffer.data(), buffer.size())) > 0)
      if (!write_all(STDOUT_FILENO, {buffer.data(), static_cast<size_t>(got)})) return kFailure;
    poll(nullptr, 0, kFollowMs);
  }
}

}  // namespace

int execute_serve(std::span<char* const> words) {
  const std::string self = read_link("/proc/self/exe");  // PREFIX/libexec/brood/brood-tool
  const std::string program = self.substr(0, self.rfind("/libexec/")) + "/bin/broodd";
  std::vector<char*> arguments = {const_cast<char*>("broodd")};
  arguments.insert(arguments.end(), words.begin(), words.end());
  arguments.push_back(nullptr);
  execv(program.c_str(), arguments.data());
  return fail(sys_error("execute " + program).message, 127);
}

int run_stop() {
  Result<json> answer = ask_daemon({{"command", "stop"}}, {{"pid", 0}});
  if (!answer) return fail(answer.error().message);
  const auto pid = static_cast<pid_t>(number_at(*answer, "pid"));
  if (pid == 0) {
    std::puts("No daemon runs.");
    return kSuccess;
  }
  const Fd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process && errno == ESRCH) return kSuccess;
  pollfd item{process.get(), POLLIN, 0};
  if (poll(&item, 1, kStopMs) <= 0)
    return fail("the daemon (pid " + std::to_string(pid) + ") does not leave; kill it");
  return kSuccess;
}

int run_logs(bool follow, unsigned lines) {
  const RuntimeDir dir = runtime_dir();
  if (Result<void> good = check(dir); !good && good.error().code != ENOENT)
    return fail(good.error().message);
  Result<std::string> text = read_file(dir.log_file(), kMaxLog);
  if (!text && !(follow && text.error().code == ENOENT)) {
    if (text.error().code == ENOENT)
      return fail("there is no log yet: " + dir.log_file() + " comes with the first daemon");
    return fail(text.error().message);
  }
  if (text)
    if (Result<void> written = write_all(STDOUT_FILENO, last_lines(*text, lines)); !written)
      return fail(written.error().message);
  return follow ? follow_log(dir.log_file(), text ? static_cast<off_t>(text->size()) : 0)
                : kSuccess;
}

}  // namespace brood
