// Stale code is never run: notices when what a zygote has loaded changes on disk.
//
// One inotify descriptor watches every folder something was loaded from. The kernel queues an event
// before the writer's system call returns. Only the zygote reads the queue; a spare with a client
// looks (is it readable?) and, if so, waits for the zygote's verdict in shared memory. Files on
// file systems that others can write unseen (network, FUSE, overlay lower layers) and folders for
// which no watch is to be had are compared by stat before every run.
//
// The way to a file is watched, too: a folder above it that is moved away, a symbolic link that is
// pointed elsewhere. And a file with further hard links itself, as it may be written under another
// name.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/sys.h"
#include "zygote/preload.h"

namespace brood {

// Shared between a zygote and its spares.
struct WatchState {
  // Raised before the queue is read and lowered after the verdict, so that "nothing to read"
  // together with "not judging" means: judged. Never lowered once stale.
  std::atomic<uint32_t> judging{0};
  std::atomic<uint32_t> stale{0};
  // By a spare: 1 + the index of a polled file that it found changed; 0: none.
  std::atomic<uint32_t> polled_change{0};
};

// When this process began, in nanoseconds since the epoch as time stamps of files count them; now,
// when that cannot be known.
int64_t process_start_ns();

class Watch {
 public:
  // Zygote, before the preload: opens the descriptor. What changes after `loading_since_ns` may
  // have been loaded as it was before.
  static Result<std::unique_ptr<Watch>> create(int64_t loading_since_ns);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // Zygote, after the preload. Fails when something changed since loading began. The message is the
  // path.
  Result<void> add(const Dependencies& dependencies);

  int descriptor() const { return inotify_.get(); }
  size_t watched_folders() const { return folders_.size(); }
  size_t polled_files() const { return polled_.size(); }

  // Zygote, when the descriptor is readable, or a spare that had a client ended: reads the queue
  // and judges. Returns what changed, also what that spare found out; empty: nothing that matters.
  std::string judge();

  // Spare with a client: true when what is loaded is what is on disk. Waits for the zygote's
  // verdict at most kVerdictMs; without one the answer is false, and the client goes the cold way.
  bool fresh() const;

  static constexpr int kVerdictMs = 20;

 private:
  struct Folder {
    std::string path;
    bool importable = false;                 // on the import path: new names matter
    std::unordered_set<std::string> files;   // loaded from here
    std::unordered_set<std::string> absent;  // must not appear
  };
  Watch() = default;
  Result<void> record(const std::string& path);
  void watch_folder(const std::string& path, bool importable);
  void watch_way(const std::string& path, int depth = 0);
  void watch_itself(const std::string& path, uint32_t events);
  Result<void> check_new_names(const std::string& folder) const;
  Folder* folder_of(const std::string& path);
  std::string judge_event(const Folder& folder, uint32_t mask, const char* name) const;
  std::string first_difference() const;

  Fd inotify_;
  WatchState* state_ = nullptr;              // shared mapping
  int64_t started_ns_ = 0;                   // CLOCK_REALTIME, like time stamps of files
  std::unordered_map<int, Folder> folders_;  // by watch descriptor
  std::unordered_map<std::string, int> by_path_;
  std::unordered_map<std::string, FileIdentity> recorded_;
  std::vector<std::pair<std::string, FileIdentity>> polled_;
  std::unordered_set<std::string> ways_;  // what watch_way() has seen
  std::unordered_map<int, std::string>
      itself_;  // links and files watched as such, by watch descriptor
};

}  // namespace brood
