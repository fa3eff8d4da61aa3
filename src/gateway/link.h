// Link: the bytes to and from one neighbour. Passive: who holds its reading or writing side moves
// bytes without the engine's lock; everything else happens under that lock (engine.h).
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "gateway/message.h"

namespace brood::gateway {

struct InFrame {
  FrameType type;
  Head head;
  Payload body;
};

// Cuts what arrives into frames. A frame of more than kLarge bytes is read straight into memory of
// its own.
class LinkReader {
 public:
  enum class Fill { kData, kNothing, kEnd, kFailed };
  enum class Step { kFrame, kPartial, kMalformed };

  // Makes the memory of a long bytes; may return null.
  using Allocate = std::function<LongBytes(size_t)>;

  // `context` is whom frames are for if they are not passed on.
  explicit LinkReader(uint32_t context);
  // One read(2). kFailed leaves errno. A value that is one long bytes goes straight into what
  // `allocate` makes, if that is given.
  Fill fill(int fd, const Allocate& allocate = {});
  // Bytes that somebody has read before; at most kBuffer.
  void push(std::string_view bytes);
  Step next(InFrame& frame);
  const std::string& error() const { return error_; }

 private:
  static constexpr size_t kBuffer = 64 << 10;
  static constexpr size_t kLarge = 16 << 10;

  Step take_large(InFrame& frame);
  Step malformed(std::string why);
  void begin_large(const Allocate& allocate);
  bool is_long_bytes() const;

  const uint32_t context_;
  std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0, end_ = 0;
  // The large frame that has begun: its first bytes are in the buffer until fill() makes room.
  size_t large_size_ = 0;  // of the frame; 0: there is none
  std::string large_head_;
  LongBytes large_;
  size_t large_filled_ = 0;
  std::string error_;
};

// What waits to be written. Whoever takes `begin` alone writes; others append meanwhile.
class LinkWriter {
 public:
  // The body is `prefix` and `rest`, which is not copied if it is long.
  void append(FrameType type, const Head& head, std::string_view prefix, Payload rest);
  bool empty() const { return queue_.empty() && flight_.empty(); }
  size_t bytes() const { return bytes_; }

  // Moves everything that waits to what write() works on. Under the lock.
  void begin();
  enum class Wrote { kAll, kSome, kFailed };
  // Writes until all of it is with the kernel or it takes no more. Without the lock. kFailed leaves
  // errno.
  Wrote write(int fd, bool is_socket);
  // Under the lock, after write(): the bytes that were written are accounted for, and returned.
  size_t settle();
  void clear();

 private:
  struct Segment {
    std::string text;
    Payload body;  // written after `text`
  };
  std::string& tail(size_t more);

  std::vector<Segment> queue_;  // under the lock
  std::deque<Segment> flight_;  // of the writer
  size_t offset_ = 0;           // written of the first in flight
  size_t written_ = 0;          // not settled yet
  size_t bytes_ = 0;            // queued and in flight, under the lock
};

}  // namespace brood::gateway
