#include "wire/message.h"

#include "wire/fields.h"

namespace brood {
namespace {

constexpr size_t kLength = 4;  // bytes of head_length

}  // namespace

std::string encode_message(std::string_view head, std::string_view body) {
  std::string payload;
  payload.reserve(kLength + head.size() + body.size());
  put_u32(payload, static_cast<uint32_t>(head.size()));
  payload.append(head).append(body);
  return payload;
}

std::string encode_message_frame(FrameType type, std::string_view head, size_t body_size) {
  require(head.size() <= kMaxMessageHead, "the head of a message within its limit");
  const size_t length = kLength + head.size() + body_size;
  require(length <= kMaxFramePayload, "a frame within its limit");
  std::string out;
  out.reserve(kFrameHeader + kLength + head.size());
  put_u32(out, static_cast<uint32_t>(length));
  put_u16(out, static_cast<uint16_t>(type));
  put_u16(out, kProtocolVersion);
  put_u32(out, static_cast<uint32_t>(head.size()));
  out.append(head);
  return out;
}

bool is_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); i++) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\')
        i++;
      else if (c == '"')
        quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxHeadDepth) return true;
    } else if (c == ']' || c == '}') {
      depth--;
    }
  }
  return false;
}

Result<MessageView> decode_message(std::string_view payload) {
  if (payload.size() < kLength) return malformed("message");
  const uint32_t length = get_u32(payload.data());
  if (length > kMaxMessageHead || length > payload.size() - kLength) return malformed("message");
  return MessageView{payload.substr(kLength, length), payload.substr(kLength + length)};
}

}  // namespace brood
