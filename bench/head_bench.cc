// The head of an event, as JSON (what the protocol has) and as MessagePack: made, and read again.
// build/bench/brood_micro_bench --benchmark_filter=Head
#include <benchmark/benchmark.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace brood {
namespace {

using nlohmann::json;

// An event "result", as a client gets it.
const json& head() {
  static const json kHead = {{"session", "node-3f9c1b7a52d84e60"},
                             {"seq", 4711},
                             {"type", "result"},
                             {"cell", 42},
                             {"data", {{"text/plain", "array([1, 2, 3, 4, 5, 6, 7, 8])"}}},
                             {"metadata", json::object()},
                             {"execution_count", 43}};
  return kHead;
}

void HeadMakeJson(benchmark::State& state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(head().dump());
  state.counters["bytes"] = static_cast<double>(head().dump().size());
}
BENCHMARK(HeadMakeJson);

void HeadMakeMessagePack(benchmark::State& state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(json::to_msgpack(head()));
  state.counters["bytes"] = static_cast<double>(json::to_msgpack(head()).size());
}
BENCHMARK(HeadMakeMessagePack);

void HeadReadJson(benchmark::State& state) {
  const std::string text = head().dump();
  for (auto _ : state)
    benchmark::DoNotOptimize(json::parse(text));
}
BENCHMARK(HeadReadJson);

void HeadReadMessagePack(benchmark::State& state) {
  const std::vector<uint8_t> bytes = json::to_msgpack(head());
  for (auto _ : state)
    benchmark::DoNotOptimize(json::from_msgpack(bytes));
}
BENCHMARK(HeadReadMessagePack);

}  // namespace
}  // namespace brood
