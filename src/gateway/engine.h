// Engine: one context's channels, and the router for what is behind it. docs/protocol.md,
// section 7.
//
// A process has one engine for each tree that it is part of. Any thread may call any method. There
// is one lock; no user code runs under it and nothing that waits is done under it, so a caller may
// hold another lock (Python's GIL) around every method but those that say that they wait.
//
// Who reads a link? A thread that waits for an item reads the link itself, as long as it waits
// (leader and followers: D. Schmidt et al., "Leader/Followers", 2000), so that an answer costs no
// hand-over between threads. The broker, the engine's one thread, reads the links that nobody waits
// on; a leader's link goes back to it when nobody led for a millisecond. Who writes? The sender, if
// nothing was written for a while; what follows soon after is collected, and written by the next
// who waits, by who fills kFlushBytes, or by the broker after kFlushDelay.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "gateway/capture.h"
#include "gateway/channel_state.h"
#include "gateway/link.h"
#include "gateway/spin.h"
#include "gateway/waiting.h"

namespace brood::gateway {

inline constexpr size_t kFlushBytes = 32 << 10;
inline constexpr size_t kMostUnwritten = 32 << 20;  // bytes that wait for a link
inline constexpr int64_t kQuiet = 30'000;        // ns without a write after which one goes at once,
inline constexpr int64_t kBusy = 100'000;        // while tasks wait
inline constexpr int64_t kFlushDelay = 250'000;  // ns
inline constexpr int64_t kLinger = 1'000'000;    // ns
inline constexpr int64_t kStalled = 2'000'000;   // ns that calls wait for a thread that is busy
inline constexpr int64_t kLeaveWithin = 4 * kSecond;

enum class Queue { kTasks, kService, kCallbacks };
inline constexpr int kQueues = 3;
inline constexpr uint32_t kNobody = 0xFFFFFFFF;  // no context

// A request for this context, or what it should know.
struct Arrival {
  FrameType type = FrameType::kPing;
  uint32_t peer = 0;
  ChannelPtr channel;  // to answer on; for kCallbacks the channel that has something due:
                       // kItem: take_due(), kEnd: it can be received from, kCredit: sent to;
                       // null with kClose: `body` is an error that nobody can receive any more
  Payload body;
};

enum class Wait {
  kDone,
  kTimeout,
  kInterrupted,  // a signal came: call again after looking at it
  kEnded,        // the channel, or the engine, has ended
};

struct EngineStats {
  size_t channels = 0, calls = 0, queued = 0, tasks = 0;
  size_t unwritten = 0;  // bytes that are not with the kernel yet
  uint64_t dropped = 0, lost_logs = 0, bytes_in = 0, bytes_out = 0;
};

// A value of which some goes whenever the link has room, so that what others send goes in between;
// and what its channel says behind it.
struct LongItem {
  struct Frame {
    FrameType type;
    std::string prefix;
    Payload rest;
    size_t sent = 0;  // bytes of both
  };
  bool is_of(const Head& other) const {
    return head.channel == other.channel && head.to == other.to;
  }
  Head head;
  std::deque<Frame> frames;
};

// A link to a neighbour, as the engine keeps it.
class Link {
 public:
  Link(uint32_t own_context, uint32_t the_peer, std::string the_name, Fd in_fd, Fd out_fd);
  int in() const { return in_.get(); }
  int out() const { return out_ ? out_.get() : in_.get(); }
  void close_descriptors() {
    in_.reset();
    out_.reset();
  }

  const uint32_t peer;
  const std::string name;
  const bool is_socket;
  LinkReader reader;
  LinkWriter writer;
  enum class Reading { kBroker, kLeader, kLingering } reading = Reading::kBroker;
  bool broker_reads = false;  // right now, without the lock
  bool writing = false;       // somebody is in writer.write()
  bool wants_write = false;   // the kernel takes no more: the broker waits until it does
  bool dead = false;
  bool dirty = false;    // in the engine's list
  bool leaving = false;  // BYE came
  bool held = false;     // not read: what it has sent or asked for fills another link, or its own
  std::deque<LongItem> long_items;  // one of each channel goes on, in turn
  std::vector<uint32_t> holds;      // neighbours that are held until this one has room
  Spin spin;                        // of who leads
  uint64_t led = 0;                 // how often somebody led; the broker compares
  uint64_t led_before = 0;
  int64_t last_write = 0;  // ns
  int64_t heartbeat = 0;   // ns between PINGs; 0: none
  int64_t next_ping = 0;   // ns
  int64_t last_heard = 0;  // ns
  bool pings = false;      // the other side does, too: its silence means something
  int faults = 0;          // frames that no race explains

