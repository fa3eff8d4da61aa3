// A spare: a forked child that waits for one program, becomes it, and leaves. Worker process; never
// returns.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "worker/hot_pages.h"
#include "worker/program.h"
#include "worker/session.h"

namespace brood {

// What a spare inherits from its zygote by the fork.
struct SpareContext {
  pid_t zygote = 0;   // whose child this is; if it has another parent, it is an orphan and leaves
  int listener = -1;  // shared by all spares; the kernel wakes one
  int notices = -1;   // datagrams to the zygote: Notice, with the client's connection
  std::function<bool()> fresh;         // is what is loaded what is on disk?
  std::vector<PageRun> hot_pages;      // touched before there is a client
  std::vector<int> kept_descriptors;   // left open by the preload
  std::vector<std::string> overrides;  // NAME=value set for every program
  // The preload read these variables and saw these values; a client with others is refused.
  std::vector<std::pair<std::string, std::optional<std::string>>> bound_variables;
  // What the preload did to the environment.
  std::vector<std::pair<std::string, std::optional<std::string>>> changed_variables;
};

// spare -> zygote, one datagram: this process has taken a client, whose connection comes with it.
struct Notice {
  int32_t pid;
  char program[120];  // what it runs, for people; ended by NUL
};

// A child of the zygote, right after PyOS_AfterFork_Child(), with the GIL: runs an empty program to
// its end, or, given `cells`, begins a session, writes the pages that took (PageRun after PageRun)
// to `result` and leaves.
[[noreturn]] void rehearse(const SpareContext& context, Program& program, Cells* cells, int result);

// Hot: what every program touches is touched before there is a client. Reserve: only afterwards;
// costs no memory.
enum class Temperature { kHot, kReserve };

// The same place: waits for a client.
[[noreturn]] void be_spare(const SpareContext& context, Program& program, Cells& cells,
                           Temperature temperature);

}  // namespace brood
