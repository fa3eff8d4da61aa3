#include "master/master.h"

#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"

namespace brood::master {

using gateway::Arrival;
using gateway::ChannelPtr;
using gateway::ChannelState;
using gateway::Engine;
using gateway::Payload;
using gateway::Queue;
using gateway::Wait;

namespace {

constexpr int64_t kIdle = 5 * kSecond;  // after which a thread leaves
constexpr int kWarning = 30;
constexpr int kError = 40;

std::string text_of(const Dict& map, const char* key) {
  const Value* value = map.find(key);
  const std::string* text = value != nullptr ? value->as_text() : nullptr;
  return text != nullptr ? *text : "";
}

// The error of a CLOSE.
std::unique_ptr<GatewayError> decode_error(std::string_view bytes) {
  const Loaded loaded = load(bytes);
  const Dict* map = loaded.value ? loaded.value->as<Dict>() : nullptr;
  if (map == nullptr) return std::make_unique<RemoteError>("", "", "an error that cannot be read");
  const std::string type = text_of(*map, "type"), text = text_of(*map, "text");
  const std::string traceback = text_of(*map, "traceback");
  if (type == "GatewayLost" && traceback.empty())  // said by who is on the way there
    return std::make_unique<GatewayError>("connection", text);
  return std::make_unique<RemoteError>(type, text, traceback.empty() ? text : traceback);
}

void write_to_stderr(int level, const std::string& logger, const std::string& text) {
  const bool printed = logger == "stdout" || logger == "stderr";
  if (!printed && level < kWarning) return;
  const std::string name = printed || logger.empty() ? "" : logger + ": ";
  [[maybe_unused]] const Result<void> written = write_all(STDERR_FILENO, name + text + "\n");
}

}  // namespace

int64_t deadline_after(int64_t timeout_ms) {
  return timeout_ms < 0 ? INT64_MAX : monotonic_ns() + timeout_ms * (kSecond / 1000);
}

std::string encode(const Value& value) {
  Dumped dumped = dump(value);
  if (!dumped.error.empty())
    throw GatewayError("bad_request", "this value cannot be sent: " + dumped.error);
  return std::move(dumped.bytes);
}

std::shared_ptr<Master> Master::make(GatewayOptions::OnLog on_log) {
  std::shared_ptr<Master> master(new Master(on_log ? std::move(on_log) : write_to_stderr));
  Engine::Options options;
  options.context = kRoot;
  options.spawn = [weak = std::weak_ptr<Master>(master)](Engine&, Queue queue) {
    if (const std::shared_ptr<Master> self = weak.lock()) self->serve(queue);
  };
  master->engine_ = std::make_shared<Engine>(std::move(options));
  master->engine_->allow_threads();
  return master;
}

void Master::log(int level, const std::string& logger, const std::string& text) {
  const std::lock_guard lock(log_mutex_);
  try {
    on_log_(level, logger, text);
  } catch (const std::exception&) {  // there is nobody else to be told
  }
}

// --- channels ------------------------------------------------------------------------------------

Channel Master::handle(const ChannelPtr& channel) {
  const std::lock_guard lock(mutex_);
  std::weak_ptr<Channel::State>& known = handles_[channel.get()];
  std::shared_ptr<Channel::State> state = known.lock();
  if (!state) {
    state = std::make_shared<Channel::State>(shared_from_this(), channel);
    known = state;
  }
  return Channel(std::move(state));
}

void Master::forget(const ChannelState* channel) {
  const std::lock_guard lock(mutex_);
  const auto found = handles_.find(channel);
  if (found != handles_.end() && found->second.expired()) handles_.erase(found);
}

void Master::redirect(const ChannelPtr& channel, Sink sink) {
  auto shared = std::make_shared<Sink>(std::move(sink));
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    std::swap(sinks_[channel.get()].sink, shared);
    sinks_[channel.get()].channel = channel;
  }
  engine_->set_callback(*channel);
}

bool Master::has_callback(const ChannelState& channel) {
  const std::lock_guard lock(mutex_);
  return sinks_.contains(&channel);
}

