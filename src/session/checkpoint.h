// Checkpoints of one session: the states before its newest cells, each a frozen copy, but for that
// of a session in which nothing has run: its environment gives that at any time. Server process,
// its one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "session/frozen.h"

namespace brood {

struct Checkpoint {
  uint64_t cell = 0;                   // the cell that it precedes
  uint64_t execution_count = 0;        // of that cell
  std::string code;                    // of that cell, its first line
  double created = 0;                  // seconds since the epoch
  uint64_t us = 0;                     // microseconds the fork took
  uint64_t threads = 0, children = 0;  // that it does not carry
  std::unique_ptr<Frozen> frozen;      // null: what the environment gives

  pid_t pid() const { return frozen ? frozen->pid() : 0; }
  bool is_known() const { return !frozen || frozen->pid() > 0; }  // which process it is
};

class Checkpoints {
 public:
  // The oldest go when there are more than `keep`; returns the cells of those.
  std::vector<uint64_t> add(Checkpoint checkpoint, size_t keep);
  Checkpoint* find(uint64_t cell);  // null: not kept
  Checkpoint* newest() { return list_.empty() ? nullptr : &list_.back(); }
  // The one that is `steps` back from now; 1: the newest.
  Checkpoint* back(uint64_t steps);
  // Takes it out, and drops all that are newer (their cells are returned in `dropped`).
  Checkpoint take(uint64_t cell, std::vector<uint64_t>& dropped);
  size_t size() const { return list_.size(); }
  void clear() { list_.clear(); }
  void collect_processes(std::set<pid_t>& processes) const;
  bool all_known() const;

  // Oldest first; `measure`: with pss and unique (a walk through /proc for each).
  nlohmann::json describe(bool measure);

 private:
  std::deque<Checkpoint> list_;
};

}  // namespace brood
