#include "native/farewell.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/socket.h"

namespace brood {
namespace {

constexpr auto kPatience = std::chrono::seconds(2);

}  // namespace

Farewell::Farewell(boost::asio::io_context& io, Fd socket, std::string_view words,
                   std::function<void()> ended)
    : socket_(io, socket.release()), deadline_(io), ended_(std::move(ended)) {
  socket_.non_blocking(true);
  (void)send_some(socket_.native_handle(), words);
  shutdown(socket_.native_handle(), SHUT_WR);
  deadline_.expires_after(kPatience);
  deadline_.async_wait(guard_.wrap([this](auto error) {
    if (!error) end();
  }));
  wait_readable();
}

void Farewell::wait_readable() {
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                     guard_.wrap([this](auto error) {
                       if (!error) read_some();
                     }));
}

void Farewell::read_some() {
  std::array<char, 16u << 10> forgotten;
  const ssize_t got = recv(socket_.native_handle(), forgotten.data(), forgotten.size(), 0);
  if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) return wait_readable();
  end();
}

// The function is part of what it destroys.
void Farewell::end() {
  if (const std::function<void()> ended = std::exchange(ended_, nullptr)) ended();
}

}  // namespace brood
