#include "daemon/spawn.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/fake_zygote.h"

namespace brood {
namespace {

TEST(Spawn, BootstrapIsOneLineOfPython) {
  EXPECT_EQ(bootstrap_source("/opt/lib/_brood.abi3.so"),
            "exec(\"import _imp, _frozen_importlib as f; s = f.ModuleSpec('_brood', None, "
            "origin='/opt/lib/_brood.abi3.so'); m = _imp.create_dynamic(s); _imp.exec_dynamic(m); "
            "m.serve(3)\", {})");
}

TEST(Spawn, BootstrapTakesAnyPath) {
  const std::string source = bootstrap_source("/o'p\"t\\/ö\n.so");
  for (const char c : source)
    EXPECT_TRUE(c >= ' ' && c <= '~');
  // The path as python reads it: both literals undone.
  const std::string code =
      "import sys; s = sys.argv[1]; a = s.index('__import__'); b = s.index('); m =');"
      "p = eval(eval('\"' + s[a:b] + '\"')); sys.exit(p != '/o\\'p\"t\\\\/\\u00f6\\n.so')";
  const pid_t child = fork();
  if (child == 0) {
    execl("/usr/bin/python3", "python3", "-X", "utf8", "-ISc", code.c_str(), source.c_str(),
          nullptr);
    _exit(127);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Spawn, OverridesReplaceVariables) {
  EXPECT_EQ(merge_variables({"A=1", "B=2", "AB=3"}, {"A=x", "C=4"}),
            (std::vector<std::string>{"B=2", "AB=3", "A=x", "C=4"}));
}

class SpawnTest : public DaemonTest {
 protected:
  // What the script, started as an interpreter, writes.
  std::string output_of(const std::string& script) {
    const std::string path = dir_.path + "/script";
    std::ofstream(path) << script;
    chmod(path.c_str(), 0700);
    Result<ZygoteProcess> started = start_interpreter(
        {path, {"-O", "-X", "utf8"}, {"ONLY=this", "PATH=/usr/bin:/bin"}, "/m.so"});
    if (!started) return started.error().message;
    std::string text;
    char buffer[4096];
    for (;;) {
      pollfd item{started->output.get(), POLLIN, 0};
      poll(&item, 1, 10'000);
      const ssize_t got = read(started->output.get(), buffer, sizeof buffer);
      if (got <= 0) break;
      text.append(buffer, static_cast<size_t>(got));
    }
    EXPECT_EQ(waitpid(started->pid, nullptr, 0), started->pid);
    return text;
  }
};

TEST_F(SpawnTest, GivesExactlyWhatIsAskedFor) {
  const std::string text = output_of(
      "#!/usr/bin/python3 -ISE\n"
      "import os, signal, sys\n"
      "fds = sorted(int(n) for n in os.listdir('/proc/self/fd'))\n"
      "print([n for n in fds if os.path.exists(f'/proc/self/fd/{n}')])\n"
      "print(os.getcwd(), os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid())\n"
      "print({k: v for k, v in os.environ.items() if k != 'LC_CTYPE'})\n"
      "print(sys.argv[1:4], sys.argv[4][:4], sys.argv[5][:5], len(sys.argv[6]), "
      "sys.argv[6].strip())\n"
      "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
      "status = open('/proc/self/status').read()\n"
      "print(os.readlink('/proc/self/fd/0'), os.readlink('/proc/self/fd/3').split(':')[0])\n");
  EXPECT_EQ(text,
            "[0, 1, 2, 3]\n"
            "/ True True\n"
            "{'ONLY': 'this', 'PATH': '/usr/bin:/bin'}\n"
            "['-O', '-X', 'utf8'] -c exec( 4096 \n"
            "set()\n"
            "/dev/null socket\n");
}

TEST_F(SpawnTest, TellsWhatCannotBeExecuted) {
  Result<ZygoteProcess> started = start_interpreter({dir_.path, {}, {}, "/m.so"});
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "cannot execute " + dir_.path + ": Permission denied");
}

}  // namespace
}  // namespace brood
