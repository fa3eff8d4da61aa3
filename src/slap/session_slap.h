// `brood slap session`: load on a `brood serve`, and what it answers. Threads with connections
// with one session each; on every session a number of cells. Blocking.
//
// Three phases, each ends on all threads before the next one begins: sessions are made and run
// their first cell; the other cells run on all sessions at the same time; sessions are removed.
// SIGINT, SIGTERM and SIGHUP end a phase early, and the sessions are removed all the same; a second
// one leaves at once. Sessions of a program that was killed end by themselves a minute later.
#pragma once

#include <string>

namespace brood {

struct SessionSlapOptions {
  int threads = 4;
  int connections = 4;   // of each thread; each has one session
  int executions = 100;  // cells of each session, the first one included
  int checkpoints = -1;  // kept for each session; -1: as the server has it
  std::string env;       // empty: the server's default
  std::string server;    // empty: BROOD_SERVER, else the user's own
  std::string code = "1+1";
  std::string json;     // file to write; empty: none
  std::string plot;     // SVG file to draw; empty: none
  std::string python;   // interpreter with matplotlib, for the plot
  std::string scripts;  // folder of brood's Python package, with bench_slap_plot.py
};

// The exit status: 0; 1 when something failed; 130 after a signal. Call it before there are other
// threads.
int session_slap(const SessionSlapOptions& options);

}  // namespace brood
