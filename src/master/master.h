// Master: the root of a tree that has one other context, a gateway's interpreter: the engine, who
// is called for what arrives, and the Channel objects. Any thread.
//
// The engine starts a thread when something waits in one of its queues: one for log records and
// questions (kService), one for callbacks (kCallbacks). It leaves when nothing came for a while.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "brood/channel.h"
#include "brood/gateway.h"
#include "gateway/engine.h"

namespace brood::master {

inline constexpr uint32_t kRoot = 0;
inline constexpr uint32_t kRemote = 1;  // the context of the interpreter

// Milliseconds from now, -1: without end, as the engine's deadlines.
int64_t deadline_after(int64_t timeout_ms);

// The bytes of a value; GatewayError "bad_request".
std::string encode(const Value& value);

// Who takes what comes on a channel.
struct Sink {
  Channel::OnItem on_item;
  Channel::OnEnd on_end;
};

class Master : public std::enable_shared_from_this<Master> {
 public:
  static std::shared_ptr<Master> make(GatewayOptions::OnLog on_log);
  Master(const Master&) = delete;
  Master& operator=(const Master&) = delete;

  gateway::Engine& engine() { return *engine_; }
  void log(int level, const std::string& logger, const std::string& text);

  // The object of an engine's channel; there is at most one at a time.
  Channel handle(const gateway::ChannelPtr& channel);
  void forget(const gateway::ChannelState* channel);  // the object's, when it goes

  // From now on what comes on the channel goes to `sink`.
  void redirect(const gateway::ChannelPtr& channel, Sink sink);

  bool has_callback(const gateway::ChannelState& channel);  // that has not been told the end

  // Why the channel has ended, which is told once unless the gateway is gone; null: without error.
  std::unique_ptr<GatewayError> why_ended(gateway::ChannelState& channel);

  // Whether the calling thread is in a callback, of any gateway.
  static bool calls_back() { return calls_back_; }

  // Until everything that came from a gateway that is gone was handed out; false: not by then.
  bool hear_out(int64_t deadline);
  // Ends the engine, and waits for callbacks that run; none begins any more.
  void stop();

 private:
  explicit Master(GatewayOptions::OnLog on_log) : on_log_(std::move(on_log)) {}
  void serve(gateway::Queue queue);
  void answer(gateway::Arrival& request);
  void call_back(const gateway::ChannelPtr& channel);
  void callback_failed(const gateway::ChannelPtr& channel, const std::string& text);
  void deliver(const gateway::ChannelPtr& channel, const Sink& sink);
  std::shared_ptr<Sink> sink_of(const gateway::ChannelPtr& channel);

  static inline thread_local bool calls_back_ = false;
  std::shared_ptr<gateway::Engine> engine_;
  const GatewayOptions::OnLog on_log_;
  std::mutex log_mutex_;  // one record at a time

  std::mutex mutex_;
  std::condition_variable changed_;
  int serving_ = 0;  // threads of the engine's that are in serve()
  bool stopped_ = false;
  bool gone_ = false;  // the interpreter, and all that it has sent was taken
  struct Redirected {
    gateway::ChannelPtr channel;
    std::shared_ptr<Sink> sink;
  };
  std::map<const gateway::ChannelState*, Redirected> sinks_;
  std::map<const gateway::ChannelState*, std::weak_ptr<Channel::State>> handles_;
};

}  // namespace brood::master

namespace brood {

// What the copies of a Channel share.
class Channel::State {
 public:
  State(std::shared_ptr<master::Master> the_master, gateway::ChannelPtr the_channel)
      : master(std::move(the_master)), channel(std::move(the_channel)) {}
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  gateway::Engine& engine() { return master->engine(); }

  const std::shared_ptr<master::Master> master;
  const gateway::ChannelPtr channel;
};

}  // namespace brood
