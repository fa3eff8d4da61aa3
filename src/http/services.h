// What everybody who answers a request works with. Server process, its one thread.
#pragma once

#include "auth/auth.h"
#include "daemon/asio.h"
#include "http/options.h"
#include "session/api.h"

namespace brood {

struct Services {
  boost::asio::io_context& io;
  Api& api;
  Authenticator& authenticator;
  const HttpOptions options;
  const bool tls;
  HttpCounters counters;
};

}  // namespace brood
