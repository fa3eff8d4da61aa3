// What the login needs of a cryptographic library: hashes, random bytes and their spellings. Pure
// but for random_bytes(); any thread. Strings hold raw bytes unless a name says hex or base64.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace brood {

inline constexpr size_t kSha256Bytes = 32;

std::string sha256(std::string_view bytes);
std::string hmac_sha256(std::string_view key, std::string_view bytes);
// PBKDF2 with HMAC-SHA-256, one block of output (the Hi() of RFC 5802).
std::string pbkdf2_sha256(std::string_view password, std::string_view salt, int iterations);

// From the system's generator; aborts when it has none.
std::string random_bytes(size_t count);

// In a time that depends on the lengths only.
bool same_bytes(std::string_view a, std::string_view b);

std::string to_hex(std::string_view bytes);
std::string to_base64(std::string_view bytes);
// Without padding, '-' and '_' instead of '+' and '/': fits into an address or a file name.
std::string to_base64url(std::string_view bytes);
// Nothing unless `text` is exactly what to_hex() or to_base64() gives for some bytes.
std::optional<std::string> from_hex(std::string_view text);
std::optional<std::string> from_base64(std::string_view text);

}  // namespace brood
