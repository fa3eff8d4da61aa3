#include <algorithm>
#include <optional>

#include <toml++/toml.h>

#include "base/clock.h"
#include "daemon/config.h"
#include "daemon/words.h"

namespace brood {
namespace {

std::string in_quotes(std::string_view text) { return '"' + std::string(text) + '"'; }

const char* type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table: return "a table";
    case toml::node_type::array: return "a list";
    case toml::node_type::string: return "a string";
    case toml::node_type::integer: return "an integer";
    case toml::node_type::floating_point: return "a number with a fraction";
    case toml::node_type::boolean: return "a boolean";
    default: return "a date or time";
  }
}

// Reads one file into a ConfigFile; stops at the first mistake.
class Reader {
 public:
  Reader(ConfigFile& out, const std::string& home) : out_(out), home_(home) {}

  bool read(const toml::table& root);
  Error error() const { return Error{error_}; }

 private:
  using Field = bool (Reader::*)(const std::string& key, const toml::node& value);

  std::string place(const toml::source_region& where) const {
    return out_.path + ":" + std::to_string(where.begin.line) + ":" +
           std::to_string(where.begin.column);
  }
  bool fail(const toml::source_region& where, const std::string& what) {
    error_ = place(where) + ": " + what;
    return false;
  }
  bool wrong(const std::string& key, const toml::node& node, const std::string& expected) {
    std::string found = type_name(node);
    if (const auto* text = node.as_string()) found = in_quotes(text->get());
    if (const auto* number = node.as_integer()) found = std::to_string(number->get());
    return fail(node.source(), key + " is " + found + ", expected " + expected);
  }
  bool check_keys(const toml::table& table, const std::string& where,
                  const std::vector<std::string>& known);
  bool read_environments(const toml::node& node);
  bool read_environment(const std::string& name, const toml::node& node);
  bool read_environment_lists(const toml::table& table, EnvironmentConfig& env);
  bool read_environment_values(const toml::table& table, EnvironmentConfig& env);
  bool read_environment_terms(const toml::table& table, const std::string& where,
                              EnvironmentConfig& env);
  bool read_daemon(const toml::node& node);
  bool read_serve(const toml::node& node);
  bool read_serve_values(const toml::table& table, ServeConfig& serve);
  bool limits(const toml::table& table, const std::string& where, SessionLimits& value);
  bool read_default(const toml::table& root);

  // Each leaves `value` alone when the key is missing.
  bool text(const toml::table& table, const char* key, std::string& value);
  bool flag(const toml::table& table, const char* key, bool& value);
  bool number(const toml::table& table, const char* key, uint32_t least, uint32_t most,
              uint32_t& value);
  bool duration(const toml::table& table, const char* key, int64_t& value);
  bool seconds(const toml::table& table, const char* key, uint64_t& value);
  bool size(const toml::table& table, const char* key, uint64_t& value);
  bool texts(const toml::table& table, const char* key, std::vector<std::string>& value);
  bool names(const toml::table& table, const char* key, const char* what,
             bool (*valid)(std::string_view), std::vector<std::string>& value);
  bool path(const std::string& key, const toml::node& node, const std::string& typed,
            std::string& value);
  bool paths(const toml::table& table, const char* key, std::vector<std::string>& value);
  bool python(const toml::table& table, EnvironmentConfig& env);
  bool image(const toml::table& table, ImageMode& value);
  bool variables(const toml::table& table, std::vector<std::string>& value);

  ConfigFile& out_;
  const std::string& home_;
  std::string error_;
};

bool Reader::check_keys(const toml::table& table, const std::string& where,
                        const std::vector<std::string>& known) {
  for (auto&& [key, node] : table) {
    const std::string name(key.str());
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string hint = did_you_mean(name, known);
    if (hint.empty()) hint = ", expected one of " + join(known);
    return fail(key.source(), "unknown key " + in_quotes(name) + where + hint);
  }
  return true;
}