 private:
  Fd in_, out_;  // out_ is empty if the stream is one descriptor
};

// Held by shared_ptr: a thread that spawn() has started keeps it.
class Engine : public std::enable_shared_from_this<Engine> {
 public:
  struct Options {
    uint32_t context = 0;
    std::vector<uint32_t> ancestors;  // parent first; the root has none
    std::string name = "master";
    Limits limits;
    int64_t heartbeat = 0;  // ns between PINGs to the parent; nothing heard for four times that:
                            // it is lost
    // Called in a new thread when something waits in a queue and nobody waits for it.
    std::function<void(Engine&, Queue)> spawn;
    // Called by threads that wait, for an item that is one long bytes.
    LinkReader::Allocate allocate;
  };
  explicit Engine(Options options);
  ~Engine();  // stop()
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  uint32_t context() const { return context_; }
  const std::vector<uint32_t>& ancestors() const { return ancestors_; }
  const Limits& limits() const { return limits_; }

  // --- links and routes ---
  // The mark and GREET were exchanged; `ahead` is what was read beyond. `out` is empty if the
  // stream is one descriptor. Fails if the engine has stopped or has that link.
  // `heartbeat`, ns: so often a PING goes there, and a child that sends PINGs, too, is lost when
  // nothing was heard from it for four times that; 0: never. That of the parent is the engine's.
  Result<void> add_link(uint32_t peer, std::string name, Fd in, Fd out, std::string_view ahead,
                        int64_t heartbeat = 0);
  // Why there can be no link to that context: it is gone, or linked already; empty: there can be
  // one.
  std::string link_problem(uint32_t peer);
  void add_route(uint32_t context, uint32_t via);
  // A child, or what is behind one, is gone.
  void lose(uint32_t context, const std::string& why);

  // --- channels ---
  ChannelPtr open(uint32_t peer);
  // One that was announced, or is open; null: neither.
  ChannelPtr adopt(uint32_t peer, uint32_t number);
  // Before it is sent as a value: OPEN, if its other end does not know of it yet.
  void announce(ChannelState& channel);
  // Opens a channel with that frame. kEnded: the context is gone, `channel->lost` says why.
  Wait request(uint32_t peer, FrameType type, std::string_view body, ChannelPtr& channel,
               int64_t deadline);
  // A frame without a channel, or with the channel's number for OPEN's like. Dropped when nobody is
  // there.
  void post(uint32_t peer, FrameType type, std::string_view body);
  // Waits while the window is full, or kMostUnwritten wait for the link. kEnded: nothing was sent.
  // The item is `prefix` and `rest`; a long rest is not copied. `deadline` 0: never waits.
  Wait send(ChannelState& channel, std::string_view prefix, const Payload& rest, int64_t deadline);
  // kEnded: no item is left and none will come; then take_end() says why.
  Wait receive(ChannelState& channel, Payload& item, int64_t deadline);
  bool try_receive(ChannelState& channel, Payload& item);
  // Until the other side has closed or ended; `delivered`: and the callback had all of it.
  Wait wait_closed(ChannelState& channel, bool delivered, int64_t deadline);
  void end(ChannelState& channel);
  // CLOSE; an empty error is none.
  void close(ChannelState& channel, std::string_view error = {});
  // RETURN, which closes. False: it is closed already.
  bool finish(ChannelState& channel, std::string_view value);
  void set_callback(ChannelState& channel);
  // Once, in the queue of callbacks: receive(), or send(), would not wait.
  void notify_when(ChannelState& channel, bool writable);
  // Nobody refers to it any more.
  void release(ChannelState& channel);
  bool is_closed(const ChannelState& channel);
  std::string lost(const ChannelState& channel);  // why nobody is there any more; else empty
  struct Ended {
    std::optional<std::string> error;  // told once
    std::string lost;
  };
  Ended take_end(ChannelState& channel);

