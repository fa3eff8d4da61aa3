#include "http/options.h"

namespace brood {
namespace {

std::string metric(const std::string& name, const char* type, const char* help) {
  return "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

}  // namespace

std::string prometheus(const HttpCounters& counters) {
  std::string out = metric("brood_http_requests_total", "counter", "Answers by class of status.");
  for (unsigned i = 1; i < 6; ++i)
    out += "brood_http_requests_total{class=\"" + std::to_string(i) + "xx\"} " +
           std::to_string(counters.answers[i]) + "\n";
  out += metric("brood_http_refused_total", "counter", "Connections above the limit.");
  out += "brood_http_refused_total " + std::to_string(counters.refused) + "\n";
  out += metric("brood_http_connections", "gauge", "Open connections.");
  out += "brood_http_connections " + std::to_string(counters.connections) + "\n";
  out += metric("brood_http_websockets", "gauge", "Open WebSockets.");
  return out + "brood_http_websockets " + std::to_string(counters.websockets) + "\n";
}

}  // namespace brood
