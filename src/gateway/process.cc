// The part of the engine that is about its process: links, watches, its end, forks.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <new>

#include "base/sys.h"
#include "gateway/engine.h"
#include "gateway/wait.h"

namespace brood::gateway {

namespace {

// A long item should go to the kernel in one piece. A limit of the system may make it less. (TCP
// finds its own size.)
void enlarge_buffer(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  const int size = 4 << 20;  // bytes
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX &&
      setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

}  // namespace

std::string Engine::link_problem_locked(uint32_t peer) const {
  if (stopping_) return "the engine has stopped";
  if (gone_.contains(peer)) return "context " + std::to_string(peer) + " is gone";
  if (links_.contains(peer)) return "there is a link to context " + std::to_string(peer);
  return {};
}

std::string Engine::link_problem(uint32_t peer) {
  Lock lock(mutex_);
  return link_problem_locked(peer);
}

Result<void> Engine::add_link(uint32_t peer, std::string name, Fd in, Fd out,
                              std::string_view ahead, int64_t heartbeat) {
  for (int fd : {in.get(), out.get()})
    if (fd >= 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
      return sys_error("use a descriptor for a link");
  Lock lock(mutex_);
  if (std::string problem = link_problem_locked(peer); !problem.empty()) return Error{problem};
  auto owned =
      std::make_unique<Link>(context_, peer, std::move(name), std::move(in), std::move(out));
  Link& link = *owned;
  if (link.is_socket) enlarge_buffer(link.out());
  links_.emplace(peer, std::move(owned));
  link.reader.push(ahead);
  InFrame frame;
  while (!link.dead && link.reader.next(frame) == LinkReader::Step::kFrame)
    route(link, std::move(frame));
  if (!link.dead) {
    update_events(link);
    link.heartbeat = is_parent(link) ? heartbeat_ : heartbeat;
    link.next_ping = link.last_heard = monotonic_ns();
    if (link.heartbeat > 0) arm(link.next_ping);
  }
  flush_all(lock);
  return {};
}

void Engine::add_route(uint32_t context, uint32_t via) {
  Lock lock(mutex_);
  if (!gone_.contains(context)) routes_[context] = via;
}

void Engine::lose(uint32_t context, const std::string& why) {
  Lock lock(mutex_);
  if (const auto link = links_.find(context); link != links_.end())
    end_link(*link->second, why);
  else if (!gone_.contains(context))
    gone({context}, why, nullptr);
  flush_all(lock);
}

void Engine::capture(Fd fd, std::string name) {
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  Lock lock(mutex_);
  captures_.push_back(std::make_unique<Capture>(std::move(fd), std::move(name)));
  epoll_event event{.events = EPOLLIN,
                    .data = {.u64 = reinterpret_cast<uint64_t>(captures_.back().get()) | 1}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, captures_.back()->fd(), &event);
}

void Engine::set_watch_writer(int fd) {
  Lock lock(mutex_);
  watch_writer_ = fd;
  told_watch_ = std::numeric_limits<double>::infinity();
}

// To the process that kills instead: the earliest moment that is set.
void Engine::tell_watch() {
  if (watch_writer_ < 0) return;
  double earliest = std::numeric_limits<double>::infinity();
  for (const auto& [token, due] : watches_)
    earliest = std::min(earliest, static_cast<double>(due) / kSecond);
  if (earliest == told_watch_) return;
  told_watch_ = earliest;
  [[maybe_unused]] const ssize_t wrote = write(watch_writer_, &earliest, sizeof earliest);
}

uint64_t Engine::watch(int64_t ns) {
  Lock lock(mutex_);
  return watch_locked(ns);
}

uint64_t Engine::watch_locked(int64_t ns) {
  const int64_t due = monotonic_ns() + ns;
  watches_.emplace(++last_watch_, due);
  tell_watch();
  arm(due);
  return last_watch_;
}

void Engine::unwatch(uint64_t token) {
  Lock lock(mutex_);
  watches_.erase(token);
  tell_watch();
}

bool Engine::drain(int64_t ns) {
  Lock lock(mutex_);
  for (const auto& capture : captures_) {
    const auto line = [&](std::string_view text) { log_line(capture->name(), text); };
    while (capture->read(line) == Capture::Read::kData) {
    }
    capture->finish(line);
  }
  const auto written = [&] {
    return std::all_of(links_.begin(), links_.end(), [](const auto& item) {
      return item.second->writer.empty() && item.second->long_items.empty();
    });
  };
  const int64_t deadline = monotonic_ns() + ns;
  Wait waited;
  do {
    waited = wait(lock, &links_, kNobody, deadline, written);
  } while (waited == Wait::kInterrupted);
  return waited == Wait::kDone;
}

int Engine::spawned_threads() const {
  int threads = 0;
  for (const Inbox& inbox : inboxes_)
    threads += inbox.threads;
  return threads;
}

void Engine::stop() {
  {
    Lock lock(mutex_);
    if (!thread_.joinable()) return;
    for (auto& [peer, link] : links_)
      append(*link, FrameType::kBye, {peer, context_, 0}, "");
    flush_all(lock);
    stopping_ = finished_ = true;
    end_all("the engine has stopped");
    while (!links_.empty())
      fail(*links_.begin()->second, "the engine has stopped");
    for (Waiter* waiter : waiters_)
      waiter->wake();
    arm(0);
  }
  thread_.join();
  Lock lock(mutex_);
  left_.wait(lock, [this] { return inside_.empty(); });
  // Threads of spawn() leave now, unless they are in the program's code, or in this function.
  constexpr auto kPatience = std::chrono::seconds(1);
  left_.wait_for(lock, kPatience, [this] { return spawned_threads() == (is_spawned_ ? 1 : 0); });
  captures_.clear();
  std::erase_if(dead_links_, [](const auto& link) { return !link->writing; });
  idle_waiters_.clear();
  epoll_.reset();
  timer_.reset();
}

void Engine::end_all(const std::string& why) {
  std::vector<ChannelPtr> open;
  open.reserve(channels_.size());
  for (const auto& [key, channel] : channels_)
    open.push_back(channel);
  for (const ChannelPtr& channel : open) {
    channel->lost = why;
    closed(*channel);
  }
}

bool Engine::has_stopped() {
  Lock lock(mutex_);
  return stopping_;
}

EngineStats Engine::stats() {
  Lock lock(mutex_);
  EngineStats stats = stats_;
  stats.channels = channels_.size();
  for (const auto& [peer, link] : links_)
    stats.unwritten += link->writer.bytes();
  stats.tasks = inboxes_[static_cast<int>(Queue::kTasks)].requests.size();
  return stats;
}

void Engine::before_fork() { mutex_.lock(); }

void Engine::after_fork_in_parent() { mutex_.unlock(); }

void Engine::after_fork_in_child() {
  new (&mutex_) std::mutex;
  new std::thread(std::move(thread_));  // there is no such thread in this process
  stopping_ = finished_ = true;
  waiters_.clear();
  for (const Waiter* waiter : inside_)  // of threads that are not in this process
    ::close(waiter->event.get());
  for (Inbox& inbox : inboxes_)
    inbox.threads = inbox.waiting = inbox.spawned = 0;
  inside_.clear();
  for (auto& [key, channel] : channels_)
    channel->items.clear();
  end_all("this process is a fork of the one that has the gateway");
  // Some thread may have been in the middle of reading or writing: their links are only closed.
  for (auto& [peer, link] : links_)
    dead_links_.push_back(std::move(link));
  for (auto& link : dead_links_)
    link.release()->close_descriptors();
  links_.clear();
  dead_links_.clear();
  captures_.clear();
  idle_waiters_.clear();
  if (watch_writer_ >= 0) ::close(watch_writer_);  // only the parent is watched
  epoll_.reset();
  timer_.reset();
}

}  // namespace brood::gateway
