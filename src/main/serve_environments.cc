#include "main/serve_environments.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/context.h"
#include "launch/interpreter.h"
#include "launch/process_state.h"
#include "launch/variables.h"

namespace brood {
namespace {

constexpr const char* kPlain = "python";  // the name of the plain environment

// The server's own variables, but for what is secret or says where the server itself is.
std::string session_variables() {
  static constexpr const char* kHidden[] = {
      "BROOD_TOKEN=", "BROOD_SERVER=", "LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES="};
  std::string block;
  for (char** item = environ; *item; item++) {
    const bool hidden = std::any_of(
        std::begin(kHidden), std::end(kHidden),
        [item](const char* name) { return std::strncmp(*item, name, std::strlen(name)) == 0; });
    if (!hidden) block.append(*item).push_back('\0');
  }
  return block;
}

std::string state_of(const Environment* env) {
  if (!env) return "cold";
  if (env->current) return "warm";
  if (env->upcoming || env->start_ns != 0) return "preparing";
  return env->failure.empty() ? "cold" : "failed";
}

}  // namespace

// One session that waits for its environment.
class ServeEnvironments::Waiter final : public WarmWaiter {
 public:
  Waiter(ServeEnvironments& owner, std::string key, Prepared prepared)
      : owner_(owner), key_(std::move(key)), prepared_(std::move(prepared)) {}

  void on_warmed(const Warmed& warmed) override {
    const Prepared prepared = std::move(prepared_);
    const std::string socket = owner_.dir_.environment_socket(key_);
    const RunRequest request = owner_.request_;
    const pid_t zygote = warmed.ok ? owner_.environments_.all().at(key_).current->pid() : 0;
    owner_.waiters_.remove_if([this](const auto& one) { return one.get() == this; });
    if (warmed.ok)
      prepared(Preparation{socket, request, zygote});
    else
      prepared(Error{warmed.text});
  }

 private:
  ServeEnvironments& owner_;
  const std::string key_;
  Prepared prepared_;
};

ServeEnvironments::ServeEnvironments(const ServeConfig& config, std::string python,
                                     Environments& environments, const RuntimeDir& dir)
    : limits_(config.limits), python_(std::move(python)), environments_(environments), dir_(dir) {}

Result<std::unique_ptr<ServeEnvironments>> ServeEnvironments::make(const ConfigFile* file,
                                                                   const ServeConfig& config,
                                                                   const std::string& named,
                                                                   Environments& environments,
                                                                   const RuntimeDir& dir) {
  auto made =
      std::unique_ptr<ServeEnvironments>(new ServeEnvironments(config, named, environments, dir));
  if (file) {
    made->config_file_ = file->path;
    for (const EnvironmentConfig& env : file->environments)
      made->offers_.push_back({env.name, false, env});
    if (const EnvironmentConfig* first = default_environment(*file))
      made->default_name_ = first->name;
  }
  if (!made->find(kPlain)) made->offers_.push_back({kPlain, true, {}});
  if (made->default_name_.empty()) made->default_name_ = made->offers_.front().name;
  Result<Interpreter> python = find_interpreter(named);
  if (!python) return python.error();
  made->request_.kind = ProgramKind::kSession;
  made->request_.orig_argv = {python->path};
  made->request_.environment = session_variables();
  made->request_.process = read_process_state();
  made->request_.process.ignored_signals = 0;
  made->request_.process.blocked_signals = 0;
  return made;
}

ServeEnvironments::~ServeEnvironments() {
  for (const auto& waiter : waiters_)
    environments_.forget(*waiter);
}

const ServeEnvironments::Offer* ServeEnvironments::find(const std::string& name) const {
  for (const Offer& offer : offers_)
    if (offer.name == name) return &offer;
  return nullptr;
}

// As the thin client's plan (launch/plan.cc), for a session: the same key, the same zygote.
Result<Launch> ServeEnvironments::launch_of(const Offer& offer) const {
  Result<Interpreter> python = find_interpreter(python_);
  if (!python) return python.error();
  Launch launch;
  launch.python = python->path;
  launch.python_chosen = python->chosen && offer.config.python.empty();
  launch.python_file = python->file;
  launch.variables = startup_variables(environ, false);
  launch.context = process_context();
  if (offer.plain) return launch;
  launch.config_file = config_file_;
  launch.config_identity = identify(config_file_.c_str());
  launch.env_name = offer.name;
  return launch;
}

ServeEnvironments::Terms ServeEnvironments::terms(const std::string& name) {
  const Offer* offer = find(name);
  Terms terms{limits_, ""};
  if (!offer) return terms;
  if (offer->config.limits) terms.limits = *offer->config.limits;
  terms.preparser = offer->config.preparser;
  return terms;
}

void ServeEnvironments::prepare(const std::string& name, Prepared prepared) {
  const Offer* offer = find(name);
  Result<Launch> launch =
      offer ? launch_of(*offer) : Result<Launch>(Error{"there is no environment " + name});
  if (!launch) return prepared(launch.error());
  waiters_.push_back(
      std::make_unique<Waiter>(*this, environment_key(*launch), std::move(prepared)));
  environments_.wait_for(*launch, *waiters_.back());
}

void ServeEnvironments::confirm(const std::string& name, const Preparation& made,
                                std::function<void(bool)> verdict) {
  const Offer* offer = find(name);
  Result<Launch> launch = offer ? launch_of(*offer) : Result<Launch>(Error{"gone"});
  if (!launch) return verdict(false);
  const std::string key = environment_key(*launch);
  const auto found = environments_.all().find(key);
  if (found == environments_.all().end() || !found->second.current ||
      found->second.current->pid() != made.zygote ||
      dir_.environment_socket(key) != made.socket_path)
    return verdict(false);
  found->second.current->judge(std::move(verdict));
}

void ServeEnvironments::warm_default() {
  prepare(default_name_, [](const Result<Preparation>&) {});
}

nlohmann::json ServeEnvironments::list() {
  nlohmann::json out = nlohmann::json::array();
  for (const Offer& offer : offers_) {
    Result<Launch> launch = launch_of(offer);
    const Environment* env = nullptr;
    if (launch)
      if (const auto found = environments_.all().find(environment_key(*launch));
          found != environments_.all().end())
        env = &found->second;
    nlohmann::json item = {{"name", offer.name},
                           {"default", offer.name == default_name_},
                           {"python", env && !env->python.empty()    ? env->python
                                      : !offer.config.python.empty() ? offer.config.python
                                      : launch                       ? launch->python
                                                                     : ""},
                           {"preload", offer.config.preload},
                           {"state", state_of(env)},
                           {"error", nullptr}};
    if (!launch) item["error"] = launch.error().message;
    if (env && !env->failure.empty()) item["error"] = env->failure;
    out.push_back(std::move(item));
  }
  return out;
}

void ServeEnvironments::collect_processes(std::set<pid_t>& processes) {
  for (const auto& [key, env] : environments_.all()) {
    if (env.current) processes.insert(env.current->pid());
    if (env.upcoming) processes.insert(env.upcoming->pid());
  }
  for (const auto& zygote : environments_.retiring())
    processes.insert(zygote->pid());
}

}  // namespace brood
