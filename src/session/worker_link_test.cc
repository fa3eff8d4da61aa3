// The server's side of a worker, driven by a real process of the test's own.
#include "session/worker_link.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "base/socket.h"
#include "base/sys.h"
#include "wire/message.h"

namespace brood {
namespace {

struct Recorder : WorkerLink::Owner {
  void on_output(bool is_error, std::string&& bytes) override {
    said += (is_error ? "E" : "O") + bytes;
    output += bytes.size();
    if (hold) link->hold(true);
  }
  void on_frame(FrameType type, std::string_view head, std::string_view body,
                std::vector<Fd>& descriptors) override {
    frames.push_back({type, std::string(head), std::string(body)});
    said += "F" + std::string(head);
    for (Fd& fd : descriptors)
      received.push_back(std::move(fd));
    if (!keep) descriptors.clear();
    if (destroy) link.reset();
  }
  void on_accepted() override {}
  void on_refused(const std::string&) override {}
  void on_end(std::optional<ProcessEnd> how) override {
    ended = true;
    end = how;
  }
  std::unique_ptr<WorkerLink> link;
  struct Seen {
    FrameType type;
    std::string head, body;
  };
  std::vector<Seen> frames;
  std::string said;
  size_t output = 0;
  std::vector<Fd> received;
  bool hold = false, destroy = false, keep = false, ended = false;
  std::optional<ProcessEnd> end;
};

class WorkerLinkTest : public testing::Test {
 protected:
  WorkerLinkTest() { signal(SIGPIPE, SIG_IGN); }  // as the server does
  ~WorkerLinkTest() override {
    owner_.link.reset();
    until([this] { return reaper_.watched() == 0; });
  }

  // `worker` runs in a child, which leads a group of its own.
  void start(const std::function<void(WorkerEnds&)>& worker) {
    WorkerEnds ends;
    Result<std::unique_ptr<WorkerLink>> link = WorkerLink::create(io_, reaper_, owner_, ends);
    ASSERT_TRUE(link) << link.error().message;
    owner_.link = std::move(*link);
    pid_ = fork();
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) {
      setpgid(0, 0);
      alarm(30);
      keep_only(ends.numbers());
      worker(ends);
      _exit(7);
    }
    setpgid(pid_, pid_);
  }

  bool until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(50));
    }
    return true;
  }

  // As an exec would: the server's ends are not the child's.
  static void keep_only(std::array<int, 5> numbers) {
    std::sort(numbers.begin(), numbers.end());
    unsigned from = 3;
    for (const int number : numbers) {
      if (static_cast<unsigned>(number) > from)
        close_range(from, static_cast<unsigned>(number) - 1, 0);
      from = static_cast<unsigned>(number) + 1;
    }
    close_range(from, ~0u, 0);
  }

  static void say(const WorkerEnds& ends, std::string_view head,
                  std::span<const int> descriptors = {}) {
    (void)static_cast<bool>(send_all(ends.control.get(),
                                     encode_frame(FrameType::kWorkerEvent, encode_message(head)),
                                     descriptors));
  }
  static void print(const Fd& to, std::string_view text) {
    (void)static_cast<bool>(write_all(to.get(), text));
  }

  boost::asio::io_context io_{1};
  Reaper reaper_{io_};
  Recorder owner_;
  pid_t pid_ = 0;
};

TEST_F(WorkerLinkTest, OutputComesBeforeTheMessageThatFollowsIt) {
  start([](WorkerEnds& ends) {
    for (const char* head : {"{1}", "{2}"}) {
      print(ends.out, "out");
      print(ends.err, "err");
      say(ends, head);
      char word;
      (void)!read(ends.in.get(), &word, 1);
    }
  });
  ASSERT_TRUE(until([&] { return owner_.said == "OoutEerrF{1}"; })) << owner_.said;
  EXPECT_EQ(owner_.link->pid(), pid_);
  EXPECT_TRUE(owner_.link->write_stdin("x"));
  ASSERT_TRUE(until([&] { return owner_.said == "OoutEerrF{1}OoutEerrF{2}"; })) << owner_.said;
  owner_.link->close_stdin();
  ASSERT_TRUE(until([&] { return owner_.ended; }));
  ASSERT_TRUE(owner_.end);
  EXPECT_FALSE(owner_.end->signaled);
  EXPECT_EQ(owner_.end->code, 7);
}

TEST_F(WorkerLinkTest, LastWordsAreDelivered) {
  start([](WorkerEnds& ends) {
    const int descriptor = ends.in.get();
    for (int i = 0; i < 3; i++)
      say(ends, "{}", std::span(&descriptor, 1));  // each ends what one read brings
    print(ends.out, "last");
    raise(SIGKILL);
  });
  ASSERT_TRUE(until([&] { return owner_.ended; }));
  EXPECT_EQ(owner_.received.size(), 3u);
  EXPECT_NE(owner_.said.find("Olast"), std::string::npos);
  ASSERT_TRUE(owner_.end);
  EXPECT_TRUE(owner_.end->signaled);
  EXPECT_EQ(owner_.end->code, SIGKILL);
}

