#include "native/boxes.h"

#include <algorithm>
#include <cstring>

namespace brood {
namespace {

constexpr size_t kReadSize = 256u << 10;   // bytes of one read
constexpr size_t kKeepBuffer = 1u << 20;   // a larger one is given back when it is empty
constexpr size_t kFirstReadSize = 16384u;  // most connections never say more at once

}  // namespace

std::span<char> Inbox::space() {
  if (begin_ > 0) {
    std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == 0 && bytes_.size() > kKeepBuffer) std::string().swap(bytes_);
  const size_t room = bytes_.empty() ? kFirstReadSize : kReadSize;
  if (bytes_.size() == end_) bytes_.resize(end_ + std::max(room, end_ / 2));
  return std::span<char>(bytes_).subspan(end_).first(std::min(bytes_.size() - end_, kReadSize));
}

Inbox::Step Inbox::next(uint32_t limit, FrameView& frame) {
  if (end_ - begin_ < kFrameHeader) return Step::kPartial;
  const std::string_view there = std::string_view(bytes_).substr(begin_, end_ - begin_);
  Result<FrameHeader> header = decode_header(there);
  if (!header) {
    error_ = header.error().message;
    return Step::kMalformed;
  }
  if (header->length > limit) {
    error_ = "a frame of " + std::to_string(header->length) + " bytes; the limit is " +
             std::to_string(limit) + " here";
    return Step::kMalformed;
  }
  if (there.size() - kFrameHeader < header->length) return Step::kPartial;
  frame.header = *header;
  frame.payload = there.substr(kFrameHeader, header->length);
  begin_ += kFrameHeader + header->length;
  return Step::kFrame;
}

void Inbox::clear() { begin_ = end_ = 0; }

void Outbox::add_answer(std::string front, std::string body) {
  answers_waiting_ += front.size() + body.size();
  add({std::move(front), std::move(body), nullptr});
}

void Outbox::add_event(std::string front, EventPointer event) {
  add({std::move(front), {}, std::move(event)});
}

void Outbox::add(Item item) {
  waiting_ += item.size();
  items_.push_back(std::move(item));
}

size_t Outbox::gather(std::span<iovec> pieces) const {
  size_t count = 0;
  size_t skip = sent_;
  for (const Item& item : items_)
    for (std::string_view part : {std::string_view(item.front), item.tail()}) {
      const size_t gone = std::min(skip, part.size());
      skip -= gone;
      part.remove_prefix(gone);
      if (part.empty()) continue;
      if (count == pieces.size()) return count;
      pieces[count++] = {const_cast<char*>(part.data()), part.size()};
    }
  return count;
}

void Outbox::written(size_t bytes) {
  waiting_ -= bytes;
  sent_ += bytes;
  while (!items_.empty() && sent_ >= items_.front().size()) {
    sent_ -= items_.front().size();
    if (!items_.front().event) answers_waiting_ -= items_.front().size();
    items_.pop_front();
  }
}

void Outbox::clear() {
  items_.clear();
  sent_ = waiting_ = answers_waiting_ = 0;
}

}  // namespace brood
