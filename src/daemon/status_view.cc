#include "daemon/status_view.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "daemon/memory.h"
#include "daemon/table.h"
#include "daemon/words.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr size_t kKeyDigits = 8;  // shown to people
constexpr size_t kFailureWidth = 120;

json to_json(const MemoryUse& use) {
  return {{"pss_bytes", use.pss}, {"unique_bytes", use.unique}};
}

void add_memory_to_zygote(json& zygote) {
  const auto pid = static_cast<pid_t>(number_at(zygote, "pid"));
  if (pid <= 0) return;
  if (const auto use = memory_of(pid)) zygote["memory"] = to_json(*use);
  std::set<pid_t> programs;
  for (json& program : zygote["programs"]) {
    const auto worker = static_cast<pid_t>(number_at(program, "pid"));
    programs.insert(worker);
    if (const auto use = memory_of(worker)) program["memory"] = to_json(*use);
  }
  MemoryUse sum;
  json pids = json::array();
  for (const pid_t child : children_of(pid)) {
    if (programs.contains(child)) continue;
    const auto use = memory_of(child);
    if (!use) continue;
    sum += *use;
    pids.push_back(child);
  }
  zygote["spares"] = pids.size();
  zygote["spare_pids"] = std::move(pids);
  zygote["spare_memory"] = to_json(sum);
}

std::string show_seconds(double seconds) {
  return show_duration(static_cast<int64_t>(seconds * 1e9));
}

std::string show_milliseconds(double milliseconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f ms", milliseconds);
  return milliseconds > 0 ? text : "";
}

// "1360" or, with an image, "1360/840": microseconds.
std::string show_fork(const json& zygote) {
  const auto plain = static_cast<uint64_t>(number_at(zygote, "fork_us"));
  const auto image = static_cast<uint64_t>(number_at(zygote, "image_fork_us"));
  if (plain == 0) return "";
  return std::to_string(plain) + (image ? "/" + std::to_string(image) : "") + " us";
}

Cell state_cell(const std::string& state) {
  const Tone tone = state == "ready" ? Tone::kGood : state == "failed" ? Tone::kBad : Tone::kBusy;
  return {harmless(state), tone};
}

std::string memory_text(const json& holder, const char* which, const char* kind) {
  const auto found = holder.find(which);
  if (found == holder.end()) return "";
  return show_mebibytes(static_cast<uint64_t>(number_at(*found, kind)));
}

// Columns of both tables; `rate` only in the live one.
struct Line {
  Cell name;
  std::string key;
  Cell state;
  std::string pid, age, used, python, load, fork, runs, rate, pss, unique;
};

std::vector<Cell> cells(Line line, bool with_rate) {
  std::vector<Cell> out = {line.name,   {line.key},    line.state,  {line.pid},  {line.age},
                           {line.used}, {line.python}, {line.load}, {line.fork}, {line.runs}};
  if (with_rate) out.push_back({line.rate});
  out.push_back({line.pss});
  out.push_back({line.unique});
  return out;
}

std::string show_rate(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, rate < 10 ? "%.1f" : "%.0f", rate);
  return text;
}

class EnvironmentTable {
 public:
  explicit EnvironmentTable(const ViewStyle& style)
      : style_(style), with_rate_(!style.rates.empty()), table_(headings(with_rate_)) {}

  void add(const json& env) {
    const json& zygotes = list_at(env, "zygotes");
    if (zygotes.empty()) add_zygote(env, json::object(), true);
    for (size_t i = 0; i < zygotes.size(); i++)
      add_zygote(env, zygotes[i], i == 0);
    if (const std::string failure = text_at(env, "failure"); !failure.empty())
      table_.add_text({"  " + last_line(failure), Tone::kBad});
  }

  std::string render() const { return table_.render(style_.color, style_.width); }

 private:
  static std::vector<std::string> headings(bool with_rate) {
    std::vector<std::string> out = {"ENVIRONMENT", "KEY",    "STATE", ">PID",      ">AGE",
                                    ">USED",       "PYTHON", ">LOAD", ">FORK/IMG", ">RUNS"};
    if (with_rate) out.push_back(">RUNS/S");
    out.insert(out.end(), {">PSS", ">UNIQUE"});
    return out;
  }

  // Of a traceback, the exception.
  static std::string last_line(std::string text) {
    while (!text.empty() && text.back() == '\n')
      text.pop_back();
    text = harmless(text.substr(text.rfind('\n') + 1));
    if (text.size() > kFailureWidth) text.resize(kFailureWidth);
    return harmless(text);
  }

