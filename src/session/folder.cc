#include "session/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <filesystem>
#include <memory>

#include "base/pointers.h"
#include "base/sys.h"

namespace brood {
namespace {

constexpr size_t kMaxListed = 10'000;
constexpr ptrdiff_t kMaxDepth = 100;      // folders in a path
constexpr uint64_t kMaxPiece = 1u << 20;  // bytes

Fd open_beneath(int directory, const std::string& path, uint64_t flags, uint64_t mode = 0) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Fd(static_cast<int>(syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how)));
}

Problem problem(const std::string& path) {
  switch (errno) {
    case ENOENT: return {ProblemCode::kNotFound, "there is no file " + path};
    case EXDEV:
    case ELOOP:
      return {ProblemCode::kForbidden,
              path + " leads out of the session's folder, or over a symbolic link"};
    case ENOSPC:
    case EDQUOT: return {ProblemCode::kLimit, "no space is left for " + path};
    case EISDIR: return {ProblemCode::kBadRequest, path + " is a folder"};
    case ENOTDIR: return {ProblemCode::kBadRequest, "a part of " + path + " is no folder"};
    case ENOTEMPTY: return {ProblemCode::kBadRequest, "the folder " + path + " is not empty"};
    case ENAMETOOLONG: return {ProblemCode::kBadRequest, "the path is too long"};
    default: return {ProblemCode::kForbidden, sys_error("use " + path).message};
  }
}

// "a/b/c" -> "a/b" and "c".
std::pair<std::string, std::string> split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == path.npos) return {".", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

std::optional<Problem> bad_path(const std::string& path) {
  if (path.empty() || path.front() == '/' || path.find('\0') != path.npos)
    return Problem{ProblemCode::kBadRequest, "a path is relative to the session's folder"};
  if (path.size() >= PATH_MAX || std::count(path.begin(), path.end(), '/') > kMaxDepth)
    return Problem{ProblemCode::kBadRequest, "the path is too long: expected less than " +
                                                 std::to_string(PATH_MAX) + " bytes and at most " +
                                                 std::to_string(kMaxDepth) + " folders"};
  for (size_t at = 0; at <= path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    if (path.compare(at, slash - at, "..") == 0)
      return Problem{ProblemCode::kForbidden, path + " leads out of the session's folder"};
    at = slash + 1;
  }
  return std::nullopt;
}

// Folders on the way to a new file are made.
void make_parents(int directory, const std::string& path) {
  for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
    const auto [above, name] = split(path.substr(0, slash));
    if (const Fd parent = open_beneath(directory, above, O_PATH | O_DIRECTORY); parent)
      mkdirat(parent.get(), name.c_str(), 0700);
  }
}

const char* kind_of(const struct stat& st) {
  if (S_ISREG(st.st_mode)) return "file";
  return S_ISDIR(st.st_mode) ? "folder" : "other";
}

}  // namespace

Result<Folder> Folder::make(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0) return sys_error("make " + path);
  Folder folder;
  folder.path_ = path;
  folder.directory_ = Fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder.directory_) return sys_error("open " + path);
  return folder;
}

bool Folder::is_empty() const {
  std::error_code error;
  return std::filesystem::is_empty(path_, error);
}

Result<pid_t> Folder::start_copy(const Folder& other) const {
  std::vector<std::string> words = {"cp", "-a", "--reflink=auto", "--", path_ + "/.", other.path_};
  std::vector<char*> arguments = pointers(words);
  pid_t pid;
  if (const int failed = posix_spawnp(&pid, "cp", nullptr, nullptr, arguments.data(), environ))
    return sys_error("start cp", failed);
  return pid;
}

Result<pid_t> Folder::start_removal() {
  directory_.reset();
  if (path_.empty() || rmdir(path_.c_str()) == 0 || errno == ENOENT) {
    path_.clear();
    return 0;
  }
  // Folders that the program has made unreadable must not keep their content.
  static constexpr const char* kRemove =
      "rm -rf -- \"$1\" 2>/dev/null || { chmod -R u+rwX -- \"$1\" 2>/dev/null; rm -rf -- \"$1\" "
      "2>/dev/null; }";
  std::vector<std::string> words = {"sh", "-c", kRemove, "sh", path_};
  std::vector<char*> arguments = pointers(words);
  pid_t pid;
  if (const int failed = posix_spawnp(&pid, "sh", nullptr, nullptr, arguments.data(), environ))
    return sys_error("start rm", failed);
  return pid;
}

