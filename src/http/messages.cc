#include "http/messages.h"

#include <openssl/evp.h>

#include <algorithm>

#include "base/utf8.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxRequestNumber = (1ull << 53) - 1;  // what JavaScript counts exactly

// Looks at the text before anything is allocated for it.
Result<void> check_size(std::string_view text) {
  size_t depth = 0, values = 1;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && depth > 0) --depth;
    if (c == ',' || c == '{' || c == '[') ++values;
    if (depth > kMaxJsonDepth)
      return Error{"the JSON is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels"};
    if (values > kMaxJsonValues)
      return Error{"the JSON has more than " + std::to_string(kMaxJsonValues) + " values"};
  }
  return {};
}

bool is_base64(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
         c == '/';
}

}  // namespace

Result<json> parse_object(std::string_view text) {
  if (Result<void> small = check_size(text); !small) return small.error();
  json value = json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) return Error{"expected JSON (RFC 8259, UTF-8)"};
  if (!value.is_object()) return Error{"expected a JSON object"};
  return value;
}

std::optional<uint64_t> count_member(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  if (!found->is_number_unsigned() && found->get<int64_t>() < 0) return std::nullopt;
  return found->get<uint64_t>();
}

std::string encode_base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // and the NUL that it writes
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

Result<std::string> decode_base64(std::string_view text) {
  const Error bad{"`base64` is not base64 (RFC 4648, with padding)"};
  std::string_view digits = text;
  while (digits.ends_with('=') && text.size() - digits.size() < 2)
    digits.remove_suffix(1);
  if (text.size() % 4 != 0 || !std::all_of(digits.begin(), digits.end(), is_base64)) return bad;
  std::string out(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0) return bad;
  out.resize(static_cast<size_t>(size) - (text.size() - digits.size()));
  return out;
}

Result<std::string> take_body(json& head) {
  const auto data = head.find("data"), base64 = head.find("base64");
  if (data != head.end() && base64 != head.end())
    return Error{"expected `data` or `base64`, not both"};
  if (data == head.end() && base64 == head.end()) return std::string();
  const bool plain = data != head.end();
  const json value = std::move(plain ? *data : *base64);
  head.erase(plain ? "data" : "base64");
  if (!value.is_string()) return Error{"`data` and `base64` are texts"};
  const std::string& text = value.get_ref<const std::string&>();
  return plain ? Result<std::string>(text) : decode_base64(text);
}

void put_body(json& head, const std::string& body) {
  if (body.empty()) return;
  if (is_utf8(body))
    head["data"] = body;
  else
    head["base64"] = encode_base64(body);
}

std::variant<SocketRequest, BadSocketRequest> parse_socket_request(std::string_view text) {
  Result<json> head = parse_object(text);
  if (!head) return BadSocketRequest{0, head.error().message};
  const auto number = head->find("request");
  if (number == head->end() || !number->is_number_unsigned() || *number > kMaxRequestNumber)
    return BadSocketRequest{0, "`request` is a number of the client's choice, from 0 on"};
  SocketRequest out;
  out.number = number->get<uint64_t>();
  const auto method = head->find("method");
  if (method == head->end() || !method->is_string())
    return BadSocketRequest{out.number, "`method` is the name of a method"};
  out.request.method = method->get<std::string>();
  Result<std::string> body = take_body(*head);
  if (!body) return BadSocketRequest{out.number, body.error().message};
  out.request.body = std::move(*body);
  for (const char* name : {"request", "method", "session"})
    head->erase(name);
  out.request.head = std::move(*head);
  return out;
}

}  // namespace brood
