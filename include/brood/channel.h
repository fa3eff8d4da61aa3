// brood::Channel: a stream of values in both directions, to and from code on a gateway (gateway.h).
//
//   brood::Channel channel = gateway.exec("for item in channel: channel.send(item * 2)");
//   channel.send(21);
//   channel.receive();                                      // 42
//   channel.end();                                          // the loop over there ends, and so
//   while (auto item = channel.receive()) use(*item);       // does this one
//
// What goes wrong is thrown as GatewayError. Times are in milliseconds; -1: without end.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "brood/value.h"

namespace brood {

// code():
//   "bad_request"  a spec, the name of a function or a value that cannot be used; receive() of a
//                  channel that has a callback
//   "connection"   the interpreter could not be reached, or is gone; what() says why
//   "remote"       code over there has raised an exception: it is a RemoteError
//   "closed"       send(): the channel is closed, or was ended from here
//   "timeout"      not within the time
//   "deadline"     a call has not ended within its deadline
class GatewayError : public std::runtime_error {
 public:
  GatewayError(std::string code, const std::string& text)
      : std::runtime_error(text), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

// what() is the traceback as Python prints it.
class RemoteError : public GatewayError {
 public:
  RemoteError(std::string type, std::string text, const std::string& traceback)
      : GatewayError("remote", traceback), type_(std::move(type)), text_(std::move(text)) {}
  const std::string& type() const {
    return type_;
  }  // "ValueError"; with its module if not built in
  const std::string& text() const { return text_; }  // str() of the exception

 private:
  std::string type_, text_;
};

// One end. Copies stand for the same end. Any thread may call any method, also beside others, also
// when the Gateway is gone: the channel is closed then. When the last copy is gone the channel is
// closed, or, if it has callbacks, this direction is ended.
class Channel {
 public:
  // Waits while the other side has 8 MiB that it has not taken; 0: does not wait. An item has at
  // most 256 MiB. It is written at once, but items that follow each other closely are written
  // together, at most 0.25 ms later.
  void send(const Value& item, int timeout_ms = -1);

  // The next item; nothing: the other side has ended or closed, without an error. An error is
  // thrown once, behind the items that came before it; that a gateway is gone each time.
  std::optional<Value> receive(int timeout_ms = -1);

  // From now on on_item is called for each item, those that are here already first, and on_end
  // once, behind the last, with the error or null. They are called in a thread of the gateway's,
  // one at a time for all of its channels, and may call everything but ~Gateway; while one of them
  // waits, the others do. One that throws closes its channel with that error, and is called no
  // more. None is called any more when ~Gateway has returned.
  using OnItem = std::function<void(Value item)>;
  using OnEnd = std::function<void(const GatewayError* error)>;
  void set_callback(OnItem on_item, OnEnd on_end = nullptr);

  // No more items come from here; the other side's still do.
  void end();
  // No more in either direction. With a text the other side gets that as its error.
  void close(const std::string& error = {});
  bool closed() const;  // by either side; or both have ended
  // Until the other side has ended or closed and callbacks have returned. Throws its error.
  void wait_close(int timeout_ms = -1);

  // This channel as a value, to be sent over another one of the same gateway, where it arrives as
  // a channel.
  ChannelName name() const;
  // A channel that came in a value from the same gateway. GatewayError "closed": there is none.
  Channel channel(const ChannelName& name) const;

  class State;
  explicit Channel(std::shared_ptr<State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<State> state_;
};

}  // namespace brood
