// SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding: the messages and the arithmetic of
// both sides, and the client's side of an exchange. The server's is auth/auth.h. Pure but for
// scram_nonce(); any thread.
//
//   client-first   n,,n=USER,r=NONCE
//   server-first   r=NONCE+MORE,s=SALT,i=ROUNDS
//   client-final   c=biws,r=NONCE+MORE,p=PROOF
//   server-final   v=SIGNATURE
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace brood {

inline constexpr std::string_view kScramMechanism = "SCRAM-SHA-256";
// RFC 7677 asks for 4096 rounds at least. The upper limit keeps a server from holding up a client.
inline constexpr int kMinScramIterations = 4096;
inline constexpr int kMaxScramIterations = 1'000'000;
inline constexpr size_t kMaxScramMessage = 8192;  // bytes; a longer one is malformed
inline constexpr size_t kMaxScramText = 1024;     // bytes of a user's name or of a password

// What a server keeps instead of a password. Raw bytes.
struct ScramKeys {
  std::string salt;
  int iterations = 0;
  std::string stored_key;
  std::string server_key;
  bool operator==(const ScramKeys&) const = default;
};

// Takes milliseconds: that is what the rounds are for.
ScramKeys derive_scram_keys(std::string_view password, const std::string& salt, int iterations);

// Names and passwords: not empty, UTF-8 without control characters, at most kMaxScramText bytes.
// They are used byte for byte, which is what SASLprep gives for ASCII and for text in the
// normalisation form that keyboards give (NFC). `what` begins the error, as in "the password".
Result<void> check_scram_text(std::string_view text, std::string_view what);

std::string scram_nonce();  // 24 random characters

struct ScramClientFirst {
  std::string header;  // "n,," or "y,,"
  std::string user;    // unescaped, and good by check_scram_text()
  std::string nonce;
  std::string bare;  // the message without the header
};
Result<ScramClientFirst> parse_scram_client_first(std::string_view message);

// `nonce`: the client's and the server's own, joined.
std::string format_scram_server_first(std::string_view nonce, const ScramKeys& keys);

struct ScramClientFinal {
  std::string binding;  // must be the header of the first message
  std::string nonce;
  std::string proof;          // kSha256Bytes
  std::string without_proof;  // the message up to ",p="
};
Result<ScramClientFinal> parse_scram_client_final(std::string_view message);

// What both sides sign.
std::string scram_auth_message(std::string_view client_first_bare, std::string_view server_first,
                               std::string_view client_final_without_proof);

// Whether `proof` was made with the password of `keys`; in constant time.
bool scram_proof_matches(const ScramKeys& keys, std::string_view auth_message,
                         std::string_view proof);
std::string format_scram_server_final(const ScramKeys& keys, std::string_view auth_message);

// The client's side. Its three calls in this order, each once; after an Error the exchange is over.
class ScramClient {
 public:
  // Fails when the name or the password is not good by check_scram_text().
  static Result<ScramClient> make(std::string_view user, std::string_view password,
                                  const std::string& nonce = scram_nonce());

  std::string first_message() const;
  // Derives the keys, which takes milliseconds.
  Result<std::string> final_message(std::string_view server_first);
  // Whether the server knows the password, too. Only then believe what it says.
  Result<void> verify(std::string_view server_final) const;

 private:
  ScramClient(std::string_view user, std::string_view password, const std::string& nonce);
  std::string password_;
  std::string nonce_;
  std::string bare_;
  std::string expected_;  // the server's last message; empty: not known yet
};

}  // namespace brood
