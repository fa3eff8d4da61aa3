// The part of the engine that waits, reads and writes: leaders, the broker's thread, timers.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/sys.h"
#include "gateway/engine.h"
#include "gateway/wait.h"

namespace brood::gateway {

namespace {

constexpr uint64_t kCaptureTag = 1;  // in an epoll event: a Capture's address, else a Link's

timespec to_timespec(int64_t ns) { return {ns / kSecond, ns % kSecond}; }

}  // namespace

// --- waiting threads -----------------------------------------------------------------------------

std::unique_ptr<Waiter> Engine::take_waiter() {
  std::unique_ptr<Waiter> waiter;
  if (idle_waiters_.empty()) {
    waiter = std::make_unique<Waiter>();
  } else {
    waiter = std::move(idle_waiters_.back());
    idle_waiters_.pop_back();
  }
  inside_.insert(waiter.get());
  return waiter;
}

void Engine::give_back(std::unique_ptr<Waiter> waiter) {
  inside_.erase(waiter.get());
  if (!finished_)
    idle_waiters_.push_back(std::move(waiter));
  else if (inside_.empty())
    left_.notify_all();
}

void Engine::wake(const void* what) {
  for (Waiter* waiter : waiters_)
    if (waiter->what == what) waiter->wake();
}

namespace {

// ppoll(), but it asks for a while before it sleeps. A signal that comes meanwhile waits until it
// can interrupt the sleep.
int spin_and_poll(pollfd (&polled)[2], const timespec* timeout, bool& slept) {
  static constexpr timespec kNow{};
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int64_t end = monotonic_ns() + Spin::kLongest;
  int ready = 0;
  do {
    ready = ppoll(polled, 2, &kNow, nullptr);
  } while (ready == 0 && monotonic_ns() < end);
  slept = ready == 0;
  if (slept) ready = ppoll(polled, 2, timeout, &before);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return ready;
}

}  // namespace

Wait Engine::sleep(Lock& lock, Waiter& waiter, const void* what, Link* wanted, bool leads,
                   int64_t deadline) {
  pollfd polled[2] = {{waiter.event.get(), POLLIN, 0}, {leads ? wanted->in() : -1, POLLIN, 0}};
  const int64_t begin = monotonic_ns();
  timespec time{};
  const timespec* timeout = deadline == INT64_MAX ? nullptr : &time;
  if (timeout) time = to_timespec(std::max<int64_t>(deadline - begin, 0));
  waiter.sleeping = true;
  waiter.what = what;
  waiter.wanted = wanted;
  waiters_.push_back(&waiter);
  const bool spins = leads && has_processors_ && wanted->spin.wanted();
  lock.unlock();
  bool slept = true;
  const int ready =
      spins ? spin_and_poll(polled, timeout, slept) : ppoll(polled, 2, timeout, nullptr);
  const int64_t end = leads ? monotonic_ns() : begin;
  lock.lock();
  if (leads) wanted->spin.waited(end - begin);
  if (spins) slept ? wanted->spin.failed() : wanted->spin.succeeded();
  waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &waiter));
  if (!waiter.sleeping) waiter.drain();
  waiter.sleeping = false;
  waiter.wanted = nullptr;
  if (ready < 0) return Wait::kInterrupted;
  if (ready == 0) return Wait::kTimeout;
  if (leads && polled[1].revents != 0) read_link(lock, *wanted, allocate_);
  return Wait::kDone;
}

bool Engine::lead(Link& link) {
  if (link.dead || link.held || link.reading == Link::Reading::kLeader || link.broker_reads)
    return false;
  const bool registered = link.reading == Link::Reading::kBroker;
  link.reading = Link::Reading::kLeader;
  ++link.led;
  if (registered) update_events(link);
  return true;
}

// The link goes to a thread that waits for it, or back to the broker if none comes for a while.
void Engine::stop_leading(Link& link) {
  link.reading = Link::Reading::kLingering;
  if (link.dead) return arm(monotonic_ns());  // the broker frees it
  for (Waiter* waiter : waiters_)
    if (waiter->wanted == &link && waiter->sleeping) return waiter->wake();
  arm(monotonic_ns() + kLinger);
}

