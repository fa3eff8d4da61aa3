// The part of the engine that decides whose frame it is, and whether its sender may.
#include <algorithm>

#include "base/utf8.h"
#include "brood/value.h"
#include "gateway/engine.h"
#include "gateway/packer.h"

namespace brood::gateway {

namespace {

bool opens_channel(FrameType type) {
  return type == FrameType::kExec || type == FrameType::kCall || type == FrameType::kModule ||
         type == FrameType::kStatus || type == FrameType::kStart;
}

bool is_known(FrameType type) { return type >= FrameType::kGreet && type <= FrameType::kPing; }

// Never passed on.
bool is_for_neighbour(FrameType type) {
  return type == FrameType::kGreet || type == FrameType::kGone || type == FrameType::kBye ||
         type == FrameType::kPing;
}

// `traceback` is what people see; a router's error has none.
std::string error_value(std::string_view type, const std::string& text, bool traceback) {
  const std::string shown = traceback ? std::string(type) + ": " + text : "";
  return dump(Dict{{"type", type}, {"text", text}, {"traceback", shown}}).bytes;
}

}  // namespace

// --- where to ------------------------------------------------------------------------------------

uint32_t Engine::child_before(uint32_t context) const {
  const auto via = routes_.find(context);
  return via == routes_.end() ? context : via->second;
}

Link* Engine::next_hop(uint32_t context) {
  if (gone_.contains(context)) return nullptr;
  auto link = links_.find(child_before(context));
  if (link == links_.end() && !ancestors_.empty()) link = links_.find(ancestors_.front());
  return link == links_.end() ? nullptr : link->second.get();
}

bool Engine::is_ancestor(uint32_t context) const {
  return std::find(ancestors_.begin(), ancestors_.end(), context) != ancestors_.end();
}

bool Engine::is_parent(const Link& link) const {
  return !ancestors_.empty() && link.peer == ancestors_.front();
}

bool Engine::is_descendant(uint32_t context) const {
  return links_.contains(child_before(context)) && !is_ancestor(context);
}

void Engine::append(Link& link, FrameType type, const Head& head, std::string_view prefix,
                    Payload rest) {
  link.writer.append(type, head, prefix, std::move(rest));
  if (link.writer.bytes() > kMostUnwritten) full_ = &link;
  if (!link.dirty && !link.writing) {
    link.dirty = true;
    dirty_.push_back(&link);
  }
}

// A frame of a channel: behind the long values of the same channel. What is long itself goes in
// pieces.
void Engine::append_in_order(Link& link, FrameType type, const Head& head, std::string_view prefix,
                             const Payload& rest) {
  auto item = std::find_if(link.long_items.begin(), link.long_items.end(),
                           [&head](const LongItem& other) { return other.is_of(head); });
  const bool is_long = prefix.size() + rest.size() > kSingle;
  if (item == link.long_items.end()) {
    if (!is_long) return append(link, type, head, prefix, rest);
    item = link.long_items.insert(item, LongItem{head, {}});
  }
  item->frames.push_back({type, std::string(prefix), rest});
  feed(link);
}

// Has the next pieces of long values written, in turn, as long as little waits.
void Engine::feed(Link& link) {
  constexpr size_t kAhead = 2 << 20;  // bytes
  while (!link.long_items.empty() && link.writer.bytes() < kAhead && !link.dead) {
    LongItem item = std::move(link.long_items.front());
    link.long_items.pop_front();
    LongItem::Frame& frame = item.frames.front();
    const std::string_view text =
        std::string_view(frame.prefix).substr(std::min(frame.sent, frame.prefix.size()), kPiece);
    const size_t begin = frame.sent + text.size() - frame.prefix.size();
    const bool past = frame.sent + text.size() >= frame.prefix.size();
    const size_t left = past ? frame.rest.size() - begin : 0;
    const size_t size = std::min(kPiece - text.size(), left);
    Payload part = size > 0 ? frame.rest.part(begin, size) : Payload();
    frame.sent += text.size() + size;
    const bool is_last = frame.sent == frame.prefix.size() + frame.rest.size();
    append(link, is_last ? frame.type : FrameType::kPart, item.head, text, std::move(part));
    if (is_last) item.frames.pop_front();
    if (!item.frames.empty()) link.long_items.push_back(std::move(item));
  }
}

// --- what came -----------------------------------------------------------------------------------

void Engine::drop() { ++stats_.dropped; }

void Engine::fault(Link& link, const char* what) {
  ++stats_.dropped;
  constexpr int kMostFaults = 3;
  if (++link.faults >= kMostFaults) fail(link, std::string("it broke the protocol: ") + what);
}

void Engine::route(Link& from, InFrame frame) {
  const bool from_child = !is_parent(from);
  if (gone_.contains(frame.head.from)) return drop();  // it does not know yet
  if (from_child && child_before(frame.head.from) != from.peer)
    return fault(from, "a frame in another context's name");
  if (frame.head.to == context_) return deliver(from, std::move(frame));
  if (!is_known(frame.type)) return fault(from, "a frame of unknown type");
  if (is_for_neighbour(frame.type)) return drop();
  Link* hop = next_hop(frame.head.to);
  if (hop != nullptr && hop != &from)
    return append(*hop, frame.type, frame.head, "", std::move(frame.body));
  ++stats_.dropped;
  if (opens_channel(frame.type)) {
    const auto why = gone_.find(frame.head.to);
    const std::string missing = "there is no context " + std::to_string(frame.head.to);
    refuse(frame.head, why == gone_.end() ? missing.c_str() : why->second.c_str());
  }
}

void Engine::refuse(const Head& head, const char* why) {
  if (Link* back = next_hop(head.from))
    append(*back, FrameType::kClose, {head.from, head.to, head.channel},
           error_value("GatewayLost", why, false));
}

void Engine::deliver(Link& from, InFrame frame) {
  switch (frame.type) {
    case FrameType::kItem:
    case FrameType::kPart:
    case FrameType::kReturn:
    case FrameType::kClose:
    case FrameType::kEnd:
    case FrameType::kCredit: return deliver_to_channel(frame);
    case FrameType::kExec:
    case FrameType::kCall:
    case FrameType::kStatus:
    case FrameType::kStart:
    case FrameType::kModule: return deliver_request(frame);
    case FrameType::kLog:
    case FrameType::kOpen:
    case FrameType::kRoute:
    case FrameType::kGone:
    case FrameType::kShutdown:
    case FrameType::kBye:
    case FrameType::kPing: return deliver_notice(from, frame);
    default: return fault(from, "a frame of unknown type");
  }
}

void Engine::end_with_error(ChannelState& channel, const char* why) {
  if (Link* back = next_hop(channel.peer))
    append(*back, FrameType::kClose, {channel.peer, context_, channel.number},
           error_value("ProtocolError", why, true));
  channel.error = error_value("ProtocolError", why, true);
  closed(channel);
}

void Engine::deliver_item(ChannelState& channel, InFrame& frame) {
  const bool last = frame.type == FrameType::kReturn;  // which does not wait for the window
  if (channel.ended_there || (channel.uncredited >= limits_.window && !last))
    return end_with_error(channel, "more was sent than the window allows");
  constexpr size_t kBin32 = 5;  // bytes of its head, if the body is an object already
  const size_t head = frame.body.object() != nullptr ? kBin32 : 0;
  if (channel.parts.size() + frame.body.size() + head > limits_.item)
    return end_with_error(channel, "an item is longer than the limit");
  if (frame.type == FrameType::kPart) {
    channel.parts.append(frame.body.view());
    return;
  }
  if (!channel.parts.empty()) {
    if (frame.body.object() != nullptr) Packer(channel.parts).binary_head(frame.body.size());
    channel.parts.append(frame.body.view());
    frame.body = Payload(std::exchange(channel.parts, {}));
  }
  channel.uncredited += frame.body.size() + kItemCost;
  channel.items.push_back(std::move(frame.body));
  ++stats_.queued;
  readable(channel);
}

void Engine::deliver_to_channel(InFrame& frame) {
  const ChannelPtr channel = find(frame.head.from, frame.head.channel);
  if (channel == nullptr) {
    if (frame.type == FrameType::kPart && is_ancestor(frame.head.from)) return early_part(frame);
    ++stats_.dropped;
    return;
  }
  switch (frame.type) {
    case FrameType::kItem:
    case FrameType::kPart: return deliver_item(*channel, frame);
    case FrameType::kReturn: deliver_item(*channel, frame); return closed(*channel);
    case FrameType::kClose:
      if (frame.body.size() > 0 && !channel->error) channel->error = frame.body.view();
      if (Link* hop = next_hop(channel->peer))
        std::erase_if(hop->long_items, [&channel](const LongItem& item) {
          return item.is_of({channel->peer, 0, channel->number});
        });
      return closed(*channel);
    case FrameType::kEnd: channel->ended_there = true; return readable(*channel);
    case FrameType::kCredit: {
      const size_t bytes = frame.body.size() == 4 ? get_u32(frame.body.view().data()) : 0;
      const bool full = channel->outstanding >= limits_.window;
      channel->outstanding -= std::min(bytes, channel->outstanding);
      if (full) wake(channel.get());
      if (full && std::exchange(channel->when_writable, false))
        push(Queue::kCallbacks, {FrameType::kCredit, channel->peer, channel, {}});
      return;
    }
    default: return;
  }
}

// Of a request that is longer than a frame, whose channel is not open yet.
void Engine::early_part(InFrame& frame) {
  constexpr size_t kMostAtOnce = 64;
  const uint64_t key = uint64_t{frame.head.from} << 32 | frame.head.channel;
  std::string& parts = early_parts_[key];
  const bool fits = parts.size() + frame.body.size() <= limits_.item;
  if (fits && early_parts_.size() <= kMostAtOnce) {
    parts.append(frame.body.view());
  } else {
    early_parts_.erase(key);
    ++stats_.dropped;
  }
}

void Engine::deliver_request(InFrame& frame) {
  const uint32_t peer = frame.head.from;
  const bool may = frame.type == FrameType::kModule ? is_descendant(peer) : is_ancestor(peer);
  if (!may || stopping_ || queues_over_) {
    ++stats_.dropped;
    return;
  }
  // Of the two, who opens has the numbers of its parity.
  if (frame.head.channel == 0 || (frame.head.channel % 2 == 0) != (peer < context_)) return drop();
  if (find(peer, frame.head.channel) != nullptr) return drop();
  size_t& modules = modules_[peer];
  if (channels_.size() >= limits_.channels ||
      (frame.type == FrameType::kModule && modules >= limits_.modules))
    return refuse(frame.head, "too many requests wait");
  ChannelPtr channel = create(peer, frame.head.channel);
  channel->used = true;
  if (frame.type == FrameType::kModule) ++modules;
  if (const auto early = early_parts_.extract(uint64_t{peer} << 32 | frame.head.channel))
    frame.body = Payload(early.mapped().append(frame.body.view()));
  const bool task = frame.type == FrameType::kExec || frame.type == FrameType::kCall;
  push(task ? Queue::kTasks : Queue::kService,
       {frame.type, peer, std::move(channel), std::move(frame.body)});
}

// What says how many records were lost, a value; that is told then.
std::string Engine::lost_record(uint64_t& untold) const {
  constexpr int kWarning = 30;  // of Python's logging
  const std::string text = std::to_string(std::exchange(untold, 0)) +
                           " log records were lost, there were too many at once";
  return dump(List{"brood.gateways", kWarning, text}).bytes;
}

// Whether one more record may wait for who takes it.
bool Engine::admit_log(size_t bytes, uint32_t peer) {
  if (waiting_logs_ >= limits_.logs || waiting_log_bytes_ > limits_.window) {
    ++stats_.lost_logs;
    ++untold_received_;
    return false;
  }
  const auto count = [this](size_t size) {
    ++waiting_logs_;
    waiting_log_bytes_ += size;
  };
  if (untold_received_ > 0) {
    Payload told(lost_record(untold_received_));
    count(told.size());
    push(Queue::kService, {FrameType::kLog, peer, nullptr, std::move(told)});
  }
  count(bytes);
  return true;
}

void Engine::deliver_notice(Link& from, InFrame& frame) {
  const uint32_t peer = frame.head.from;
  const std::string_view body = frame.body.view();
  const auto number = [&](size_t at) { return get_u32(body.data() + at); };
  switch (frame.type) {
    case FrameType::kLog:
      if (!is_descendant(peer)) break;
      if (!admit_log(body.size(), peer)) return;
      return push(Queue::kService, {frame.type, peer, nullptr, std::move(frame.body)});
    case FrameType::kOpen: {
      if (body.size() != 8) break;
      const bool by_itself = number(0) == kSender;
      if (by_itself && !is_ancestor(peer) && !is_descendant(peer)) break;
      if (!by_itself && (ancestors_.empty() || peer != ancestors_.back())) break;
      const uint32_t other = by_itself ? peer : number(0);
      if (find(other, number(4)) != nullptr || announced_.size() >= limits_.channels ||
          channels_.size() >= limits_.channels)
        break;
      ChannelPtr channel = create(other, number(4));
      channel->used = true;
      announced_[uint64_t{other} << 32 | number(4)] = std::move(channel);
      return;
    }
    case FrameType::kRoute:
      if (body.size() != 8 || !is_ancestor(peer)) break;
      if (!gone_.contains(number(0))) routes_[number(0)] = number(4);
      return;
    case FrameType::kGone: return neighbour_lost(from, body);
    case FrameType::kShutdown: {
      if (body.empty() || !is_ancestor(peer)) break;
      const Loaded seconds = load(body);
      const double most = seconds.value ? seconds.value->as_real().value_or(0) : 0;
      watch_locked(std::min(static_cast<int64_t>(std::clamp(most, 0.0, 60.0) * 1e9), kLeaveWithin));
      return push(Queue::kService, {frame.type, peer, nullptr, std::move(frame.body)});
    }
    case FrameType::kBye: from.leaving = true; return;
    case FrameType::kPing: from.pings = true; return;
    default: break;
  }
  ++stats_.dropped;
}

// --- what is gone --------------------------------------------------------------------------------

void Engine::neighbour_lost(Link& from, std::string_view body) {
  const Loaded notice = load(body);
  const List* parts = notice.value ? notice.value->as<List>() : nullptr;
  const List* numbers =
      parts != nullptr && parts->items.size() == 2 ? parts->items[0].as<List>() : nullptr;
  const std::string* why = numbers != nullptr ? parts->items[1].as_text() : nullptr;
  if (why == nullptr) return drop();
  const bool from_child = !is_parent(from);
  std::vector<uint32_t> contexts;
  for (const Value& item : numbers->items) {
    const auto context = static_cast<uint32_t>(item.as_integer().value_or(kNobody));
    const bool behind = child_before(context) == from.peer && context != from.peer;
    if (context != context_ && (!from_child || behind) && context != from.peer)
      contexts.push_back(context);
  }
  for (uint32_t context : contexts)
    if (const auto link = links_.find(context); link != links_.end()) end_link(*link->second, *why);
  gone(contexts, *why, &from);
}

void Engine::gone(const std::vector<uint32_t>& contexts, const std::string& why,
                  const Link* except) {
  if (contexts.empty() || stopping_) return;
  List numbers;
  for (uint32_t context : contexts) {
    routes_.erase(context);
    gone_[context] = why;
    numbers.items.emplace_back(context);
    if (const auto calls = unanswered_.find(context); calls != unanswered_.end())
      wake(&calls->second);
  }
  std::vector<ChannelPtr> orphans;
  for (const auto& [key, channel] : channels_)
    if (std::find(contexts.begin(), contexts.end(), channel->peer) != contexts.end())
      orphans.push_back(channel);
  for (const ChannelPtr& channel : orphans) {
    channel->lost = why;
    closed(*channel);
  }
  const std::string body = dump(List{std::move(numbers), why}).bytes;
  for (auto& [peer, link] : links_)
    if (link.get() != except) append(*link, FrameType::kGone, {peer, context_, 0}, body);
  push(Queue::kService, {FrameType::kGone, contexts.front(), nullptr, Payload(body)});
}

// What is not behind this context is out of reach; the process ends soon.
void Engine::parent_lost(const std::string& why) {
  if (stopping_) return;
  watch_locked(kLeaveWithin);
  std::deque<Arrival>& tasks = inboxes_[static_cast<int>(Queue::kTasks)].requests;
  stats_.queued -= tasks.size();
  tasks.clear();
  std::vector<ChannelPtr> unreachable;
  for (const auto& [key, channel] : channels_)
    if (!is_descendant(channel->peer)) unreachable.push_back(channel);
  for (const ChannelPtr& channel : unreachable) {
    channel->lost = why;
    closed(*channel);
  }
  gone(ancestors_, why, nullptr);
  queues_over_ = true;
  for (Waiter* waiter : waiters_)
    waiter->wake();
}

void Engine::log_line(const std::string& name, std::string_view line) {
  Link* hop = ancestors_.empty() ? nullptr : next_hop(ancestors_.back());
  if (hop == nullptr) return;
  Utf8Stream utf8;
  const std::string text = utf8.next(line) + utf8.flush();
  constexpr int kInfo = 20;
  append(*hop, FrameType::kLog, {ancestors_.back(), context_, 0},
         dump(List{name, kInfo, text}).bytes);
}

}  // namespace brood::gateway
