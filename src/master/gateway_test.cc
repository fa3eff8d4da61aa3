// Gateways to real interpreters of this machine.
#include "brood/gateway.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/fd.h"

namespace brood {
namespace {

constexpr int kSoon = 20'000;  // ms: a hang, not a measure of speed

std::string code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const GatewayError& error) {
    return error.code();
  }
  return "";
}

double seconds_of(const std::function<void()>& action) {
  const int64_t begin = monotonic_ns();
  action();
  return static_cast<double>(monotonic_ns() - begin) / kSecond;
}

// Another process, which is seen to end.
class Watched {
 public:
  explicit Watched(int64_t pid)
      : handle_(static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0))) {}
  bool ends(int timeout_ms = kSoon) const {
    if (!handle_) return true;
    pollfd polled{handle_.get(), POLLIN, 0};
    return poll(&polled, 1, timeout_ms) == 1;
  }

 private:
  Fd handle_;
};

size_t count_entries(const char* folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

// Everything that is logged, by logger.
struct Log {
  void operator()(int level, const std::string& logger, const std::string& text) {
    const std::lock_guard lock(mutex);
    lines += std::to_string(level) + " " + logger + ": " + text + "\n";
    changed.notify_all();
  }
  bool has(const std::string& line) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::milliseconds(kSoon),
                            [&] { return lines.find(line) != std::string::npos; });
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::string lines;
};

TEST(Gateway, SaysWhoItIs) {
  Gateway gateway("popen//id=one//env:BROOD_TEST_A=b//nice=1//chdir=/");
  EXPECT_EQ(gateway.id(), "one");
  EXPECT_EQ(gateway.info().engine, "python");
  EXPECT_EQ(gateway.call("os:getpid").as_integer(), gateway.info().pid);
  EXPECT_EQ(gateway.call("os:getcwd"), "/");
  EXPECT_EQ(gateway.call("os:getenv", {"BROOD_TEST_A"}), "b");
  EXPECT_EQ(gateway.call("os:getpriority", {0, 0}).as_integer(), getpriority(PRIO_PROCESS, 0) + 1);
  Gateway other("popen"), moved(std::move(other));
  EXPECT_EQ(moved.id().substr(0, 2), "gw");
}

TEST(Gateway, ExecutesSource) {
  Gateway gateway("popen");
  Channel channel = gateway.exec("for item in channel: channel.send((item, 'twice', item * 2))");
  const Value values[] = {None(),
                          true,
                          -7,
                          UINT64_MAX,
                          1.5,
                          "text",
                          Bytes{std::string("\0\xff", 2)},
                          List{1, Tuple{2, "3"}},
                          Value(std::complex<double>(1, -1))};
  channel.send(values[2]);
  EXPECT_EQ(channel.receive(kSoon), (Tuple{-7, "twice", -14}));
  channel.end();
  EXPECT_EQ(channel.receive(kSoon), std::nullopt);
  EXPECT_TRUE(channel.closed());
  Channel echo = gateway.exec("for item in channel: channel.send(item)");
  for (const Value& value : values) {
    echo.send(value);
    EXPECT_EQ(echo.receive(kSoon), value) << value.to_text();
  }
  const Bytes large{std::string(9 << 20, 'x')};
  echo.send(large);
  EXPECT_EQ(echo.receive(kSoon), large);
}

TEST(Gateway, ExecutesAFunction) {
  Gateway gateway("popen");
  Channel channel =
      gateway.exec("def add(channel, a, b): channel.send(a + b)", "add", {{"a", 2}, {"b", 3}});
  EXPECT_EQ(channel.receive(kSoon), 5);
  EXPECT_EQ(channel.receive(kSoon), std::nullopt);
}

TEST(Gateway, TellsWhatCodeRaises) {
  Gateway gateway("popen");
  Channel channel = gateway.exec("channel.send(1)\nraise ValueError('no')");
  EXPECT_EQ(channel.receive(kSoon), 1);
  try {
    channel.receive(kSoon);
    ADD_FAILURE();
  } catch (const RemoteError& error) {
    EXPECT_EQ(error.type(), "ValueError");
    EXPECT_EQ(error.text(), "no");
    EXPECT_NE(std::string(error.what()).find("Traceback"), std::string::npos);
  }
  EXPECT_EQ(channel.receive(kSoon), std::nullopt);  // told once
  EXPECT_EQ(code_of([&] { channel.send(1); }), "closed");
  EXPECT_EQ(code_of([&] { gateway.exec("1 +").wait_close(kSoon); }), "remote");
}