Folder::Or<nlohmann::json> Folder::list(const std::string& path) const {
  const std::string wanted = path.empty() ? "." : path;
  if (auto bad = bad_path(wanted)) return *bad;
  Fd opened = open_beneath(directory_.get(), wanted, O_RDONLY | O_DIRECTORY);
  if (!opened) return problem(wanted);
  const int number = opened.get();
  const std::unique_ptr<DIR, int (*)(DIR*)> reader(fdopendir(number), closedir);
  if (!reader) return problem(wanted);
  opened.release();
  nlohmann::json out = nlohmann::json::array();
  while (const dirent* entry = readdir(reader.get())) {
    const std::string name = entry->d_name;
    struct stat st;
    if (name == "." || name == ".." || out.size() >= kMaxListed) continue;
    if (fstatat(number, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    out.push_back({{"name", name},
                   {"type", kind_of(st)},
                   {"size", st.st_size},
                   {"mtime", static_cast<double>(st.st_mtim.tv_sec)}});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return a["name"].template get_ref<const std::string&>() <
           b["name"].template get_ref<const std::string&>();
  });
  return out;
}

Folder::Or<uint64_t> Folder::put(const std::string& path, uint64_t offset, std::string_view bytes,
                                 uint64_t limit) {
  if (auto bad = bad_path(path)) return *bad;
  if (limit != 0 && (bytes.size() > limit || offset > limit - bytes.size()))
    return Problem{ProblemCode::kLimit,
                   "a file may have at most " + std::to_string(limit) + " bytes"};
  if (offset == 0) make_parents(directory_.get(), path);
  const uint64_t how = O_WRONLY | O_NONBLOCK | O_NOCTTY | (offset == 0 ? O_CREAT : 0);
  const Fd file = open_beneath(directory_.get(), path, how, offset == 0 ? 0600 : 0);
  if (!file) return problem(path);
  struct stat st;
  if (fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode))
    return Problem{ProblemCode::kBadRequest, path + " is no regular file"};
  if (offset == 0 && ftruncate(file.get(), 0) != 0) return problem(path);
  if (offset != 0 && static_cast<uint64_t>(st.st_size) != offset)
    return Problem{ProblemCode::kBadRequest, path + " has " + std::to_string(st.st_size) +
                                                 " bytes; the next piece begins there"};
  if (lseek(file.get(), static_cast<off_t>(offset), SEEK_SET) < 0 || !write_all(file.get(), bytes))
    return problem(path);
  return offset + bytes.size();
}

Folder::Or<Folder::Piece> Folder::get(const std::string& path, uint64_t offset,
                                      uint64_t length) const {
  if (auto bad = bad_path(path)) return *bad;
  const Fd file = open_beneath(directory_.get(), path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) return problem(path);
  struct stat st;
  if (fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode))
    return Problem{ProblemCode::kBadRequest, path + " is no regular file"};
  Piece piece;
  piece.size = static_cast<uint64_t>(st.st_size);
  piece.bytes.resize(std::min(length == 0 ? kMaxPiece : length, kMaxPiece));
  const ssize_t got =
      pread(file.get(), piece.bytes.data(), piece.bytes.size(), static_cast<off_t>(offset));
  if (got < 0) return problem(path);
  piece.bytes.resize(static_cast<size_t>(got));
  piece.eof = offset + piece.bytes.size() >= piece.size || got == 0;
  return piece;
}

Folder::Or<bool> Folder::erase(const std::string& path) {
  if (auto bad = bad_path(path)) return *bad;
  const auto [above, name] = split(path);
  if (name.empty() || name == "." || name == "..")
    return Problem{ProblemCode::kBadRequest, "name a file to delete"};
  const Fd parent = open_beneath(directory_.get(), above, O_PATH | O_DIRECTORY);
  if (!parent) return problem(path);
  if (unlinkat(parent.get(), name.c_str(), 0) == 0) return true;
  if ((errno == EISDIR || errno == EPERM) &&
      unlinkat(parent.get(), name.c_str(), AT_REMOVEDIR) == 0)
    return true;
  return problem(path);
}

}  // namespace brood
