// What an engine knows of one channel. Everything under the engine's lock.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/message.h"

namespace brood::gateway {

// First in, first out. Most channels are calls, with one item: std::deque would take 640 bytes
// before there is any.
class ItemQueue {
 public:
  bool empty() const { return first_ == items_.size(); }
  void push_back(Payload item) { items_.push_back(std::move(item)); }
  Payload pop_front() {
    Payload item = std::move(items_[first_++]);
    if (first_ == items_.size())
      clear();
    else if (first_ >= kMostGone && 2 * first_ >= items_.size())
      drop_gone();
    return item;
  }
  void clear() {
    items_.clear();
    first_ = 0;
  }

 private:
  static constexpr size_t kMostGone = 64;  // items taken whose places are kept
  void drop_gone() {
    items_.erase(items_.begin(), items_.begin() + static_cast<ptrdiff_t>(first_));
    first_ = 0;
  }

  std::vector<Payload> items_;
  size_t first_ = 0;  // of those that were not taken
};

struct ChannelState : std::enable_shared_from_this<ChannelState> {
  ChannelState(uint32_t the_peer, uint32_t the_number) : peer(the_peer), number(the_number) {}

  const uint32_t peer;
  const uint32_t number;

  ItemQueue items;         // received, not taken
  std::string parts;       // of the next item
  size_t taken = 0;        // bytes taken since the last CREDIT
  size_t uncredited = 0;   // bytes received that no CREDIT was given for
  size_t outstanding = 0;  // bytes sent that no CREDIT came for

  bool used = false;          // the peer knows of it: a frame went there, or came
  bool is_call = false;       // counts as unanswered until it ends
  bool ended_here = false;    // END was sent
  bool ended_there = false;   // END came: no more items
  bool closed = false;        // by either side: no more frames in either direction
  bool has_callback = false;  // items go to the queue of callbacks
  bool callback_due = false;  // it is in that queue
  bool delivered = false;     // the callback had everything
  bool when_readable = false, when_writable = false;  // somebody wants to be told, once
  std::optional<std::string> error;  // of CLOSE: a value, a map; taken by the first who is told
  std::string lost;                  // why nobody is there any more; empty: somebody is

  void* owner = nullptr;  // the one object of the language that stands for it (Python's)

  bool no_more_items() const { return closed || ended_there; }
};

using ChannelPtr = std::shared_ptr<ChannelState>;

}  // namespace brood::gateway
