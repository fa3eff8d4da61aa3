#include "gateway/link.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "wire/frame.h"

namespace brood::gateway {

namespace {

constexpr size_t kBin32 = 5;  // bytes of its head

}  // namespace

LinkReader::LinkReader(uint32_t context)
    : context_(context), buffer_(std::make_unique_for_overwrite<char[]>(kBuffer)) {}

LinkReader::Fill LinkReader::fill(int fd, const Allocate& allocate) {
  if (large_size_ > 0 && large_.data == nullptr) begin_large(allocate);
  const bool is_large = large_size_ > 0;
  char* at = is_large ? large_.data + large_filled_ : buffer_.get() + end_;
  const size_t room = is_large ? large_size_ - large_head_.size() - large_filled_ : kBuffer - end_;
  ssize_t got;
  do {
    got = read(fd, at, room);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return Fill::kEnd;
  if (got < 0) return errno == EAGAIN ? Fill::kNothing : Fill::kFailed;
  (is_large ? large_filled_ : end_) += static_cast<size_t>(got);
  return Fill::kData;
}

// Whether what has begun is for this context, and its value is one bytes: MessagePack's bin 32.
bool LinkReader::is_long_bytes() const {
  const char* at = buffer_.get() + begin_;
  if (end_ - begin_ < kPreamble + kBin32) return false;
  uint16_t type;
  std::memcpy(&type, at + 4, 2);
  const bool is_item = type == static_cast<uint16_t>(FrameType::kItem) ||
                       type == static_cast<uint16_t>(FrameType::kReturn);
  const auto* body = reinterpret_cast<const unsigned char*>(at + kPreamble);
  const size_t length =
      size_t{body[1]} << 24 | size_t{body[2]} << 16 | size_t{body[3]} << 8 | size_t{body[4]};
  return is_item && get_head(at + kFrameHeader).to == context_ && body[0] == 0xC6 &&
         length == large_size_ - kPreamble - kBin32;
}

void LinkReader::begin_large(const Allocate& allocate) {
  size_t head = kPreamble;
  if (allocate && is_long_bytes()) {
    head = kPreamble + kBin32;
    large_ = allocate(large_size_ - head);
  }
  if (large_.data == nullptr) {
    head = kPreamble;
    auto block = std::shared_ptr<char[]>(new char[large_size_ - head]);
    large_ = {block, nullptr, block.get()};
  }
  const char* at = buffer_.get() + begin_;
  large_head_.assign(at, head);
  large_filled_ = end_ - begin_ - head;
  std::copy(at + head, static_cast<const char*>(buffer_.get() + end_), large_.data);
  begin_ = end_ = 0;
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
  if (large_size_ > 0) return take_large(frame);
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
    if (whole > kLarge && have >= kPreamble) {
      large_size_ = whole;
      return Step::kPartial;
    }
  }
  std::copy(at, at + have, buffer_.get());
  begin_ = 0;
  end_ = have;
  return Step::kPartial;
}

LinkReader::Step LinkReader::take_large(InFrame& frame) {
  const size_t size = large_size_ - large_head_.size();
  if (large_.data == nullptr || large_filled_ < size) return Step::kPartial;
  uint16_t type;
  std::memcpy(&type, large_head_.data() + 4, 2);
  frame.type = static_cast<FrameType>(type);
  frame.head = get_head(large_head_.data() + kFrameHeader);
  frame.body = Payload(std::exchange(large_, {}), size);
  large_size_ = large_filled_ = 0;
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

size_t LinkWriter::settle() {
  bytes_ -= written_;
  return std::exchange(written_, 0);
}

void LinkWriter::clear() {
  queue_.clear();
  flight_.clear();
  offset_ = written_ = bytes_ = 0;
}

}  // namespace brood::gateway
