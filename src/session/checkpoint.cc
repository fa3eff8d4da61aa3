#include "session/checkpoint.h"

#include <algorithm>
#include <utility>

#include "daemon/memory.h"

namespace brood {

std::vector<uint64_t> Checkpoints::add(Checkpoint checkpoint, size_t keep) {
  list_.push_back(std::move(checkpoint));
  std::vector<uint64_t> gone;
  while (list_.size() > keep) {
    gone.push_back(list_.front().cell);
    list_.pop_front();
  }
  return gone;
}

Checkpoint* Checkpoints::find(uint64_t cell) {
  const auto found = std::find_if(list_.begin(), list_.end(),
                                  [cell](const Checkpoint& one) { return one.cell == cell; });
  return found == list_.end() ? nullptr : &*found;
}

Checkpoint* Checkpoints::back(uint64_t steps) {
  return steps == 0 || steps > list_.size() ? nullptr : &list_[list_.size() - steps];
}

Checkpoint Checkpoints::take(uint64_t cell, std::vector<uint64_t>& dropped) {
  while (list_.back().cell != cell) {
    dropped.push_back(list_.back().cell);
    list_.pop_back();
  }
  Checkpoint taken = std::move(list_.back());
  list_.pop_back();
  return taken;
}

void Checkpoints::collect_processes(std::set<pid_t>& processes) const {
  for (const Checkpoint& one : list_)
    if (one.pid() > 0) processes.insert(one.pid());
}

bool Checkpoints::all_known() const {
  return std::all_of(list_.begin(), list_.end(),
                     [](const Checkpoint& one) { return one.is_known(); });
}

nlohmann::json Checkpoints::describe(bool measure) {
  nlohmann::json out = nlohmann::json::array();
  for (Checkpoint& one : list_) {
    nlohmann::json item = {{"checkpoint", one.cell},
                           {"execution_count", one.execution_count},
                           {"code", one.code},
                           {"created", one.created},
                           {"us", one.us},
                           {"threads", one.threads},
                           {"children", one.children}};
    std::optional<MemoryUse> memory;
    if (measure) memory = one.frozen ? memory_of(one.pid()) : MemoryUse{};
    if (memory) {
      item["pss"] = memory->pss;
      item["unique"] = memory->unique;
    }
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace brood
