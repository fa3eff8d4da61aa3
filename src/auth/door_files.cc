#include "auth/door_files.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "auth/private_file.h"
#include "base/sys.h"

namespace brood {
namespace {

constexpr size_t kMaxFile = 8 << 20;  // bytes; thousands of users
constexpr size_t kMaxUserName = 64;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

Result<Fd> lock_folder(const std::string& folder) {
  const std::string path = folder + "/door.lock";
  Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return sys_error("open " + path);
  while (flock(fd.get(), LOCK_EX) != 0)
    if (errno != EINTR) return sys_error("lock " + path);
  return fd;
}

}  // namespace

Result<void> check_user_name(std::string_view name) {
  if (name == kTokenUser || name == kOwnerUser)
    return Error{"the name " + std::string(name) + " is reserved; choose another one"};
  const bool good = !name.empty() && name.size() <= kMaxUserName && name[0] != '.' &&
                    name[0] != '_' && name[0] != '-' &&
                    std::all_of(name.begin(), name.end(), is_name_character);
  if (!good)
    return Error{
        "a user's name has 1 to 64 letters (a-z, A-Z), digits, \".\", \"_\" and \"-\", and begins "
        "with a letter or a digit"};
  return {};
}

Result<std::string> default_door_folder() {
  const char* config = getenv("XDG_CONFIG_HOME");
  if (config && config[0] == '/') return std::string(config) + "/brood";
  const char* home = getenv("HOME");
  if (home && home[0] == '/') return std::string(home) + "/.config/brood";
  return Error{"neither XDG_CONFIG_HOME nor HOME names a folder; set one of them"};
}

Result<UserFile> read_users(const std::string& folder) {
  const std::string path = users_path(folder);
  Result<std::string> text = read_private_file(path, kMaxFile);
  if (text) return parse_users(*text, path);
  if (text.error().code == ENOENT) return UserFile{};
  return text.error();
}

Result<TokenFile> read_tokens(const std::string& folder) {
  const std::string path = tokens_path(folder);
  Result<std::string> text = read_private_file(path, kMaxFile);
  if (text) return parse_tokens(*text, path);
  if (text.error().code == ENOENT) return TokenFile{};
  return text.error();
}

Result<LockedDoorFiles> LockedDoorFiles::open(const std::string& folder) {
  if (Result<void> made = make_folder(folder); !made) return made.error();
  Result<Fd> lock = lock_folder(folder);
  if (!lock) return lock.error();
  LockedDoorFiles files(folder, std::move(*lock));
  Result<UserFile> users = read_users(folder);
  if (!users) return users.error();
  Result<TokenFile> tokens = read_tokens(folder);
  if (!tokens) return tokens.error();
  files.users = std::move(*users);
  files.tokens = std::move(*tokens);
  return files;
}

Result<void> LockedDoorFiles::save_users() {
  return replace_file(users_path(folder_), format_users(users));
}

Result<void> LockedDoorFiles::save_tokens() {
  return replace_file(tokens_path(folder_), format_tokens(tokens));
}

}  // namespace brood
