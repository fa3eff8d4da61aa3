#include "worker/become.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "base/sys.h"

namespace brood {
namespace {

int in_child(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

std::string content(int fd) {
  char text[16] = {};
  return pread(fd, text, sizeof text - 1, 0) > 0 ? text : "";
}

Fd file_with(const char* text) {
  char path[] = "/tmp/brood-become-XXXXXX";
  Fd fd(mkostemp(path, O_CLOEXEC));
  unlink(path);
  EXPECT_EQ(write(fd.get(), text, std::strlen(text)), static_cast<ssize_t>(std::strlen(text)));
  return fd;
}

TEST(TakeDescriptors, PlacesThemWhateverTheirNumbersWere) {
  EXPECT_EQ(in_child([] {
              Fd keep = file_with("keep"), a = file_with("a"), b = file_with("b"),
                 c = file_with("c");
              // The targets are each other's present numbers.
              const std::vector<uint32_t> numbers{1, static_cast<uint32_t>(a.get()),
                                                  static_cast<uint32_t>(b.get())};
              const int at_a = a.get(), at_b = b.get(), at_c = c.get();
              std::vector<Fd> received;
              received.push_back(std::move(a));
              received.push_back(std::move(b));
              received.push_back(std::move(c));
              if (!take_descriptors(std::move(received), numbers, {}, keep)) return 1;
              if (content(1) != "a" || content(at_a) != "b" || content(at_b) != "c" ||
                  content(keep.get()) != "keep")
                return 2;
              if (fcntl(0, F_GETFD) >= 0 || fcntl(2, F_GETFD) >= 0 || fcntl(at_c, F_GETFD) >= 0)
                return 3;
              if (fcntl(1, F_GETFD) & FD_CLOEXEC || !(fcntl(keep.get(), F_GETFD) & FD_CLOEXEC))
                return 4;
              return 0;
            }),
            0);
}

TEST(TakeDescriptors, ANumberInUseByThePreloadIsRefused) {
  EXPECT_EQ(in_child([] {
              Fd keep = file_with("keep"), a = file_with("a");
              std::vector<Fd> received;
              received.push_back(std::move(a));
              if (take_descriptors(std::move(received), {9}, {9}, keep)) return 1;
              return content(keep.get()) == "keep" ? 0 : 2;  // for the refusal
            }),
            0);
}

TEST(TakeEnvironment, ReplacesEverythingAndAppliesOverrides) {
  EXPECT_EQ(in_child([] {
              setenv("OLD", "1", 1);
              const std::string block("A=1\0B=2\0EMPTY=\0", 15);
              const TakenEnvironment environment = take_environment(block, {"B=3", "C=4"});
              if (getenv("OLD") || std::strcmp(getenv("A"), "1") != 0 ||
                  std::strcmp(getenv("B"), "3") != 0)
                return 1;
              if (std::strcmp(getenv("C"), "4") != 0 || std::strcmp(getenv("EMPTY"), "") != 0)
                return 2;
              if (environment.items.size() != 4) return 3;
              return setenv("A", "5", 1) == 0 && std::strcmp(getenv("A"), "5") == 0 ? 0 : 4;
            }),
            0);
}

TEST(TakeProcessState, TakesOverWhatTheClientHad) {
  EXPECT_EQ(in_child([] {
              ProcessState state;
              for (size_t i = 0; i < kResourceLimits; i++) {
                rlimit limit;
                getrlimit(static_cast<__rlimit_resource>(i), &limit);
                state.limits[i] = {limit.rlim_cur, limit.rlim_max};
              }
              state.limits[RLIMIT_NOFILE].soft = 123;
              state.umask = 027;
              state.nice = getpriority(PRIO_PROCESS, 0) + 1;
              const Fd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
              if (!take_process_state(state, root.get()) || !take_limits(state)) return 1;
              rlimit files;
              getrlimit(RLIMIT_NOFILE, &files);
              char where[64];
              if (files.rlim_cur != 123 || umask(0) != 027 ||
                  std::strcmp(getcwd(where, sizeof where), "/") != 0)
                return 2;
              return getpriority(PRIO_PROCESS, 0) == state.nice ? 0 : 3;
            }),
            0);
}

TEST(ShowCommandLine, ProcShowsTheProgram) {
  EXPECT_EQ(in_child([] {
              const TakenEnvironment environment = take_environment(std::string("A=1\0", 4), {});
              show_command_line({"/usr/bin/python3", "job.py", "x"}, environment);
              Result<std::string> line = read_file("/proc/self/cmdline", 4096);
              if (!line || *line != std::string("/usr/bin/python3\0job.py\0x\0", 26)) return 1;
              Result<std::string> block = read_file("/proc/self/environ", 4096);
              return block && *block == std::string("A=1\0", 4) ? 0 : 2;
            }),
            0);
}

}  // namespace
}  // namespace brood