bool Reader::text(const toml::table& table, const char* key, std::string& value) {
  const toml::node* node = table.get(key);
  if (!node) return true;
  if (!node->is_string()) return wrong(key, *node, "a string");
  value = node->as_string()->get();
  if (value.empty()) return wrong(key, *node, "a string that is not empty");
  if (value.find('\0') != value.npos) return wrong(key, *node, "a string without NUL");
  return true;
}

bool Reader::flag(const toml::table& table, const char* key, bool& value) {
  const toml::node* node = table.get(key);
  if (!node) return true;
  if (!node->is_boolean()) return wrong(key, *node, "true or false");
  value = node->as_boolean()->get();
  return true;
}

bool Reader::number(const toml::table& table, const char* key, uint32_t least, uint32_t most,
                    uint32_t& value) {
  const toml::node* node = table.get(key);
  if (!node) return true;
  const auto* integer = node->as_integer();
  if (!integer || integer->get() < least || integer->get() > most)
    return wrong(key, *node,
                 "an integer from " + std::to_string(least) + " to " + std::to_string(most));
  value = static_cast<uint32_t>(integer->get());
  return true;
}

bool Reader::duration(const toml::table& table, const char* key, int64_t& value) {
  const toml::node* node = table.get(key);
  if (!node) return true;
  const auto* typed = node->as_string();
  const std::optional<int64_t> parsed = typed ? parse_duration(typed->get()) : std::nullopt;
  if (!parsed)
    return wrong(key, *node, R"(a duration such as "90s", "10m", "2h", "1d" or "0" for never)");
  value = *parsed;
  return true;
}

bool Reader::seconds(const toml::table& table, const char* key, uint64_t& value) {
  int64_t nanoseconds = static_cast<int64_t>(value) * kSecond;
  if (!duration(table, key, nanoseconds)) return false;
  value = static_cast<uint64_t>(nanoseconds / kSecond);
  return true;
}

bool Reader::size(const toml::table& table, const char* key, uint64_t& value) {
  const toml::node* node = table.get(key);
  if (!node) return true;
  std::optional<uint64_t> parsed;
  if (const auto* text = node->as_string()) parsed = parse_size(text->get());
  if (const auto* integer = node->as_integer(); integer && integer->get() >= 0)
    parsed = static_cast<uint64_t>(integer->get());
  if (!parsed) return wrong(key, *node, R"(a number of bytes such as 4096, "64KiB" or "2GiB")");
  value = *parsed;
  return true;
}

bool Reader::texts(const toml::table& table, const char* key, std::vector<std::string>& value) {
  const toml::node* node = table.get(key);
  if (!node) return true;
  if (!node->is_array()) return wrong(key, *node, "a list of strings");
  for (const toml::node& item : *node->as_array()) {
    const auto* typed = item.as_string();
    if (!typed || typed->get().empty() || typed->get().find('\0') != std::string::npos)
      return wrong(std::string("an item of ") + key, item, "a string");
    value.push_back(typed->get());
  }
  return true;
}

bool Reader::limits(const toml::table& table, const std::string& where, SessionLimits& value) {
  static const std::vector<std::string> kKnown = {"memory",    "cpu",        "cell_time",
                                                  "processes", "open_files", "file_size",
                                                  "output",    "output_rate"};
  constexpr uint32_t kMany = 1u << 30;
  auto processes = static_cast<uint32_t>(value.processes);
  auto open_files = static_cast<uint32_t>(value.open_files);
  if (!check_keys(table, " in [" + where + "]", kKnown) || !size(table, "memory", value.memory) ||
      !seconds(table, "cpu", value.cpu) || !seconds(table, "cell_time", value.cell_time) ||
      !number(table, "processes", 0, kMany, processes) ||
      !number(table, "open_files", 0, kMany, open_files) ||
      !size(table, "file_size", value.file_size) || !size(table, "output", value.output) ||
      !size(table, "output_rate", value.output_rate))
    return false;
  if (open_files != 0 && open_files < kLeastOpenFiles)
    return wrong("open_files", *table.get("open_files"),
                 "0 for no limit, or a number from " + std::to_string(kLeastOpenFiles) +
                     " on, as a session has descriptors of its own");
  value.processes = processes;
  value.open_files = open_files;
  return true;
}

