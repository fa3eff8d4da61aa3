// NativeTransport: the bytes of one connection, plain or TLS. Never blocks, waits for nothing and
// owns no socket; the connection does. Server process, its one thread.
#pragma once

#include <openssl/ssl.h>
#include <sys/uio.h>

#include <memory>
#include <span>

namespace brood {

// What became of one read or write.
struct Progress {
  enum class State { kSome, kWantRead, kWantWrite, kEnd };  // kEnd: the peer left, or it failed
  State state = State::kEnd;
  size_t bytes = 0;  // of kSome: at least 1
};

class NativeTransport {
 public:
  virtual ~NativeTransport() = default;
  virtual Progress read(std::span<char> space) = 0;
  virtual Progress write(std::span<const iovec> pieces) = 0;
  // There is more to read without the socket becoming readable.
  virtual bool has_buffered() const = 0;
  // Tells the peer that nothing more will come.
  virtual void finish() = 0;
};

// The socket is non-blocking and outlives the transport.
std::unique_ptr<NativeTransport> make_plain_transport(int socket);
// The server's side; the handshake is part of the first reads. Null: out of memory.
std::unique_ptr<NativeTransport> make_tls_transport(int socket, SSL_CTX* context);

}  // namespace brood