void Engine::read_link(Lock& lock, Link& link, const LinkReader::Allocate& allocate) {
  lock.unlock();
  const LinkReader::Fill filled = link.reader.fill(link.in(), allocate);
  const int error = errno;
  lock.lock();
  if (link.dead) return;
  if (link.heartbeat > 0) link.last_heard = monotonic_ns();
  if (filled == LinkReader::Fill::kEnd) return fail(link, "its other end has closed");
  if (filled == LinkReader::Fill::kFailed) return fail(link, std::strerror(error));
  InFrame frame;
  LinkReader::Step step = LinkReader::Step::kPartial;
  full_ = nullptr;
  while (!link.dead && (step = link.reader.next(frame)) == LinkReader::Step::kFrame) {
    stats_.bytes_in += kPreamble + frame.body.size();
    route(link, std::move(frame));
  }
  if (!link.dead && step == LinkReader::Step::kMalformed)
    fail(link, "what came is no frame: " + link.reader.error());
  if (full_ != nullptr && !link.dead && !full_->dead) hold(link, *full_);
}

// What a neighbour sends to others, or what it has us answer, fills no memory. The parent is always
// read: its orders must come through, and so a circle of such waits cannot close.
void Engine::hold(Link& source, Link& full) {
  if (source.held || is_parent(source)) return;
  source.held = true;
  full.holds.push_back(source.peer);
  update_events(source);
}

void Engine::let_go(Link& full) {
  for (const uint32_t peer : std::exchange(full.holds, {})) {
    const auto found = links_.find(peer);
    if (found == links_.end()) continue;
    Link& link = *found->second;
    link.held = false;
    update_events(link);
    for (Waiter* waiter : waiters_)
      if (waiter->wanted == &link) waiter->wake();
  }
  wake(&full.holds);
}

Wait Engine::wait_for_room(Lock& lock, const ChannelState& channel, int64_t deadline) {
  Link* hop = next_hop(channel.peer);
  if (hop == nullptr || hop->writer.bytes() <= kMostUnwritten) return Wait::kDone;
  if (deadline == 0) return Wait::kTimeout;
  ++waiting_for_room_;
  const Wait waited = wait(lock, &hop->holds, channel.peer, deadline, [&] {
    const Link* now = next_hop(channel.peer);
    return now == nullptr || now->writer.bytes() <= kMostUnwritten || channel.closed;
  });
  --waiting_for_room_;
  return waited;
}

// --- writing -------------------------------------------------------------------------------------

void Engine::pushed(Lock& lock, Link& link) {
  if (link.writing || link.wants_write || link.dead) return;
  const int64_t now = monotonic_ns();
  // While tasks wait, whoever takes the next one sends soon, and what is sent goes together.
  const bool busy = !inboxes_[static_cast<int>(Queue::kTasks)].requests.empty();
  const bool at_once = now - link.last_write > (busy ? kBusy : kQuiet);
  if (at_once || link.writer.bytes() >= kFlushBytes)
    flush(lock, link);
  else
    arm(now + kFlushDelay);
}

void Engine::flush(Lock& lock, Link& link) {
  if (link.writing || link.wants_write || link.dead) return;
  link.writing = true;
  LinkWriter::Wrote wrote = LinkWriter::Wrote::kAll;
  int error = 0;
  while (!link.writer.empty() && wrote == LinkWriter::Wrote::kAll && !link.dead) {
    link.writer.begin();
    lock.unlock();
    wrote = link.writer.write(link.out(), link.is_socket);
    error = errno;
    lock.lock();
    const size_t written = link.writer.settle();
    feed(link);
    stats_.bytes_out += written;
  }
  link.writing = false;
  link.last_write = monotonic_ns();
  if (link.dead) return;
  if ((waiting_for_room_ > 0 || !link.holds.empty()) && link.writer.bytes() <= kMostUnwritten)
    let_go(link);
  if (wrote == LinkWriter::Wrote::kFailed) return fail(link, std::strerror(error));
  if (wrote == LinkWriter::Wrote::kSome) {
    link.wants_write = true;
    update_events(link);
  } else {
    wake(&links_);  // drain()
  }
}

void Engine::flush_all(Lock& lock) {
  while (!dirty_.empty()) {
    Link& link = *dirty_.back();
    dirty_.pop_back();
    link.dirty = false;
    flush(lock, link);
  }
}

// --- links ---------------------------------------------------------------------------------------

// What epoll watches of a link: its reading side if that is the broker's, its writing side if the
// kernel takes no more.
void Engine::update_events(Link& link) {
  const bool reads = link.reading == Link::Reading::kBroker && !link.dead && !link.held;
  const bool writes = link.wants_write && !link.dead;
  const auto set = [&](int fd, uint32_t events) {
    epoll_event event{.events = events, .data = {.u64 = reinterpret_cast<uint64_t>(&link)}};
    if (events == 0) {
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, &event);
    } else if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0) {
      epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
    }
  };
  const uint32_t in = reads ? EPOLLIN : 0U;
  const uint32_t out = writes ? EPOLLOUT : 0U;
  if (link.in() == link.out()) return set(link.in(), in | out);
  set(link.in(), in);
  set(link.out(), out);
}

