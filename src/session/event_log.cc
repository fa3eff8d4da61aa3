#include "session/event_log.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/clock.h"

namespace brood {
namespace {

constexpr std::string_view kMessage = "message";
constexpr size_t kRemembered = 4096;  // messages that nobody can have any more

}  // namespace

EventLog::Cursor::Cursor(EventLog& log, uint64_t next) : log_(&log), next_(next), had_(next - 1) {
  log.cursors_.push_back(this);
}

EventLog::Cursor::~Cursor() {
  if (log_) std::erase(log_->cursors_, this);
}

EventPointer EventLog::Cursor::next() {
  if (!log_) return nullptr;
  left_behind_ = false;
  if (const uint64_t first = log_->first_seq(); next_ < first) {
    dropped_events_ += first - next_;
    next_ = first;
  }
  if (dropped_events_ > 0) {
    Event lost;
    lost.seq = next_ - 1;
    lost.type = "dropped";
    lost.head = "{\"events\":" + std::to_string(std::exchange(dropped_events_, 0)) +
                ",\"bytes\":" + std::to_string(std::exchange(dropped_bytes_, 0)) +
                ",\"messages\":" + std::to_string(log_->messages_between(had_ + 1, next_)) + "}";
    had_ = next_ - 1;
    return std::make_shared<const Event>(std::move(lost));
  }
  if (next_ == log_->next_seq_) return nullptr;
  EventPointer event = log_->events_[next_ - log_->first_seq()];
  had_ = next_++;
  log_->trim();
  return event;
}

EventLog::~EventLog() {
  for (Cursor* cursor : cursors_)
    cursor->log_ = nullptr;
}

EventPointer EventLog::append(Event event) {
  event.seq = next_seq_++;
  auto kept = std::make_shared<const Event>(std::move(event));
  const size_t size = kept->size();
  offsets_.push_back(total_);
  events_.push_back(kept);
  total_ += size;
  bytes_ += size;
  trim();
  return kept;
}

void EventLog::inherit(const EventLog& other, uint64_t before_cell) {
  for (const EventPointer& event : other.events_)
    if (event->cell < before_cell && event->type != "ended") append(*event);
}

std::unique_ptr<EventLog::Cursor> EventLog::join(uint64_t after) {
  const uint64_t next = std::clamp(after + 1, first_seq(), next_seq_);
  auto cursor = std::unique_ptr<Cursor>(new Cursor(*this, next));
  // What it asked for and is not there any more; bytes are not known for that.
  if (after + 1 < next) {
    cursor->dropped_events_ = next - (after + 1);
    cursor->had_ = after;
  }
  return cursor;
}

// The position of the cursor that is furthest behind and is waited for; the end without cursors.
uint64_t EventLog::slowest() const {
  uint64_t seq = next_seq_;
  for (const Cursor* cursor : cursors_)
    if (!cursor->left_behind_) seq = std::min(seq, std::max(cursor->next_, first_seq()));
  return seq;
}

bool EventLog::full() const {
  const uint64_t seq = slowest();
  return seq != next_seq_ && total_ - offsets_[seq - first_seq()] >= limits_.lag;
}

// Somebody waits for more (has read everything), and another one has been in the way for too long.
bool EventLog::move_on(int64_t now_ns) {
  const bool starved = std::any_of(cursors_.begin(), cursors_.end(), [this](const Cursor* one) {
    return !one->left_behind_ && one->next_ == next_seq_;
  });
  if (!full() || !starved) {
    full_since_ns_ = 0;
    return false;
  }
  if (full_since_ns_ == 0) full_since_ns_ = now_ns;
  if (now_ns - full_since_ns_ < limits_.patience_ns) return false;
  full_since_ns_ = 0;
  for (Cursor* cursor : cursors_) {
    if (cursor->left_behind_ || cursor->next_ == next_seq_) continue;
    const size_t at = cursor->next_ - first_seq();
    if (total_ - offsets_[at] < limits_.lag) continue;
    cursor->left_behind_ = true;
    cursor->dropped_events_ += next_seq_ - cursor->next_;
    cursor->dropped_bytes_ += total_ - offsets_[at];
    cursor->next_ = next_seq_;
  }
  trim();
  return true;
}

// Of those with numbers in [first, end).
uint64_t EventLog::messages_between(uint64_t first, uint64_t end) const {
  auto count = std::count_if(forgotten_messages_.begin(), forgotten_messages_.end(),
                             [=](uint64_t seq) { return seq >= first && seq < end; });
  for (uint64_t seq = std::max(first, first_seq()); seq < end; seq++)
    count += events_[seq - first_seq()]->type == kMessage;
  return static_cast<uint64_t>(count);
}

void EventLog::trim() {
  const uint64_t needed = slowest();
  while (bytes_ > limits_.keep && events_.size() > 1 && first_seq() < needed) {
    const size_t size = events_.front()->size();
    for (Cursor* cursor : cursors_)
      if (cursor->next_ == first_seq()) {  // it was left behind
        cursor->next_++;
        cursor->dropped_events_++;
        cursor->dropped_bytes_ += size;
      }
    bytes_ -= size;
    if (events_.front()->type == kMessage) forgotten_messages_.push_back(first_seq());
    if (forgotten_messages_.size() > kRemembered) forgotten_messages_.pop_front();
    events_.pop_front();
    offsets_.pop_front();
    forgotten_events_++;
  }
}

}  // namespace brood
