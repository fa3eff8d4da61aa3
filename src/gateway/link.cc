#include "gateway/link.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "wire/frame.h"

namespace brood::gateway {

LinkReader::LinkReader() : buffer_(std::make_unique_for_overwrite<char[]>(kBuffer)) {}

LinkReader::Fill LinkReader::fill(int fd) {
  char* at = large_ ? large_.get() + large_filled_ : buffer_.get() + end_;
  const size_t room = large_ ? large_size_ - large_filled_ : kBuffer - end_;
  ssize_t got;
  do {
    got = read(fd, at, room);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return Fill::kEnd;
  if (got < 0) return errno == EAGAIN ? Fill::kNothing : Fill::kFailed;
  (large_ ? large_filled_ : end_) += static_cast<size_t>(got);
  return Fill::kData;
}

void LinkReader::push(std::string_view bytes) {
  require(bytes.size() <= kBuffer - end_, "bytes fit into a link's buffer");
  std::copy(bytes.begin(), bytes.end(), buffer_.get() + end_);
  end_ += bytes.size();
}

LinkReader::Step LinkReader::malformed(std::string why) {
  error_ = std::move(why);
  return Step::kMalformed;
}

LinkReader::Step LinkReader::next(InFrame& frame) {
  if (large_) return take_large(frame);
  const size_t have = end_ - begin_;
  const char* at = buffer_.get() + begin_;
  if (have >= kFrameHeader) {
    Result<FrameHeader> header = decode_header({at, kFrameHeader});
    if (!header) return malformed(header.error().message);
    if (header->length < kHead) return malformed("a frame without a head");
    const size_t whole = kFrameHeader + header->length;
    if (have >= whole) {
      frame.type = header->type;
      frame.head = get_head(at + kFrameHeader);
      frame.body = Payload(std::string_view(at + kPreamble, whole - kPreamble));
      begin_ += whole;
      if (begin_ == end_) begin_ = end_ = 0;
      return Step::kFrame;
    }
    if (whole > kLarge) {
      large_ = std::shared_ptr<char[]>(new char[whole]);
      large_size_ = whole;
      large_filled_ = have;
      std::copy(at, at + have, large_.get());
      begin_ = end_ = 0;
      return Step::kPartial;
    }
  }
  std::copy(at, at + have, buffer_.get());
  begin_ = 0;
  end_ = have;
  return Step::kPartial;
}

LinkReader::Step LinkReader::take_large(InFrame& frame) {
  if (large_filled_ < large_size_) return Step::kPartial;
  uint16_t type;
  std::memcpy(&type, large_.get() + 4, 2);
  frame.type = static_cast<FrameType>(type);
  frame.head = get_head(large_.get() + kFrameHeader);
  const std::string_view body(large_.get() + kPreamble, large_size_ - kPreamble);
  frame.body = Payload(std::shared_ptr<const void>(std::move(large_)), body);
  return Step::kFrame;
}

std::string& LinkWriter::tail(size_t more) {
  constexpr size_t kCoalesce = 64 << 10;
  if (queue_.empty() || queue_.back().body.size() > 0 ||
      queue_.back().text.size() + more > kCoalesce)
    queue_.emplace_back();
  bytes_ += more;
  return queue_.back().text;
}

void LinkWriter::append(FrameType type, const Head& head, std::string_view prefix, Payload rest) {
  constexpr size_t kCopied = 4096;  // bytes; below it a copy costs less than a segment
  char preamble[kPreamble];
  put_preamble(preamble, type, head, prefix.size() + rest.size());
  const bool copied = rest.size() <= kCopied;
  std::string& text = tail(kPreamble + prefix.size() + (copied ? rest.size() : 0));
  text.append(preamble, kPreamble).append(prefix);
  if (copied) {
    text.append(rest.view());
  } else {
    bytes_ += rest.size();
    queue_.back().body = std::move(rest);
  }
}

void LinkWriter::begin() {
  for (Segment& segment : queue_)
    flight_.push_back(std::move(segment));
  queue_.clear();
}

LinkWriter::Wrote LinkWriter::write(int fd, bool is_socket) {
  constexpr int kParts = 64;
  while (!flight_.empty()) {
    iovec parts[kParts];
    int count = 0;
    size_t skip = offset_;
    for (const Segment& segment : flight_) {
      for (std::string_view bytes : {std::string_view(segment.text), segment.body.view()}) {
        const size_t skipped = std::min(skip, bytes.size());
        skip -= skipped;
        bytes.remove_prefix(skipped);
        if (!bytes.empty() && count < kParts)
          parts[count++] = {const_cast<char*>(bytes.data()), bytes.size()};
      }
      if (count >= kParts - 1) break;
    }
    // A peer that has gone is an error, not a signal; for a pipe that is up to the process.
    const msghdr message{.msg_name = nullptr,
                         .msg_namelen = 0,
                         .msg_iov = parts,
                         .msg_iovlen = static_cast<size_t>(count),
                         .msg_control = nullptr,
                         .msg_controllen = 0,
                         .msg_flags = 0};
    const ssize_t wrote =
        is_socket ? sendmsg(fd, &message, MSG_NOSIGNAL) : writev(fd, parts, count);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return errno == EAGAIN ? Wrote::kSome : Wrote::kFailed;
    written_ += static_cast<size_t>(wrote);
    offset_ += static_cast<size_t>(wrote);
    while (!flight_.empty()) {
      const size_t size = flight_.front().text.size() + flight_.front().body.size();
      if (offset_ < size) break;
      offset_ -= size;
      flight_.pop_front();
    }
  }
  return Wrote::kAll;
}

void LinkWriter::settle() {
  bytes_ -= written_;
  written_ = 0;
}

void LinkWriter::clear() {
  queue_.clear();
  flight_.clear();
  offset_ = written_ = bytes_ = 0;
}

}  // namespace brood::gateway
