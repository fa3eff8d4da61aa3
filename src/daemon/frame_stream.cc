#include "daemon/frame_stream.h"

#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "base/socket.h"

namespace brood {
namespace {

using boost::asio::posix::descriptor_base;

constexpr size_t kReadSize = 64u << 10;   // bytes
constexpr size_t kMaxUnsent = 16u << 20;  // bytes; twice the longest frame

}  // namespace

FrameStream::FrameStream(boost::asio::io_context& io, Fd socket, uint32_t limit, Handler& handler)
    : socket_(io, socket.release()), limit_(limit), handler_(handler) {
  socket_.non_blocking(true);
  wait_readable();
}

void FrameStream::wait_readable() {
  socket_.async_wait(descriptor_base::wait_read, guard_.wrap([this](auto error) {
    if (error || ended_) return;
    const Guard::Watch watch = guard_.watch();
    read_once();
    if (!watch.gone() && !ended_) wait_readable();
  }));
}

void FrameStream::drain() {
  const Guard::Watch watch = guard_.watch();
  while (!watch.gone() && !ended_ && read_once()) {
  }
}

bool FrameStream::read_once() {
  std::vector<Fd> unwanted;  // closed right away
  Result<size_t> got = receive_some(socket_.native_handle(), kReadSize, parser_.buffer(), unwanted);
  if (!got) {
    if (got.error().code == EAGAIN) return false;
    end(got.error().message);
    return false;
  }
  if (*got == 0) {
    end("the peer closed the connection");
    return false;
  }
  return deliver();
}

bool FrameStream::deliver() {
  const Guard::Watch watch = guard_.watch();
  FrameView frame;
  for (;;) {
    const FrameParser::Step step = parser_.next(frame);
    if (step == FrameParser::Step::kMalformed) {
      end(parser_.error());
      return false;
    }
    if (step == FrameParser::Step::kPartial) break;
    if (frame.header.length > limit_) {
      end("a frame is too long");
      return false;
    }
    handler_.on_frame(frame.header.type, frame.payload);
    if (watch.gone() || ended_) return false;
  }
  if (parser_.buffer().size() >= kFrameHeader)
    if (Result<FrameHeader> header = decode_header(parser_.buffer()); header->length > limit_) {
      end("a frame is too long");
      return false;
    }
  return true;
}

void FrameStream::send(FrameType type, std::string_view payload) {
  if (ended_) return;
  outbox_ += encode_frame(type, payload);
  if (outbox_.size() > kMaxUnsent) return give_up();
  if (!writing_) write_some();
}

// The reading side reports the end, in its own turn.
void FrameStream::give_up() {
  outbox_.clear();
  shutdown(socket_.native_handle(), SHUT_RDWR);
}

void FrameStream::write_some() {
  while (!outbox_.empty()) {
    const ssize_t sent =
        ::send(socket_.native_handle(), outbox_.data(), outbox_.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN ? wait_writable() : give_up();
    outbox_.erase(0, static_cast<size_t>(sent));
  }
}

void FrameStream::wait_writable() {
  writing_ = true;
  socket_.async_wait(descriptor_base::wait_write, guard_.wrap([this](auto error) {
    writing_ = false;
    if (!error && !ended_) write_some();
  }));
}

void FrameStream::end(const std::string& why) {
  if (ended_) return;
  ended_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
  handler_.on_end(why);
}

}  // namespace brood
