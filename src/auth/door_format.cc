// The text of users.json and tokens.json (door_files.h).
#include <algorithm>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "auth/door_files.h"
#include "scram/crypto.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr int64_t kAnyTime = int64_t{1} << 53;  // seconds; what JSON's numbers hold exactly

// The members of one object. The first mistake is kept; after it every answer is empty.
class Members {
 public:
  Members(const json& object, std::string where, std::optional<std::string>& mistake)
      : object_(object), where_(std::move(where)), mistake_(mistake) {
    if (!object.is_object()) complain("expected an object");
  }

  void only(std::initializer_list<std::string_view> known) {
    if (!object_.is_object()) return;
    for (const auto& [name, value] : object_.items())
      if (std::find(known.begin(), known.end(), name) == known.end())
        complain("unknown member \"" + name + "\"");
  }

  const json& child(const char* name) {
    static const json kNothing;
    const auto found = object_.is_object() ? object_.find(name) : object_.end();
    if (object_.is_object() && found != object_.end()) return *found;
    complain("the member \"" + std::string(name) + "\" is missing");
    return kNothing;
  }

  std::string text(const char* name) {
    const json& value = child(name);
    if (value.is_string()) return value.get<std::string>();
    complain("\"" + std::string(name) + "\" must be a text");
    return {};
  }

  int64_t number(const char* name, int64_t least, int64_t most) {
    const json& value = child(name);
    if (value.is_number_integer()) {
      const auto number = value.get<int64_t>();
      if (number >= least && number <= most) return number;
    }
    complain("\"" + std::string(name) + "\" must be a number from " + std::to_string(least) +
             " to " + std::to_string(most));
    return least;
  }

  // `size` 0: any but none.
  std::string base64(const char* name, size_t size) {
    std::optional<std::string> bytes = from_base64(text(name));
    if (bytes && (size == 0 ? !bytes->empty() : bytes->size() == size)) return *bytes;
    complain("\"" + std::string(name) + "\" must be " +
             (size == 0 ? std::string("some") : std::to_string(size)) + " bytes in base64");
    return {};
  }

  void complain(const std::string& text) {
    if (!mistake_) mistake_ = where_.empty() ? text : where_ + ": " + text;
  }

 private:
  const json& object_;
  std::string where_;
  std::optional<std::string>& mistake_;
};

Result<json> parse(std::string_view text, const std::string& path) {
  try {
    return json::parse(text);
  } catch (const json::exception& wrong) {
    const std::string what = wrong.what();  // "[json.exception....] parse error at line 1, ..."
    const size_t at = what.find("at line");
    return Error{path + ": not JSON" + (at == what.npos ? "" : ", " + what.substr(at))};
  }
}

void check_version(Members& members) {
  const json& version = members.child("version");
  if (version != kVersion)
    members.complain("\"version\" must be " + std::to_string(kVersion) +
                     "; is the file of a newer brood?");
}

int iterations_of(Members& members) {
  return static_cast<int>(members.number("iterations", kMinScramIterations, kMaxScramIterations));
}

UserRecord user_of(const json& value, const std::string& name,
                   std::optional<std::string>& mistake) {
  Members members(value, "user " + name, mistake);
  members.only({"role", "salt", "iterations", "stored_key", "server_key", "created"});
  if (Result<void> good = check_user_name(name); !good) members.complain(good.error().message);
  const std::string role = members.text("role");
  if (role != "admin" && role != "user") members.complain("\"role\" must be \"admin\" or \"user\"");
  return UserRecord{role == "admin",
                    ScramKeys{members.base64("salt", 0), iterations_of(members),
                              members.base64("stored_key", kSha256Bytes),
                              members.base64("server_key", kSha256Bytes)},
                    members.number("created", 0, kAnyTime)};
}

bool is_token_id(const std::string& id) { return id.size() == 8 && from_hex(id).has_value(); }