TEST(Gateway, Calls) {
  Gateway gateway("popen");
  EXPECT_EQ(gateway.call("math:factorial", {20}), 2432902008176640000);
  EXPECT_EQ(gateway.call("builtins:sorted", {List{3, 1, 2}}, {{"reverse", true}}), (List{3, 2, 1}));
  EXPECT_EQ(gateway.call("builtins:dict.fromkeys", {List{1, 2}, 0}), (Dict{{1, 0}, {2, 0}}));
  EXPECT_EQ(code_of([&] { gateway.call("math:sqrt", {-1}); }), "remote");
  EXPECT_EQ(code_of([&] { gateway.call("math:nothing"); }), "remote");
  EXPECT_EQ(code_of([&] { gateway.call("no_such_module:f"); }), "remote");
  EXPECT_EQ(code_of([&] { gateway.call("math"); }), "bad_request");
  EXPECT_EQ(code_of([&] { gateway.call("math:sqrt", {"\xff"}); }), "bad_request");
  EXPECT_EQ(code_of([&] { gateway.call("math:sqrt", {1}, {}, -1); }), "bad_request");
  std::vector<std::future<Value>> answers;
  for (int i = 0; i < 1000; ++i)
    answers.push_back(gateway.call_async("math:sqrt", {i * i}));
  for (int i = 0; i < 1000; ++i)
    EXPECT_EQ(answers[static_cast<size_t>(i)].get(), static_cast<double>(i));
  EXPECT_EQ(code_of([&] { gateway.call_async("math:sqrt", {-1}).get(); }), "remote");
}

TEST(Gateway, CallsHaveDeadlines) {
  Gateway gateway("popen");
  EXPECT_EQ(code_of([&] { gateway.call("time:sleep", {60}, {}, 0.1); }), "deadline");
  EXPECT_EQ(code_of([&] { gateway.call_async("time:sleep", {60}, {}, 0.1).get(); }), "deadline");
  EXPECT_EQ(gateway.call("math:sqrt", {4}, {}, 60), 2.0);
}

TEST(Gateway, WhatIgnoresItsDeadlineIsEnded) {
  // The watch over there ends it half a second later; this side would after a second.
  for (const bool async : {false, true}) {
    Gateway gateway("popen");
    const Watched process(gateway.info().pid);
    gateway
        .exec(
            "import builtins, time\ndef hang():\n  while True:\n    try: time.sleep(60)\n"
            "    except BaseException: pass\nbuiltins.hang = hang")
        .wait_close(kSoon);
    const std::string code = code_of([&] {
      if (async)
        gateway.call_async("builtins:hang", {}, {}, 0.1).get();
      else
        gateway.call("builtins:hang", {}, {}, 0.1);
    });
    EXPECT_TRUE(code == "deadline" || code == "connection") << code;
    EXPECT_TRUE(process.ends());
  }
}

TEST(Gateway, CallbacksGetItemsAndTheEnd) {
  Gateway gateway("popen");
  Channel channel = gateway.exec("for i in range(100): channel.send(i)\nraise KeyError('end')");
  std::vector<int64_t> items;
  std::string end;
  channel.set_callback([&](Value item) { items.push_back(item.as_integer().value_or(-1)); },
                       [&](const GatewayError* error) { end = error ? error->code() : "none"; });
  channel.wait_close(kSoon);  // the error was told already
  EXPECT_EQ(items.size(), 100U);
  EXPECT_EQ(items.back(), 99);
  EXPECT_EQ(end, "remote");
  EXPECT_EQ(channel.receive(kSoon), std::nullopt);
}

TEST(Gateway, ACallbackMayUseItsGateway) {
  Gateway gateway("popen");
  std::promise<Value> result;
  // Nobody but the gateway has this channel any more.
  gateway.exec("channel.send(16)").set_callback([&](Value item) {
    result.set_value(gateway.call("math:sqrt", {std::move(item)}));
  });
  EXPECT_EQ(result.get_future().get(), 4.0);
}

TEST(Gateway, ACallbackTakesEverything) {
  Gateway gateway("popen");
  Channel channel = gateway.exec("channel.send(1)\nchannel.receive()");
  std::promise<Value> first, second;
  channel.set_callback([&](Value item) { first.set_value(std::move(item)); });
  EXPECT_EQ(first.get_future().get(), 1);
  EXPECT_EQ(code_of([&] { channel.receive(0); }), "bad_request");
  channel.set_callback(nullptr, [&](const GatewayError* error) {
    second.set_value(error == nullptr ? "closed" : error->code());
  });
  channel.send(2);
  EXPECT_EQ(second.get_future().get(), "closed");
  EXPECT_EQ(channel.receive(kSoon), std::nullopt);
}

