#include "http/url.h"

#include <algorithm>

namespace brood {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_plain(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_host_character(char c) { return is_plain(c) || c == ':'; }

}  // namespace

Result<std::string> percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0)
      return Error{"the address has a % that two hexadecimal digits do not follow; write it %25"};
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  if (out.find('\0') != std::string::npos) return Error{"the address has a NUL byte"};
  return out;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_plain(c)) {
      out += c;
      continue;
    }
    constexpr char kDigits[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

Result<Target> parse_target(std::string_view target) {
  if (target.empty() || target[0] != '/')
    return Error{"the address of a request must begin with /"};
  if (target.find('#') != std::string_view::npos)
    return Error{"the address of a request has a #; write it %23"};
  Target out;
  const size_t mark = target.find('?');
  out.path = target.substr(0, mark);
  if (mark == std::string_view::npos) return out;
  std::string_view rest = target.substr(mark + 1);
  while (!rest.empty()) {
    const size_t end = rest.find('&');
    const std::string_view item = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    const size_t equals = item.find('=');
    Result<std::string> name = percent_decode(item.substr(0, equals));
    if (!name) return name.error();
    Result<std::string> value = percent_decode(
        equals == std::string_view::npos ? std::string_view() : item.substr(equals + 1));
    if (!value) return value.error();
    out.query.emplace_back(std::move(*name), std::move(*value));
  }
  return out;
}

Result<Authority> parse_authority(std::string_view text) {
  const Error bad{"the name of the host is malformed"};
  Authority out;
  std::string_view rest;
  if (!text.empty() && text[0] == '[') {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return bad;
    out.host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
  } else {
    const size_t end = std::min(text.find(':'), text.size());
    out.host = text.substr(0, end);
    rest = text.substr(end);
  }
  if (out.host.empty() || !std::all_of(out.host.begin(), out.host.end(), is_host_character))
    return bad;
  std::transform(out.host.begin(), out.host.end(), out.host.begin(), lower);
  if (rest.empty()) return out;
  out.port = rest.substr(1);
  if (rest[0] != ':' || out.port.empty() || out.port.size() > 5 ||
      !std::all_of(out.port.begin(), out.port.end(), is_digit))
    return bad;
  return out;
}

}  // namespace brood
