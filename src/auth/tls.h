// TLS for the doors: a certificate and a key, and what is offered with them. Server process, its
// one thread; what share() gave may be used in others.
#pragma once

#include <openssl/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace brood {

struct TlsFiles {
  std::string certificate;  // PEM: the server's certificate, then those between it and its root
  std::string key;          // PEM without a passphrase; ours alone, or root's and at most mode 0640
};

// TLS 1.2 and 1.3 with forward secrecy and authenticated encryption only; no renegotiation, no
// compression.
class TlsContext {
 public:
  // An Error names the file and what is wrong with it.
  static Result<std::unique_ptr<TlsContext>> load(const TlsFiles& files);

  // Reads the files again (SIGHUP). An Error: what was loaded before stays. Connections that exist
  // keep what they began with.
  Result<void> reload();

  // The present one, with a reference that the caller owns (SSL_CTX_free). For Asio, which takes it
  // over: `boost::asio::ssl::context context(tls.share())`, one for each connection or for as long
  // as wanted; a stream made from it may outlive it.
  SSL_CTX* share() const;

 private:
  struct Free {
    void operator()(SSL_CTX* context) const;
  };
  using Context = std::unique_ptr<SSL_CTX, Free>;
  static Result<Context> make(const TlsFiles& files);
  TlsContext(TlsFiles files, Context context);

  TlsFiles files_;
  Context context_;
};

// A pair for trying things out: folder/tls-cert.pem and folder/tls-key.pem, for these host names
// and addresses, valid for a year. One that is there already and is good for all of them for
// another day is kept, so that clients that were told to trust it go on. Makes the folder if need
// be.
Result<TlsFiles> make_self_signed(const std::string& folder, const std::vector<std::string>& names);

}  // namespace brood
