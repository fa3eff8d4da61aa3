#include "gateway/engine.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "base/sys.h"
#include "gateway/wait.h"

namespace brood::gateway {

namespace {

uint64_t key(uint32_t peer, uint32_t number) { return uint64_t{peer} << 32 | number; }

bool socket_descriptor(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

bool may_use_several_processors() {
  cpu_set_t mask;
  return sched_getaffinity(0, sizeof mask, &mask) != 0 || CPU_COUNT(&mask) > 1;
}

}  // namespace

Link::Link(uint32_t own_context, uint32_t the_peer, std::string the_name, Fd in_fd, Fd out_fd)
    : peer(the_peer),
      name(std::move(the_name)),
      is_socket(socket_descriptor(out_fd ? out_fd.get() : in_fd.get())),
      reader(own_context),
      in_(std::move(in_fd)),
      out_(std::move(out_fd)) {}

Engine::Engine(Options options)
    : context_(options.context),
      ancestors_(std::move(options.ancestors)),
      name_(std::move(options.name)),
      limits_(options.limits),
      heartbeat_(options.heartbeat),
      spawn_(std::move(options.spawn)),
      allocate_(std::move(options.allocate)),
      has_processors_(may_use_several_processors()),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
  require(epoll_ && timer_, "there are descriptors for an engine");
  epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, timer_.get(), &event);
  thread_ = start_broker();
}

Engine::~Engine() { stop(); }

// --- channels ------------------------------------------------------------------------------------

ChannelPtr Engine::find(uint32_t peer, uint32_t number) {
  const auto found = channels_.find(key(peer, number));
  return found == channels_.end() ? nullptr : found->second;
}

ChannelPtr Engine::create(uint32_t peer, uint32_t number) {
  auto channel = std::make_shared<ChannelState>(peer, number);
  channels_.emplace(key(peer, number), channel);
  return channel;
}

ChannelPtr Engine::open_locked(uint32_t peer) {
  // Of two contexts the one with the lower number has the even ones.
  uint32_t& last = last_number_.try_emplace(peer, context_ < peer ? 0 : 0xFFFFFFFF).first->second;
  do {
    last += 2;
    if (last == 0) last = 2;
  } while (find(peer, last) != nullptr);
  return create(peer, last);
}

ChannelPtr Engine::open(uint32_t peer) {
  Lock lock(mutex_);
  ChannelPtr channel = open_locked(peer);
  if (const auto why = gone_.find(peer); why != gone_.end()) {
    channel->lost = why->second;
    closed(*channel);
  }
  return channel;
}

ChannelPtr Engine::adopt(uint32_t peer, uint32_t number) {
  Lock lock(mutex_);
  if (auto announced = announced_.extract(key(peer, number))) return announced.mapped();
  return find(peer, number);
}

void Engine::announce(ChannelState& channel) {
  Lock lock(mutex_);
  if (Link* hop = next_hop(channel.peer)) introduce(channel, *hop);
}

// The other side must know of a channel before anything comes on it.
void Engine::introduce(ChannelState& channel, Link& hop) {
  if (std::exchange(channel.used, true)) return;
  char body[8];
  put_u32(body, kSender);
  put_u32(body + 4, channel.number);
  append(hop, FrameType::kOpen, {channel.peer, context_, 0}, std::string_view(body, sizeof body));
}

Wait Engine::request(uint32_t peer, FrameType type, std::string_view body, ChannelPtr& channel,
                     int64_t deadline) {
  Lock lock(mutex_);
  const bool is_call = type == FrameType::kCall;
  if (is_call) {
    size_t& unanswered = unanswered_[peer];
    if (unanswered >= limits_.calls) {
      if (deadline == 0) return Wait::kTimeout;
      const Wait waited = wait(lock, &unanswered, peer, deadline,
                               [&] { return unanswered < limits_.calls || gone_.contains(peer); });
      if (waited != Wait::kDone) return waited;
    }
  }
  channel = open_locked(peer);
  Link* hop = next_hop(peer);
  const auto why = gone_.find(peer);
  if (hop == nullptr || why != gone_.end() || stopping_) {
    channel->lost = why != gone_.end() ? why->second
                    : stopping_        ? "the engine has stopped"
                                       : "there is no context " + std::to_string(peer);
    closed(*channel);
    return Wait::kEnded;
  }
  channel->used = true;
  if (is_call) {
    channel->is_call = true;
    ++unanswered_[peer];
    ++stats_.calls;
  }
  append_in_order(*hop, type, {peer, context_, channel->number}, body);
  pushed(lock, *hop);
  return Wait::kDone;
}

