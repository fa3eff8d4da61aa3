#include "scram/scram.h"

#include <charconv>
#include <optional>

#include "scram/crypto.h"

namespace brood {
namespace {

constexpr std::string_view kHeader = "n,,";
constexpr size_t kNonceBytes = 18;
constexpr size_t kMaxNonce = 1024;

// Takes "name=value" off the front of `rest` (with the comma that follows, if any). Nothing: what
// comes next has another name.
std::optional<std::string_view> take(std::string_view& rest, char name) {
  if (rest.size() < 2 || rest[0] != name || rest[1] != '=') return std::nullopt;
  const size_t end = rest.find(',');
  const std::string_view value = rest.substr(2, end == rest.npos ? end : end - 2);
  rest = end == rest.npos ? std::string_view() : rest.substr(end + 1);
  return value;
}

Error malformed(std::string_view message) {
  return Error{"malformed SCRAM message: " + std::string(message)};
}

bool is_nonce(std::string_view text) {
  if (text.empty() || text.size() > kMaxNonce) return false;
  for (const char c : text)
    if (c < 0x21 || c > 0x7e || c == ',') return false;
  return true;
}

std::string escape(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == ',')
      out += "=2C";
    else if (c == '=')
      out += "=3D";
    else
      out.push_back(c);
  }
  return out;
}

std::optional<std::string> unescape(std::string_view name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] != '=') {
      out.push_back(name[i]);
      continue;
    }
    const std::string_view code = name.substr(i, 3);
    if (code != "=2C" && code != "=3D") return std::nullopt;
    out.push_back(code == "=2C" ? ',' : '=');
    i += 2;
  }
  return out;
}

std::string exclusive_or(std::string_view a, std::string_view b) {
  std::string out(a);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<char>(out[i] ^ b[i]);
  return out;
}

// The length of the well-formed UTF-8 character that `text` begins with, without surrogates and
// overlong forms; 0: there is none, or it is a control character.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const auto follows = [&](size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return lead >= 0x20 && lead != 0x7f ? 1 : 0;
  if (lead < 0xc2 || lead > 0xf4 || !follows(1)) return 0;
  if (lead < 0xe0) return lead == 0xc2 && byte(1) < 0xa0 ? 0 : 2;  // U+0080..U+009F: controls
  if (!follows(2)) return 0;
  if (lead < 0xf0)
    return (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) > 0x9f) ? 0 : 3;
  if (!follows(3) || (lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) > 0x8f)) return 0;
  return 4;
}

struct ServerFirst {
  std::string nonce;
  std::string salt;
  int iterations = 0;
};

Result<ServerFirst> parse_server_first(std::string_view message) {
  if (message.size() > kMaxScramMessage) return malformed("too long");
  std::string_view rest = message;
  const auto nonce = take(rest, 'r');
  const auto salt = take(rest, 's');
  const auto rounds = take(rest, 'i');
  if (!nonce || !salt || !rounds || !is_nonce(*nonce)) return malformed("expected r=,s=,i=");
  std::optional<std::string> raw = from_base64(*salt);
  if (!raw || raw->empty()) return malformed("the salt is not base64");
  int iterations = 0;
  const auto [end, wrong] =
      std::from_chars(rounds->data(), rounds->data() + rounds->size(), iterations);
  if (wrong != std::errc() || end != rounds->data() + rounds->size())
    return malformed("the number of rounds is no number");
  return ServerFirst{std::string(*nonce), std::move(*raw), iterations};
}

std::string client_key(std::string_view salted) { return hmac_sha256(salted, "Client Key"); }

}  // namespace

Result<void> check_scram_text(std::string_view text, std::string_view what) {
  if (text.empty()) return Error{std::string(what) + " is empty"};
  if (text.size() > kMaxScramText)
    return Error{std::string(what) + " is longer than " + std::to_string(kMaxScramText) + " bytes"};
  for (size_t i = 0; i < text.size();) {
    const size_t length = character_length(text.substr(i));
    if (length == 0)
      return Error{std::string(what) + " must be UTF-8 text without control characters"};
    i += length;
  }
  return {};
}

ScramKeys derive_scram_keys(std::string_view password, const std::string& salt, int iterations) {
  const std::string salted = pbkdf2_sha256(password, salt, iterations);
  return ScramKeys{salt, iterations, sha256(client_key(salted)), hmac_sha256(salted, "Server Key")};
}

std::string scram_nonce() { return to_base64url(random_bytes(kNonceBytes)); }

