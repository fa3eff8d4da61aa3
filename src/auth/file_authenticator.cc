#include "auth/file_authenticator.h"

#include "scram/crypto.h"

namespace brood {
namespace {

constexpr char kByPassword[] = "password";
constexpr char kByServingToken[] = "serving";

class FileScramExchange final : public ScramExchange {
 public:
  explicit FileScramExchange(FileAuthenticator& door) : door_(door) {}

  Result<Step> step(std::string_view message) override {
    const State now = std::exchange(state_, State::kOver);
    std::optional<Step> answer;
    if (now == State::kFirst) answer = first(message);
    if (now == State::kFinal) answer = last(message);
    if (!answer) return Error{"authentication failed"};
    return std::move(*answer);
  }

 private:
  enum class State { kFirst, kFinal, kOver };

  std::optional<Step> first(std::string_view message) {
    Result<ScramClientFirst> parsed = parse_scram_client_first(message);
    if (!parsed) return std::nullopt;
    client_ = std::move(*parsed);
    nonce_ = client_.nonce + scram_nonce();
    server_first_ = format_scram_server_first(nonce_, door_.challenge(client_.user));
    state_ = State::kFinal;
    return Step{server_first_, std::nullopt};
  }

  std::optional<Step> last(std::string_view message) {
    Result<ScramClientFinal> parsed = parse_scram_client_final(message);
    if (!parsed || parsed->binding != client_.header || parsed->nonce != nonce_)
      return std::nullopt;
    const std::string auth_message =
        scram_auth_message(client_.bare, server_first_, parsed->without_proof);
    std::optional<FileAuthenticator::Proven> proven =
        door_.prove(client_.user, auth_message, parsed->proof);
    if (!proven) return std::nullopt;
    return Step{format_scram_server_final(proven->keys, auth_message), std::move(proven->identity)};
  }

