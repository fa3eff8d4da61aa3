#include "slap/bench_run.h"

#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "slap/bench_table.h"
#include "slap/sample.h"
#include "slap/spawn.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr char kPrint[] = "print(1)";

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words)
    out += (out.empty() ? "" : ",") + word;
  return out;
}

void progress(const std::string& text) {
  const bool terminal = isatty(STDERR_FILENO);
  fmt::print(stderr, "{}{}{}", terminal ? "\r\x1b[K" : "", text, terminal ? "" : "\n");
}

// A runtime directory with a daemon of its own, ended and removed with the object.
class PrivateBrood {
 public:
  explicit PrivateBrood(std::string brood) : brood_(std::move(brood)) {
    std::string pattern = std::filesystem::temp_directory_path() / "brood-bench-XXXXXX";
    path_ = mkdtemp(pattern.data()) ? pattern : "";
  }
  ~PrivateBrood() {
    if (path_.empty()) return;
    (void)run_command({{brood_, "stop"}, environment()}, Output::kDiscard);
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  PrivateBrood(const PrivateBrood&) = delete;
  PrivateBrood& operator=(const PrivateBrood&) = delete;

  const std::string& path() const { return path_; }
  std::vector<std::string> environment() const {
    return {"XDG_RUNTIME_DIR=" + path_, "BROOD_TRACE", "BROOD", "BROOD_PYTHON", "PYTHONUNBUFFERED"};
  }

 private:
  std::string brood_;
  std::string path_;
};

// Kilobytes that could be given to a program without swapping.
double available_kib() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  double value = 0;
  while (file >> name >> value) {
    std::getline(file, unit);
    if (name == "MemAvailable:") return value;
  }
  return 0;
}

class Bench {
 public:
  explicit Bench(const BenchOptions& options) : options_(options), home_(options.brood) {}

  Result<void> measure() {
    if (home_.path().empty()) return Error{"cannot make a temporary directory"};
    for (const auto step :
         {&Bench::modules_are_there, &Bench::warm_latency, &Bench::plain_latency,
          &Bench::cold_overhead, &Bench::throughput, &Bench::fork_cost, &Bench::spare_memory})
      if (Result<void> done = (this->*step)(); !done) return done;
    if (isatty(STDERR_FILENO)) fmt::print(stderr, "\r\x1b[K");
    return {};
  }

  const BenchTable& table() const { return table_; }
  const json& series() const { return series_; }

 private:
  Command warm(std::vector<std::string> arguments) const {
    std::vector<std::string> words{options_.brood, "run", "--python", options_.python};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return {std::move(words), home_.environment()};
  }
  Command plain(const std::string& code) const {
    return {{options_.python, "-c", code}, home_.environment()};
  }

  Command cold() const { return plain("import " + join(options_.preload) + "\nprint(1)"); }

  Result<void> modules_are_there() {
    if (Result<double> took = time(cold(), "1\n"); took) return {};
    return Error{fmt::format(
        "{} cannot import {}; --python names another interpreter, --preload other modules",
        options_.python, join(options_.preload))};
  }

  // One timed run, which must end well and print what is expected.
  Result<double> time(const Command& command, const std::string& expected) {
    Result<Finished> finished =
        run_command(command, expected.empty() ? Output::kDiscard : Output::kCapture);
    if (!finished) return finished.error();
    if (finished->status != 0 || finished->output != expected)
      return Error{fmt::format("{} ended with status {} and printed \"{}\"", command.words[0],
                               finished->status, finished->output)};
    return finished->microseconds;
  }

  Result<void> add(Samples& samples, const Command& command, const std::string& expected) {
    Result<double> took = time(command, expected);
    if (!took) return took.error();
    samples.add(*took);
    return {};
  }

