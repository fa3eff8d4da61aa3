// The head of every frame on a link, and the limits of docs/protocol.md, section 7. Pure.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "wire/frame.h"

namespace brood::gateway {

struct Head {
  uint32_t to = 0;       // context
  uint32_t from = 0;     // context
  uint32_t channel = 0;  // 0: none
};

inline constexpr size_t kHead = 12;                        // bytes
inline constexpr size_t kPreamble = kFrameHeader + kHead;  // bytes before a frame's body
inline constexpr size_t kMaxBody = kMaxFramePayload - kHead;
inline constexpr size_t kPiece = 1 << 20;        // bytes of a PART; longer values are cut
inline constexpr size_t kSingle = 4 << 20;       // bytes of a value that goes in one frame
inline constexpr size_t kItemCost = 64;          // bytes that an item counts beyond its own
inline constexpr uint32_t kSender = 0xFFFFFFFF;  // in a value: the other end is the sender

struct Limits {
  size_t item = 256 << 20;  // bytes of a value
  size_t window = 8 << 20;  // bytes sent on a channel and not taken
  size_t channels = 65536;  // of one context
  size_t calls = 16384;     // without an answer, to one context
  size_t logs = 10000;      // records that wait
  size_t modules = 256;     // MODULE requests that wait, of one context
};

inline void put_u32(char* at, uint32_t value) { std::memcpy(at, &value, 4); }

inline uint32_t get_u32(const char* at) {
  uint32_t value;
  std::memcpy(&value, at, 4);
  return value;
}

// Frame header and head, kPreamble bytes.
inline void put_preamble(char* at, FrameType type, const Head& head, size_t body) {
  put_u32(at, static_cast<uint32_t>(kHead + body));
  const auto number = static_cast<uint16_t>(type);
  std::memcpy(at + 4, &number, 2);
  std::memcpy(at + 6, &kProtocolVersion, 2);
  put_u32(at + 8, head.to);
  put_u32(at + 12, head.from);
  put_u32(at + 16, head.channel);
}

inline Head get_head(const char* at) { return {get_u32(at), get_u32(at + 4), get_u32(at + 8)}; }

// Memory for long bytes that a language made, as an object of its own.
struct LongBytes {
  std::shared_ptr<const void> owner;  // of `object`
  void* object = nullptr;
  char* data = nullptr;
};

// Bytes of a body: short ones are its own, long ones are kept alive by an owner.
class Payload {
 public:
  Payload() = default;
  explicit Payload(std::string_view bytes) : text_(bytes) {}
  explicit Payload(std::string&& bytes) : text_(std::move(bytes)) {}
  Payload(std::shared_ptr<const void> owner, std::string_view bytes)
      : owner_(std::move(owner)), long_(bytes) {}
  Payload(LongBytes value, size_t size)
      : owner_(std::move(value.owner)), object_(value.object), long_(value.data, size) {}

  std::string_view view() const { return owner_ ? long_ : std::string_view(text_); }
  size_t size() const { return owner_ ? long_.size() : text_.size(); }
  // Not null: the value is this object of the language, a bytes, whose contents are the view; the
  // view is no encoded value then.
  void* object() const { return object_; }
  // A piece of it; a long one is not copied.
  Payload part(size_t begin, size_t size) const {
    return owner_ ? Payload(owner_, long_.substr(begin, size))
                  : Payload(view().substr(begin, size));
  }

 private:
  std::string text_;
  std::shared_ptr<const void> owner_;
  void* object_ = nullptr;
  std::string_view long_;
};

}  // namespace brood::gateway
