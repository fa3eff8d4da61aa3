// TLS over a socket that somebody else owns. OpenSSL's own socket BIO writes with write(2), which
// raises SIGPIPE when the peer has left; this one does not. Pure but for the socket; any thread.
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>

namespace brood {

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
struct FreeSslContext {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using SslPointer = std::unique_ptr<SSL, FreeSsl>;
using SslContextPointer = std::unique_ptr<SSL_CTX, FreeSslContext>;

// The connection does not own `socket`, which must outlive it. Null: out of memory.
SslPointer make_ssl(SSL_CTX* context, int socket);

// Takes what OpenSSL says about the last failure in this thread off its queue; empty: nothing.
std::string take_ssl_error();

}  // namespace brood