  // --- queues ---
  // kEnded: the engine has stopped. `leads`: the thread may read the parent's link itself.
  // From now on Options::spawn may be called.
  void allow_threads();
  Wait next(Queue queue, Arrival& request, int64_t deadline, bool leads);
  bool has_request(Queue queue);  // next() would not wait, unless another thread is sooner
  // The next item of a channel whose callback is due; false: none is left, and `ended` says whether
  // the channel has come to its end.
  bool take_due(ChannelState& channel, Payload& item, bool& ended);
  // The callback has returned from the last call, with the end marker or before it.
  void delivered(ChannelState& channel);

  // --- process ---
  void capture(Fd fd, std::string name);
  uint64_t watch(int64_t ns);  // from now
  void unwatch(uint64_t token);
  // From now on the moments go there (as struct "<d", seconds of CLOCK_MONOTONIC, inf for none), to
  // a process that kills. -1: the broker kills. Not owned.
  void set_watch_writer(int fd);
  // What was captured and sent until now is with the kernel; false: not in time.
  bool drain(int64_t ns);
  void stop();
  // In a child of fork(): the engine is unusable, its descriptors are closed, its thread is not
  // there.
  void after_fork_in_child();
  // Around fork(), so that the child finds everything in order.
  void before_fork();
  void after_fork_in_parent();
  bool has_stopped();
  EngineStats stats();

  // The one lock. Callers that keep state of their own in ChannelState::owner take it, too.
  std::mutex& mutex() { return mutex_; }

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct Inbox {
    std::deque<Arrival> requests;
    int waiting = 0;                // threads in next()
    int threads = 0;                // that spawn() has started
    int spawned = 0;                // of these, not yet in next()
    bool leading = false;           // the main thread waits, and goes first
    uint64_t taken = 0;             // requests, ever
    uint64_t taken_before = 0;      // when check_due was set
    int64_t check_due = INT64_MAX;  // ns; whether somebody takes calls
  };

  // --- engine.cc ---
  std::string link_problem_locked(uint32_t peer) const;
  ChannelPtr find(uint32_t peer, uint32_t number);
  ChannelPtr create(uint32_t peer, uint32_t number);
  ChannelPtr open_locked(uint32_t peer);
  bool pop(Lock& lock, ChannelState& channel, Payload& item);
  void close_locked(Lock& lock, ChannelState& channel, std::string_view error);
  void closed(ChannelState& channel);
  void introduce(ChannelState& channel, Link& hop);
  void end_all(const std::string& why);
  void callback_due(ChannelState& channel);
  bool admit_log(size_t bytes, uint32_t peer);
  void readable(ChannelState& channel);
  void push(Queue queue, Arrival request);
  uint64_t watch_locked(int64_t ns);
  void tell_watch();

  // --- broker.cc: who waits, reads and writes ---
  template <typename Ready>
  Wait wait(Lock& lock, const void* what, uint32_t peer, int64_t deadline, Ready ready);
  Wait sleep(Lock& lock, Waiter& waiter, const void* what, Link* wanted, bool leads,
             int64_t deadline);
  std::unique_ptr<Waiter> take_waiter();
  void give_back(std::unique_ptr<Waiter> waiter);
  void wake(const void* what);
  bool lead(Link& link);
  void stop_leading(Link& link);
  void read_link(Lock& lock, Link& link, const LinkReader::Allocate& allocate);
  // Frames were appended to a link: they are written now, or soon.
  void pushed(Lock& lock, Link& link);
  void flush(Lock& lock, Link& link);
  void flush_all(Lock& lock);
  Wait wait_for_room(Lock& lock, const ChannelState& channel, int64_t deadline);
  void hold(Link& source, Link& full);
  void let_go(Link& full);
  void feed(Link& link);
  void fail(Link& link, const std::string& why);
  void end_link(Link& link, const std::string& text);
  void update_events(Link& link);
  void arm(int64_t due);
  bool wants_thread(Queue queue) const;
  void provide_thread(Queue queue);
  void check_stalled(int64_t now);
  void spawn(Queue queue);
  void run_spawned(Queue queue);
  int spawned_threads() const;
  static inline thread_local bool is_spawned_ = false;
  std::thread start_broker();
  void run_broker();
  void handle_event(Lock& lock, uint64_t tag, uint32_t events);
  void handle_due();
  void beat(int64_t now);
  void read_capture(Capture& capture);
  void pause_capture(const Capture& capture, bool pause);
  void reap();

