#include "zygote/watch.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "base/clock.h"

namespace brood {
namespace {

constexpr uint32_t kEvents = IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM |
                             IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr int kMaxLinks = 40;  // as the kernel
constexpr int64_t kTick =
    10'000'000;  // time stamps come from a clock that ticks every few milliseconds
constexpr uint32_t kNameEvents = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;

// File systems whose writers the local kernel sees; f_type from statfs(2), linux/magic.h. Others
// are polled.
bool local_file_system(const std::string& path) {
  struct statfs info;
  if (statfs(path.c_str(), &info) != 0) return true;
  switch (static_cast<uint64_t>(info.f_type)) {
    case 0xEF53:      // ext2, ext3, ext4
    case 0x58465342:  // xfs
    case 0x9123683E:  // btrfs
    case 0x01021994:  // tmpfs
    case 0x858458F6:  // ramfs
    case 0xF2F52010:  // f2fs
    case 0x2FC12FC1:  // zfs
    case 0x794C7630:  // overlayfs: writes through the mount are seen; lower layers are read-only by
                      // contract
    case 0x73717368:  // squashfs
    case 0xE0F5E1E2:  // erofs
    case 0xCA451A4E:  // bcachefs
      return true;
    default: return false;
  }
}

std::string parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 || slash == path.npos ? "/" : path.substr(0, slash);
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// A name in a folder of the import path that can change what an import finds.
bool importable_name(std::string_view name, bool is_folder) {
  if (name.starts_with('.') || name == "__pycache__") return false;
  if (is_folder) return true;
  for (std::string_view ending : {".py", ".pyc", ".so", ".pth", ".zip", ".egg", ".egg-link"})
    if (name.ends_with(ending)) return true;
  return false;
}

int64_t realtime_ns() {
  timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

bool in_window(const statx_timestamp& stamp, int64_t begin) {
  return stamp.tv_sec * int64_t{1'000'000'000} + stamp.tv_nsec >= begin;
}

// A file that was written, or a file or folder that was put in place, since `begin`. A folder in
// which only names changed (a __pycache__ appeared) was not.
bool newly_in_place(int folder, const char* name, int64_t begin) {
  struct statx info;
  if (statx(folder, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &info) != 0)
    return true;
  if (!in_window(info.stx_ctime, begin)) return false;
  if (!S_ISDIR(info.stx_mode) || !(info.stx_mask & STATX_BTIME)) return true;
  return in_window(info.stx_btime, begin) || !in_window(info.stx_mtime, begin);
}

}  // namespace

int64_t process_start_ns() {
  const int64_t now = realtime_ns();
  Result<std::string> stat = read_file("/proc/self/stat", 8192);
  if (!stat) return now;
  // After the command's name come fields 3, 4, ... of proc(5); the 22nd is the start in ticks since
  // boot.
  size_t at = stat->rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; field++)
    at = stat->find(' ', at + 1);
  if (at == std::string::npos) return now;
  const int64_t ticks = std::strtoll(stat->c_str() + at, nullptr, 10);
  timespec up;
  clock_gettime(CLOCK_BOOTTIME, &up);
  const int64_t up_ns = up.tv_sec * int64_t{1'000'000'000} + up.tv_nsec;
  return now - (up_ns - ticks * (1'000'000'000 / sysconf(_SC_CLK_TCK)));
}

Result<std::unique_ptr<Watch>> Watch::create(int64_t loading_since_ns) {
  std::unique_ptr<Watch> watch(new Watch);
  watch->inotify_ = Fd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));  // without it everything is polled
  void* page =
      mmap(nullptr, sizeof(WatchState), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return sys_error("map shared memory");
  watch->state_ = new (page) WatchState;
  watch->started_ns_ = loading_since_ns - kTick;
  return watch;
}

Watch::~Watch() {
  if (state_) munmap(state_, sizeof(WatchState));
}

void Watch::watch_folder(const std::string& path, bool importable) {
  if (const auto known = by_path_.find(path); known != by_path_.end()) {
    if (known->second >= 0) folders_[known->second].importable |= importable;
    return;
  }
  int id = -1;
  if (inotify_ && local_file_system(path))
    id = inotify_add_watch(inotify_.get(), path.c_str(), kEvents | IN_MASK_ADD);
  by_path_[path] = id;
  if (id < 0) {
    // The folder's own time stamp changes when names in it appear or vanish.
    polled_.emplace_back(path, identify(path.c_str()));
    return;
  }
  Folder& folder = folders_[id];  // one folder may be reached by several paths
  if (folder.path.empty()) folder.path = path;
  folder.importable |= importable;
}

// On the import path: what appeared before it was watched may have been missed by the preload.
Result<void> Watch::check_new_names(const std::string& folder) const {
  if (identify(folder.c_str()).ctime_ns < started_ns_) return {};
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(folder.c_str()), closedir);
  if (!dir) return {};
  while (const dirent* entry = readdir(dir.get()))
    if (importable_name(entry->d_name, entry->d_type == DT_DIR) &&
        newly_in_place(dirfd(dir.get()), entry->d_name, started_ns_))
      return Error{folder + "/" + entry->d_name};
  return {};
}

void Watch::watch_itself(const std::string& path, uint32_t events) {
  const int id =
      inotify_ ? inotify_add_watch(inotify_.get(), path.c_str(), events | IN_MASK_ADD) : -1;
  if (id >= 0)
    itself_.emplace(id, path);
  else
    polled_.emplace_back(path, identify(path.c_str()));
}

// Every folder and symbolic link on the way to `path`, which is absolute, and the file itself if it
// has other names.
void Watch::watch_way(const std::string& path, int depth) {
  if (depth > kMaxLinks || !local_file_system(path)) return;  // else it is polled, by its path
  for (size_t end = 1; end != std::string::npos && end < path.size();) {
    end = path.find('/', end + 1);
    const std::string part = path.substr(0, end);
    if (!ways_.insert(part).second) continue;
    struct stat st;
    if (lstat(part.c_str(), &st) != 0) return;
    if (S_ISLNK(st.st_mode)) {
      watch_itself(part, IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB | IN_DONT_FOLLOW);
      const std::string target = read_link(part.c_str());
      if (target.empty()) continue;
      watch_way(target.front() == '/' ? target : parent(part) + "/" + target, depth + 1);
    } else if (S_ISDIR(st.st_mode)) {
      const int id = inotify_ ? inotify_add_watch(inotify_.get(), part.c_str(),
                                                  IN_DELETE_SELF | IN_MOVE_SELF | IN_MASK_ADD)
                              : -1;
      if (id >= 0 && folders_[id].path.empty()) folders_[id].path = part;
    } else if (st.st_nlink > 1) {
      watch_itself(part, IN_MODIFY);
    }
  }
}

Watch::Folder* Watch::folder_of(const std::string& path) {
  const auto found = by_path_.find(parent(path));
  return found == by_path_.end() || found->second < 0 ? nullptr : &folders_[found->second];
}

Result<void> Watch::record(const std::string& path) {
  const FileIdentity identity = identify(path.c_str());
  // One that is gone was there to be loaded, unless it never was a file (a member of an archive).
  if (!identity.exists() && identify(parent(path).c_str()).ctime_ns >= started_ns_)
    return Error{path};
  // A stamp from the future is a clock that was put back, not a change.
  if (identity.ctime_ns >= started_ns_ && identity.ctime_ns <= realtime_ns() + kTick)
    return Error{path};
  recorded_[path] = identity;
  if (Folder* folder = folder_of(path))
    folder->files.emplace(base_name(path));
  else
    polled_.emplace_back(path, identity);
  return {};
}

Result<void> Watch::add(const Dependencies& dependencies) {
  for (const std::string& path : dependencies.folders) {
    watch_folder(path, true);
    watch_way(path);
    if (Result<void> good = check_new_names(path); !good) return good;
  }
  for (const std::string& path : dependencies.files) {
    watch_way(path);
    // A file reached through a symbolic link depends on the link and on its target.
    char resolved[PATH_MAX];
    const std::string target = realpath(path.c_str(), resolved) ? resolved : path;
    for (const std::string& each : {path, target}) {
      watch_folder(parent(each), false);
      if (recorded_.contains(each)) continue;
      if (Result<void> good = record(each); !good) return good;
    }
  }
  for (const std::string& path : dependencies.absent) {
    // The nearest folder that exists, and the next name on the way down to the path.
    std::string name = path, above = parent(path);
    while (!identify(above.c_str()).exists() && above != "/") {
      name = above;
      above = parent(above);
    }
    watch_folder(above, false);
    recorded_[name] = {};
    if (Folder* folder = folder_of(name))
      folder->absent.emplace(base_name(name));
    else
      polled_.emplace_back(name, FileIdentity{});
  }
  return {};
}

std::string Watch::judge_event(const Folder& folder, uint32_t mask, const char* name) const {
  if (mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) return folder.path;
  if (!name) return "";
  const std::string path = folder.path + "/" + name;
  if (folder.absent.contains(name) && mask & kNameEvents) return path;
  if (folder.files.contains(name)) {
    if (mask & ~uint32_t{IN_ATTRIB | IN_ISDIR})
      return path;  // also when size and times are the same
    const auto known = recorded_.find(path);
    // ctime moves with every chmod or link; the content does not.
    FileIdentity now = identify(path.c_str());
    if (known == recorded_.end()) return path;
    now.ctime_ns = known->second.ctime_ns;
    return now == known->second ? "" : path;
  }
  if (folder.importable && mask & kNameEvents && importable_name(name, mask & IN_ISDIR))
    return path;
  return "";
}

std::string Watch::first_difference() const {
  for (const auto& [path, identity] : recorded_)
    if (identify(path.c_str()) != identity) return path;
  return "";
}

std::string Watch::judge() {
  state_->judging.store(1);
  std::string changed;
  alignas(inotify_event) char buffer[16384];
  for (;;) {
    const ssize_t got = read(inotify_.get(), buffer, sizeof buffer);
    if (got <= 0) break;
    for (ssize_t at = 0; at < got && changed.empty();) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      if (event->mask & IN_Q_OVERFLOW) {
        changed = first_difference();
        if (changed.empty()) changed = "(too many changes at once to tell)";
        break;
      }
      if (event->mask & IN_IGNORED) continue;
      if (const auto one = itself_.find(event->wd); one != itself_.end())
        changed = one->second;
      else if (const auto folder = folders_.find(event->wd); folder != folders_.end())
        changed = judge_event(folder->second, event->mask, event->len ? event->name : nullptr);
    }
  }
  if (const uint32_t index = state_->polled_change.load(); index > 0 && changed.empty())
    changed = polled_[index - 1].first;
  if (!changed.empty()) state_->stale.store(1);
  state_->judging.store(0);
  return changed;
}

bool Watch::fresh() const {
  const int64_t deadline = monotonic_ns() + kVerdictMs * int64_t{1'000'000};
  pollfd item{inotify_.get(), POLLIN, 0};
  for (;;) {
    // In this order: the zygote raises `judging` before it empties the queue.
    const bool queued = inotify_ && poll(&item, 1, 0) > 0;
    if (state_->stale.load()) return false;
    if (!queued && !state_->judging.load()) break;
    if (monotonic_ns() > deadline) return false;
    poll(nullptr, 0, 1);
  }
  if (state_->stale.load()) return false;
  for (size_t i = 0; i < polled_.size(); i++) {
    if (identify(polled_[i].first.c_str()) == polled_[i].second) continue;
    state_->polled_change.store(static_cast<uint32_t>(i + 1));
    return false;
  }
  return true;
}

}  // namespace brood
