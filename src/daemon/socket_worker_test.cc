// A client's socket and its worker. The test stands for the environment: it takes the request and
// answers it; the worker is a process of the test's own.
#include "daemon/socket_worker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "base/socket.h"
#include "base/sys.h"
#include "wire/frame.h"

namespace brood {
namespace {

using namespace std::chrono_literals;

// What a spare gets.
struct Taken {
  RunRequest request;
  Fd folder, connection;
  std::vector<Fd> streams;

  void answer(FrameType type, const std::string& payload) const {
    ASSERT_TRUE(send_all(connection.get(), encode_frame(type, payload)));
  }
};

class SocketWorkerTest : public testing::Test {
 protected:
  SocketWorkerTest() {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    client_ = Fd(pair[0]);
    worker_.emplace(
        io_, Fd(pair[1]),
        SocketProgram{"print(1)", {"an argument"}, folder_.get(), null_.get(), null_.get()},
        [this](const Prepared& prepared) { prepare(prepared); },
        SocketWorker::Patience{50ms, 150ms});
  }
  ~SocketWorkerTest() override {
    worker_.reset();
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    std::filesystem::remove_all(directory_);
  }

  void prepare(const Prepared& prepared) {
    asked_++;
    RunRequest request;
    request.orig_argv = {"/usr/bin/python3"};
    if (fails_)
      prepared(Error{"no such module"});
    else
      prepared(Preparation{path_, request, 0});
  }

  void start() {
    worker_->start([this](const std::string& why) { ended_ = why; });
  }

  bool until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io_.restart();
      io_.run_one_for(20ms);
    }
    return true;
  }

  Taken take() {
    Taken taken;
    const Fd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    FrameParser parser;
    FrameView frame;
    std::vector<Fd> descriptors;
    while (parser.next(frame) == FrameParser::Step::kPartial) {
      Result<size_t> got = receive_some(socket.get(), 65536, parser.buffer(), descriptors);
      if (!got || *got == 0) break;
    }
    EXPECT_EQ(frame.header.type, FrameType::kRun);
    EXPECT_EQ(descriptors.size(), 5u);
    taken.request = std::move(*decode_run_request(frame.payload));
    taken.folder = std::move(descriptors.at(0));
    taken.connection = std::move(descriptors.at(1));
    for (size_t i = 2; i < descriptors.size(); i++)
      taken.streams.push_back(std::move(descriptors[i]));
    return taken;
  }

  // A process that leads a group, and tells `interrupts` of each SIGINT, which it survives.
  void fork_worker() {
    int pair[2];
    ASSERT_EQ(pipe2(pair, O_CLOEXEC), 0);
    interrupts_ = Fd(pair[0]);
    child_ = fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      setpgid(0, 0);
      alarm(30);
      dup2(pair[1], STDOUT_FILENO);
      close_range(STDERR_FILENO + 1, ~0u, 0);  // as an exec would
      signal(SIGINT, [](int) { (void)!write(STDOUT_FILENO, "i", 1); });
      (void)!write(STDOUT_FILENO, "r", 1);
      for (;;)
        pause();
    }
    close(pair[1]);
    EXPECT_EQ(next_word(), 'r');
  }
  char next_word() const {
    char word = 0;
    return read(interrupts_.get(), &word, 1) == 1 ? word : 0;
  }
  bool worker_runs() const {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
  }

  // A program that was accepted.
  Taken begin() {
    fork_worker();
    start();
    Taken taken = take();
    taken.answer(FrameType::kAccepted, encode(Accepted{static_cast<uint32_t>(child_)}));
    EXPECT_TRUE(until([this] { return worker_->pid() == child_; }));
    return taken;
  }

  static std::string make_directory() {
    std::string name = testing::TempDir() + "socket-worker-XXXXXX";
    return mkdtemp(name.data());
  }

  const std::string directory_ = make_directory();
  const std::string path_ = directory_ + "/environment";
  const Fd listener_ = std::move(*listen_unix(path_, 10));
  const Fd folder_{open("/", O_PATH | O_CLOEXEC)};
  const Fd null_{open("/dev/null", O_RDWR | O_CLOEXEC)};
  boost::asio::io_context io_;
  Fd client_;
  std::optional<SocketWorker> worker_;
  std::optional<std::string> ended_;
  bool fails_ = false;
  int asked_ = 0;
  pid_t child_ = 0;
  Fd interrupts_;
};