TEST(Gateway, ACallbackThatThrowsClosesItsChannel) {
  auto log = std::make_shared<Log>();
  Gateway gateway("popen", {.on_log = std::ref(*log)});
  Channel told = gateway.new_channel();
  Channel channel = gateway.exec(
      "told = channel.receive()\nchannel.send(1)\n"
      "try: channel.receive()\nexcept channel.RemoteError as error: told.send(str(error))");
  channel.send(told.name());
  channel.set_callback([](const Value&) { throw std::runtime_error("oh no"); });
  EXPECT_EQ(told.receive(kSoon), "oh no");
  EXPECT_TRUE(log->has("40 : a callback of a channel has thrown: oh no"));
}

TEST(Gateway, ChannelsOverChannels) {
  Gateway gateway("popen");
  Channel channel = gateway.exec(
      "other = channel.receive()\nother.send('over there')\n"
      "mine = channel.gateway.newchannel()\nchannel.send([mine])\nmine.send('and "
      "back')\nchannel.receive()");
  Channel other = gateway.new_channel();
  channel.send(other.name());
  EXPECT_EQ(other.receive(kSoon), "over there");
  const std::optional<Value> item = channel.receive(kSoon);
  const List* list = item ? item->as<List>() : nullptr;
  ASSERT_NE(list, nullptr);
  const ChannelName* name = list->items.at(0).as<ChannelName>();
  ASSERT_NE(name, nullptr);
  Channel came = channel.channel(*name);
  EXPECT_EQ(came.receive(kSoon), "and back");
  EXPECT_EQ(code_of([&] { channel.channel({.context = 7, .channel = 2}); }), "closed");
}

TEST(Gateway, TimesAreBounds) {
  Gateway gateway("popen");
  Channel channel = gateway.exec("channel.receive()");
  EXPECT_EQ(code_of([&] { channel.receive(0); }), "timeout");
  EXPECT_EQ(code_of([&] { channel.receive(20); }), "timeout");
  EXPECT_EQ(code_of([&] { channel.wait_close(20); }), "timeout");
  EXPECT_FALSE(gateway.wait(20));
  Channel full = gateway.exec("import time; time.sleep(60)");
  const Bytes item{std::string(1 << 20, 'x')};
  std::string code;
  while (code.empty())
    code = code_of([&] { full.send(item, 0); });
  EXPECT_EQ(code, "timeout");
  gateway.kill();
}

TEST(Gateway, SeveralThreadsUseIt) {
  Gateway gateway("popen");
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      Channel channel = gateway.exec("for item in channel: channel.send(item + 1)");
      for (int n = 0; n < 200; ++n) {
        channel.send(i * n);
        if (channel.receive(kSoon) == i * n + 1) ++right;
      }
    });
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(right, 8 * 200);
}

TEST(Gateway, LogsAndOutputAreTold) {
  Log log;
  {
    Gateway gateway("popen", {.on_log = std::ref(log), .log_level = 20});
    gateway
        .exec(
            "import logging, os\nprint('printed')\nos.system('echo by a child >&2')\n"
            "logging.getLogger('a.b').info('said')\nlogging.debug('too low')")
        .wait_close(kSoon);
  }
  EXPECT_TRUE(log.has("20 stdout: printed\n")) << log.lines;
  EXPECT_TRUE(log.has("20 stderr: by a child\n")) << log.lines;
  EXPECT_TRUE(log.has("20 a.b: said\n")) << log.lines;
  EXPECT_EQ(log.lines.find("too low"), std::string::npos);
}

