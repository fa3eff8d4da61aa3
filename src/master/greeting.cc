#include "master/greeting.h"

#include "gateway/message.h"

namespace brood::master {
namespace {

constexpr std::string_view kMark = "\nbrood gateway 1\n";
constexpr size_t kMaxBanner = 64 << 10;  // bytes before the mark

}  // namespace

std::string encode_greet(uint32_t to, uint32_t from, const Dict& greet) {
  const std::string body = dump(greet).bytes;
  std::string frame(gateway::kPreamble, '\0');
  gateway::put_preamble(frame.data(), FrameType::kGreet, {to, from, 0}, body.size());
  return frame + body;
}

Result<std::optional<Dict>> GreetingReader::feed(std::string_view bytes) {
  bytes_ += bytes;
  if (!marked_) {
    const size_t begin = bytes_.find(kMark);
    banner_ = bytes_.substr(0, begin);
    if (banner_.size() > kMaxBanner + kMark.size())
      return Error{"sent more than 64 KiB that are not brood's"};
    if (begin == std::string::npos) return std::optional<Dict>();
    marked_ = true;
    bytes_.erase(0, begin + kMark.size());
  }
  return take_greet();
}

Result<std::optional<Dict>> GreetingReader::take_greet() {
  if (bytes_.size() < kFrameHeader) return std::optional<Dict>();
  Result<FrameHeader> header = decode_header(bytes_);
  if (!header || header->type != FrameType::kGreet || header->length <= gateway::kHead)
    return Error{"sent something else than a greeting of brood's gateways, version 1"};
  const size_t end = kFrameHeader + header->length;
  if (bytes_.size() < end) return std::optional<Dict>();
  const Loaded greet =
      load(std::string_view(bytes_).substr(gateway::kPreamble, end - gateway::kPreamble));
  const Dict* map = greet.value ? greet.value->as<Dict>() : nullptr;
  if (map == nullptr) return Error{"sent a greeting that is no map " + greet.error};
  bytes_.erase(0, end);
  return std::optional<Dict>(*map);
}

}  // namespace brood::master