void Engine::post(uint32_t peer, FrameType type, std::string_view body) {
  Lock lock(mutex_);
  if (peer == context_ && type == FrameType::kLog)
    return admit_log(body.size(), peer)
               ? push(Queue::kService, {type, peer, nullptr, Payload(body)})
               : void();
  Link* hop = next_hop(peer);
  constexpr size_t kCongested = 4 << 20;
  if (hop == nullptr) return;
  if (type == FrameType::kLog && hop->writer.bytes() > kCongested) {
    ++stats_.lost_logs;
    ++untold_sent_;
    return;
  }
  if (type == FrameType::kLog && untold_sent_ > 0)
    append(*hop, type, {peer, context_, 0}, lost_record(untold_sent_));
  append(*hop, type, {peer, context_, 0}, body);
  pushed(lock, *hop);
}

Wait Engine::send(ChannelState& channel, std::string_view prefix, const Payload& rest,
                  int64_t deadline) {
  Lock lock(mutex_);
  if (channel.outstanding >= limits_.window && !channel.closed) {
    if (deadline == 0) return Wait::kTimeout;
    const Wait waited = wait(lock, &channel, channel.peer, deadline, [&] {
      return channel.outstanding < limits_.window || channel.closed;
    });
    if (waited != Wait::kDone) return waited;
  }
  if (const Wait waited = wait_for_room(lock, channel, deadline); waited != Wait::kDone)
    return waited;
  if (channel.closed || channel.ended_here || stopping_) return Wait::kEnded;
  Link* hop = next_hop(channel.peer);
  if (hop == nullptr) return Wait::kEnded;
  channel.outstanding += prefix.size() + rest.size() + kItemCost;
  introduce(channel, *hop);
  append_in_order(*hop, FrameType::kItem, {channel.peer, context_, channel.number}, prefix, rest);
  pushed(lock, *hop);
  return Wait::kDone;
}

bool Engine::pop(Lock& lock, ChannelState& channel, Payload& item) {
  if (channel.items.empty()) return false;
  item = channel.items.pop_front();
  --stats_.queued;
  channel.taken += item.size() + kItemCost;
  if (channel.taken >= limits_.window / 4 && !channel.no_more_items()) {
    char body[4];
    put_u32(body, static_cast<uint32_t>(channel.taken));
    channel.uncredited -= channel.taken;
    channel.taken = 0;
    if (Link* hop = next_hop(channel.peer)) {
      append(*hop, FrameType::kCredit, {channel.peer, context_, channel.number}, {body, 4});
      pushed(lock, *hop);
    }
  }
  return true;
}

bool Engine::try_receive(ChannelState& channel, Payload& item) {
  Lock lock(mutex_);
  return pop(lock, channel, item);
}

Wait Engine::receive(ChannelState& channel, Payload& item, int64_t deadline) {
  Lock lock(mutex_);
  const Wait waited = wait(lock, &channel, channel.peer, deadline, [&] {
    return !channel.items.empty() || channel.no_more_items() || channel.has_callback;
  });
  if (waited != Wait::kDone) return waited;
  return !channel.has_callback && pop(lock, channel, item) ? Wait::kDone : Wait::kEnded;
}

Wait Engine::wait_closed(ChannelState& channel, bool delivered, int64_t deadline) {
  Lock lock(mutex_);
  return wait(lock, &channel, channel.peer, deadline, [&] {
    return channel.no_more_items() && (!delivered || !channel.has_callback || channel.delivered);
  });
}

void Engine::end(ChannelState& channel) {
  Lock lock(mutex_);
  if (channel.closed || channel.ended_here) return;
  channel.ended_here = true;
  if (Link* hop = next_hop(channel.peer)) {
    introduce(channel, *hop);
    append_in_order(*hop, FrameType::kEnd, {channel.peer, context_, channel.number}, "");
    pushed(lock, *hop);
  }
}

void Engine::close(ChannelState& channel, std::string_view error) {
  Lock lock(mutex_);
  close_locked(lock, channel, error);
}

void Engine::close_locked(Lock& lock, ChannelState& channel, std::string_view error) {
  if (channel.closed) return;
  closed(channel);
  Link* hop = channel.used ? next_hop(channel.peer) : nullptr;
  if (hop == nullptr) return;
  append_in_order(*hop, FrameType::kClose, {channel.peer, context_, channel.number}, error);
  pushed(lock, *hop);
}

bool Engine::finish(ChannelState& channel, std::string_view value) {
  Lock lock(mutex_);
  if (channel.closed) return false;
  if (Link* hop = next_hop(channel.peer)) {
    introduce(channel, *hop);
    append_in_order(*hop, FrameType::kReturn, {channel.peer, context_, channel.number}, value);
    closed(channel);
    pushed(lock, *hop);
  }
  return true;
}

void Engine::set_callback(ChannelState& channel) {
  Lock lock(mutex_);
  channel.has_callback = true;
  wake(&channel);
  channel.delivered = false;
  if (!channel.items.empty() || channel.no_more_items()) callback_due(channel);
}

