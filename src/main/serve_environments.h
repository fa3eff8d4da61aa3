// The environments that `brood serve` offers: those of its configuration file, and the plain one.
// Server process, its one thread.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "daemon/config.h"
#include "daemon/environments.h"
#include "session/sessions.h"

namespace brood {

class ServeEnvironments final : public EnvironmentSource {
 public:
  // `file`: null: only the plain environment. `python`: the interpreter of those that name none;
  // empty: as find_interpreter() says. Fails when no interpreter is found.
  static Result<std::unique_ptr<ServeEnvironments>> make(const ConfigFile* file,
                                                         const ServeConfig& config,
                                                         const std::string& python,
                                                         Environments& environments,
                                                         const RuntimeDir& dir);
  ~ServeEnvironments();

  nlohmann::json list() override;
  bool has(const std::string& name) override { return find(name) != nullptr; }
  std::string default_name() override { return default_name_; }
  Terms terms(const std::string& name) override;
  void prepare(const std::string& name, Prepared prepared) override;
  void confirm(const std::string& name, const Preparation& made,
               std::function<void(bool)> verdict) override;
  void collect_processes(std::set<pid_t>& processes) override;

  // Begins to prepare the default one, so that the first session need not wait.
  void warm_default();

 private:
  class Waiter;
  struct Offer {
    std::string name;
    bool plain = false;
    EnvironmentConfig config;
  };
  ServeEnvironments(const ServeConfig& config, std::string python, Environments& environments,
                    const RuntimeDir& dir);

  const Offer* find(const std::string& name) const;
  Result<Launch> launch_of(const Offer& offer) const;

  std::string config_file_;
  std::vector<Offer> offers_;
  std::string default_name_;
  const SessionLimits limits_;
  const std::string python_;
  Environments& environments_;
  const RuntimeDir dir_;
  RunRequest request_;  // what every session starts with
  std::list<std::unique_ptr<Waiter>> waiters_;
};

}  // namespace brood
