// Everything that arrives at the native protocol's door: frames, messages, heads.
#include "native/boxes.h"
#include "native/head.h"
#include "wire/message.h"

namespace brood {
namespace {

void check(std::string_view payload) {
  Result<MessageView> message = decode_message(payload);
  if (!message) return;
  require(encode_message(message->head, message->body) == payload,
          "a decoded message encodes to itself");
  Result<nlohmann::json> head = parse_head(message->head);
  if (!head) return;
  Result<nlohmann::json> again = parse_head(print_head(*head));
  require(again && *again == *head, "a head that was read is written as the same");
}

}  // namespace
}  // namespace brood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  brood::check(bytes);
  brood::Inbox inbox;
  for (size_t at = 0; at < bytes.size();) {
    const std::span<char> space = inbox.space();
    const size_t count = bytes.copy(space.data(), std::min(space.size(), size_t{977}), at);
    inbox.filled(count);
    at += count;
    brood::FrameView frame;
    while (inbox.next(brood::kMaxFramePayload, frame) == brood::Inbox::Step::kFrame)
      brood::check(frame.payload);
  }
  return 0;
}
