#include "main/tool_user.h"

#include <time.h>

#include <array>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "auth/accounts.h"
#include "daemon/table.h"
#include "main/tool_client.h"
#include "main/tool_password.h"

namespace brood {
namespace {

using nlohmann::json;

struct UserOptions {
  std::string folder;
  std::string name;
  bool admin = false;
  bool password_stdin = false;
  bool as_json = false;
};

Result<std::string> password_for(const UserOptions& options) {
  return options.password_stdin ? read_password() : ask_new_password(options.name);
}

int run_add(const UserOptions& options) {
  Result<std::string> folder = door_folder(options.folder);
  if (!folder) return fail(folder.error().message);
  if (Result<void> good = check_user_name(options.name); !good)  // before anything is asked
    return fail(good.error().message, kUsage);
  Result<UserFile> present = read_users(*folder);
  if (!present) return fail(present.error().message);
  if (present->users.contains(options.name))
    return fail("there is a user " + options.name +
                " already; brood user passwd gives a new password");
  Result<std::string> password = password_for(options);
  if (!password) return fail(password.error().message);
  Result<void> added = add_user(*folder, options.name, *password, options.admin, now_seconds());
  return added ? kSuccess : fail(added.error().message);
}

int run_passwd(const UserOptions& options) {
  Result<std::string> folder = door_folder(options.folder);
  if (!folder) return fail(folder.error().message);
  Result<UserFile> present = read_users(*folder);
  if (!present) return fail(present.error().message);
  if (!present->users.contains(options.name))
    return fail("there is no user " + options.name + "; see brood user list");
  Result<std::string> password = password_for(options);
  if (!password) return fail(password.error().message);
  Result<void> changed = set_password(*folder, options.name, *password);
  return changed ? kSuccess : fail(changed.error().message);
}

int run_remove(const UserOptions& options) {
  Result<std::string> folder = door_folder(options.folder);
  if (!folder) return fail(folder.error().message);
  Result<size_t> tokens = remove_user(*folder, options.name);
  if (!tokens) return fail(tokens.error().message);
  std::printf("removed %s", options.name.c_str());
  if (*tokens > 0) std::printf(" and %zu %s", *tokens, *tokens == 1 ? "token" : "tokens");
  std::puts("");
  return kSuccess;
}

size_t tokens_of(const TokenFile& file, const std::string& user) {
  size_t count = 0;
  for (const TokenRecord& token : file.tokens)
    count += token.user == user ? 1 : 0;
  return count;
}

int run_list(const UserOptions& options) {
  Result<std::string> folder = door_folder(options.folder);
  if (!folder) return fail(folder.error().message);
  Result<UserFile> users = read_users(*folder);
  if (!users) return fail(users.error().message);
  Result<TokenFile> tokens = read_tokens(*folder);
  if (!tokens) return fail(tokens.error().message);
  json list = json::array();
  Table table({"USER", "ROLE", "CREATED", ">TOKENS"});
  for (const auto& [name, user] : users->users) {
    const char* role = user.admin ? "admin" : "user";
    const size_t count = tokens_of(*tokens, name);
    list.push_back({{"name", name}, {"role", role}, {"created", user.created}, {"tokens", count}});
    table.add({{name}, {role}, {show_day(user.created)}, {std::to_string(count)}});
  }
  if (options.as_json)
    std::puts(json{{"users", list}}.dump(2).c_str());
  else if (list.empty())
    std::printf("no users in %s\n", folder->c_str());
  else
    std::fputs(table.render(false, 0).c_str(), stdout);
  return kSuccess;
}

}  // namespace

void add_folder_option(CLI::App* command, std::string& folder) {
  command->add_option("--config-dir", folder,
                      "the folder of users.json and tokens.json; default: brood's configuration");
}

Result<std::string> door_folder(const std::string& option) {
  if (!option.empty()) return option;
  return default_door_folder();
}

std::string show_day(int64_t seconds) {
  const time_t when = seconds;
  tm parts{};
  std::array<char, 32> text{};
  if (!localtime_r(&when, &parts) || strftime(text.data(), text.size(), "%Y-%m-%d", &parts) == 0)
    return "?";
  return text.data();
}

int64_t now_seconds() { return time(nullptr); }

void add_user_commands(CLI::App& app, int& status) {
  CLI::App* user = app.add_subcommand("user", "who may log in to brood serve");
  user->require_subcommand(1);
  auto options = std::make_shared<UserOptions>();
  const auto add = [&](const char* name, const char* help, int (*run)(const UserOptions&)) {
    CLI::App* command = user->add_subcommand(name, help);
    add_folder_option(command, options->folder);
    command->callback([options, run, &status] { status = run(*options); });
    return command;
  };
  CLI::App* add_one = add("add", "add a user and ask for its password", run_add);
  add_one->add_flag("--admin", options->admin, "sees and ends everyone's sessions");
  CLI::App* remove = add("remove", "remove a user and its tokens", run_remove);
  CLI::App* passwd = add("passwd", "give a user a new password", run_passwd);
  add("list", "all users", run_list)->add_flag("--json", options->as_json, "for programs");
  for (CLI::App* command : {add_one, remove, passwd})
    command->add_option("NAME", options->name, "letters, digits, \".\", \"_\", \"-\"")->required();
  for (CLI::App* command : {add_one, passwd})
    command->add_flag("--password-stdin", options->password_stdin,
                      "the password is the first line of standard input");
}

}  // namespace brood
