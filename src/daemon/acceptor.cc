#include "daemon/acceptor.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/sys.h"

namespace brood {
namespace {

using boost::asio::posix::descriptor_base;

constexpr auto kPause = std::chrono::milliseconds(100);  // when descriptors have run out
constexpr int kAtOnce = 64;                              // then others get their turn

}  // namespace

Acceptor::Acceptor(boost::asio::io_context& io, Fd listener, Admit admit, HasRoom has_room)
    : listener_(io, listener.release()),
      pause_(io),
      admit_(std::move(admit)),
      has_room_(std::move(has_room)) {
  listener_.non_blocking(true);
  go_on();
}

void Acceptor::go_on() {
  if (waiting_ || !listener_.is_open()) return;
  waiting_ = true;
  listener_.async_wait(descriptor_base::wait_read, guard_.wrap([this](auto error) {
    waiting_ = false;
    if (!error) accept_some();
  }));
}

void Acceptor::close() {
  boost::system::error_code ignored;
  listener_.close(ignored);
  pause_.cancel();
}

void Acceptor::accept_some() {
  for (int i = 0; i < kAtOnce; i++) {
    if (!listener_.is_open() || !has_room_()) return;
    Fd socket(accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket) {
      admit_(std::move(socket));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) break;
    spdlog::error("{}", sys_error("accept a client").message);
    return accept_later();
  }
  go_on();
}

void Acceptor::accept_later() {
  pause_.expires_after(kPause);
  pause_.async_wait(guard_.wrap([this](auto error) {
    if (!error) go_on();
  }));
}

}  // namespace brood
