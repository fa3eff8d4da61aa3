#include "brood/channel.h"

#include "master/master.h"

namespace brood {

using gateway::ChannelPtr;
using gateway::ChannelState;
using gateway::Payload;
using gateway::Wait;
using master::deadline_after;

namespace {

[[noreturn]] void throw_timeout(int timeout_ms) {
  throw GatewayError("timeout", "not within " + std::to_string(timeout_ms) + " ms");
}

[[noreturn]] void throw_error(const GatewayError& error) {
  if (const auto* remote = dynamic_cast<const RemoteError*>(&error)) throw RemoteError(*remote);
  throw GatewayError(error);
}

// Again while signals come: their handlers are the program's affair.
template <typename Try>
Wait patiently(Try attempt) {
  Wait waited;
  do {
    waited = attempt();
  } while (waited == Wait::kInterrupted);
  return waited;
}

Payload make_payload(std::string bytes) {
  constexpr size_t kLong = 32 << 10;  // is not copied any more
  if (bytes.size() < kLong) return Payload(std::move(bytes));
  const auto owner = std::make_shared<const std::string>(std::move(bytes));
  return {owner, *owner};
}

}  // namespace

Channel::State::~State() {
  engine().release(*channel);
  master->forget(channel.get());
}

void Channel::send(const Value& item, int timeout_ms) {
  std::string bytes = master::encode(item);
  if (bytes.size() > state_->engine().limits().item)
    throw GatewayError("bad_request", "an item has at most 256 MiB");
  const Payload payload = make_payload(std::move(bytes));
  const int64_t deadline = timeout_ms == 0 ? 0 : deadline_after(timeout_ms);
  const Wait sent =
      patiently([&] { return state_->engine().send(*state_->channel, "", payload, deadline); });
  if (sent == Wait::kTimeout) throw_timeout(timeout_ms);
  if (sent == Wait::kDone) return;
  const std::string lost = state_->engine().lost(*state_->channel);
  if (!lost.empty()) throw GatewayError("connection", lost);
  throw GatewayError("closed", "the channel is closed, or was ended from here");
}

std::optional<Value> Channel::receive(int timeout_ms) {
  if (state_->master->has_callback(*state_->channel))
    throw GatewayError("bad_request", "the items of this channel go to its callback");
  Payload item;
  const int64_t deadline = deadline_after(timeout_ms);
  const Wait received =
      patiently([&] { return state_->engine().receive(*state_->channel, item, deadline); });
  if (received == Wait::kTimeout) throw_timeout(timeout_ms);
  if (received == Wait::kDone) {
    Loaded loaded = load(item.view());
    if (!loaded.value)
      throw RemoteError("LoadError", loaded.error, "what came is no value: " + loaded.error);
    return std::move(*loaded.value);
  }
  if (const auto error = state_->master->why_ended(*state_->channel)) throw_error(*error);
  return std::nullopt;
}

void Channel::set_callback(OnItem on_item, OnEnd on_end) {
  state_->master->redirect(state_->channel, {std::move(on_item), std::move(on_end)});
}

void Channel::end() { state_->engine().end(*state_->channel); }

void Channel::close(const std::string& error) {
  std::string body;
  if (!error.empty())
    body = master::encode(Dict{{"type", ""}, {"text", error}, {"traceback", error}});
  state_->engine().close(*state_->channel, body);
}

bool Channel::closed() const { return state_->engine().is_closed(*state_->channel); }

void Channel::wait_close(int timeout_ms) {
  const int64_t deadline = deadline_after(timeout_ms);
  const bool delivered = !master::Master::calls_back();  // it may be this channel's own
  const Wait waited = patiently(
      [&] { return state_->engine().wait_closed(*state_->channel, delivered, deadline); });
  if (waited == Wait::kTimeout) throw_timeout(timeout_ms);
  if (const auto error = state_->master->why_ended(*state_->channel)) throw_error(*error);
}

ChannelName Channel::name() const {
  state_->engine().announce(*state_->channel);
  return {gateway::kSender, state_->channel->number};
}

Channel Channel::channel(const ChannelName& name) const {
  const bool from_peer = name.context == gateway::kSender || name.context == state_->channel->peer;
  const ChannelPtr found =
      from_peer ? state_->engine().adopt(state_->channel->peer, name.channel) : nullptr;
  if (found == nullptr)
    throw GatewayError("closed", "there is no channel " + std::to_string(name.channel));
  return state_->master->handle(found);
}

}  // namespace brood
