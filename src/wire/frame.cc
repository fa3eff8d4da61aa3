#include "wire/frame.h"

#include "wire/fields.h"

namespace brood {

std::string encode_frame(FrameType type, std::string_view payload) {
  require(payload.size() <= kMaxFramePayload, "a frame within its limit");
  std::string out;
  out.reserve(kFrameHeader + payload.size());
  put_u32(out, static_cast<uint32_t>(payload.size()));
  put_u16(out, static_cast<uint16_t>(type));
  put_u16(out, kProtocolVersion);
  out.append(payload);
  return out;
}

Result<FrameHeader> decode_header(std::string_view bytes) {
  require(bytes.size() >= kFrameHeader, "a whole frame header");
  FrameHeader header{get_u32(bytes.data()), static_cast<FrameType>(get_u16(bytes.data() + 4)),
                     get_u16(bytes.data() + 6)};
  if (header.version != kProtocolVersion)
    return Error{"the peer speaks protocol version " + std::to_string(header.version) +
                 ", this side " + std::to_string(kProtocolVersion)};
  if (header.length > kMaxFramePayload)
    return Error{"a frame of " + std::to_string(header.length) + " bytes; the limit is " +
                 std::to_string(kMaxFramePayload)};
  return header;
}

FrameParser::Step FrameParser::next(FrameView& frame) {
  const std::string_view rest = std::string_view(buffer_).substr(consumed_);
  if (rest.size() < kFrameHeader) return partial();
  Result<FrameHeader> header = decode_header(rest);
  if (!header) {
    error_ = header.error().message;
    return Step::kMalformed;
  }
  if (rest.size() - kFrameHeader < header->length) return partial();
  frame.header = *header;
  frame.payload = rest.substr(kFrameHeader, header->length);
  consumed_ += kFrameHeader + header->length;
  return Step::kFrame;
}

// Only now the rest moves to the front: not once for each frame of what came together.
FrameParser::Step FrameParser::partial() {
  buffer_.erase(0, consumed_);
  consumed_ = 0;
  return Step::kPartial;
}

}  // namespace brood
