// What a client sends before it is known, and the files of the door: whatever they hold, nobody is
// let in, and a value or an error comes out. A line is a message.
#include "auth/file_authenticator.h"
#include "base/require.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brood;
  static const std::unique_ptr<FileAuthenticator> door =
      std::move(*FileAuthenticator::open({"/nonexistent", "a token", "me"}));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\n');
  const std::unique_ptr<ScramExchange> exchange = door->scram();
  Result<ScramExchange::Step> first = exchange->step(text.substr(0, end));
  require(!first || !first->identity, "one message proves nothing");
  if (first && end != text.npos)
    require(!exchange->step(text.substr(end + 1)), "a proof cannot be guessed");
  (void)ScramClient::make("user", "password")->final_message(text);
  (void)parse_scram_client_final(text);
  (void)parse_users(text, "/f");
  (void)parse_tokens(text, "/f");
  return 0;
}
