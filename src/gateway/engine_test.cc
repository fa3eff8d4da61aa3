// Engines over socket pairs, in one process; and peers that break the rules, with raw frames.
#include "gateway/engine.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/sys.h"
#include "brood/value.h"

namespace brood::gateway {
namespace {

constexpr int64_t kSoon = 10 * kSecond;
int64_t soon() { return monotonic_ns() + kSoon; }

std::pair<Fd, Fd> socket_pair() {
  int fds[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}

std::shared_ptr<Engine> engine(uint32_t context, std::vector<uint32_t> ancestors = {},
                               Limits limits = {}) {
  Engine::Options options;
  options.context = context;
  options.ancestors = std::move(ancestors);
  options.name = context == 0 ? "master" : "gw" + std::to_string(context);
  options.limits = limits;
  return std::make_shared<Engine>(std::move(options));
}

void connect(Engine& parent, Engine& child) {
  auto [a, b] = socket_pair();
  const std::string name = "gw" + std::to_string(child.context());
  EXPECT_TRUE(parent.add_link(child.context(), name, std::move(a), {}, {}));
  EXPECT_TRUE(child.add_link(parent.context(), "parent", std::move(b), {}, {}));
}

std::string take(Engine& engine, ChannelState& channel) {
  Payload item;
  EXPECT_EQ(engine.receive(channel, item, soon()), Wait::kDone);
  return std::string(item.view());
}

Wait send(Engine& engine, ChannelState& channel, std::string_view item,
          int64_t deadline = INT64_MAX) {
  return engine.send(channel, item, {}, deadline);
}

// A master and a child that has got an EXEC.
struct Pair {
  explicit Pair(Limits limits = {}) : master(engine(0, {}, limits)), child(engine(1, {0}, limits)) {
    connect(*master, *child);
    EXPECT_EQ(master->request(1, FrameType::kExec, "x", here, soon()), Wait::kDone);
    Arrival arrival;
    EXPECT_EQ(child->next(Queue::kTasks, arrival, soon(), false), Wait::kDone);
    EXPECT_EQ(arrival.body.view(), "x");
    there = arrival.channel;
  }
  std::shared_ptr<Engine> master, child;
  ChannelPtr here, there;
};

TEST(Engine, ItemsGoBothWaysInOrder) {
  Pair pair;
  for (int i = 0; i < 1000; ++i)
    ASSERT_EQ(send(*pair.master, *pair.here, std::to_string(i)), Wait::kDone);
  for (int i = 0; i < 1000; ++i) {
    const std::string item = take(*pair.child, *pair.there);
    ASSERT_EQ(item, std::to_string(i));
    send(*pair.child, *pair.there, item + "!");
  }
  for (int i = 0; i < 1000; ++i)
    ASSERT_EQ(take(*pair.master, *pair.here), std::to_string(i) + "!");
}

TEST(Engine, LongItemsGoInPieces) {
  Pair pair;
  for (size_t size : {100UL, 20000UL, kPiece, kSingle, kSingle + 1, 3 * kSingle + 7}) {
    std::string item(size, 'a');
    for (size_t i = 0; i < size; i += 997)
      item[i] = static_cast<char>(i % 251);
    std::thread sender([&] { send(*pair.master, *pair.here, item); });
    EXPECT_EQ(take(*pair.child, *pair.there), item) << size;
    sender.join();
  }
}

TEST(Engine, ASenderWaitsForTheReceiver) {
  Limits limits;
  limits.window = 1000;
  Pair pair(limits);
  const std::string item(100, 'x');
  int sent = 0;
  while (send(*pair.master, *pair.here, item, 0) == Wait::kDone)
    ++sent;
  EXPECT_EQ(sent, 7);  // 6 * 164 bytes are less than the window, 7 are not
  EXPECT_EQ(send(*pair.master, *pair.here, item, monotonic_ns() + 1000), Wait::kTimeout);
  std::thread sender([&] { EXPECT_EQ(send(*pair.master, *pair.here, item, soon()), Wait::kDone); });
  for (int i = 0; i < sent + 1; ++i)
    EXPECT_EQ(take(*pair.child, *pair.there), item);
  sender.join();
}

TEST(Engine, CloseTellsWhyAndAfterTheItems) {
  Pair pair;
  send(*pair.child, *pair.there, "last");
  pair.child->close(*pair.there, "error");
  EXPECT_EQ(take(*pair.master, *pair.here), "last");
  Payload item;
  EXPECT_EQ(pair.master->receive(*pair.here, item, soon()), Wait::kEnded);
  EXPECT_EQ(pair.master->take_end(*pair.here).error, "error");
  EXPECT_FALSE(pair.master->take_end(*pair.here).error);
  EXPECT_EQ(send(*pair.master, *pair.here, "x"), Wait::kEnded);
  EXPECT_EQ(pair.master->stats().channels, 0U);
}

TEST(Engine, EndLeavesTheOtherDirection) {
  Pair pair;
  pair.master->end(*pair.here);
  Payload item;
  EXPECT_EQ(pair.child->receive(*pair.there, item, soon()), Wait::kEnded);
  EXPECT_EQ(send(*pair.master, *pair.here, "x"), Wait::kEnded);
  EXPECT_EQ(send(*pair.child, *pair.there, "back"), Wait::kDone);
  EXPECT_EQ(take(*pair.master, *pair.here), "back");
}

TEST(Engine, CallsAreBoundedAndAnswered) {
  Limits limits;
  limits.calls = 3;
  auto master = engine(0, {}, limits), child = engine(1, {0});
  connect(*master, *child);
  ChannelPtr calls[4];
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(master->request(1, FrameType::kCall, "c", calls[i], 0), Wait::kDone);
  EXPECT_EQ(master->request(1, FrameType::kCall, "c", calls[3], 0), Wait::kTimeout);
  Arrival arrival;
  ASSERT_EQ(child->next(Queue::kTasks, arrival, soon(), false), Wait::kDone);
  EXPECT_TRUE(child->finish(*arrival.channel, "done"));
  EXPECT_EQ(master->request(1, FrameType::kCall, "c", calls[3], soon()), Wait::kDone);
  EXPECT_EQ(take(*master, *calls[0]), "done");
  EXPECT_TRUE(master->is_closed(*calls[0]));
}

TEST(Engine, SeveralThreadsWaitOnOneLink) {
  Pair pair;
  constexpr size_t kThreads = 8;
  std::vector<ChannelPtr> here(kThreads), there(kThreads);
  for (size_t i = 0; i < kThreads; ++i) {
    pair.master->request(1, FrameType::kExec, "y", here[i], soon());
    Arrival arrival;
    ASSERT_EQ(pair.child->next(Queue::kTasks, arrival, soon(), false), Wait::kDone);
    there[i] = arrival.channel;
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 2000; ++n) {
        send(*pair.master, *here[i], std::to_string(n));
        ASSERT_EQ(take(*pair.master, *here[i]), std::to_string(n));
      }
    });
    threads.emplace_back([&, i] {
      for (int n = 0; n < 2000; ++n)
        send(*pair.child, *there[i], take(*pair.child, *there[i]));
    });
  }
  for (std::thread& thread : threads)
    thread.join();
}