  // --- router.cc: whose frame, for whom ---
  Link* next_hop(uint32_t context);
  uint32_t child_before(uint32_t context) const;  // context itself if it is no descendant
  bool is_parent(const Link& link) const;
  bool is_descendant(uint32_t context) const;
  bool is_ancestor(uint32_t context) const;
  void append(Link& link, FrameType type, const Head& head, std::string_view prefix,
              Payload rest = {});
  void append_in_order(Link& link, FrameType type, const Head& head, std::string_view prefix,
                       const Payload& rest = {});
  void route(Link& from, InFrame frame);
  void deliver(Link& from, InFrame frame);
  void deliver_to_channel(InFrame& frame);
  void deliver_item(ChannelState& channel, InFrame& frame);
  void early_part(InFrame& frame);
  void deliver_request(InFrame& frame);
  void deliver_notice(Link& from, InFrame& frame);
  void refuse(const Head& head, const char* why);
  void end_with_error(ChannelState& channel, const char* why);
  void drop();
  void fault(Link& link, const char* what);
  void gone(const std::vector<uint32_t>& contexts, const std::string& why, const Link* except);
  void neighbour_lost(Link& from, std::string_view body);
  std::string lost_record(uint64_t& untold) const;
  void parent_lost(const std::string& why);
  void log_line(const std::string& name, std::string_view line);

  const uint32_t context_;
  const std::vector<uint32_t> ancestors_;
  const std::string name_;
  const Limits limits_;
  const int64_t heartbeat_;
  const std::function<void(Engine&, Queue)> spawn_;
  const LinkReader::Allocate allocate_;
  const bool has_processors_;  // more than one

  std::mutex mutex_;
  std::unordered_map<uint32_t, std::unique_ptr<Link>> links_;  // by neighbour
  std::vector<std::unique_ptr<Link>> dead_links_;              // until nobody uses them any more
  std::unordered_map<uint32_t, uint32_t> routes_;              // context -> child
  std::unordered_map<uint32_t, std::string> gone_;             // contexts that were lost, and why
  std::unordered_map<uint64_t, ChannelPtr> channels_;          // that are open
  std::unordered_map<uint64_t, ChannelPtr> announced_;         // by OPEN, not adopted
  std::unordered_map<uint64_t, std::string> early_parts_;      // of requests, by channel
  std::unordered_map<uint32_t, uint32_t> last_number_;         // by peer
  std::unordered_map<uint32_t, size_t> unanswered_;            // calls, by peer
  std::unordered_map<uint32_t, size_t> modules_;               // MODULE requests, by peer
  Inbox inboxes_[kQueues];
  std::vector<Waiter*> waiters_;                       // that sleep
  std::vector<std::unique_ptr<Waiter>> idle_waiters_;  // for the next threads
  std::set<Waiter*> inside_;                           // of threads in wait()
  std::condition_variable left_;                       // the last of them, after finished_
  std::map<uint64_t, int64_t> watches_;
  std::list<std::unique_ptr<Capture>> captures_;
  uint64_t last_watch_ = 0;
  int watch_writer_ = -1;
  double told_watch_ = 0;
  size_t waiting_logs_ = 0, waiting_log_bytes_ = 0;
  uint64_t untold_sent_ = 0, untold_received_ = 0;  // of stats_.lost_logs
  int waiting_for_room_ = 0;                        // threads
  Link* full_ = nullptr;  // that the frames of a link being read have filled
  EngineStats stats_;
  std::vector<Link*> dirty_;  // have something to write that nobody writes
  bool queues_over_ = false;  // the parent is lost
  bool may_spawn_ = false;
  bool captures_paused_ = false;
  bool stopping_ = false;  // queues and channels are over
  bool finished_ = false;  // the broker ends

  Fd epoll_, timer_;
  int64_t armed_ = INT64_MAX;  // when the timer fires, ns
  std::thread thread_;
};

}  // namespace brood::gateway