bool Reader::names(const toml::table& table, const char* key, const char* what,
                   bool (*valid)(std::string_view), std::vector<std::string>& value) {
  const toml::node* node = table.get(key);
  if (!node) return true;
  if (!node->is_array()) return wrong(key, *node, std::string("a list of ") + what + "s");
  for (const toml::node& item : *node->as_array()) {
    const auto* name = item.as_string();
    if (!name || !valid(name->get()))
      return wrong(std::string("an item of ") + key, item, std::string("a ") + what);
    value.push_back(name->get());
  }
  return true;
}

bool Reader::path(const std::string& key, const toml::node& node, const std::string& typed,
                  std::string& value) {
  if (typed.empty() || typed.find('\0') != typed.npos) return wrong(key, node, "a path");
  if (typed == "~" || typed.starts_with("~/")) {
    if (home_.empty()) return wrong(key, node, "a path without ~, for HOME is not set");
    out_.uses_home = true;
    value = home_ + typed.substr(1);
  } else {
    value = typed.front() == '/' ? typed : out_.directory() + "/" + typed;
  }
  return true;
}

bool Reader::paths(const toml::table& table, const char* key, std::vector<std::string>& value) {
  const toml::node* node = table.get(key);
  if (!node) return true;
  if (!node->is_array()) return wrong(key, *node, "a list of paths");
  for (const toml::node& item : *node->as_array()) {
    const std::string label = std::string("an item of ") + key;
    if (!item.is_string()) return wrong(label, item, "a path");
    if (!path(label, item, item.as_string()->get(), value.emplace_back())) return false;
  }
  return true;
}

// With a slash it is a path; a bare name is looked up in PATH when it is used.
bool Reader::python(const toml::table& table, EnvironmentConfig& env) {
  std::string typed;
  if (!text(table, "python", typed)) return false;
  if (!typed.empty()) env.python_place = place(table.get("python")->source());
  if (typed.empty() || (typed.find('/') == typed.npos && typed != "~")) {
    env.python = typed;
    return true;
  }
  return path("python", *table.get("python"), typed, env.python);
}

bool Reader::image(const toml::table& table, ImageMode& value) {
  const toml::node* node = table.get("image");
  if (!node) return true;
  const std::string typed = node->value_or(std::string());
  if (typed == "auto")
    value = ImageMode::kAuto;
  else if (typed == "on")
    value = ImageMode::kOn;
  else if (typed == "off")
    value = ImageMode::kOff;
  else
    return wrong("image", *node, R"("auto", "on" or "off")");
  return true;
}

bool Reader::variables(const toml::table& table, std::vector<std::string>& value) {
  const toml::node* node = table.get("variables");
  if (!node) return true;
  if (!node->is_table()) return wrong("variables", *node, "a table of strings");
  for (auto&& [key, item] : *node->as_table()) {
    const std::string name(key.str());
    if (!is_variable_name(name))
      return fail(key.source(), in_quotes(name) + " cannot name an environment variable");
    const auto* content = item.as_string();
    if (!content || content->get().find('\0') != std::string::npos)
      return wrong("variables." + name, item, "a string");
    value.push_back(name + "=" + content->get());
  }
  return true;
}

bool Reader::read_environment_lists(const toml::table& table, EnvironmentConfig& env) {
  return names(table, "preload", "module name", is_module_name, env.preload) &&
         names(table, "ignore_variables", "variable name", is_variable_name,
               env.ignore_variables) &&
         paths(table, "watch", env.watch) && variables(table, env.variables);
}