TEST(Engine, RoutesOverTwoHopsAndTellsWhatIsGone) {
  auto master = engine(0), near = engine(1, {0}), far = engine(2, {1, 0});
  connect(*master, *near);
  connect(*near, *far);
  master->add_route(2, 1);
  ChannelPtr here;
  ASSERT_EQ(master->request(2, FrameType::kExec, "x", here, soon()), Wait::kDone);
  Arrival arrival;
  ASSERT_EQ(far->next(Queue::kTasks, arrival, soon(), false), Wait::kDone);
  const std::string item(100000, 'r');
  send(*master, *here, item);
  EXPECT_EQ(take(*far, *arrival.channel), item);
  send(*far, *arrival.channel, "back");
  EXPECT_EQ(take(*master, *here), "back");

  far->stop();
  Payload payload;
  EXPECT_EQ(master->receive(*here, payload, soon()), Wait::kEnded);
  EXPECT_EQ(master->take_end(*here).lost, "gw2 has left");
  EXPECT_EQ(master->request(2, FrameType::kExec, "x", here, soon()), Wait::kEnded);
  EXPECT_EQ(here->lost, "gw2 has left");
}

TEST(Engine, WhatIsBehindABrokenLinkIsGone) {
  auto master = engine(0), far = engine(2, {1, 0});
  auto near = engine(1, {0});
  connect(*master, *near);
  auto [a, b] = socket_pair();
  ASSERT_TRUE(near->add_link(2, "gw2", std::move(a), {}, {}));
  master->add_route(2, 1);
  ChannelPtr here;
  master->request(2, FrameType::kExec, "x", here, soon());
  b.reset();  // without BYE
  EXPECT_EQ(master->wait_closed(*here, false, soon()), Wait::kDone);
  EXPECT_NE(here->lost.find("the link from gw1 to gw2 has ended"), std::string::npos) << here->lost;
}

TEST(Engine, AChildThatLosesItsParentIsOver) {
  Pair pair;
  std::thread waiter([&] {
    Payload item;
    EXPECT_EQ(pair.child->receive(*pair.there, item, soon()), Wait::kEnded);
  });
  pair.master->stop();
  waiter.join();
  Arrival arrival;
  EXPECT_EQ(pair.child->next(Queue::kService, arrival, soon(), false), Wait::kDone);
  EXPECT_EQ(arrival.type, FrameType::kGone);
  EXPECT_EQ(pair.child->next(Queue::kTasks, arrival, soon(), false), Wait::kEnded);
  pair.child->stop();  // before its watch ends this process
}