TEST_F(WorkerLinkTest, WhoDoesNotReadHoldsUpNobody) {
  start([](WorkerEnds& ends) {
    say(ends, "{}");
    pause();
  });
  ASSERT_TRUE(until([&] { return owner_.said == "F{}"; }));
  const std::string body(1 << 20, 'x');
  int sent = 0;
  while (sent < 100 && owner_.link->send(FrameType::kMessage, "{}", body))
    sent++;
  EXPECT_GE(sent, 15);
  EXPECT_LT(sent, 20);
  size_t stdin_bytes = 0;
  while (stdin_bytes < (64u << 20) && owner_.link->write_stdin(body))
    stdin_bytes += body.size();
  EXPECT_LE(stdin_bytes, 3u << 20);  // what waits, and what the pipe holds
  owner_.link->kill();
  ASSERT_TRUE(until([&] { return owner_.ended; }));
}

TEST_F(WorkerLinkTest, WhatWaitsArrivesInOrderWithItsDescriptors) {
  start([](WorkerEnds& ends) {
    say(ends, "{}");
    char go;
    (void)!read(ends.in.get(), &go, 1);
    FrameParser parser;
    std::vector<Fd> descriptors;
    size_t frames = 0, first = 0;
    for (;;) {
      FrameView frame;
      while (parser.next(frame) == FrameParser::Step::kFrame) {
        if (!descriptors.empty() && first == 0) first = frames;
        frames++;
      }
      Result<size_t> got = receive_some(ends.control.get(), 1 << 16, parser.buffer(), descriptors);
      if (!got || *got == 0) break;
    }
    if (descriptors.size() == 1) print(descriptors[0], "through it");
    print(ends.out, std::to_string(frames) + " " + std::to_string(descriptors.size()));
  });
  ASSERT_TRUE(until([&] { return owner_.said == "F{}"; }));
  int pair[2];
  ASSERT_EQ(pipe2(pair, O_CLOEXEC), 0);
  const Fd reading(pair[0]);
  Fd writing(pair[1]);
  const std::string body(1 << 20, 'x');
  for (int i = 0; i < 4; i++)
    ASSERT_TRUE(owner_.link->send(FrameType::kMessage, "{}", body));
  const int number = writing.get();
  ASSERT_TRUE(owner_.link->send(FrameType::kBranch, "{}", "", std::span(&number, 1)));
  writing.reset();  // a duplicate travels
  owner_.link->hang_up();
  ASSERT_TRUE(owner_.link->write_stdin("x"));
  ASSERT_TRUE(until([&] { return owner_.ended; }));
  EXPECT_EQ(owner_.said, "F{}O5 1");
  char text[32];
  EXPECT_EQ(read(reading.get(), text, sizeof text), 10);
}

TEST_F(WorkerLinkTest, NothingIsReadWhileItIsHeld) {
  owner_.hold = true;
  start([](WorkerEnds& ends) {
    say(ends, "{}");
    const std::string much(4 << 20, 'x');
    print(ends.out, much);
  });
  ASSERT_TRUE(until([&] { return owner_.output > 0; }));
  const size_t held = owner_.output;
  for (int i = 0; i < 5; i++)
    io_.run_one_for(std::chrono::milliseconds(5));
  EXPECT_EQ(owner_.output, held);
  EXPECT_FALSE(owner_.ended);
  owner_.hold = false;
  owner_.link->hold(false);
  ASSERT_TRUE(until([&] { return owner_.ended; }));
  EXPECT_EQ(owner_.output, 4u << 20);
}

TEST_F(WorkerLinkTest, WhoSendsNoFramesIsKilled) {
  start([](WorkerEnds& ends) {
    say(ends, "{}");
    (void)static_cast<bool>(send_all(ends.control.get(), "this is not a frame at all"));
    pause();
  });
  ASSERT_TRUE(until([&] { return owner_.ended; }));
  ASSERT_TRUE(owner_.end);
  EXPECT_EQ(owner_.end->code, SIGKILL);
}

TEST_F(WorkerLinkTest, WhoSendsManyDescriptorsIsKilled) {
  owner_.keep = true;
  start([](WorkerEnds& ends) {
    const int descriptor = ends.in.get();
    const std::string part = encode_frame(FrameType::kMessage, encode_message("{}", "a long one"));
    for (const char& byte : part.substr(0, part.size() - 1))  // a frame that never ends
      (void)static_cast<bool>(
          send_all(ends.control.get(), std::string_view(&byte, 1), std::span(&descriptor, 1)));
    pause();
  });
  ASSERT_TRUE(until([&] { return owner_.ended; }));
  ASSERT_TRUE(owner_.end);
  EXPECT_EQ(owner_.end->code, SIGKILL);
}