TokenRecord token_of(const json& value, const TokenFile& file, std::string where,
                     std::optional<std::string>& mistake) {
  Members members(value, std::move(where), mistake);
  members.only({"id", "hash", "stored_key", "server_key", "user", "name", "created", "expires"});
  TokenRecord token;
  token.id = members.text("id");
  if (!is_token_id(token.id)) members.complain("\"id\" must be 8 hexadecimal digits");
  token.hash = from_hex(members.text("hash")).value_or("");
  if (token.hash.size() != kSha256Bytes) members.complain("\"hash\" must be 64 hexadecimal digits");
  token.keys = ScramKeys{file.salt, file.iterations, members.base64("stored_key", kSha256Bytes),
                         members.base64("server_key", kSha256Bytes)};
  token.user = members.text("user");
  if (token.user != kOwnerUser)
    if (Result<void> good = check_user_name(token.user); !good)
      members.complain(good.error().message);
  token.name = members.text("name");
  if (token.name.size() > kMaxTokenName) members.complain("\"name\" is too long");
  token.created = members.number("created", 0, kAnyTime);
  token.expires = members.number("expires", 0, kAnyTime);
  return token;
}

std::string to_text(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

Result<UserFile> parse_users(std::string_view text, const std::string& path) {
  Result<json> parsed = parse(text, path);
  if (!parsed) return parsed.error();
  std::optional<std::string> mistake;
  Members members(*parsed, "", mistake);
  members.only({"version", "secret", "users"});
  check_version(members);
  UserFile file;
  file.secret = members.base64("secret", kSha256Bytes);
  const json& users = members.child("users");
  if (!users.is_object()) members.complain("\"users\" must be an object");
  if (users.size() > kMaxUsers) members.complain("more users than " + std::to_string(kMaxUsers));
  if (!mistake)
    for (const auto& [name, value] : users.items())
      file.users.emplace(name, user_of(value, name, mistake));
  if (mistake) return Error{path + ": " + *mistake};
  return file;
}

Result<TokenFile> parse_tokens(std::string_view text, const std::string& path) {
  Result<json> parsed = parse(text, path);
  if (!parsed) return parsed.error();
  std::optional<std::string> mistake;
  Members members(*parsed, "", mistake);
  members.only({"version", "salt", "iterations", "tokens"});
  check_version(members);
  TokenFile file;
  file.salt = members.base64("salt", 0);
  file.iterations = iterations_of(members);
  const json& tokens = members.child("tokens");
  if (!tokens.is_array()) members.complain("\"tokens\" must be a list");
  if (tokens.size() > kMaxTokens)
    members.complain("more tokens than " + std::to_string(kMaxTokens));
  std::set<std::string> ids;
  for (size_t i = 0; !mistake && i < tokens.size(); ++i) {
    file.tokens.push_back(token_of(tokens[i], file, "token " + std::to_string(i + 1), mistake));
    if (!ids.insert(file.tokens.back().id).second)
      members.complain("two tokens have the id " + file.tokens.back().id);
  }
  if (mistake) return Error{path + ": " + *mistake};
  return file;
}

std::string format_users(const UserFile& file) {
  json users = json::object();
  for (const auto& [name, user] : file.users)
    users[name] = {{"role", user.admin ? "admin" : "user"},
                   {"salt", to_base64(user.keys.salt)},
                   {"iterations", user.keys.iterations},
                   {"stored_key", to_base64(user.keys.stored_key)},
                   {"server_key", to_base64(user.keys.server_key)},
                   {"created", user.created}};
  return to_text({{"version", kVersion}, {"secret", to_base64(file.secret)}, {"users", users}});
}

std::string format_tokens(const TokenFile& file) {
  json tokens = json::array();
  for (const TokenRecord& token : file.tokens)
    tokens.push_back({{"id", token.id},
                      {"hash", to_hex(token.hash)},
                      {"stored_key", to_base64(token.keys.stored_key)},
                      {"server_key", to_base64(token.keys.server_key)},
                      {"user", token.user},
                      {"name", token.name},
                      {"created", token.created},
                      {"expires", token.expires}});
  return to_text({{"version", kVersion},
                  {"salt", to_base64(file.salt)},
                  {"iterations", file.iterations},
                  {"tokens", tokens}});
}

}  // namespace brood