bool Reader::read_environment_values(const toml::table& table, EnvironmentConfig& env) {
  std::string init;
  if (!text(table, "init", init)) return false;
  if (!init.empty() && !path("init", *table.get("init"), init, env.init_file)) return false;
  return python(table, env) && number(table, "spares", 1, kMaxSpares, env.spares) &&
         duration(table, "max_age", env.lifetime.max_age_ns) &&
         duration(table, "idle_exit", env.lifetime.idle_exit_ns) && image(table, env.image) &&
         flag(table, "allow_threads", env.allow_threads) &&
         flag(table, "allow_sockets", env.allow_sockets);
}

bool Reader::read_environment(const std::string& name, const toml::node& node) {
  static const std::vector<std::string> kKnown = {
      "python",           "preload",       "init",          "variables",
      "spares",           "max_age",       "idle_exit",     "image",
      "ignore_variables", "allow_threads", "allow_sockets", "watch",
      "preparser",        "limits"};
  const std::string where = "env." + name;
  if (!node.is_table()) return wrong(where, node, "a table [" + where + "]");
  EnvironmentConfig& env = out_.environments.emplace_back();
  env.name = name;
  const toml::table& table = *node.as_table();
  return check_keys(table, " in [" + where + "]", kKnown) && read_environment_lists(table, env) &&
         read_environment_values(table, env) && read_environment_terms(table, where, env);
}

// What is for sessions only.
bool Reader::read_environment_terms(const toml::table& table, const std::string& where,
                                    EnvironmentConfig& env) {
  if (!text(table, "preparser", env.preparser)) return false;
  const size_t colon = env.preparser.find(':');
  if (!env.preparser.empty() &&
      (colon == env.preparser.npos || !is_module_name(env.preparser.substr(0, colon)) ||
       !is_module_name(env.preparser.substr(colon + 1))))
    return wrong("preparser", *table.get("preparser"), R"("module:function")");
  const toml::node* node = table.get("limits");
  if (!node) return true;
  if (!node->is_table()) return wrong("limits", *node, "a table [" + where + ".limits]");
  return limits(*node->as_table(), where + ".limits", env.limits.emplace());
}

bool Reader::read_serve(const toml::node& node) {
  static const std::vector<std::string> kKnown = {"listen",
                                                  "hosts",
                                                  "user",
                                                  "cgroup",
                                                  "folder",
                                                  "certificate",
                                                  "key",
                                                  "max_sessions",
                                                  "max_sessions_per_user",
                                                  "max_gateways",
                                                  "sessions_ahead",
                                                  "checkpoints",
                                                  "idle_timeout",
                                                  "no_clients_timeout",
                                                  "interrupt_grace",
                                                  "file_limit",
                                                  "limits"};
  if (!node.is_table()) return wrong("serve", node, "a table [serve]");
  const toml::table& table = *node.as_table();
  ServeConfig& serve = out_.serve;
  if (!check_keys(table, " in [serve]", kKnown) || !texts(table, "listen", serve.listen) ||
      !texts(table, "hosts", serve.hosts) || !text(table, "user", serve.user) ||
      !text(table, "cgroup", serve.cgroup) || !read_serve_values(table, serve))
    return false;
  if (serve.cgroup != "auto" && serve.cgroup != "off" && !serve.cgroup.starts_with('/'))
    return wrong("cgroup", *table.get("cgroup"), "\"auto\", \"off\" or an absolute folder");
  const toml::node* limits_node = table.get("limits");
  if (!limits_node) return true;
  if (!limits_node->is_table()) return wrong("limits", *limits_node, "a table [serve.limits]");
  return limits(*limits_node->as_table(), "serve.limits", serve.limits);
}

