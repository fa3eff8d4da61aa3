// The answer of a CALL.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <string>

#include "brood/channel.h"

namespace brood::master {

// Of one that is waited for by a future. Any thread.
class CallAnswer {
 public:
  explicit CallAnswer(double deadline) : deadline_(deadline) {}
  ~CallAnswer();  // its gateway went first: that is the answer
  CallAnswer(const CallAnswer&) = delete;
  CallAnswer& operator=(const CallAnswer&) = delete;

  std::future<Value> future() { return promise_.get_future(); }
  double deadline() const { return deadline_; }  // seconds
  void give(Value value);
  // The channel has ended; null: without an error.
  void fail(const GatewayError* error);
  // False: it has come already.
  bool become_late();
  static std::string lateness(double deadline);

 private:
  const double deadline_;
  std::promise<Value> promise_;
  std::atomic<bool> given_{false}, late_{false};
};

// Waits until `end` (CLOCK_MONOTONIC, ns); then the gateway is ended. Throws what call() does.
Value receive_answer(Channel channel, int64_t end, double deadline,
                     const std::function<void(const std::string& why)>& kill);

}  // namespace brood::master
