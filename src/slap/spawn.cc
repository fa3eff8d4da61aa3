#include "slap/spawn.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "base/fd.h"
#include "base/pointers.h"
#include "base/sys.h"

namespace brood {
namespace {

std::vector<std::string> merged_environment(const std::vector<std::string>& changes) {
  std::vector<std::string> out;
  const auto named = [](const std::string& item, const std::string& change) {
    const std::string name = change.substr(0, change.find('='));
    return item.compare(0, name.size(), name) == 0 && item[name.size()] == '=';
  };
  for (char** item = environ; *item; item++) {
    bool changed = false;
    for (const std::string& change : changes)
      changed |= named(*item, change);
    if (!changed) out.emplace_back(*item);
  }
  for (const std::string& change : changes)
    if (change.find('=') != change.npos) out.push_back(change);
  return out;
}

// A command made ready, so that the clock sees only what the system does.
class Spawner {
 public:
  explicit Spawner(const Command& command)
      : words_(command.words), environment_(merged_environment(command.environment)) {
    arguments_ = pointers(words_);
    variables_ = pointers(environment_);
  }

  Result<Finished> run(Output output) {
    std::array<int, 2> pair{-1, -1};
    if (output == Output::kCapture && pipe2(pair.data(), O_CLOEXEC) != 0)
      return sys_error("make a pipe");
    const Fd reader(pair[0]);
    Fd writer(pair[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (writer)
      posix_spawn_file_actions_adddup2(&actions, writer.get(), 1);
    else
      posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    Finished finished;
    const int64_t begin = monotonic_ns();
    pid_t child = 0;
    const int failed = posix_spawn(&child, words_[0].c_str(), &actions, nullptr, arguments_.data(),
                                   variables_.data());
    posix_spawn_file_actions_destroy(&actions);
    if (failed) return sys_error("start " + words_[0], failed);
    writer.reset();
    std::array<char, 65536> buffer;
    while (reader) {
      const ssize_t got = read(reader.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      finished.output.append(buffer.data(), static_cast<size_t>(got));
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    finished.microseconds = static_cast<double>(monotonic_ns() - begin) / 1000;
    finished.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return finished;
  }

 private:
  std::vector<std::string> words_, environment_;
  std::vector<char*> arguments_, variables_;
};

}  // namespace

Result<Finished> run_command(const Command& command, Output output) {
  return Spawner(command).run(output);
}

Result<double> run_parallel(const Command& command, int clients, int runs) {
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  const int64_t begin = monotonic_ns();
  for (int i = 0; i < clients; i++)
    threads.emplace_back([&] {
      Spawner spawner(command);
      for (int run = 0; run < runs; run++) {
        Result<Finished> finished = spawner.run(Output::kDiscard);
        if (!finished || finished->status != 0) failures++;
      }
    });
  for (std::thread& thread : threads)
    thread.join();
  const double elapsed = static_cast<double>(monotonic_ns() - begin) / 1000;
  if (failures > 0)
    return Error{std::to_string(failures) + " runs of " + command.words[0] + " failed"};
  return elapsed;
}

}  // namespace brood
