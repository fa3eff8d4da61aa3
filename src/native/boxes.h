// Inbox and Outbox: the bytes of a connection on their way in and out. Pure: no sockets.
#pragma once

#include <sys/uio.h>

#include <deque>
#include <span>
#include <string>
#include <string_view>

#include "session/event.h"
#include "wire/frame.h"

namespace brood {

// What has arrived, cut into frames. Grows with what arrives, never ahead of it: a header alone
// allocates nothing.
class Inbox {
 public:
  enum class Step { kFrame, kPartial, kMalformed };

  // Room for one read behind what is there; filled() says how much of it was used.
  std::span<char> space();
  void filled(size_t bytes) { end_ += bytes; }
  // The view stays valid until the next call. `limit`: the longest payload that is accepted.
  Step next(uint32_t limit, FrameView& frame);
  const std::string& error() const { return error_; }
  void clear();

 private:
  std::string bytes_;
  size_t begin_ = 0, end_ = 0;  // of what is there and not consumed
  std::string error_;
};

// Frames waiting to be written. Bodies are held, not copied.
class Outbox {
 public:
  void add_answer(std::string front, std::string body);
  void add_event(std::string front, EventPointer event);

  bool empty() const { return items_.empty(); }
  size_t waiting() const { return waiting_; }                  // bytes
  size_t answers_waiting() const { return answers_waiting_; }  // bytes of them that are no events

  // Fills `pieces` with what comes next and returns how many it has filled.
  size_t gather(std::span<iovec> pieces) const;
  void written(size_t bytes);
  void clear();

 private:
  struct Item {
    std::string front;  // the frame but for the body
    std::string body;
    EventPointer event;  // set: its body is sent
    std::string_view tail() const { return event ? std::string_view(event->body) : body; }
    size_t size() const { return front.size() + tail().size(); }
  };
  void add(Item item);

  std::deque<Item> items_;
  size_t sent_ = 0;  // of the first one
  size_t waiting_ = 0, answers_waiting_ = 0;
};

}  // namespace brood
