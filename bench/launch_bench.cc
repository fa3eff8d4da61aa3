// The thin client's own work before the program runs: the plan, the key, the message, the
// connection. build/bench/brood_micro_bench
#include <benchmark/benchmark.h>
#include <stdlib.h>
#include <unistd.h>

#include <thread>

#include "base/context.h"
#include "base/socket.h"
#include "launch/plan.h"
#include "launch/process_state.h"
#include "wire/frame.h"

namespace brood {
namespace {

char g_flag[] = "-c";
char g_code[] = "print(1)";
char* const g_arguments[] = {g_flag, g_code};

Plan make() {
  RunOptions options;
  options.python = "/usr/bin/python3";
  options.preload = {"numpy", "pandas", "matplotlib.pyplot"};
  Result<Plan> plan = make_plan(g_arguments, options, false);
  require(static_cast<bool>(plan), "a plan for /usr/bin/python3");
  return std::move(*plan);
}

void WholePlan(benchmark::State& state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(make());
}
BENCHMARK(WholePlan);

void Key(benchmark::State& state) {
  const Plan plan = make();
  for (auto _ : state)
    benchmark::DoNotOptimize(environment_key(plan.launch));
}
BENCHMARK(Key);

void Context(benchmark::State& state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(process_context());
}
BENCHMARK(Context);

void ProcessStateOfTheCaller(benchmark::State& state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(read_process_state());
}
BENCHMARK(ProcessStateOfTheCaller);

void EncodeRequest(benchmark::State& state) {
  const Plan plan = make();
  for (auto _ : state)
    benchmark::DoNotOptimize(encode_frame(FrameType::kRun, encode(plan.request)));
}
BENCHMARK(EncodeRequest);

void DecodeRequest(benchmark::State& state) {
  const std::string payload = encode(make().request);
  for (auto _ : state)
    benchmark::DoNotOptimize(decode_run_request(payload));
  state.SetBytesProcessed(static_cast<int64_t>(payload.size()) *
                          static_cast<int64_t>(state.iterations()));
}
BENCHMARK(DecodeRequest);

// connect, a request with the working directory, the connection and three descriptors, and the
// answer of a thread that only accepts.
void ConnectAndHandOver(benchmark::State& state) {
  char folder[] = "/tmp/brood-bench-XXXXXX";
  require(mkdtemp(folder) != nullptr, "a temporary folder");
  const std::string path = std::string(folder) + "/s";
  Result<Fd> listener = listen_unix(path, 16);
  require(static_cast<bool>(listener), "a listening socket");
  std::thread spare([fd = listener->get()] {
    for (;;) {
      const Fd client(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
      std::string bytes;
      std::vector<Fd> descriptors;
      if (!client || !receive_some(client.get(), 65536, bytes, descriptors)) return;
      if (descriptors.size() < 2) return;
      (void)send_all(descriptors[1].get(), encode_frame(FrameType::kAccepted, encode(Accepted{1})));
    }
  });
  const std::string frame = encode_frame(FrameType::kRun, encode(make().request));
  for (auto _ : state) {
    int pair[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "a socket pair");
    const Fd ours(pair[0]);
    Fd theirs(pair[1]);
    Result<Fd> socket = connect_unix(path);
    std::string answer;
    std::vector<Fd> none;
    const int descriptors[] = {0, theirs.get(), 0, 1, 2};
    const bool sent = socket && send_all(socket->get(), frame, descriptors);
    theirs.reset();
    if (!sent || !receive_some(ours.get(), 4096, answer, none))
      state.SkipWithError("the hand-over failed");
  }
  if (Result<Fd> last = connect_unix(path)) (void)send_all(last->get(), frame);
  spare.join();
  unlink(path.c_str());
  rmdir(folder);
}
BENCHMARK(ConnectAndHandOver)->UseRealTime();

}  // namespace
}  // namespace brood
