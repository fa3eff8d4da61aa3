#include "native/transport.h"

#include <openssl/err.h>
#include <sys/socket.h>

#include <cerrno>

#include "tls/socket_bio.h"

namespace brood {
namespace {

using State = Progress::State;

class PlainTransport final : public NativeTransport {
 public:
  explicit PlainTransport(int socket) : socket_(socket) {}

  Progress read(std::span<char> space) override {
    ssize_t got;
    do {
      got = recv(socket_, space.data(), space.size(), 0);
    } while (got < 0 && errno == EINTR);
    return progress(got, State::kWantRead);
  }

  Progress write(std::span<const iovec> pieces) override {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(pieces.data());
    message.msg_iovlen = pieces.size();
    ssize_t sent;
    do {
      sent = sendmsg(socket_, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return progress(sent, State::kWantWrite);
  }

  bool has_buffered() const override { return false; }
  void finish() override { shutdown(socket_, SHUT_WR); }

 private:
  static Progress progress(ssize_t count, State otherwise) {
    if (count > 0) return {State::kSome, static_cast<size_t>(count)};
    if (count < 0 && errno == EAGAIN) return {otherwise, 0};
    return {State::kEnd, 0};
  }

  const int socket_;
};

class TlsTransport final : public NativeTransport {
 public:
  TlsTransport(int socket, SslPointer ssl) : socket_(socket), ssl_(std::move(ssl)) {}

  Progress read(std::span<char> space) override {
    size_t got = 0;
    ERR_clear_error();
    const int status = SSL_read_ex(ssl_.get(), space.data(), space.size(), &got);
    return progress(status, got);
  }

  Progress write(std::span<const iovec> pieces) override {
    size_t all = 0;
    for (const iovec& piece : pieces)
      for (size_t done = 0; done < piece.iov_len;) {
        size_t sent = 0;
        ERR_clear_error();
        const int status = SSL_write_ex(ssl_.get(), static_cast<char*>(piece.iov_base) + done,
                                        piece.iov_len - done, &sent);
        if (status != 1) return all > 0 ? Progress{State::kSome, all} : progress(status, 0);
        done += sent;
        all += sent;
      }
    return {State::kSome, all};
  }

  bool has_buffered() const override { return SSL_has_pending(ssl_.get()) == 1; }

  void finish() override {
    SSL_shutdown(ssl_.get());
    shutdown(socket_, SHUT_WR);
  }

 private:
  Progress progress(int status, size_t count) const {
    if (status == 1) return {State::kSome, count};
    switch (SSL_get_error(ssl_.get(), status)) {
      case SSL_ERROR_WANT_READ: return {State::kWantRead, 0};
      case SSL_ERROR_WANT_WRITE: return {State::kWantWrite, 0};
      default: return {State::kEnd, 0};
    }
  }

  const int socket_;
  SslPointer ssl_;
};

}  // namespace

std::unique_ptr<NativeTransport> make_plain_transport(int socket) {
  return std::make_unique<PlainTransport>(socket);
}

std::unique_ptr<NativeTransport> make_tls_transport(int socket, SSL_CTX* context) {
  SslPointer ssl = make_ssl(context, socket);
  if (!ssl) return nullptr;
  SSL_set_accept_state(ssl.get());
  return std::make_unique<TlsTransport>(socket, std::move(ssl));
}

}  // namespace brood
