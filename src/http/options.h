// What the HTTP door is told by main: names, limits and time-outs. A value.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "http/page.h"

namespace brood {

struct HttpOptions {
  using Time = std::chrono::milliseconds;

  std::vector<std::string> host_names{};        // besides localhost and the server's own addresses
  bool secure = false;                          // the cookie is for TLS only; set by main for https
  std::string version{};                        // "0.1.0"
  std::span<const PageFile> page{};             // must outlive the server
  std::function<std::string()> more_metrics{};  // for the end of /metrics; none: nothing

  size_t max_connections = 1024;
  size_t max_body = 8u << 20;        // bytes of a JSON body and of a WebSocket message
  uint64_t max_file = 256ull << 20;  // bytes of an uploaded file
  size_t max_requests = 64;          // of one WebSocket, unanswered

  Time idle_timeout{60'000};      // between two requests, for one piece of a body, for any progress
  Time header_timeout{10'000};    // from the first byte to the end of a header; the TLS handshake
  Time linger{2'000};             // how long a closed connection may go on sending
  Time ping_interval{20'000};     // of a WebSocket
  Time ping_timeout{60'000};      // of a WebSocket that answers nothing
  Time comment_interval{15'000};  // of server-sent events when there are none
};

// Counted for /metrics.
struct HttpCounters {
  uint64_t answers[6] = {};  // by the first digit of the status
  uint64_t refused = 0;      // connections above the limit
  uint64_t connections = 0;  // open now
  uint64_t websockets = 0;   // open now
};
std::string prometheus(const HttpCounters& counters);

}  // namespace brood
