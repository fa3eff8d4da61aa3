// brood::Gateway: a Python interpreter that this program has started, here or on another machine
// that has nothing but Python 3.6 or later.
//
//   brood::Gateway gateway("ssh=user@host -p 22");
//   brood::Channel channel = gateway.exec("channel.send(6 * 7)");
//   std::cout << channel.receive()->to_text() << '\n';                     // 42
//   gateway.call("math:factorial", {5});                                   // 120
//
// What goes wrong is thrown as GatewayError (channel.h). docs/gateways.md has the rest.
// Link with brood::gateway (CMake: find_package(brood)) or with `pkg-config --libs brood-gateway`.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>

#include "brood/channel.h"
#include "brood/value.h"

namespace brood {

struct GatewayOptions {
  // What the other side logs and prints, and what ssh says. `level` is as in Python's logging (30:
  // warning); `logger` its name there, "stdout" and "stderr" for lines that were printed, "" for
  // the root logger and for the program that leads there. Called by the constructor and in threads
  // of the gateway's, one at a time; must not wait for the gateway nor destroy it. Without:
  // warnings and what was printed are written to standard error.
  using OnLog = std::function<void(int level, const std::string& logger, const std::string& text)>;
  OnLog on_log;
  int log_level = 30;       // of the root logger over there, 0 to 50: what is below is not sent
  int timeout_ms = 60'000;  // for starting
};

// What the interpreter says of itself.
struct GatewayInfo {
  int64_t pid = 0;
  std::string python;  // "3.11.2"
  std::string executable, platform;
  std::string engine;  // "native" or "python"
};

// Any thread may call any method but the destructor and moves, also beside others; one that was
// moved from can only be destroyed or assigned to. A gateway has
// threads of its own, in which signals are blocked: one moves bytes, one reads what ssh says, two
// more come when there are log records, callbacks. The child of a fork() must not use it.
class Gateway {
 public:
  // The spec, whose parts are separated by `//`, has one of
  //   popen  ssh=USER@HOST -p 22  sudo=USER  socket=HOST:PORT  warm  warm=ENVIRONMENT
  // and any of
  //   python=COMMAND  ssh_config=FILE  token_file=FILE  chdir=FOLDER  nice=N  env:NAME=VALUE
  //   id=NAME
  // Without python= it is the first python3 in PATH. warm needs the command brood in PATH; beside
  // socket= it chooses an environment of a `brood serve --listen gateway:HOST:PORT`. Waits until
  // the interpreter answers; if it does not, the error has what ssh or it has printed.
  explicit Gateway(const std::string& spec, const GatewayOptions& options = {});
  // exit(), and kill() if that did not help: returns within 7 seconds, but not before a callback
  // that runs has returned. Who ends many tells all of them to exit() first.
  ~Gateway();
  Gateway(Gateway&&) noexcept;
  Gateway& operator=(Gateway&&) noexcept;  // ends the one that was there

  const std::string& id() const;    // of the spec, or gw0, gw1, ...
  const std::string& spec() const;  // as it was given
  const GatewayInfo& info() const;

  // Executes source over there, in a thread, with `channel` as a global variable. Blanks that all
  // lines begin with are taken away. The channel closes when the source has ended; its exception
  // comes as RemoteError.
  Channel exec(const std::string& source);
  // The same, and then calls the function that it defines: FUNCTION(channel, **kwargs).
  Channel exec(const std::string& source, const std::string& function, const Dict& kwargs = {});

  // What a function over there returns: "package.module:function" or "module:Class.method".
  // `deadline`: seconds, 0: none. At the deadline DeadlineExceeded is raised in the function; what
  // ignores it is ended with its interpreter within a second.
  Value call(const std::string& function, const Tuple& args = {}, const Dict& kwargs = {},
             double deadline = 0);
  // The same; get() of the future throws what call() does. Waits while 16384 calls are unanswered.
  std::future<Value> call_async(const std::string& function, const Tuple& args = {},
                                const Dict& kwargs = {}, double deadline = 0);

  // A channel that the other side knows once its name() was sent there.
  Channel new_channel();

  // Tells it to leave; does not wait. It is gone after 4 seconds, whatever its code does.
  void exit();
  // Until it is gone; false: not within the time (-1: without end).
  bool wait(int timeout_ms = -1);
  // Ends its process at once, or, where that is of another machine, the link to it: then it is
  // gone after 5 seconds.
  void kill();

  class Implementation;

 private:
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace brood
