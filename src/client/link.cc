#include "client/link.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/socket.h"
#include "base/sys.h"
#include "base/tcp.h"

namespace brood {
namespace {

constexpr size_t kReadSize = 256u << 10;  // bytes

Result<Fd> connect_one(const addrinfo& address, int timeout_ms) {
  Fd fd(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return sys_error("create a socket");
  set_timeout(fd.get(), SO_SNDTIMEO, timeout_ms);  // bounds connect(), too
  if (connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0)
    return sys_error("connect", errno == EINPROGRESS ? ETIMEDOUT : errno);
  tune_tcp(fd.get());
  return fd;
}

Result<Fd> connect_tcp(const std::string& host, const std::string& port, int timeout_ms) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int status = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (status != 0) return Error{"cannot find " + host + ": " + gai_strerror(status)};
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  Error last{"it has no address"};
  for (const addrinfo* one = found; one; one = one->ai_next) {
    Result<Fd> fd = connect_one(*one, timeout_ms);
    if (fd) return fd;
    last = fd.error();
  }
  return Error{"cannot reach " + host + ":" + port + ": " + last.message, last.code};
}

bool is_ip_address(const std::string& host) {
  in6_addr ignored;
  return inet_pton(AF_INET, host.c_str(), &ignored) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &ignored) == 1;
}

Result<SslContextPointer> client_context() {
  SslContextPointer context(SSL_CTX_new(TLS_client_method()));
  if (!context) return Error{"cannot prepare TLS: " + take_ssl_error()};
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  const char* file = getenv("BROOD_CAFILE");
  if (!file || !*file) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else if (SSL_CTX_load_verify_locations(context.get(), file, nullptr) != 1) {
    return Error{std::string("cannot read certificates from ") + file +
                 " (BROOD_CAFILE): " + take_ssl_error()};
  }
  return context;
}

}  // namespace

Result<ClientLink> ClientLink::open(const ServerAddress& address, int timeout_ms) {
  Result<Fd> socket = address.kind == ServerAddress::Kind::kUnix
                          ? connect_unix(address.path, timeout_ms)
                          : connect_tcp(address.host, address.port, timeout_ms);
  if (!socket) return socket.error();
  ClientLink link(std::move(*socket));
  link.set_patience(timeout_ms);
  if (address.kind == ServerAddress::Kind::kTls)
    if (Result<void> safe = link.start_tls(address.host); !safe) return safe.error();
  return link;
}

void ClientLink::set_patience(int timeout_ms) {
  set_timeout(socket_.get(), SO_SNDTIMEO, timeout_ms);
  set_timeout(socket_.get(), SO_RCVTIMEO, timeout_ms);
}

Error ClientLink::tls_error(const std::string& what) const {
  const long verified = ssl_ ? SSL_get_verify_result(ssl_.get()) : X509_V_OK;
  if (verified != X509_V_OK)
    return Error{what +
                 ": its certificate is not trusted: " + X509_verify_cert_error_string(verified) +
                 " (BROOD_CAFILE names a file with the certificates to trust)"};
  const std::string reason = take_ssl_error();
  return Error{what + ": " + (reason.empty() ? "the server closed the connection" : reason)};
}

Result<void> ClientLink::start_tls(const std::string& host) {
  Result<SslContextPointer> context = client_context();
  if (!context) return context.error();
  context_ = std::move(*context);
  ssl_ = make_ssl(context_.get(), socket_.get());
  if (!ssl_) return tls_error("cannot prepare TLS");
  if (is_ip_address(host)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), host.c_str());
  } else {
    SSL_set_tlsext_host_name(ssl_.get(), host.c_str());
    SSL_set1_host(ssl_.get(), host.c_str());
  }
  ERR_clear_error();
  if (SSL_connect(ssl_.get()) != 1) return tls_error("no TLS connection with " + host);
  return {};
}

Result<void> ClientLink::write_all(std::string_view bytes) {
  if (!ssl_) return send_all(socket_.get(), bytes);
  while (!bytes.empty()) {
    size_t sent = 0;
    ERR_clear_error();
    if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &sent) != 1)
      return tls_error("cannot send");
    bytes.remove_prefix(sent);
  }
  return {};
}

Result<void> ClientLink::send(std::string_view front, std::string_view body) {
  if (body.size() < kReadSize)  // one write, one packet
    return write_all(std::string(front).append(body));
  if (Result<void> sent = write_all(front); !sent) return sent;
  return write_all(body);
}

Result<bool> ClientLink::wait_readable(int timeout_ms) const {
  if (ssl_ && SSL_has_pending(ssl_.get()) == 1) return true;
  const int64_t end = monotonic_ns() + int64_t{timeout_ms} * 1'000'000;
  pollfd item{socket_.get(), POLLIN, 0};
  for (int left = timeout_ms;;) {
    const int count = poll(&item, 1, left);
    if (count >= 0) return count > 0;
    if (errno != EINTR) return sys_error("wait for the server");
    if (timeout_ms > 0)
      left = static_cast<int>(std::max<int64_t>(0, (end - monotonic_ns()) / 1'000'000));
  }
}

// With TLS a readable socket may bring nothing for us.
Result<std::optional<size_t>> ClientLink::read_some() {
  std::string& buffer = parser_.buffer();
  if (!ssl_) {
    std::vector<Fd> unwanted;  // closed right away
    Result<size_t> got = receive_some(socket_.get(), kReadSize, buffer, unwanted);
    if (!got) return got.error();
    return std::optional<size_t>(*got);
  }
  const size_t before = buffer.size();
  buffer.resize(before + kReadSize);
  size_t got = 0;
  ERR_clear_error();
  const int status = SSL_read_ex(ssl_.get(), buffer.data() + before, kReadSize, &got);
  buffer.resize(before + got);
  if (status == 1) return std::optional<size_t>(got);
  const int why = SSL_get_error(ssl_.get(), status);
  if (why == SSL_ERROR_ZERO_RETURN) return std::optional<size_t>(0);
  if (why == SSL_ERROR_WANT_READ) return std::optional<size_t>();
  return tls_error("cannot receive");
}

Error ClientLink::malformed() {
  if (!parser_.buffer().starts_with("HTTP/")) return Error{parser_.error()};
  return Error{
      "a web server answers there: give the tcp:, tls: or unix: address of brood serve, not that "
      "of "
      "http:"};
}

Result<std::optional<FrameView>> ClientLink::receive(int timeout_ms) {
  FrameView frame;
  for (;;) {
    const FrameParser::Step step = parser_.next(frame);
    if (step == FrameParser::Step::kFrame) return std::optional<FrameView>(frame);
    if (step == FrameParser::Step::kMalformed) return malformed();
    Result<bool> ready = wait_readable(timeout_ms);
    if (!ready) return ready.error();
    if (!*ready) return std::optional<FrameView>();
    Result<std::optional<size_t>> got = read_some();
    if (!got) return got.error();
    if (*got && **got == 0) return Error{"the server has closed the connection", ECONNRESET};
  }
}

}  // namespace brood
