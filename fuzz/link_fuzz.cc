// Everything that a gateway's child may send to its master, cut anywhere.
#include <sys/socket.h>
#include <unistd.h>

#include "base/require.h"
#include "gateway/engine.h"

using namespace brood::gateway;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  int fds[2];
  require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "sockets");
  Engine::Options options;
  options.limits = {
      .item = 4096, .window = 4096, .channels = 16, .calls = 4, .logs = 8, .modules = 4};
  auto master = std::make_shared<Engine>(std::move(options));
  require(static_cast<bool>(master->add_link(1, "gw1", brood::Fd(fds[0]), {}, {})), "a link");
  ChannelPtr channel;
  master->request(1, brood::FrameType::kExec, "x", channel, 0);
  const brood::Fd peer(fds[1]);
  const char* at = reinterpret_cast<const char*>(data);
  const size_t half = size / 2;
  [[maybe_unused]] ssize_t wrote = send(peer.get(), at, half, MSG_NOSIGNAL);
  wrote = send(peer.get(), at + half, size - half, MSG_NOSIGNAL);
  shutdown(peer.get(), SHUT_WR);
  master->wait_closed(*channel, false, brood::monotonic_ns() + 5 * brood::kSecond);
  Payload item;
  while (master->try_receive(*channel, item)) {
  }
  Arrival arrival;
  while (master->next(Queue::kService, arrival, 0, false) == Wait::kDone) {
  }
  require(master->next(Queue::kTasks, arrival, 0, false) != Wait::kDone, "a child may not call");
  master->stop();
  return 0;
}