  FileAuthenticator& door_;
  State state_ = State::kFirst;
  ScramClientFirst client_;
  std::string nonce_;  // the client's and ours
  std::string server_first_;
};

}  // namespace

FileAuthenticator::FileAuthenticator(DoorOptions options)
    : options_(std::move(options)), secret_(random_bytes(kSha256Bytes)) {
  if (!options_.serving_token.empty()) serving_hash_ = sha256(options_.serving_token);
}

Result<std::unique_ptr<FileAuthenticator>> FileAuthenticator::open(DoorOptions options) {
  if (!options.serving_token.empty())
    if (Result<void> good = check_scram_text(options.serving_token, "the server's token"); !good)
      return good.error();
  std::unique_ptr<FileAuthenticator> door(new FileAuthenticator(std::move(options)));
  if (Result<void> loaded = door->reload(); !loaded) return loaded.error();
  return door;
}

// --- the files -----------------------------------------------------------------------------------

Result<void> FileAuthenticator::reload() {
  Result<void> users = reload_users();
  Result<void> tokens = reload_tokens();
  return users ? tokens : users;
}

// Looks at the file before it is read: a change in between is seen at the next attempt.
Result<void> FileAuthenticator::reload_users() {
  users_file_ = identify(users_path(options_.folder).c_str());
  Result<UserFile> read = read_users(options_.folder);
  if (!read) return read.error();
  const UserFile old = std::exchange(users_, std::move(*read));
  drop_cookies_of_changed(old);
  return {};
}

Result<void> FileAuthenticator::reload_tokens() {
  tokens_file_ = identify(tokens_path(options_.folder).c_str());
  Result<TokenFile> read = read_tokens(options_.folder);
  if (read) tokens_ = std::move(*read);
  derive_serving_keys();
  return read ? Result<void>() : read.error();
}

// A file that stays broken is not read at every attempt.
void FileAuthenticator::refresh() {
  if (identify(users_path(options_.folder).c_str()) != users_file_) (void)reload_users();
  if (identify(tokens_path(options_.folder).c_str()) != tokens_file_) (void)reload_tokens();
}

// Who logs in as `token` is told one salt before it is known which token that will be.
void FileAuthenticator::derive_serving_keys() {
  const std::string salt =
      tokens_.salt.empty() ? hmac_sha256(secret_, kTokenUser).substr(0, kSaltBytes) : tokens_.salt;
  if (serving_keys_.salt == salt && serving_keys_.iterations == tokens_.iterations) return;
  serving_keys_ = derive_scram_keys(options_.serving_token, salt, tokens_.iterations);
}

void FileAuthenticator::drop_cookies_of_changed(const UserFile& old) {
  cookies_.drop_if([&](const Identity& identity) {
    if (identity.grant != kByPassword) return false;
    const auto before = old.users.find(identity.user);
    const auto after = users_.users.find(identity.user);
    return before == old.users.end() || after == users_.users.end() ||
           before->second.keys != after->second.keys;
  });
}

// --- who it is -----------------------------------------------------------------------------------

Identity FileAuthenticator::serving_identity() const {
  return Identity{options_.owner, true, kByServingToken};
}

std::optional<Identity> FileAuthenticator::identity_of(const TokenRecord& token) const {
  if (token.expires != 0 && token.expires <= options_.seconds()) return std::nullopt;
  if (token.user == kOwnerUser) return Identity{options_.owner, true, token.id};
  const auto user = users_.users.find(token.user);
  if (user == users_.users.end()) return std::nullopt;
  return Identity{token.user, user->second.admin, token.id};
}

std::optional<Identity> FileAuthenticator::identity_of(std::string_view user) const {
  const auto found = users_.users.find(user);
  if (found == users_.users.end()) return std::nullopt;
  return Identity{found->first, found->second.admin, kByPassword};
}

bool FileAuthenticator::has_tokens() {
  refresh();
  if (!options_.serving_token.empty() && !options_.token_is_made) return true;
  return std::any_of(tokens_.tokens.begin(), tokens_.tokens.end(),
                     [this](const TokenRecord& token) { return identity_of(token).has_value(); });
}

std::optional<Identity> FileAuthenticator::check_token(std::string_view token) {
  refresh();
  if (token.size() > kMaxScramText) return std::nullopt;
  const std::string hash = sha256(token);
  std::optional<Identity> identity;
  if (same_bytes(hash, serving_hash_)) identity = serving_identity();
  for (const TokenRecord& record : tokens_.tokens)
    if (same_bytes(hash, record.hash) && !identity) identity = identity_of(record);
  return identity;
}

std::optional<Identity> FileAuthenticator::check_password(std::string_view user,
                                                          std::string_view password) {
  if (user == kTokenUser) return check_token(password);
  if (user.size() > kMaxScramText || password.size() > kMaxScramText) return std::nullopt;
  refresh();
  const auto found = users_.users.find(user);
  const ScramKeys keys =
      found == users_.users.end() ? challenge(std::string(user)) : found->second.keys;
  const ScramKeys derived = derive_scram_keys(password, keys.salt, keys.iterations);
  if (!same_bytes(derived.stored_key, keys.stored_key)) return std::nullopt;
  return identity_of(user);
}

// --- SCRAM ---------------------------------------------------------------------------------------

std::unique_ptr<ScramExchange> FileAuthenticator::scram() {
  return std::make_unique<FileScramExchange>(*this);
}

ScramKeys FileAuthenticator::challenge(const std::string& user) {
  refresh();
  if (user == kTokenUser) return serving_keys_;
  if (const auto found = users_.users.find(user); found != users_.users.end())
    return found->second.keys;
  const std::string& secret = users_.secret.empty() ? secret_ : users_.secret;
  return ScramKeys{hmac_sha256(secret, "salt of " + user).substr(0, kSaltBytes),
                   kPasswordIterations, hmac_sha256(secret, "no key of " + user),
                   hmac_sha256(secret, "no server key of " + user)};
}

std::optional<FileAuthenticator::Proven> FileAuthenticator::prove(const std::string& user,
                                                                  std::string_view auth_message,
                                                                  std::string_view proof) {
  refresh();
  if (user == kTokenUser) return prove_token(auth_message, proof);
  ScramKeys keys = challenge(user);
  if (!scram_proof_matches(keys, auth_message, proof)) return std::nullopt;
  std::optional<Identity> identity = identity_of(user);
  if (!identity) return std::nullopt;
  return Proven{std::move(*identity), std::move(keys)};
}

std::optional<FileAuthenticator::Proven> FileAuthenticator::prove_token(
    std::string_view auth_message, std::string_view proof) const {
  if (!serving_hash_.empty() && scram_proof_matches(serving_keys_, auth_message, proof))
    return Proven{serving_identity(), serving_keys_};
  for (const TokenRecord& record : tokens_.tokens) {
    if (!scram_proof_matches(record.keys, auth_message, proof)) continue;
    std::optional<Identity> identity = identity_of(record);
    if (!identity) return std::nullopt;
    return Proven{std::move(*identity), record.keys};
  }
  return std::nullopt;
}

// --- cookies -------------------------------------------------------------------------------------

std::string FileAuthenticator::make_cookie(const Identity& identity) {
  return cookies_.make(identity, options_.monotonic());
}

// What the cookie was made from may have ended, and roles may have changed.
std::optional<Identity> FileAuthenticator::check_cookie(std::string_view cookie) {
  refresh();
  const std::optional<Identity> made_for = cookies_.check(cookie, options_.monotonic());
  if (!made_for) return std::nullopt;
  if (made_for->grant == kByServingToken) return made_for;
  if (made_for->grant == kByPassword) return identity_of(made_for->user);
  if (made_for->grant.empty() && made_for->user == options_.owner) return made_for;
  for (const TokenRecord& record : tokens_.tokens)
    if (record.id == made_for->grant) return identity_of(record);
  return std::nullopt;
}

void FileAuthenticator::drop_cookie(std::string_view cookie) { cookies_.drop(cookie); }

// --- delays --------------------------------------------------------------------------------------

Throttle FileAuthenticator::before_attempt(const std::string& address) {
  return throttle_.before_attempt(address, options_.monotonic());
}

Throttle FileAuthenticator::failed(const std::string& address) {
  return throttle_.failed(address, options_.monotonic());
}

void FileAuthenticator::succeeded(const std::string& address) { throttle_.succeeded(address); }

}  // namespace brood