TEST(Engine, CallbacksAreDueInOrder) {
  Pair pair;
  pair.master->set_callback(*pair.here);
  for (int i = 0; i < 100; ++i)
    send(*pair.child, *pair.there, std::to_string(i));
  pair.child->close(*pair.there);
  int next = 0;
  bool ended = false;
  while (!ended) {
    Arrival arrival;
    ASSERT_EQ(pair.master->next(Queue::kCallbacks, arrival, soon(), false), Wait::kDone);
    Payload item;
    while (pair.master->take_due(*arrival.channel, item, ended))
      EXPECT_EQ(item.view(), std::to_string(next++));
  }
  EXPECT_EQ(next, 100);
  pair.master->delivered(*pair.here);
  EXPECT_EQ(pair.master->wait_closed(*pair.here, true, soon()), Wait::kDone);
}

TEST(Engine, AnnouncedChannelsKeepTheirItems) {
  Pair pair;
  const ChannelPtr fresh = pair.child->open(0);
  pair.child->announce(*fresh);
  send(*pair.child, *fresh, "early");
  pair.child->close(*fresh);
  send(*pair.child, *pair.there, "look");
  take(*pair.master, *pair.here);
  const ChannelPtr adopted = pair.master->adopt(1, fresh->number);
  ASSERT_NE(adopted, nullptr);
  EXPECT_EQ(take(*pair.master, *adopted), "early");
  EXPECT_EQ(pair.master->adopt(1, 4711), nullptr);
}

TEST(Engine, ThreadsAreStartedWhenNobodyWaits) {
  std::atomic<int> started = 0;
  Engine::Options options;
  options.context = 1;
  options.ancestors = {0};
  options.spawn = [&](Engine& engine, Queue queue) {
    ++started;
    Arrival arrival;
    while (engine.next(queue, arrival, INT64_MAX, false) == Wait::kDone)
      engine.finish(*arrival.channel, "by a thread");
  };
  auto child = std::make_shared<Engine>(std::move(options));
  child->allow_threads();
  auto master = engine(0);
  connect(*master, *child);
  ChannelPtr here;
  for (FrameType type : {FrameType::kExec, FrameType::kCall, FrameType::kStatus}) {
    master->request(1, type, "x", here, soon());
    EXPECT_EQ(take(*master, *here), "by a thread");
  }
  EXPECT_EQ(started, 2);  // one for tasks, one for service
  child->stop();
}

// --- a peer that speaks raw frames ---------------------------------------------------------------

struct Raw {
  explicit Raw(Limits limits = {}) : master(engine(0, {}, limits)) {
    auto [a, b] = socket_pair();
    EXPECT_TRUE(master->add_link(1, "gw1", std::move(a), {}, {}));
    socket = std::move(b);
    master->request(1, FrameType::kExec, "x", here, soon());
  }
  static std::string frame(FrameType type, Head head, std::string_view body = {}) {
    std::string bytes(kPreamble, 0);
    put_preamble(bytes.data(), type, head, body.size());
    return bytes.append(body);
  }
  void write(const std::string& bytes) { EXPECT_TRUE(write_all(socket.get(), bytes)); }
  std::string why_ended() {
    EXPECT_EQ(master->wait_closed(*here, false, soon()), Wait::kDone);
    return here->lost.empty() ? here->error.value_or("") : here->lost;
  }
  std::shared_ptr<Engine> master;
  Fd socket;
  ChannelPtr here;
};

TEST(EngineRules, NobodySpeaksInAnothersName) {
  Raw raw;
  for (int i = 0; i < 3; ++i)
    raw.write(Raw::frame(FrameType::kItem, {0, 7, 2}, "\x01"));
  EXPECT_NE(raw.why_ended().find("another context's name"), std::string::npos);
}

TEST(EngineRules, UnknownTypesEndTheLink) {
  Raw raw;
  for (int i = 0; i < 3; ++i)
    raw.write(Raw::frame(static_cast<FrameType>(199), {0, 1, 2}));
  EXPECT_NE(raw.why_ended().find("unknown type"), std::string::npos);
}

TEST(EngineRules, AChildMayNotCall) {
  Raw raw;
  for (FrameType type : {FrameType::kCall, FrameType::kExec, FrameType::kStart, FrameType::kStatus,
                         FrameType::kShutdown, FrameType::kRoute})
    raw.write(Raw::frame(type, {0, 1, 1}, "\xc0"));
  raw.write(Raw::frame(FrameType::kItem, {0, 1, raw.here->number}, "after"));
  EXPECT_EQ(take(*raw.master, *raw.here), "after");
  EXPECT_EQ(raw.master->stats().dropped, 6U);
  Arrival arrival;
  EXPECT_EQ(raw.master->next(Queue::kTasks, arrival, 0, false), Wait::kTimeout);
  EXPECT_EQ(raw.master->next(Queue::kService, arrival, 0, false), Wait::kTimeout);
}

