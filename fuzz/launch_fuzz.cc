// Everything that arrives on an environment's or the daemon's socket: frames, then each message by
// its type.
#include "wire/control.h"
#include "wire/frame.h"
#include "wire/launch.h"
#include "wire/resolved.h"

namespace brood {
namespace {

// What decodes must survive an encode and decode to the same bytes.
template <typename T>
void check(const Result<T>& decoded, Result<T> (*decode)(std::string_view)) {
  Result<T> value = decoded;
  if (!value) return;
  const std::string bytes = encode(*value);
  Result<T> again = decode(bytes);
  require(again && encode(*again) == bytes, "a decoded message encodes to itself");
}

void decode_all(std::string_view payload) {
  check(decode_run_request(payload), decode_run_request);
  check(decode_launch(payload), decode_launch);
  check(decode_accepted(payload), decode_accepted);
  check(decode_refused(payload), decode_refused);
  check(decode_exited(payload), decode_exited);
  check(decode_stopped(payload), decode_stopped);
  check(decode_warmed(payload), decode_warmed);
  check(decode_zygote_spec(payload), decode_zygote_spec);
  check(decode_zygote_ready(payload), decode_zygote_ready);
  check(decode_zygote_failed(payload), decode_zygote_failed);
  check(decode_zygote_stale(payload), decode_zygote_stale);
  check(decode_worker_event(payload), decode_worker_event);
  check(decode_resolved(payload), decode_resolved);
}

}  // namespace
}  // namespace brood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  brood::FrameParser parser;
  parser.buffer().assign(reinterpret_cast<const char*>(data), size);
  brood::FrameView frame;
  while (parser.next(frame) == brood::FrameParser::Step::kFrame)
    brood::decode_all(frame.payload);
  return 0;
}