Result<ScramClientFirst> parse_scram_client_first(std::string_view message) {
  if (message.size() > kMaxScramMessage) return malformed("too long");
  if (message.starts_with("p=")) return malformed("channel binding is not offered here");
  const std::string_view header = message.substr(0, kHeader.size());
  if (header != kHeader && header != "y,,") return malformed("expected n,, or y,,");
  const std::string_view bare = message.substr(header.size());
  std::string_view rest = bare;
  const auto name = take(rest, 'n');
  const auto nonce = take(rest, 'r');
  if (!name || !nonce || !is_nonce(*nonce)) return malformed("expected n=,r=");
  std::optional<std::string> user = unescape(*name);
  if (!user) return malformed("a \"=\" in a name that is neither =2C nor =3D");
  if (Result<void> good = check_scram_text(*user, "the user's name"); !good) return good.error();
  return ScramClientFirst{std::string(header), std::move(*user), std::string(*nonce),
                          std::string(bare)};
}

std::string format_scram_server_first(std::string_view nonce, const ScramKeys& keys) {
  return "r=" + std::string(nonce) + ",s=" + to_base64(keys.salt) +
         ",i=" + std::to_string(keys.iterations);
}

Result<ScramClientFinal> parse_scram_client_final(std::string_view message) {
  if (message.size() > kMaxScramMessage) return malformed("too long");
  const size_t before_proof = message.rfind(",p=");
  if (before_proof == message.npos) return malformed("the proof is missing");
  const std::string_view without_proof = message.substr(0, before_proof);
  std::string_view rest = without_proof;
  const auto binding = take(rest, 'c');
  const auto nonce = take(rest, 'r');
  if (!binding || !nonce || !is_nonce(*nonce)) return malformed("expected c=,r=");
  std::optional<std::string> header = from_base64(*binding);
  std::optional<std::string> proof = from_base64(message.substr(before_proof + 3));
  if (!header || !proof) return malformed("the proof is not base64");
  if (proof->size() != kSha256Bytes) return malformed("the proof is not of this mechanism");
  return ScramClientFinal{std::move(*header), std::string(*nonce), std::move(*proof),
                          std::string(without_proof)};
}

std::string scram_auth_message(std::string_view client_first_bare, std::string_view server_first,
                               std::string_view client_final_without_proof) {
  std::string out(client_first_bare);
  out.append(",").append(server_first).append(",").append(client_final_without_proof);
  return out;
}

bool scram_proof_matches(const ScramKeys& keys, std::string_view auth_message,
                         std::string_view proof) {
  if (proof.size() != kSha256Bytes) return false;
  const std::string key = exclusive_or(proof, hmac_sha256(keys.stored_key, auth_message));
  return same_bytes(sha256(key), keys.stored_key);
}

std::string format_scram_server_final(const ScramKeys& keys, std::string_view auth_message) {
  return "v=" + to_base64(hmac_sha256(keys.server_key, auth_message));
}

ScramClient::ScramClient(std::string_view user, std::string_view password, const std::string& nonce)
    : password_(password), nonce_(nonce), bare_("n=" + escape(user) + ",r=" + nonce) {}

Result<ScramClient> ScramClient::make(std::string_view user, std::string_view password,
                                      const std::string& nonce) {
  if (Result<void> good = check_scram_text(user, "the user's name"); !good) return good.error();
  if (Result<void> good = check_scram_text(password, "the password"); !good) return good.error();
  return ScramClient(user, password, nonce);
}

std::string ScramClient::first_message() const { return std::string(kHeader) + bare_; }

Result<std::string> ScramClient::final_message(std::string_view server_first) {
  Result<ServerFirst> server = parse_server_first(server_first);
  if (!server) return server.error();
  if (server->nonce.size() <= nonce_.size() || !server->nonce.starts_with(nonce_))
    return Error{"the server answered another login: its nonce does not continue ours"};
  if (server->iterations < kMinScramIterations || server->iterations > kMaxScramIterations)
    return Error{"the server asks for " + std::to_string(server->iterations) +
                 " rounds; expected " + std::to_string(kMinScramIterations) + " to " +
                 std::to_string(kMaxScramIterations)};
  const std::string without_proof = "c=" + to_base64(kHeader) + ",r=" + server->nonce;
  const std::string auth_message = scram_auth_message(bare_, server_first, without_proof);
  const std::string salted = pbkdf2_sha256(password_, server->salt, server->iterations);
  const std::string key = client_key(salted);
  const std::string signature = hmac_sha256(sha256(key), auth_message);
  expected_ = "v=" + to_base64(hmac_sha256(hmac_sha256(salted, "Server Key"), auth_message));
  return without_proof + ",p=" + to_base64(exclusive_or(key, signature));
}

Result<void> ScramClient::verify(std::string_view server_final) const {
  if (server_final.starts_with("e="))
    return Error{"the server refused the login: wrong user, password or token"};
  if (expected_.empty() || !same_bytes(server_final.substr(0, server_final.find(',')), expected_))
    return Error{"the server could not prove that it knows the password; do not trust it"};
  return {};
}

}  // namespace brood
