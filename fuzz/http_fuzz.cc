// What the HTTP door takes apart itself: addresses, JSON bodies, messages of a WebSocket, base64,
// and output that is cut at will.
#include "base/utf8.h"
#include "http/messages.h"
#include "http/responses.h"
#include "http/routes.h"

namespace brood {
namespace {

void check_target(std::string_view text) {
  Result<Target> target = parse_target(text);
  if (!target) return;
  for (const char* verb : {"GET", "POST", "PUT", "DELETE"}) {
    const auto found = find_route(verb, *target);
    if (const Route* route = std::get_if<Route>(&found)) dump(route->head);
  }
}

void check_escapes(std::string_view text) {
  require(!parse_authority(text) || !text.empty(), "an authority has a host");
  Result<std::string> again = percent_decode(percent_encode(text));
  require(again ? *again == text : text.find('\0') != std::string_view::npos,
          "what is encoded decodes to itself");
  Result<std::string> bytes = decode_base64(encode_base64(text));
  require(bytes && *bytes == text, "base64 decodes to what was encoded");
  decode_base64(text).operator bool();
}

void check_messages(std::string_view text) {
  auto parsed = parse_socket_request(text);
  if (SocketRequest* one = std::get_if<SocketRequest>(&parsed)) {
    put_body(one->request.head, one->request.body);
    require(parse_object(dump(one->request.head)).operator bool(), "a dumped head is JSON");
  }
}

// However it is cut, the same text comes out.
void check_utf8(std::string_view bytes) {
  Utf8Stream whole, cut;
  std::string expected = whole.next(bytes);
  expected += whole.flush();
  const size_t middle = bytes.empty() ? 0 : static_cast<unsigned char>(bytes[0]) % bytes.size();
  std::string got = cut.next(bytes.substr(0, middle));
  got += cut.next(bytes.substr(middle));
  got += cut.flush();
  require(got == expected, "output reads the same however it is cut");
  require(is_utf8(got), "what is sent is UTF-8");
}

}  // namespace
}  // namespace brood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  brood::check_target(text);
  brood::check_escapes(text);
  brood::check_messages(text);
  brood::check_utf8(text);
  return 0;
}
