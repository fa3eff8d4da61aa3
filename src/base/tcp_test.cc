#include "base/tcp.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

namespace brood {
namespace {

struct Pair {
  Fd client, server;
};

// Connected on 127.0.0.1; the client's socket may be one of IPv6.
Pair connect_within(int client_family) {
  const Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof place;
  EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&place), size), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  EXPECT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&place), &size), 0);
  Pair pair;
  pair.client = Fd(socket(client_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 mapped{};
  mapped.sin6_family = AF_INET6;
  mapped.sin6_port = place.sin_port;
  mapped.sin6_addr.s6_addr32[2] = htonl(0xffff);
  mapped.sin6_addr.s6_addr32[3] = place.sin_addr.s_addr;
  const bool six = client_family == AF_INET6;
  const int rc = connect(
      pair.client.get(),
      six ? reinterpret_cast<const sockaddr*>(&mapped) : reinterpret_cast<const sockaddr*>(&place),
      six ? sizeof mapped : sizeof place);
  if (rc == 0) pair.server = Fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  return pair;
}

TEST(LocalPeer, IsThisUser) {
  const Pair pair = connect_within(AF_INET);
  for (const Fd* end : {&pair.server, &pair.client}) {
    Result<unsigned> user = local_peer_uid(end->get());
    ASSERT_TRUE(user) << user.error().message;
    EXPECT_EQ(*user, geteuid());
  }
}

TEST(LocalPeer, MayHaveASocketOfTheOtherFamily) {
  const Pair pair = connect_within(AF_INET6);
  if (!pair.server) GTEST_SKIP() << "no IPv6 here";
  Result<unsigned> user = local_peer_uid(pair.server.get());
  ASSERT_TRUE(user) << user.error().message;
  EXPECT_EQ(*user, geteuid());
}

TEST(LocalPeer, WhoHasLeftIsNobody) {
  Pair pair = connect_within(AF_INET);
  pair.client.reset();
  EXPECT_FALSE(local_peer_uid(pair.server.get()));
}

TEST(LocalPeer, WhoSendsNoMoreIsNobody) {
  const Pair pair = connect_within(AF_INET);
  shutdown(pair.client.get(), SHUT_WR);
  EXPECT_FALSE(local_peer_uid(pair.server.get()));
}

TEST(LocalPeer, NeedsAConnection) {
  const Fd alone(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_FALSE(local_peer_uid(alone.get()));
}

}  // namespace
}  // namespace brood
