// `brood bench run`: what a warm run costs, in one paired run beside /bin/true and the plain
// interpreter. docs and README quote its table. Blocking; takes a few minutes; uses a runtime
// directory and a daemon of its own.
#pragma once

#include <string>
#include <vector>

namespace brood {

struct BenchOptions {
  std::string brood;    // path of the thin client
  std::string module;   // path of _brood.abi3.so
  std::string scripts;  // folder of brood's Python package, with bench_fork.py and bench_plot.py
  std::string python;   // interpreter that has the modules
  std::vector<std::string> preload{"numpy", "pandas", "matplotlib.pyplot"};
  int runs = 1000;                     // warm runs; the slow comparisons take a share of it
  int heap_mib = 1024;                 // the largest heap of the fork series
  int spares = 200;                    // for the memory of one more spare; 1-255
  std::string output = "brood-bench";  // writes <output>.json and <output>.svg
};

// The exit status: 0 when everything was measured, whether or not a bar was met.
int bench_run(const BenchOptions& options);

}  // namespace brood
