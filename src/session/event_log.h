// EventLog: what happened in a session, in one order, and who has read how far. That one thing is
// the replay for who joins late, the queue while nobody is joined, the reconnect ("after event n"),
// and the backpressure. Server process, its one thread.
//
// What is kept: at least the newest `keep` bytes of events. More only for cursors that are behind,
// up to `lag`: beyond it the log is full, and the session stops reading its worker. A cursor that
// holds up another one (which has read everything) for longer than `patience` is moved on and told
// what it lost; until it reads again nobody waits for it.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>

#include "session/event.h"

namespace brood {

struct LogLimits {
  size_t keep = 1u << 20;                     // bytes, for who joins later
  size_t lag = 4u << 20;                      // bytes that the slowest cursor may be behind
  int64_t patience_ns = 5ll * 1'000'000'000;  // docs/sessions.md states it
};

class EventLog {
 public:
  // One reader. Destroyed before the log, or afterwards: then it has no more events.
  class Cursor {
   public:
    Cursor(const Cursor&) = delete;
    ~Cursor();
    // The next event; null: none now. What was lost comes as an event of type "dropped" (with the
    // seq of the last lost one).
    EventPointer next();
    uint64_t seq() const { return next_; }  // of the next one

   private:
    friend class EventLog;
    Cursor(EventLog& log, uint64_t next);
    EventLog* log_;
    uint64_t next_;
    uint64_t dropped_events_ = 0, dropped_bytes_ = 0;
    uint64_t had_;              // the last one that it had, or did not ask for
    bool left_behind_ = false;  // was moved on, and has read nothing since
  };

  explicit EventLog(const LogLimits& limits) : limits_(limits) {}
  ~EventLog();
  EventLog(const EventLog&) = delete;

  // Gives the event its number and keeps it. Does not wake anybody.
  EventPointer append(Event event);

  // Takes over what another one has kept of the cells before that one; for a branch.
  void inherit(const EventLog& other, uint64_t before_cell);

  // Reads everything that is newer than `after`; what is not kept any more comes as "dropped".
  std::unique_ptr<Cursor> join(uint64_t after);

  // The session must not add output now: the slowest cursor is `lag` bytes behind.
  bool full() const;
  // To be called now and then while full(): moves on who has held others up for too long. Returns
  // true if somebody was moved.
  bool move_on(int64_t now_ns);

  uint64_t next_seq() const { return next_seq_; }
  uint64_t first_seq() const { return next_seq_ - events_.size(); }  // of the oldest that is kept
  size_t bytes() const { return bytes_; }
  // Lost by the limit on what is kept, since the session began.
  uint64_t forgotten_events() const { return forgotten_events_; }

 private:
  uint64_t slowest() const;
  uint64_t messages_between(uint64_t first, uint64_t end) const;
  void trim();

  const LogLimits limits_;
  std::deque<EventPointer> events_;
  std::deque<uint64_t> offsets_;  // bytes before each event, since the session began
  std::list<Cursor*> cursors_;
  uint64_t next_seq_ = 1;
  uint64_t total_ = 0;  // bytes ever appended
  size_t bytes_ = 0;
  uint64_t forgotten_events_ = 0;
  std::deque<uint64_t> forgotten_messages_;  // their numbers; the newest kRemembered
  int64_t full_since_ns_ = 0;
};

}  // namespace brood