  Result<void> require_warm(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "--wait");
    Result<Finished> first = run_command(warm(arguments), Output::kDiscard);
    if (!first) return first.error();
    if (first->status != 0)
      return Error{"the environment cannot be made warm; see the message above"};
    return {};
  }

  // /bin/true, a warm run and now and then a cold one, in turn.
  Result<void> warm_latency() {
    const std::vector<std::string> run{"--preload", join(options_.preload), "-c", kPrint};
    if (Result<void> ready = require_warm(run); !ready) return ready;
    const Command nothing{{"/bin/true"}, {}};
    Samples floor, warm_times, cold_times;
    const int cold_every = std::max(1, options_.runs / 20);
    for (int i = 0; i < options_.runs; i++) {
      if (Result<void> done = add(floor, nothing, ""); !done) return done;
      if (Result<void> done = add(warm_times, warm(run), "1\n"); !done) return done;
      if (i % cold_every == 0)
        if (Result<void> done = add(cold_times, cold(), "1\n"); !done) return done;
      if (i % 50 == 0) progress(fmt::format("warm runs: {} of {}", i, options_.runs));
    }
    series_["true_us"] = floor.values();
    series_["warm_us"] = warm_times.values();
    series_["cold_us"] = cold_times.values();
    const double p50 = warm_times.median(), p99 = warm_times.percentile(0.99);
    table_.note("/bin/true, p50", show_time(floor.median()));
    table_.note("cold `python3 -c 'import ...; print(1)'`, p50", show_time(cold_times.median()));
    table_.note("warm `brood run -c 'print(1)'`, p50 / p99",
                show_time(p50) + " / " + show_time(p99));
    table_.at_most("warm p50 / `/bin/true` p50", p50 / floor.median(), 4, "x");
    table_.at_least("cold p50 / warm p50", cold_times.median() / p50, 250, "x");
    table_.at_most("warm p99 / warm p50", p99 / p50, 3, "x");
    return {};
  }

  Result<void> plain_latency() {
    const std::vector<std::string> run{"-c", "pass"};
    if (Result<void> ready = require_warm(run); !ready) return ready;
    Command drop_in{{options_.brood, "python", "-c", "pass"}, home_.environment()};
    drop_in.environment.push_back("BROOD_PYTHON=" + options_.python);
    if (Result<Finished> first = run_command(drop_in, Output::kDiscard); !first)
      return first.error();
    usleep(300'000);  // this command line has an environment of its own; whether it is warm shows
                      // below
    Samples ours, theirs;
    for (int i = 0; i < options_.runs / 3; i++) {
      if (Result<void> done = add(theirs, plain("pass"), ""); !done) return done;
      if (Result<void> done = add(ours, drop_in, ""); !done) return done;
      if (i % 50 == 0) progress(fmt::format("plain runs: {} of {}", i, options_.runs / 3));
    }
    series_["python_pass_us"] = theirs.values();
    series_["brood_python_pass_us"] = ours.values();
    table_.note("`python3 -c pass` / `brood-python -c pass`, p50",
                show_time(theirs.median()) + " / " + show_time(ours.median()));
    table_.at_least("`python3 -c pass` p50 / `brood-python -c pass` p50",
                    theirs.median() / ours.median(), 6, "x");
    return {};
  }

  // No zygote, in two ways: switched off; and a daemon that has another environment than this one
  // (each run asks for a new one by a start-up variable; the zygote it causes is waited for between
  // the runs).
  Result<void> cold_overhead() {
    Samples theirs, off, unknown;
    const int runs = std::max(20, options_.runs / 20);
    for (int i = 0; i < runs; i++) {
      if (Result<void> done = add(theirs, plain("pass"), ""); !done) return done;
      Command switched_off = warm({"-c", "pass"});
      switched_off.environment.push_back("BROOD=off");
      if (Result<void> done = add(off, switched_off, ""); !done) return done;
      Command first = warm({"-c", "pass"});
      first.environment.push_back(fmt::format("PYTHONBENCH={}", i));
      if (Result<void> done = add(unknown, first, ""); !done) return done;
      usleep(400'000);
      if (i % 10 == 0) progress(fmt::format("cold runs: {} of {}", i, runs));
    }
    series_["python_beside_cold_us"] = theirs.values();
    series_["brood_off_us"] = off.values();
    series_["brood_cold_us"] = unknown.values();
    table_.at_most("cold run with BROOD=off, over `python3 -c pass`, p50",
                   (off.median() - theirs.median()) / 1000, 1, " ms");
    table_.at_most("cold run without a zygote, over `python3 -c pass`, p50",
                   (unknown.median() - theirs.median()) / 1000, 1, " ms");
    return {};
  }

  Result<void> throughput() {
    const std::vector<std::string> run{"--preload", join(options_.preload), "-c", kPrint};
    if (Result<void> ready = require_warm(run); !ready) return ready;
    constexpr int kClients = 4;
    const int runs = options_.runs / 2;
    Samples bare_rates, warm_rates;
    for (int round = 0; round < 3; round++) {
      progress(fmt::format("throughput: round {} of 3", round + 1));
      const Command loop{
          {options_.python, options_.scripts + "/bench_fork.py", "loop", join(options_.preload)},
          home_.environment()};
      Result<Finished> bare = run_command(loop, Output::kCapture);
      if (!bare || bare->status != 0) return Error{"the bare fork loop failed"};
      bare_rates.add(json::parse(bare->output).at("per_second"));
      Result<double> took = run_parallel(warm(run), kClients, runs);
      if (!took) return took.error();
      warm_rates.add(kClients * runs / (*took / 1e6));
    }
    table_.note("bare fork(), _exit(0), wait loop without the image",
                fmt::format("{:.0f}/s", bare_rates.median()));
    table_.note("warm runs, 4 parallel clients", fmt::format("{:.0f}/s", warm_rates.median()));
    table_.at_least("warm runs per second / bare forks per second",
                    warm_rates.median() / bare_rates.median(), 1, "x");
    return {};
  }

  Result<void> fork_cost() {
    json rows = json::array();
    for (int heap = 0; heap <= options_.heap_mib; heap = heap ? heap * 4 : 64) {
      progress(fmt::format("fork with a heap of {} MiB", heap));
      for (const std::string mode : {"plain", "image"}) {
        const Command command{{options_.python, options_.scripts + "/bench_fork.py", mode,
                               options_.module, fmt::format("{}", heap)},
                              home_.environment()};
        Result<Finished> done = run_command(command, Output::kCapture);
        if (!done || done->status != 0) return Error{"the fork benchmark failed"};
        rows.push_back(json::parse(done->output));
      }
    }
    series_["fork"] = rows;
    const json& without = rows[rows.size() - 2];
    const json& with = rows[rows.size() - 1];
    for (const char* what : {"fork_us", "fork_exit_us"}) {
      const double before = without.at(what), after = with.at(what);
      const std::string name = std::string(what) == "fork_us" ? "fork" : "fork+exit";
      table_.note(fmt::format("{} at {} MiB of objects, plain / image", name,
                              with.at("heap_mib").get<int>()),
                  show_time(before) + " / " + show_time(after));
      table_.at_least(fmt::format("plain {0} / image {0}", name), before / after, 15, "x");
    }
    return {};
  }

  // MemAvailable with one spare, and with many, of two environments that are alike otherwise.
  Result<void> spare_memory() {
    progress("memory of a spare");
    const auto measure = [&](int spares) -> Result<double> {
      PrivateBrood own(options_.brood);
      std::string modules;
      for (const std::string& module : options_.preload)
        modules += "\"" + module + "\",";
      std::ofstream(own.path() + "/brood.toml")
          << fmt::format("[env.memory]\npreload = [{}]\nspares = {}\n", modules, spares);
      const Command command{{"/usr/bin/env", "-C", own.path(), options_.brood, "run", "--python",
                             options_.python, "--wait", "-c", "pass"},
                            own.environment()};
      const double before = available_kib();
      Result<Finished> done = run_command(command, Output::kDiscard);
      if (!done) return done.error();
      if (done->status != 0) return Error{"the environment for the memory measurement failed"};
      const Command count{{options_.brood, "status", "--json"}, own.environment()};
      for (int tries = 0; tries < 600; tries++) {
        usleep(50'000);
        Result<Finished> status = run_command(count, Output::kCapture);
        if (!status) return status.error();
        const json answer = json::parse(status->output, nullptr, false);
        if (answer.is_object() && spares_in(answer) >= spares) {
          usleep(500'000);  // what was freed meanwhile is counted late
          return before - available_kib();
        }
      }
      return Error{"the spares did not get ready within 30 s"};
    };
    Samples each;
    for (int round = 0; round < 3; round++) {
      Result<double> one = measure(1);
      if (!one) return one.error();
      Result<double> many = measure(1 + options_.spares);
      if (!many) return many.error();
      each.add((*many - *one) / options_.spares / 1024);
    }
    table_.at_most(fmt::format("memory of one more idle spare (over {})", options_.spares),
                   each.median(), 1.6, " MiB");
    return {};
  }

  static int spares_in(const json& status) {
    int count = 0;
    for (const json& environment : status.value("environments", json::array()))
      for (const json& zygote : environment.value("zygotes", json::array()))
        count += zygote.value("spares", 0);
    return count;
  }

  const BenchOptions& options_;
  PrivateBrood home_;
  BenchTable table_;
  json series_;
};

json machine() {
  utsname name{};
  uname(&name);
  return {{"kernel", name.release}, {"processors", sysconf(_SC_NPROCESSORS_ONLN)}};
}

}  // namespace

int bench_run(const BenchOptions& options) {
  Bench bench(options);
  if (Result<void> done = bench.measure(); !done) {
    fmt::print(stderr, "brood bench: {}\n", done.error().message);
    return 1;
  }
  fmt::print("{}", bench.table().text());
  json report{{"machine", machine()},
              {"python", options.python},
              {"preload", options.preload},
              {"table", bench.table().rows()},
              {"series", bench.series()}};
  std::ofstream(options.output + ".json") << report.dump(1) << "\n";
  const Command plot{{options.python, options.scripts + "/bench_plot.py", options.output + ".json",
                      options.output + ".svg"},
                     {}};
  Result<Finished> drawn = run_command(plot, Output::kDiscard);
  const bool plotted = drawn && drawn->status == 0;
  fmt::print(
      "\nwritten: {0}.json{1}\n", options.output,
      plotted ? fmt::format(", {}.svg", options.output) : " (no plot: that needs matplotlib)");
  return 0;
}

}  // namespace brood
