// Messages between the daemon and a zygote, on the zygote's control socket. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace brood {

inline constexpr uint32_t kMaxSpares = 256;  // for one environment; each takes about 1 MiB

enum class ImageMode : uint8_t { kAuto = 0, kOn = 1, kOff = 2 };

// daemon -> zygote: what to load and how to serve it.
struct ZygoteSpec {
  std::string key;
  std::string socket_path;  // where spares listen; published by rename once the first spare waits
  std::vector<std::string> preload;  // module names, in order
  std::string init_file;             // absolute; empty: none
  std::string import_directory;  // on sys.path while preloading (the project's root); empty: none
  std::vector<std::string>
      overrides;  // NAME=value set in every worker (the configuration's `variables`)
  std::vector<std::string>
      ignored_variables;  // reading these while preloading does not bind the environment
  std::vector<std::string>
      watched_files;    // further files whose change retires the zygote (brood.toml)
  uint32_t spares = 4;  // 1-kMaxSpares
  ImageMode image = ImageMode::kAuto;
  bool allow_threads = false;  // serve although the preload left threads running (they are lost)
  bool allow_sockets = false;  // serve although the preload left sockets open
  bool for_sessions = false;   // spares are made ready for a session, not for a program
  bool for_gateways = true;    // the remote side of gateways is loaded, too
};
std::string encode(const ZygoteSpec& spec);
Result<ZygoteSpec> decode_zygote_spec(std::string_view payload);

// zygote -> daemon: serving. Times in microseconds.
struct ZygoteReady {
  uint64_t preload_us = 0;
  uint64_t fork_us = 0;        // median of a few forks before the image was made
  uint64_t image_fork_us = 0;  // and after; 0: no image
  uint64_t image_bytes = 0;
  uint64_t modules = 0;
  uint64_t watched_directories = 0;
  uint64_t polled_files =
      0;  // checked by stat before each run (network file systems, no watch to be had)
  std::vector<std::string> read_variables;  // names the preload read from os.environ
  std::string output;  // what the preload wrote to stdout and stderr (at most kMaxPreloadOutput)
  std::string python_version;
};
inline constexpr size_t kMaxPreloadOutput =
    64u << 10;  // bytes; the rest is dropped, for it is only shown to people
std::string encode(const ZygoteReady& ready);
Result<ZygoteReady> decode_zygote_ready(std::string_view payload);

// zygote -> daemon, then it leaves: the environment cannot be kept warm.
struct ZygoteFailed {
  std::string text;  // for people: a traceback, or the threads and the module that started them
};
std::string encode(const ZygoteFailed& failed);
Result<ZygoteFailed> decode_zygote_failed(std::string_view payload);

struct ZygoteStale {
  std::string path;  // the file or directory that changed
};
std::string encode(const ZygoteStale& stale);
Result<ZygoteStale> decode_zygote_stale(std::string_view payload);

// A spare was forked, took work, or was reaped.
struct WorkerEvent {
  uint32_t pid = 0;
  std::string program;    // kWorkerStarted: what it runs, for people
  bool signaled = false;  // kWorkerEnded
  uint32_t code = 0;      // kWorkerEnded
  uint32_t spares = 0;    // spares waiting after the event
};
std::string encode(const WorkerEvent& event);
Result<WorkerEvent> decode_worker_event(std::string_view payload);

}  // namespace brood