TEST(Gateway, WhatCannotBeReachedSaysWhy) {
  const std::pair<const char*, const char*> wrong[] = {
      {"popen//python=/no/such/python", "No such file"},
      {"popen//python=false", "exit status 1"},
      {"popen//python=sh -c 'echo words of its own >&2; exit 3' x",
       "exit status 3: words of its own"},
      {"popen//python=echo hello", "hello"},
      {"popen//chdir=/proc/no/such", "No such file"},
      {"socket=127.0.0.1:1", "Connection refused"},
      {"socket=127.0.0.1:1//token_file=/no/such", "/no/such"},
      {"ssh=x//ssh_config=/no/such", "/no/such"},
  };
  for (const auto& [spec, why] : wrong) {
    try {
      const Gateway gateway(spec);
      ADD_FAILURE() << spec;
    } catch (const GatewayError& error) {
      EXPECT_EQ(error.code(), "connection") << spec;
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
  }
  const auto silent = [] {
    const Gateway gateway("popen//python=sleep 60 &&", {.on_log = {}, .timeout_ms = 100});
  };
  EXPECT_EQ(code_of([&] { EXPECT_LT(seconds_of(silent), 10); }), "connection");
  EXPECT_EQ(code_of([] { const Gateway gateway("pope"); }), "bad_request");
}

// --- the end -------------------------------------------------------------------------------------

TEST(Gateway, LeavesWhenItIsTold) {
  Gateway gateway("popen");
  const Watched process(gateway.info().pid);
  Channel channel = gateway.exec("channel.receive()");
  gateway.exit();
  EXPECT_TRUE(gateway.wait(kSoon));
  EXPECT_TRUE(process.ends(0));
  EXPECT_EQ(code_of([&] { gateway.exec("1"); }), "connection");
}

TEST(Gateway, ItsDeathIsTold) {
  Gateway gateway("popen");
  Channel channel = gateway.exec("channel.receive()");
  std::future<Value> answer = gateway.call_async("time:sleep", {60});
  ::kill(static_cast<pid_t>(gateway.info().pid), SIGKILL);
  EXPECT_EQ(code_of([&] { channel.receive(kSoon); }), "connection");
  EXPECT_EQ(code_of([&] { answer.get(); }), "connection");
  EXPECT_EQ(code_of([&] { gateway.call("os:getpid"); }), "connection");
  EXPECT_EQ(code_of([&] { channel.send(1); }), "connection");
  EXPECT_TRUE(gateway.wait(kSoon));
}

TEST(Gateway, KillSaysSo) {
  Gateway gateway("popen//id=victim");
  Channel channel = gateway.exec("channel.receive()");
  gateway.kill();
  try {
    channel.receive(kSoon);
    ADD_FAILURE();
  } catch (const GatewayError& error) {
    EXPECT_STREQ(error.what(), "victim was killed");
  }
  EXPECT_TRUE(gateway.wait(kSoon));
}

TEST(Gateway, TheDestructorEndsWhatHangs) {
  auto gateway = std::make_unique<Gateway>("popen");
  const Watched process(gateway->info().pid);
  // Ignores signals, and never runs Python's code again; so does a child of its.
  Channel channel = gateway->exec(
      "import ctypes, os, signal\nfor n in signal.SIGINT, signal.SIGTERM: "
      "ctypes.CDLL(None).signal(n, 1)\n"
      "pid = os.fork()\nif pid: channel.send(pid)\nctypes.PyDLL(None).pause()");
  const std::optional<Value> child = channel.receive(kSoon);
  ASSERT_TRUE(child);
  const Watched other(child->as_integer().value_or(0));
  std::future<Value> answer = gateway->call_async("os:getpid");
  EXPECT_LT(seconds_of([&] { gateway.reset(); }), 7.5);
  EXPECT_TRUE(process.ends(0));
  EXPECT_TRUE(other.ends());
  EXPECT_EQ(code_of([&] { answer.get(); }), "connection");
  EXPECT_EQ(code_of([&] { channel.send(1); }), "connection");
  EXPECT_TRUE(channel.closed());
  channel.set_callback([](const Value&) { ADD_FAILURE(); });
  channel.close();
}

TEST(Gateway, NoCallbackRunsAfterTheDestructor) {
  std::atomic<bool> over{false}, late{false};
  std::atomic<int> calls{0};
  {
    Gateway gateway("popen");
    Channel channel = gateway.exec("while True: channel.send(1)");
    channel.set_callback([&](const Value&) {
      if (over) late = true;
      ++calls;
      calls.notify_all();
    });
    calls.wait(0);
    gateway.kill();
  }
  over = true;
  EXPECT_FALSE(late);
  EXPECT_GT(calls, 0);
}

TEST(Gateway, NothingIsLeftBehind) {
  { const Gateway warm_up("popen"); }
  const size_t descriptors = count_entries("/proc/self/fd");
  for (int i = 0; i < 5; ++i) {
    Gateway gateway("popen");
    gateway.exec("channel.send(1)").receive(kSoon);
    gateway.call_async("os:getpid", {}, {}, 10).get();
  }
  EXPECT_EQ(code_of([] { const Gateway gateway("popen//python=false"); }), "connection");
  EXPECT_EQ(count_entries("/proc/self/fd"), descriptors);
  std::ifstream children("/proc/self/task/" + std::to_string(getpid()) + "/children");
  EXPECT_EQ(children.get(), EOF);
}

}  // namespace
}  // namespace brood
