#include "main/tool_token.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "auth/accounts.h"
#include "base/clock.h"
#include "daemon/table.h"
#include "daemon/words.h"
#include "main/tool_client.h"
#include "main/tool_user.h"

namespace brood {
namespace {

using nlohmann::json;

struct TokenOptions {
  std::string folder;
  std::string user = kOwnerUser;
  std::string name;
  std::string expires = "30d";
  std::string id;
  bool as_json = false;
};

// Seconds since the epoch, 0: never.
std::optional<int64_t> end_of(const std::string& expires, int64_t now) {
  if (expires == "never") return 0;
  const std::optional<int64_t> duration = parse_duration(expires);
  if (!duration || *duration < kSecond) return std::nullopt;
  return now + *duration / kSecond;
}

std::string show_end(const TokenRecord& token, int64_t now) {
  if (token.expires == 0) return "never";
  return token.expires <= now ? "expired" : show_day(token.expires);
}

// The token alone on standard output, so that a script can take it.
int run_new(const TokenOptions& options) {
  Result<std::string> folder = door_folder(options.folder);
  if (!folder) return fail(folder.error().message);
  const int64_t now = now_seconds();
  const std::optional<int64_t> end = end_of(options.expires, now);
  if (!end)
    return fail("--expires " + options.expires +
                    ": expected a number with s, m, h or d, as in 30d, or never",
                kUsage);
  Result<NewToken> made = add_token(*folder, options.user, options.name, *end, now);
  if (!made) return fail(made.error().message);
  std::puts(made->token.c_str());
  std::fprintf(stderr, "brood: token %s of %s, %s%s; it is not shown again\n",
               made->record.id.c_str(), options.user.c_str(), *end == 0 ? "" : "valid until ",
               *end == 0 ? "without an end" : show_day(*end).c_str());
  return kSuccess;
}

int run_list(const TokenOptions& options) {
  Result<std::string> folder = door_folder(options.folder);
  if (!folder) return fail(folder.error().message);
  Result<TokenFile> file = read_tokens(*folder);
  if (!file) return fail(file.error().message);
  const int64_t now = now_seconds();
  json list = json::array();
  Table table({"ID", "USER", "CREATED", "EXPIRES", "NAME"});
  for (const TokenRecord& token : file->tokens) {
    list.push_back({{"id", token.id},
                    {"user", token.user},
                    {"name", token.name},
                    {"created", token.created},
                    {"expires", token.expires == 0 ? json() : json(token.expires)}});
    table.add({{token.id},
               {token.user},
               {show_day(token.created)},
               {show_end(token, now)},
               {harmless(token.name)}});
  }
  if (options.as_json)
    std::puts(json{{"tokens", list}}.dump(2).c_str());
  else if (list.empty())
    std::printf("no tokens in %s\n", folder->c_str());
  else
    std::fputs(table.render(false, 0).c_str(), stdout);
  return kSuccess;
}

int run_revoke(const TokenOptions& options) {
  Result<std::string> folder = door_folder(options.folder);
  if (!folder) return fail(folder.error().message);
  Result<TokenRecord> revoked = revoke_token(*folder, options.id);
  if (!revoked) return fail(revoked.error().message);
  const std::string name = revoked->name.empty() ? "" : " (" + harmless(revoked->name) + ")";
  std::printf("revoked %s of %s%s\n", revoked->id.c_str(), revoked->user.c_str(), name.c_str());
  return kSuccess;
}

}  // namespace

void add_token_commands(CLI::App& app, int& status) {
  CLI::App* token = app.add_subcommand("token", "secrets that let programs in to brood serve");
  token->require_subcommand(1);
  auto options = std::make_shared<TokenOptions>();
  const auto add = [&](const char* name, const char* help, int (*run)(const TokenOptions&)) {
    CLI::App* command = token->add_subcommand(name, help);
    add_folder_option(command, options->folder);
    command->callback([options, run, &status] { status = run(*options); });
    return command;
  };
  CLI::App* make = add("new", "make a token and print it, once", run_new);
  make->add_option("--user", options->user, "whose; owner: an admin's, of who runs the server")
      ->capture_default_str();
  make->add_option("--name", options->name, "what it is for");
  make->add_option("--expires", options->expires, "after how long, or never")
      ->capture_default_str();
  add("list", "all tokens, not their secrets", run_list)
      ->add_flag("--json", options->as_json, "for programs");
  add("revoke", "make a token worthless", run_revoke)
      ->add_option("ID", options->id, "as shown by brood token list")
      ->required();
}

}  // namespace brood