TEST_F(SocketWorkerTest, TheProgramHasTheSocketAsItsInput) {
  start();
  const Taken taken = take();
  EXPECT_EQ(taken.request.kind, ProgramKind::kCommand);
  EXPECT_EQ(taken.request.program, "print(1)");
  EXPECT_EQ(taken.request.orig_argv,
            (std::vector<std::string>{"/usr/bin/python3", "-u", "-c", "print(1)", "an argument"}));
  EXPECT_EQ(taken.request.arguments, std::vector<std::string>{"an argument"});
  EXPECT_EQ(taken.request.descriptor_numbers, (std::vector<uint32_t>{0, 1, 2}));
  ASSERT_TRUE(write_all(taken.streams[0].get(), "hello"));
  char text[5];
  ASSERT_EQ(read(client_.get(), text, sizeof text), 5);
  EXPECT_EQ(std::string(text, 5), "hello");
}

TEST_F(SocketWorkerTest, TheServerKeepsNoCopyOfTheSocket) {
  Taken taken = begin();
  taken.streams.clear();
  char byte;
  EXPECT_EQ(read(client_.get(), &byte, 1), 0);
  EXPECT_TRUE(worker_runs());
}

TEST_F(SocketWorkerTest, TheProgramEnds) {
  const Taken taken = begin();
  taken.answer(FrameType::kExited, encode(Exited{false, 3}));
  ASSERT_TRUE(until([this] { return ended_.has_value(); }));
  EXPECT_EQ(*ended_, "");
  worker_.reset();
  EXPECT_TRUE(worker_runs());  // it is on its way out, and may leave others behind
}

TEST_F(SocketWorkerTest, ARefusalIsNotTheEnd) {
  start();
  take().answer(FrameType::kRefused, encode(Refused{"changed on disk"}));
  ASSERT_TRUE(until([this] { return asked_ == 2; }));
  const Taken second = take();
  EXPECT_FALSE(ended_);
  char byte;
  EXPECT_EQ(recv(client_.get(), &byte, 1, MSG_DONTWAIT), -1);  // it still is connected
}

TEST_F(SocketWorkerTest, AfterSoManyRefusalsItIs) {
  start();
  for (int i = 1; i <= 5; i++) {
    ASSERT_TRUE(until([this, i] { return asked_ == i; }));
    take().answer(FrameType::kRefused, encode(Refused{"changed on disk"}));
  }
  ASSERT_TRUE(until([this] { return ended_.has_value(); }));
  EXPECT_EQ(*ended_, "no worker could be had: changed on disk");
}

TEST_F(SocketWorkerTest, ASpareThatLeavesIsReplaced) {
  start();
  take();  // and drops all of it
  ASSERT_TRUE(until([this] { return asked_ == 2; }));
}

TEST_F(SocketWorkerTest, AnEnvironmentThatCannotBeHad) {
  fails_ = true;
  start();
  EXPECT_FALSE(ended_);  // never from within start()
  ASSERT_TRUE(until([this] { return ended_.has_value(); }));
  EXPECT_EQ(*ended_, "the environment cannot be had: no such module");
  ASSERT_TRUE(write_all(worker_->take_socket().get(), "why"));
  char text[3];
  EXPECT_EQ(read(client_.get(), text, sizeof text), 3);
}

TEST_F(SocketWorkerTest, AProgramWhoseClientHasLeftIsInterruptedThenKilled) {
  const Taken taken = begin();
  client_.reset();
  ASSERT_TRUE(until([this] { return !worker_runs(); }));
  EXPECT_EQ(next_word(), 'i');
  int status = 0;
  ASSERT_EQ(waitpid(child_, &status, 0), child_);
  child_ = 0;
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(SocketWorkerTest, TheEndOfWhatTheClientSendsIsItsEnd) {
  const Taken taken = begin();
  shutdown(client_.get(), SHUT_WR);
  EXPECT_TRUE(until([this] { return !worker_runs(); }));
}

TEST_F(SocketWorkerTest, DestroyingItKillsTheWorker) {
  const Taken taken = begin();
  worker_.reset();
  EXPECT_TRUE(until([this] { return !worker_runs(); }));
}

}  // namespace
}  // namespace brood