bool Reader::read_serve_values(const toml::table& table, ServeConfig& serve) {
  for (const auto& [key, value] : {std::pair{"folder", &serve.work_folder},
                                   {"certificate", &serve.certificate},
                                   {"key", &serve.key}}) {
    std::string typed;
    if (!text(table, key, typed)) return false;
    if (!typed.empty() && !path(key, *table.get(key), typed, *value)) return false;
  }
  return number(table, "max_sessions", 1, 100'000, serve.max_sessions) &&
         number(table, "max_sessions_per_user", 1, 100'000, serve.max_sessions_per_user) &&
         number(table, "max_gateways", 1, 100'000, serve.max_gateways) &&
         number(table, "sessions_ahead", 0, 64, serve.sessions_ahead) &&
         number(table, "checkpoints", 0, 256, serve.checkpoints) &&
         duration(table, "idle_timeout", serve.idle_timeout_ns) &&
         duration(table, "no_clients_timeout", serve.no_clients_timeout_ns) &&
         duration(table, "interrupt_grace", serve.interrupt_grace_ns) &&
         size(table, "file_limit", serve.file_limit);
}

bool Reader::read_environments(const toml::node& node) {
  if (!node.is_table()) return wrong("env", node, "tables [env.NAME]");
  for (auto&& [key, item] : *node.as_table()) {
    const std::string name(key.str());
    if (name.empty() || name.find('\0') != name.npos)
      return fail(key.source(), "an environment needs a name");
    if (!read_environment(name, item)) return false;
  }
  return true;
}

bool Reader::read_daemon(const toml::node& node) {
  static const std::vector<std::string> kKnown = {"idle_exit", "max_environments", "log_level"};
  static const std::vector<std::string> kLevels = {"trace", "debug",    "info", "warning",
                                                   "error", "critical", "off"};
  if (!node.is_table()) return wrong("daemon", node, "a table [daemon]");
  const toml::table& table = *node.as_table();
  DaemonConfig& daemon = out_.daemon;
  if (!check_keys(table, " in [daemon]", kKnown) ||
      !duration(table, "idle_exit", daemon.idle_exit_ns) ||
      !number(table, "max_environments", 1, 256, daemon.max_environments) ||
      !text(table, "log_level", daemon.log_level))
    return false;
  if (std::find(kLevels.begin(), kLevels.end(), daemon.log_level) == kLevels.end())
    return wrong("log_level", *table.get("log_level"), "one of " + join(kLevels));
  return true;
}

bool Reader::read_default(const toml::table& root) {
  if (!text(root, "default", out_.default_env)) return false;
  if (out_.default_env.empty() || out_.find(out_.default_env)) return true;
  const std::vector<std::string> known = out_.names();
  return wrong("default", *root.get("default"),
               known.empty() ? "the name of an environment, but this file has none"
                             : "one of the environments of this file: " + join(known));
}

bool Reader::read(const toml::table& root) {
  std::vector<std::string> known = {"default", "env", "serve"};
  if (out_.kind == ConfigKind::kUser) known.emplace_back("daemon");
  if (out_.kind == ConfigKind::kProject)
    if (const toml::node* node = root.get("daemon"))
      return fail(node->source(),
                  "[daemon] belongs into the user's configuration, not a project's");
  if (!check_keys(root, "", known)) return false;
  if (const toml::node* node = root.get("env"); node && !read_environments(*node)) return false;
  if (const toml::node* node = root.get("daemon"); node && !read_daemon(*node)) return false;
  if (const toml::node* node = root.get("serve"); node && !read_serve(*node)) return false;
  return read_default(root);
}

}  // namespace

Result<ConfigFile> parse_config(std::string_view text, const std::string& path, ConfigKind kind,
                                const std::string& home) {
  ConfigFile file;
  file.path = path;
  file.kind = kind;
  toml::table root;
  try {
    // The library throws on a mistake in the file (without exceptions it goes on parsing, and
    // asserts).
    root = toml::parse(text, path);
  } catch (const toml::parse_error& mistake) {
    const toml::source_position at = mistake.source().begin;
    return Error{path + ":" + std::to_string(at.line) + ":" + std::to_string(at.column) + ": " +
                 std::string(mistake.description())};
  }
  Reader reader(file, home);
  if (!reader.read(root)) return reader.error();
  return file;
}

}  // namespace brood