std::unique_ptr<GatewayError> Master::why_ended(ChannelState& channel) {
  const Engine::Ended ended = engine_->take_end(channel);
  if (ended.error) return decode_error(*ended.error);
  if (!ended.lost.empty()) return std::make_unique<GatewayError>("connection", ended.lost);
  return nullptr;
}

// --- threads of the engine -----------------------------------------------------------------------

void Master::serve(Queue queue) {
  sigset_t all;
  sigfillset(&all);  // they are for the program's threads
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    ++serving_;
  }
  Wait waited = Wait::kDone;
  while (waited == Wait::kDone || waited == Wait::kInterrupted) {
    Arrival arrival;
    waited = engine_->next(queue, arrival, monotonic_ns() + kIdle, false);
    if (waited != Wait::kDone) continue;
    if (queue == Queue::kService)
      answer(arrival);
    else
      call_back(arrival.channel);
  }
  const std::lock_guard lock(mutex_);
  --serving_;
  changed_.notify_all();
}

void Master::answer(Arrival& request) {
  const Loaded body = load(request.body.view());
  const List* parts = body.value ? body.value->as<List>() : nullptr;
  if (request.type == FrameType::kGone) {
    const std::lock_guard lock(mutex_);
    gone_ = true;
    changed_.notify_all();
  } else if (request.type == FrameType::kLog && parts != nullptr && parts->items.size() == 3) {
    const std::string* logger = parts->items[0].as_text();
    const std::string* text = parts->items[2].as_text();
    const auto level = parts->items[1].as_integer();
    if (logger != nullptr && text != nullptr && level)
      log(static_cast<int>(*level), *logger == "root" ? "" : *logger, *text);
  } else if (request.channel != nullptr) {  // MODULE
    const Value name = parts != nullptr && !parts->items.empty() ? parts->items[0] : Value();
    const List answer{Dict{{"name", name}, {"missing", "it is not there, and comes from nowhere"}}};
    engine_->finish(*request.channel, encode(answer));
  }
}

std::shared_ptr<Sink> Master::sink_of(const ChannelPtr& channel) {
  const std::lock_guard lock(mutex_);
  const auto found = sinks_.find(channel.get());
  return found == sinks_.end() || stopped_ ? nullptr : found->second.sink;
}

void Master::call_back(const ChannelPtr& channel) {
  const std::shared_ptr<Sink> sink = sink_of(channel);
  calls_back_ = true;
  try {
    if (sink) deliver(channel, *sink);
  } catch (const std::exception& error) {
    callback_failed(channel, error.what());
  } catch (...) {
    callback_failed(channel, "an unknown exception");
  }
  calls_back_ = false;
  engine_->delivered(*channel);
}

void Master::callback_failed(const ChannelPtr& channel, const std::string& text) {
  log(kError, "", "a callback of a channel has thrown: " + text);
  engine_->close(*channel,
                 encode(Dict{{"type", "CallbackError"}, {"text", text}, {"traceback", text}}));
}

void Master::deliver(const ChannelPtr& channel, const Sink& sink) {
  Payload item;
  bool ended = false;
  while (engine_->take_due(*channel, item, ended)) {
    Loaded loaded = load(item.view());
    if (!loaded.value) throw std::runtime_error("what came is no value: " + loaded.error);
    if (sink.on_item) sink.on_item(std::move(*loaded.value));
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
  }
  if (!ended) return;
  Redirected last;
  {
    const std::lock_guard lock(mutex_);
    const auto found = sinks_.find(channel.get());
    if (found == sinks_.end()) return;  // END, and then CLOSE
    last = std::move(found->second);
    sinks_.erase(found);
  }
  const std::unique_ptr<GatewayError> error = why_ended(*channel);
  if (last.sink->on_end) last.sink->on_end(error.get());
}

// --- the end -------------------------------------------------------------------------------------

bool Master::hear_out(int64_t deadline) {
  std::unique_lock lock(mutex_);
  const auto left = std::chrono::nanoseconds(deadline - monotonic_ns());
  return changed_.wait_for(lock, left, [this] { return gone_; });
}

void Master::stop() {
  std::map<const ChannelState*, Redirected> sinks;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  engine_->stop();
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return serving_ == 0; });
    sinks.swap(sinks_);  // what they hold goes without the lock
  }
}

}  // namespace brood::master
