#include "master/call_answer.h"

#include "base/clock.h"

namespace brood::master {
namespace {

// What the caller is told of the error that a call's channel has ended with.
std::exception_ptr failure(const GatewayError* error) {
  if (error == nullptr)
    return std::make_exception_ptr(
        GatewayError("connection", "the gateway has ended the call without an answer"));
  const auto* remote = dynamic_cast<const RemoteError*>(error);
  if (remote == nullptr) return std::make_exception_ptr(*error);
  if (remote->type().ends_with("DeadlineExceeded"))
    return std::make_exception_ptr(GatewayError("deadline", remote->text()));
  return std::make_exception_ptr(*remote);
}

}  // namespace

CallAnswer::~CallAnswer() { fail(nullptr); }

void CallAnswer::give(Value value) {
  if (!given_.exchange(true)) promise_.set_value(std::move(value));
}

void CallAnswer::fail(const GatewayError* error) {
  if (given_.exchange(true)) return;
  const GatewayError late("deadline", lateness(deadline_));
  promise_.set_exception(failure(late_ ? &late : error));
}

bool CallAnswer::become_late() {
  late_ = true;
  return !given_;
}

std::string CallAnswer::lateness(double deadline) {
  return "the call did not end within its deadline of " + Value(deadline).to_text() +
         " seconds, nor did its gateway say so: it was ended";
}

Value receive_answer(Channel channel, int64_t end, double deadline,
                     const std::function<void(const std::string& why)>& kill) {
  constexpr int64_t kMillisecond = 1'000'000;
  try {
    const int64_t left = (end - monotonic_ns()) / kMillisecond;
    const auto most = static_cast<int>(std::min<int64_t>(std::max<int64_t>(left, 0), INT32_MAX));
    if (std::optional<Value> value = channel.receive(end == INT64_MAX ? -1 : most))
      return std::move(*value);
  } catch (const GatewayError& error) {
    if (error.code() != "timeout") std::rethrow_exception(failure(&error));
    kill(CallAnswer::lateness(deadline));
    throw GatewayError("deadline", CallAnswer::lateness(deadline));
  }
  std::rethrow_exception(failure(nullptr));
}

}  // namespace brood::master
