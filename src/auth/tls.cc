#include "auth/tls.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "auth/openssl_pointer.h"
#include "auth/private_file.h"
#include "base/require.h"
#include "base/sys.h"

namespace brood {
namespace {

constexpr size_t kMaxPem = 1 << 20;                         // bytes
constexpr char kCiphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";  // of TLS 1.2

// Instead of asking on the terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

Result<KeyPointer> read_key(const std::string& path) {
  Result<std::string> pem = read_private_file(path, kMaxPem, Secrecy::kRootsGroup);
  if (!pem) return pem.error();
  const BioPointer bio = bio_of(*pem);
  KeyPointer key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  OPENSSL_cleanse(pem->data(), pem->size());
  if (key) return key;
  ERR_clear_error();
  return Error{path + " holds no private key in PEM without a passphrase"};
}

// The certificate and its chain.
Result<void> use_certificates(SSL_CTX* context, const std::string& path) {
  Result<std::string> pem = read_file(path, kMaxPem);
  if (!pem) return pem.error();
  const BioPointer bio = bio_of(*pem);
  const CertificatePointer leaf(PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr));
  if (!leaf) {
    ERR_clear_error();
    return Error{path + " holds no certificate in PEM"};
  }
  if (SSL_CTX_use_certificate(context, leaf.get()) != 1)
    return Error{"cannot use the certificate in " + path + ": " + openssl_reason()};
  while (CertificatePointer next{PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr)})
    if (SSL_CTX_add1_chain_cert(context, next.get()) != 1)
      return Error{"cannot use the chain in " + path + ": " + openssl_reason()};
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) return Error{path + " is damaged after its first certificate"};
  return {};
}

}  // namespace

void TlsContext::Free::operator()(SSL_CTX* context) const { SSL_CTX_free(context); }

TlsContext::TlsContext(TlsFiles files, Context context)
    : files_(std::move(files)), context_(std::move(context)) {}

Result<TlsContext::Context> TlsContext::make(const TlsFiles& files) {
  Context context(SSL_CTX_new(TLS_server_method()));
  require(context, "OpenSSL has a server's context");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);  // most connections are idle
  require(SSL_CTX_set_cipher_list(context.get(), kCiphers) == 1, "OpenSSL knows the ciphers");
  if (Result<void> used = use_certificates(context.get(), files.certificate); !used)
    return used.error();
  Result<KeyPointer> key = read_key(files.key);
  if (!key) return key.error();
  if (SSL_CTX_use_PrivateKey(context.get(), key->get()) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    ERR_clear_error();
    return Error{"the key in " + files.key + " does not belong to the certificate in " +
                 files.certificate};
  }
  return context;
}

Result<std::unique_ptr<TlsContext>> TlsContext::load(const TlsFiles& files) {
  Result<Context> context = make(files);
  if (!context) return context.error();
  return std::unique_ptr<TlsContext>(new TlsContext(files, std::move(*context)));
}

Result<void> TlsContext::reload() {
  Result<Context> context = make(files_);
  if (!context) return context.error();
  context_ = std::move(*context);
  return {};
}

SSL_CTX* TlsContext::share() const {
  SSL_CTX_up_ref(context_.get());
  return context_.get();
}

}  // namespace brood