void Engine::release(ChannelState& channel) {
  Lock lock(mutex_);
  if (channel.error && !channel.has_callback && !stopping_)
    push(Queue::kCallbacks,
         {FrameType::kClose, channel.peer, nullptr, Payload(std::move(*channel.error))});
  channel.error.reset();
  if (channel.closed) return;
  if (!channel.used) {
    channels_.erase(key(channel.peer, channel.number));
  } else if (!channel.has_callback) {
    close_locked(lock, channel, {});
  } else if (!channel.ended_here) {
    channel.ended_here = true;
    if (Link* hop = next_hop(channel.peer)) {
      append_in_order(*hop, FrameType::kEnd, {channel.peer, context_, channel.number}, "");
      pushed(lock, *hop);
    }
  }
}

bool Engine::is_closed(const ChannelState& channel) {
  Lock lock(mutex_);
  return channel.closed || (channel.ended_here && channel.ended_there);
}

std::string Engine::lost(const ChannelState& channel) {
  Lock lock(mutex_);
  return channel.lost;
}

Engine::Ended Engine::take_end(ChannelState& channel) {
  Lock lock(mutex_);
  Ended ended{std::move(channel.error), channel.lost};
  channel.error.reset();
  return ended;
}

// No more frames in either direction. Items that came before stay.
void Engine::closed(ChannelState& channel) {
  if (channel.closed) return;
  const ChannelPtr keep = channel.shared_from_this();
  channel.closed = true;
  channel.parts = {};
  if (channel.is_call) {
    const auto unanswered = unanswered_.find(channel.peer);
    if (unanswered->second-- == limits_.calls) wake(&unanswered->second);
    --stats_.calls;
  }
  readable(channel);
  channels_.erase(key(channel.peer, channel.number));
}

// --- queues --------------------------------------------------------------------------------------

void Engine::callback_due(ChannelState& channel) {
  if (channel.callback_due) return;
  channel.callback_due = true;
  push(Queue::kCallbacks, {FrameType::kItem, channel.peer, channel.shared_from_this(), {}});
}

// An item came, or the end.
void Engine::readable(ChannelState& channel) {
  if (channel.has_callback) callback_due(channel);
  if (std::exchange(channel.when_readable, false))
    push(Queue::kCallbacks, {FrameType::kEnd, channel.peer, channel.shared_from_this(), {}});
  if (channel.closed && std::exchange(channel.when_writable, false))
    push(Queue::kCallbacks, {FrameType::kCredit, channel.peer, channel.shared_from_this(), {}});
  wake(&channel);
}

void Engine::notify_when(ChannelState& channel, bool writable) {
  Lock lock(mutex_);
  const bool now = writable ? channel.outstanding < limits_.window || channel.closed
                            : !channel.items.empty() || channel.no_more_items();
  if (now)
    push(Queue::kCallbacks, {writable ? FrameType::kCredit : FrameType::kEnd,
                             channel.peer,
                             channel.shared_from_this(),
                             {}});
  else
    (writable ? channel.when_writable : channel.when_readable) = true;
}

void Engine::delivered(ChannelState& channel) {
  Lock lock(mutex_);
  channel.delivered = channel.items.empty() && channel.no_more_items();
  if (channel.delivered) wake(&channel);
}

bool Engine::take_due(ChannelState& channel, Payload& item, bool& ended) {
  Lock lock(mutex_);
  if (pop(lock, channel, item)) return true;
  channel.callback_due = false;
  ended = channel.no_more_items();
  return false;
}

void Engine::push(Queue queue, Arrival request) {
  Inbox& inbox = inboxes_[static_cast<int>(queue)];
  inbox.requests.push_back(std::move(request));
  ++stats_.queued;
  // The thread that leads takes the first itself, before any other is woken for it.
  if (inbox.leading && inbox.requests.size() == 1) return wake(&inbox.leading);
  wake(&inbox);
  provide_thread(queue);
}

void Engine::allow_threads() {
  Lock lock(mutex_);
  may_spawn_ = true;
  for (int queue = 0; queue < kQueues; ++queue)
    provide_thread(static_cast<Queue>(queue));
}

Wait Engine::next(Queue queue, Arrival& request, int64_t deadline, bool leads) {
  Lock lock(mutex_);
  Inbox& inbox = inboxes_[static_cast<int>(queue)];
  if (inbox.spawned > 0 && !leads) --inbox.spawned;
  leads = leads && !ancestors_.empty();
  ++inbox.waiting;
  if (leads) inbox.leading = true;
  const Wait waited = wait(lock, leads ? static_cast<void*>(&inbox.leading) : &inbox,
                           leads ? ancestors_.front() : kNobody, deadline,
                           [&] { return !inbox.requests.empty() || queues_over_; });
  --inbox.waiting;
  if (leads) inbox.leading = false;
  if (waited != Wait::kDone) return waited;
  if (inbox.requests.empty()) return Wait::kEnded;
  request = std::move(inbox.requests.front());
  inbox.requests.pop_front();
  --stats_.queued;
  ++inbox.taken;
  provide_thread(queue);  // for those behind it
  if (request.type == FrameType::kLog) {
    --waiting_logs_;
    waiting_log_bytes_ -= request.body.size();
  }
  if (request.type == FrameType::kModule) --modules_[request.peer];
  return Wait::kDone;
}

}  // namespace brood::gateway