TEST_F(WorkerLinkTest, MayBeDestroyedByItsOwner) {
  owner_.destroy = true;
  start([](WorkerEnds& ends) {
    const std::string frame = encode_frame(FrameType::kWorkerEvent, encode_message("{}"));
    (void)static_cast<bool>(send_all(ends.control.get(), frame + frame + frame));
    pause();
  });
  ASSERT_TRUE(until([&] { return owner_.link == nullptr; }));
  EXPECT_EQ(owner_.said, "F{}");
  ASSERT_TRUE(until([&] { return reaper_.watched() == 0; }));  // killed, and reaped
  EXPECT_EQ(waitpid(pid_, nullptr, WNOHANG), -1);
  EXPECT_FALSE(owner_.ended);
}

// --- the golden frames of docs/protocol.md, section 4
// ---------------------------------------------

std::string golden(const std::string& name) {
  Result<std::string> bytes = read_file(
      std::string(BROOD_SOURCE_DIR) + "/tests/vectors/session_" + name + ".frame", 1 << 20);
  EXPECT_TRUE(bytes) << name;
  return bytes ? *bytes : "";
}

TEST_F(WorkerLinkTest, GoldenFramesOfAWorkerArrive) {
  start([](WorkerEnds& ends) {
    for (const char* name :
         {"ready", "checkpoint", "no_checkpoint", "result", "done", "answer", "message"})
      (void)static_cast<bool>(send_all(ends.control.get(), golden(name)));
    say(ends, "{}");
    pause();
  });
  ASSERT_TRUE(until([this] { return owner_.frames.size() == 8; }));
  const auto& seen = owner_.frames;
  EXPECT_EQ(seen[0].type, FrameType::kSessionReady);
  EXPECT_EQ(seen[0].head, R"({"pid":4711,"python":"3.11.2","threads":1,"children":0})");
  EXPECT_EQ(seen[1].type, FrameType::kCheckpoint);
  EXPECT_EQ(seen[1].head, R"({"us":850,"threads":0,"children":1})");
  EXPECT_EQ(seen[2].body, "cannot fork: Resource temporarily unavailable");
  EXPECT_EQ(seen[3].type, FrameType::kWorkerEvent);
  EXPECT_EQ(seen[3].head, "{\"type\":\"result\",\"data\":{\"text/plain\":\"'caf\xc3\xa9'\"}}");
  EXPECT_EQ(seen[4].type, FrameType::kDone);
  EXPECT_EQ(seen[4].head, R"({"cell":3,"status":"ok"})");
  EXPECT_EQ(seen[5].type, FrameType::kAnswerAsk);
  EXPECT_EQ(seen[6].type, FrameType::kMessage);
  EXPECT_EQ(seen[6].body, std::string("\0any bytes\xff", 11));
}

TEST_F(WorkerLinkTest, WhatIsSentIsTheGoldenFrames) {
  std::string expected;
  for (const char* name : {"setup", "cell", "ask", "message", "branch", "freeze"})
    expected += golden(name);
  start([&expected](WorkerEnds& ends) {
    std::string got;
    char bytes[4096];
    while (got.size() < expected.size()) {
      const ssize_t count = read(ends.control.get(), bytes, sizeof bytes);
      if (count <= 0) break;
      got.append(bytes, static_cast<size_t>(count));
    }
    say(ends, got == expected ? "same" : "different");
    pause();
  });
  WorkerLink& link = *owner_.link;
  link.send(
      FrameType::kSetup,
      R"({"session":"s-1","preparser":"","limits":{"memory":1073741824,"file_size":0,"open_files":256}})");
  link.send(
      FrameType::kCell,
      "{\"cell\":3,\"code\":\"print('caf\xc3\xa9')\",\"execution_count\":2,\"checkpoint\":true}");
  link.send(FrameType::kAsk, R"({"ask":1,"what":"complete","code":"pri","cursor":3})");
  link.send(FrameType::kMessage, "{}", std::string_view("\0any bytes\xff", 11));
  link.send(FrameType::kBranch, R"({"session":"s-2"})",
            std::string_view("/sessions/s-1\0/sessions/s-2", 27));
  link.send(FrameType::kFreeze, "{}");
  ASSERT_TRUE(until([this] { return !owner_.said.empty(); }));
  EXPECT_EQ(owner_.said, "Fsame");
}

}  // namespace
}  // namespace brood