  void add_zygote(const json& env, const json& zygote, bool first) {
    Line line;
    const std::string key = text_at(env, "key");
    const std::string state = text_at(zygote, "state");
    line.name = {first ? harmless(text_at(env, "label")) : ""};
    line.key = harmless(key.substr(0, kKeyDigits));
    line.state = state_cell(state.empty() ? text_at(env, "state") : state);
    if (!zygote.empty()) {
      line.pid = std::to_string(static_cast<int64_t>(number_at(zygote, "pid")));
      line.age = show_seconds(number_at(zygote, "age_s"));
      line.python = harmless(text_at(zygote, "python_version"));
      line.load = show_milliseconds(number_at(zygote, "preload_ms"));
      line.fork = show_fork(zygote);
    }
    if (first) {
      line.used = show_seconds(number_at(env, "last_used_s"));
      line.runs = std::to_string(static_cast<uint64_t>(number_at(env, "served")));
      if (const auto rate = style_.rates.find(key); rate != style_.rates.end())
        line.rate = show_rate(rate->second);
    }
    line.pss = memory_text(zygote, "memory", "pss_bytes");
    line.unique = memory_text(zygote, "memory", "unique_bytes");
    table_.add(cells(std::move(line), with_rate_));
    add_spares(zygote);
    for (const json& program : list_at(zygote, "programs"))
      add_program(program);
    add_unlisted(zygote);
  }

  void add_spares(const json& zygote) {
    const size_t count = list_at(zygote, "spare_pids").size();
    if (count == 0) return;
    Line line;
    line.name = {"  " + std::to_string(count) + (count == 1 ? " spare" : " spares"), Tone::kDim};
    line.pss = memory_text(zygote, "spare_memory", "pss_bytes");
    line.unique = memory_text(zygote, "spare_memory", "unique_bytes");
    table_.add(cells(std::move(line), with_rate_));
  }

  void add_program(const json& program) {
    Line line;
    line.name = {"  " + harmless(text_at(program, "program"))};
    constexpr size_t kNameWidth = 28;
    if (line.name.text.size() > kNameWidth)
      line.name.text = harmless(line.name.text.substr(0, kNameWidth - 3)) + "...";
    line.state = {"running", Tone::kBusy};
    line.pid = std::to_string(static_cast<int64_t>(number_at(program, "pid")));
    line.age = show_seconds(number_at(program, "age_s"));
    line.pss = memory_text(program, "memory", "pss_bytes");
    line.unique = memory_text(program, "memory", "unique_bytes");
    table_.add(cells(std::move(line), with_rate_));
  }

  void add_unlisted(const json& zygote) {
    const double listed = static_cast<double>(list_at(zygote, "programs").size());
    const double more = number_at(zygote, "running") - listed;
    if (more > 0)
      table_.add_text({"  and " + std::to_string(static_cast<int64_t>(more)) + " more"});
  }

  const ViewStyle& style_;
  const bool with_rate_;
  Table table_;
};

}  // namespace

std::string text_at(const json& map, const char* key) {
  const auto found = map.find(key);
  return found != map.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double number_at(const json& map, const char* key) {
  const auto found = map.find(key);
  return found != map.end() && found->is_number() ? found->get<double>() : 0;
}

const json& list_at(const json& map, const char* key) {
  static const json kEmpty = json::array();
  const auto found = map.find(key);
  return found != map.end() && found->is_array() ? *found : kEmpty;
}

std::string show_list(const json& list) {
  std::vector<std::string> words;
  for (const json& item : list)
    if (item.is_string()) words.push_back(harmless(item.get<std::string>()));
  return join(words);
}

void add_memory(json& status) {
  for (json& env : status["environments"])
    for (json& zygote : env["zygotes"])
      add_memory_to_zygote(zygote);
}

std::string show_daemon(const json& status) {
  const json& daemon = status["daemon"];
  const auto count = static_cast<uint64_t>(number_at(daemon, "served"));
  return "broodd " + harmless(text_at(daemon, "version")) + ", pid " +
         std::to_string(static_cast<int64_t>(number_at(daemon, "pid"))) + ", up " +
         show_seconds(number_at(daemon, "uptime_s")) + ", " + std::to_string(count) +
         (count == 1 ? " run, " : " runs, ") + harmless(text_at(daemon, "runtime_dir"));
}

std::string show_environments(const json& status, const ViewStyle& style) {
  const json& list = list_at(status, "environments");
  if (list.empty()) return "Nothing is kept warm.\n";
  EnvironmentTable table(style);
  for (const json& env : list)
    table.add(env);
  return table.render();
}

}  // namespace brood