TEST(EngineRules, WhoOverdrawsTheWindowIsCutOff) {
  Limits limits;
  limits.window = 1000;
  Raw raw(limits);
  for (int i = 0; i < 100; ++i)
    raw.write(Raw::frame(FrameType::kItem, {0, 1, raw.here->number}, std::string(100, 'x')));
  EXPECT_NE(raw.why_ended().find("more was sent than the window allows"), std::string::npos);
}

TEST(EngineRules, PartsAreBounded) {
  Limits limits;
  limits.item = 1000;
  Raw raw(limits);
  for (int i = 0; i < 20; ++i)
    raw.write(Raw::frame(FrameType::kPart, {0, 1, raw.here->number}, std::string(100, 'x')));
  EXPECT_NE(raw.why_ended().find("longer than the limit"), std::string::npos);
}

TEST(EngineRules, ChannelsAndModuleRequestsAreBounded) {
  Limits limits;
  limits.channels = 10;
  limits.modules = 5;
  Raw raw(limits);
  for (uint32_t i = 0; i < 50; ++i)
    raw.write(Raw::frame(FrameType::kModule, {0, 1, 2 * i + 1}, "\x90"));
  std::string open(8, 0);
  for (uint32_t i = 100; i < 150; ++i) {
    put_u32(open.data(), kSender);
    put_u32(open.data() + 4, 2 * i + 1);
    raw.write(Raw::frame(FrameType::kOpen, {0, 1, 0}, open));
  }
  raw.write(Raw::frame(FrameType::kItem, {0, 1, raw.here->number}, "after"));
  EXPECT_EQ(take(*raw.master, *raw.here), "after");
  EXPECT_LE(raw.master->stats().channels, 10U);
  int modules = 0;
  Arrival arrival;
  while (raw.master->next(Queue::kService, arrival, 0, false) == Wait::kDone)
    ++modules;
  EXPECT_EQ(modules, 5);
}

TEST(EngineRules, LogsAreBounded) {
  Limits limits;
  limits.logs = 10;
  Raw raw(limits);
  for (int i = 0; i < 100; ++i)
    raw.write(Raw::frame(FrameType::kLog, {0, 1, 0}, "\x90"));
  raw.write(Raw::frame(FrameType::kItem, {0, 1, raw.here->number}, "after"));
  EXPECT_EQ(take(*raw.master, *raw.here), "after");
  EXPECT_EQ(raw.master->stats().lost_logs, 90U);
}

TEST(EngineRules, AChildCannotSayThatOthersAreGone) {
  Raw raw;
  const std::string body = dump(List{List{1, 0, 5}, "because"}).bytes;
  raw.write(Raw::frame(FrameType::kGone, {0, 1, 0}, body));
  raw.write(Raw::frame(FrameType::kItem, {0, 1, raw.here->number}, "after"));
  EXPECT_EQ(take(*raw.master, *raw.here), "after");
}

TEST(EngineRules, WhatIsNoFrameEndsTheLink) {
  for (const std::string& bytes :
       {std::string("\xff\xff\xff\xff garbage"), std::string("\x01\0\0\0\x53\0\x01\0x", 9),
        std::string("\x0c\0\0\0\x53\0\x09\0", 8) + std::string(12, 0)}) {
    Raw raw;
    raw.write(bytes);
    EXPECT_NE(raw.why_ended().find("no frame"), std::string::npos);
  }
}

TEST(EngineRules, FramesMayComeByteByByte) {
  Raw raw;
  const std::string bytes = Raw::frame(FrameType::kItem, {0, 1, raw.here->number}, "one") +
                            Raw::frame(FrameType::kItem, {0, 1, raw.here->number}, "two");
  for (char byte : bytes)
    raw.write(std::string(1, byte));
  EXPECT_EQ(take(*raw.master, *raw.here), "one");
  EXPECT_EQ(take(*raw.master, *raw.here), "two");
}

TEST(Engine, LeavesNoDescriptorAndNoThread) {
  const auto count = [](const char* folder) {
    return std::distance(std::filesystem::directory_iterator(folder), {});
  };
  const auto descriptors = count("/proc/self/fd");
  const auto threads = count("/proc/self/task");
  {
    Pair pair;
    send(*pair.master, *pair.here, "x");
    take(*pair.child, *pair.there);
  }
  EXPECT_LE(count("/proc/self/fd"), descriptors);
  EXPECT_EQ(count("/proc/self/task"), threads);
}

}  // namespace
}  // namespace brood::gateway