void Engine::fail(Link& link, const std::string& why) {
  if (is_parent(link))
    end_link(link, "the link from " + name_ + " to its parent has ended: " + why);
  else if (link.leaving)
    end_link(link, link.name + " has left");
  else
    end_link(link, "the link from " + name_ + " to " + link.name + " has ended: " + why);
}

void Engine::end_link(Link& link, const std::string& text) {
  if (link.dead) return;
  link.dead = true;
  update_events(link);
  let_go(link);
  if (link.is_socket) shutdown(link.out(), SHUT_RDWR);
  const auto found = links_.find(link.peer);
  dead_links_.push_back(std::move(found->second));
  links_.erase(found);
  for (Waiter* waiter : waiters_)
    if (waiter->wanted == &link) waiter->wake();
  arm(monotonic_ns());  // the broker frees the link
  if (is_parent(link)) return parent_lost(text);
  std::vector<uint32_t> contexts{link.peer};
  for (const auto& [context, via] : routes_)
    if (via == link.peer) contexts.push_back(context);
  gone(contexts, text, nullptr);
}

// --- the broker's thread -------------------------------------------------------------------------

std::thread Engine::start_broker() {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the program's threads
  std::thread thread([this] { run_broker(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

void Engine::arm(int64_t due) {
  if (due >= armed_) return;
  armed_ = due;
  itimerspec when{.it_interval = {}, .it_value = to_timespec(std::max<int64_t>(due, 1))};
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void Engine::run_broker() {
  pthread_setname_np(pthread_self(), "brood-broker");
  Lock lock(mutex_);
  while (!finished_) {
    epoll_event events[64];
    lock.unlock();
    const int count = epoll_wait(epoll_.get(), events, 64, -1);
    lock.lock();
    for (int i = 0; i < count && !finished_; ++i)
      handle_event(lock, events[i].data.u64, events[i].events);
    flush_all(lock);
    reap();
  }
}

void Engine::handle_event(Lock& lock, uint64_t tag, uint32_t events) {
  if (tag == 0) {
    uint64_t count;
    [[maybe_unused]] const ssize_t got = read(timer_.get(), &count, sizeof count);
    armed_ = INT64_MAX;
    return handle_due();
  }
  if (tag & kCaptureTag) return read_capture(*reinterpret_cast<Capture*>(tag & ~kCaptureTag));
  Link& link = *reinterpret_cast<Link*>(tag);
  if (link.dead) return;
  if (link.wants_write && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
    link.wants_write = false;
    update_events(link);
    flush(lock, link);
  }
  if (!link.dead && link.reading == Link::Reading::kBroker && !link.held &&
      (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
    link.broker_reads = true;
    read_link(lock, link, {});
    link.broker_reads = false;
  }
}

void Engine::handle_due() {
  const int64_t now = monotonic_ns();
  for (const auto& [token, due] : watches_) {
    if (watch_writer_ >= 0) break;
    // Only a group of its own: not that of whoever has started this process.
    if (due <= now) kill(getpgrp() == getpid() ? 0 : getpid(), SIGKILL);
    arm(due);
  }
  beat(now);
  check_stalled(now);
  if (std::exchange(captures_paused_, false))
    for (const auto& capture : captures_)
      pause_capture(*capture, false);
  for (auto& [peer, link] : links_) {
    if (link->reading != Link::Reading::kLingering) continue;
    if (link->led == link->led_before) {
      link->reading = Link::Reading::kBroker;
      update_events(*link);
    } else {
      link->led_before = link->led;
      arm(now + kLinger);
    }
  }
}

// PING to children on other machines; a parent that is silent is lost.
void Engine::beat(int64_t now) {
  constexpr int kTimes = 4;  // heartbeats without one: the link is broken
  std::vector<Link*> silent;
  for (auto& [peer, link] : links_) {
    if (link->heartbeat == 0) continue;
    if (link->next_ping <= now) {
      append(*link, FrameType::kPing, {peer, context_, 0}, "");
      link->next_ping = now + link->heartbeat;
    }
    arm(link->next_ping);
    if (link->held) link->last_heard = now;  // what has come is not read
    if (!is_parent(*link) && !link->pings) continue;
    const int64_t due = link->last_heard + kTimes * link->heartbeat;
    due <= now ? silent.push_back(link.get()) : arm(due);
  }
  for (Link* link : silent)
    fail(*link, fmt::format("nothing was heard from there for {:g} seconds",
                            static_cast<double>(kTimes * link->heartbeat) / kSecond));
}

void Engine::read_capture(Capture& capture) {
  constexpr size_t kCongested = 1 << 20;  // bytes that wait to be sent
  Link* parent = ancestors_.empty() ? nullptr : next_hop(ancestors_.front());
  if (parent != nullptr && parent->writer.bytes() > kCongested) return pause_capture(capture, true);
  const Capture::Read read =
      capture.read([&](std::string_view line) { log_line(capture.name(), line); });
  if (read == Capture::Read::kEnd)
    captures_.remove_if([&](const auto& item) { return item.get() == &capture; });
}

// Whoever writes into a paused one waits, as it would with a slow terminal.
void Engine::pause_capture(const Capture& capture, bool pause) {
  const uint64_t tag = reinterpret_cast<uint64_t>(&capture) | kCaptureTag;
  epoll_event event{.events = pause ? 0U : EPOLLIN, .data = {.u64 = tag}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, capture.fd(), &event);
  captures_paused_ = captures_paused_ || pause;
  if (pause) arm(monotonic_ns() + kLinger);
}

void Engine::reap() {
  std::erase_if(dead_links_, [&](const std::unique_ptr<Link>& link) {
    const bool used = link->writing || link->dirty || link->reading == Link::Reading::kLeader ||
                      std::any_of(waiters_.begin(), waiters_.end(), [&](const Waiter* waiter) {
                        return waiter->wanted == link.get();
                      });
    return !used;
  });
}

bool Engine::wants_thread(Queue queue) const {
  constexpr int kMostThreads = 1000;
  const Inbox& inbox = inboxes_[static_cast<int>(queue)];
  if (!may_spawn_ || inbox.requests.empty() || stopping_ || queues_over_) return false;
  if (queue != Queue::kTasks) return inbox.threads == 0 && inbox.waiting == 0;  // in order
  return inbox.waiting + inbox.spawned == 0 && inbox.threads < kMostThreads;
}

// Calls are short: the thread that is busy takes the next one soon. If it does not, another thread
// does. What EXEC brings is long: it has a thread at once, but for the first one, which may have
// come before the program's first thread was ready to take it.
void Engine::provide_thread(Queue queue) {
  if (!wants_thread(queue)) return;
  Inbox& inbox = inboxes_[static_cast<int>(queue)];
  if (inbox.requests.back().type != FrameType::kCall && (queue != Queue::kTasks || inbox.taken > 0))
    return spawn(queue);
  if (inbox.check_due == INT64_MAX) {
    inbox.check_due = monotonic_ns() + kStalled;
    inbox.taken_before = inbox.taken;
    arm(inbox.check_due);
  }
}

void Engine::check_stalled(int64_t now) {
  Inbox& inbox = inboxes_[static_cast<int>(Queue::kTasks)];
  if (inbox.check_due == INT64_MAX) return;
  if (inbox.check_due > now) return arm(inbox.check_due);
  inbox.check_due = INT64_MAX;
  if (!wants_thread(Queue::kTasks)) return;
  if (inbox.taken == inbox.taken_before) return spawn(Queue::kTasks);
  provide_thread(Queue::kTasks);
}

void Engine::spawn(Queue queue) {
  struct Start {
    std::shared_ptr<Engine> engine;
    Queue queue;
  };
  std::unique_ptr<Start> start(new Start{shared_from_this(), queue});
  const auto run = [](void* argument) -> void* {
    const std::unique_ptr<Start> begin(static_cast<Start*>(argument));
    begin->engine->run_spawned(begin->queue);
    return nullptr;
  };
  pthread_t thread;
  if (pthread_create(&thread, nullptr, run, start.get()) != 0) return;
  static_cast<void>(start.release());
  pthread_detach(thread);
  Inbox& inbox = inboxes_[static_cast<int>(queue)];
  ++inbox.threads;
  ++inbox.spawned;
}

void Engine::run_spawned(Queue queue) {
  is_spawned_ = true;
  spawn_(*this, queue);
  const Lock lock(mutex_);
  --inboxes_[static_cast<int>(queue)].threads;
  if (wants_thread(queue)) spawn(queue);  // something came while it left
  if (finished_) left_.notify_all();
}

}  // namespace brood::gateway
