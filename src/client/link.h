// ClientLink: the connection of a client to a server of sessions; frames in and out. Blocking, with
// time limits. Any one thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "client/address.h"
#include "tls/socket_bio.h"
#include "wire/frame.h"

namespace brood {

class ClientLink {
 public:
  // With TLS the handshake is done and the certificate is good for that host. `timeout_ms` bounds
  // each step, until set_patience().
  static Result<ClientLink> open(const ServerAddress& address, int timeout_ms);

  // How long a peer that does not read or answer is waited for, in milliseconds; 0: without end.
  void set_patience(int timeout_ms);
  // All of it, or an Error.
  Result<void> send(std::string_view front, std::string_view body);
  // The next frame, valid until the next call; nothing: none within the time (-1: wait for it).
  Result<std::optional<FrameView>> receive(int timeout_ms);
  int descriptor() const { return socket_.get(); }

 private:
  explicit ClientLink(Fd socket) : socket_(std::move(socket)) {}
  Result<void> start_tls(const std::string& host);
  Result<void> write_all(std::string_view bytes);
  Result<std::optional<size_t>> read_some();  // 0: the end; nothing: nothing yet
  Result<bool> wait_readable(int timeout_ms) const;
  Error tls_error(const std::string& what) const;
  Error malformed();  // why what was received is no frame

  Fd socket_;
  SslContextPointer context_;
  SslPointer ssl_;
  FrameParser parser_;
};

}  // namespace brood
