// The round trip of an item over a channel: two engines in two processes with a socket pair between
// them, one item on its way at a time, encoded and decoded on both sides.
// ninja -C build channel_echo && build/bench/channel_echo [ROUND TRIPS]
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/clock.h"
#include "base/require.h"
#include "brood/value.h"
#include "gateway/engine.h"

namespace brood::gateway {
namespace {

std::shared_ptr<Engine> make_engine(uint32_t context, std::vector<uint32_t> ancestors, int link) {
  Engine::Options options;
  options.context = context;
  options.ancestors = std::move(ancestors);
  auto engine = std::make_shared<Engine>(std::move(options));
  const uint32_t peer = context == 0 ? 1 : 0;
  require(static_cast<bool>(engine->add_link(peer, "other", Fd(link), {}, {})), "a link");
  return engine;
}

bool receive(Engine& engine, ChannelState& channel, Value& value) {
  Payload item;
  if (engine.receive(channel, item, INT64_MAX) != Wait::kDone) return false;
  value = load(item.view()).value.value_or(Value());
  return true;
}

void send(Engine& engine, ChannelState& channel, const Value& value) {
  const Wait sent = engine.send(channel, "", Payload(dump(value).bytes), INT64_MAX);
  require(sent == Wait::kDone, "the other end is there");
}

[[noreturn]] void echo(int link) {
  const auto engine = make_engine(1, {0}, link);
  Arrival request;
  require(engine->next(Queue::kTasks, request, INT64_MAX, true) == Wait::kDone, "a request");
  Value value;
  while (receive(*engine, *request.channel, value))
    send(*engine, *request.channel, value);
  _exit(0);
}

std::vector<int64_t> measure(int link, int count) {
  const auto engine = make_engine(0, {}, link);
  ChannelPtr channel;
  engine->request(1, FrameType::kExec, "", channel, INT64_MAX);
  std::vector<int64_t> times;
  const int warm_up = count / 10;
  for (int i = -warm_up; i < count; ++i) {
    const int64_t begin = monotonic_ns();
    Value back;
    send(*engine, *channel, i);
    require(receive(*engine, *channel, back) && back == Value(i), "what was sent comes back");
    if (i >= 0) times.push_back(monotonic_ns() - begin);
  }
  engine->end(*channel);
  return times;
}

}  // namespace
}  // namespace brood::gateway

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::max(std::atoi(argv[1]), 100) : 20'000;
  int link[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) != 0) return 1;
  const pid_t child = fork();  // before there are threads
  if (child == 0) {
    close(link[0]);
    brood::gateway::echo(link[1]);
  }
  close(link[1]);
  std::vector<int64_t> times = brood::gateway::measure(link[0], count);
  waitpid(child, nullptr, 0);
  std::sort(times.begin(), times.end());
  const auto at = [&](size_t part) {
    return static_cast<double>(times[times.size() * part / 100]) / 1000;
  };
  fmt::print(
      "channel echo, round trip: median {:.1f} us, p90 {:.1f} us, p99 {:.1f} us ({} items)\n",
      at(50), at(90), at(99), times.size());
}
