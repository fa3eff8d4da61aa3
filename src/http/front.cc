#include "http/front.h"

#include "daemon/guard.h"
#include "http/gate.h"
#include "http/openapi_json.h"
#include "http/responders.h"
#include "http/responses.h"
#include "http/routes.h"

namespace brood {
namespace {

using nlohmann::json;

json who(const Identity& identity) {
  return {{"user", identity.user}, {"role", identity.admin ? "admin" : "user"}};
}

const PageFile* find_file(std::span<const PageFile> files, std::string_view path) {
  for (const PageFile& file : files)
    if (file.path == path) return &file;
  return nullptr;
}

class Front final : public Responder {
 public:
  Front(Services& services, Exchange& exchange)
      : services_(services), exchange_(exchange), gate_(services), delay_(services.io) {}

  void start() override {
    if (!is_plain_check())
      if (std::optional<Response> refusal = gate_.check_host(head()))
        return exchange_.answer(std::move(*refusal));
    Result<Target> target = parse_target(head().target);
    if (!target) return exchange_.answer(problem_response(400, target.error().message));
    std::variant<Route, NoRoute> found = find_route(head().verb, *target);
    if (const NoRoute* none = std::get_if<NoRoute>(&found)) return no_route(*none);
    answer(std::get<Route>(found), *target);
  }

 private:
  const RequestHead& head() const { return exchange_.head(); }

  // As load balancers ask, which know no name of this server.
  bool is_plain_check() const {
    return head().old && head().host.empty() && head().target == "/healthz";
  }

  void no_route(const NoRoute& none) {
    Response out = problem_response(none.status, none.text);
    if (!none.allow.empty()) out.headers.emplace_back("Allow", none.allow);
    exchange_.answer(std::move(out));
  }

  void answer(Route& route, const Target& target) {
    switch (route.kind) {
      case RouteKind::kHealth: return exchange_.answer(json_response(200, {{"status", "ok"}}));
      case RouteKind::kOpenApi: return open_api();
      case RouteKind::kPage: return page(target);
      case RouteKind::kLogin: return login();
      case RouteKind::kMetrics:
        if (head().loopback) return metrics();
        break;
      default: break;
    }
    Gate::Verdict verdict = gate_.identify(head());
    if (!verdict.identity) return refuse(std::move(verdict));
    if (route.changes && verdict.by_cookie && !gate_.own_origin(head())) return foreign_origin();
    known(route, *verdict.identity);
  }

  void known(Route& route, const Identity& identity) {
    switch (route.kind) {
      case RouteKind::kMetrics:
        if (!identity.admin) return exchange_.answer(problem_response(403, "this is for admins"));
        return metrics();
      case RouteKind::kLogout: return logout();
      case RouteKind::kMe: return me(identity);
      default: break;
    }
    if (route.kind == RouteKind::kSocket && !head().upgrade) return upgrade_required();
    inner_ = make_inner(route, {identity.user, identity.admin});
    inner_->start();
  }

  std::unique_ptr<Responder> make_inner(Route& route, const Caller& caller) {
    switch (route.kind) {
      case RouteKind::kUpload: return make_upload(services_, exchange_, caller, route);
      case RouteKind::kDownload: return make_download(services_, exchange_, caller, route);
      case RouteKind::kSocket: return make_socket(services_, exchange_, caller, route);
      case RouteKind::kExecute:
        if (head().accept.find("text/event-stream") != std::string::npos)
          return make_cell_stream(services_, exchange_, caller, route);
        [[fallthrough]];
      default: return make_call(services_, exchange_, caller, route);
    }
  }

  // --- who asks ----------------------------------------------------------------------------------

  void refuse(Gate::Verdict verdict) {
    delay_.expires_after(verdict.delay);
    delay_.async_wait(guard_.wrap([this, refusal = std::move(verdict.refusal)](auto error) {
      if (!error) exchange_.answer(refusal);
    }));
  }

  void foreign_origin() {
    exchange_.answer(problem_response(403, "the Origin is not this server"));
  }

  void login() {
    if (!head().origin.empty() && !gate_.own_origin(head())) return foreign_origin();
    read_json(exchange_, services_, guard_.wrap([this](const json& body) {
      Gate::Verdict verdict = gate_.check_login(head(), body);
      if (!verdict.identity) return refuse(std::move(verdict));
      Response out = json_response(200, who(*verdict.identity));
      out.headers.emplace_back("Set-Cookie", gate_.make_cookie(head(), *verdict.identity));
      exchange_.answer(std::move(out));
    }));
  }

  void logout() {
    Response out = empty_response();
    out.headers.emplace_back("Set-Cookie", gate_.drop_cookie(head()));
    exchange_.answer(std::move(out));
  }

  void me(const Identity& identity) {
    json out = who(identity);
    out["version"] = services_.options.version;
    exchange_.answer(json_response(200, out));
  }

  void token_login(const std::string& token) {
    Gate::Verdict verdict = gate_.check_token(head(), token);
    if (!verdict.identity) return refuse(std::move(verdict));
    Response out;
    out.status = 303;
    out.headers.emplace_back("Location", "/");
    out.headers.emplace_back("Cache-Control", "no-store");
    out.headers.emplace_back("Set-Cookie", gate_.make_cookie(head(), *verdict.identity));
    exchange_.answer(std::move(out));
  }

  // --- what is the same for everybody ------------------------------------------------------------

  void open_api() {
    Response out;
    out.type = "application/json";
    out.body = kOpenApiJson;
    exchange_.answer(std::move(out));
  }

  void metrics() {
    Response out;
    out.type = "text/plain; version=0.0.4; charset=utf-8";
    out.body = services_.api.metrics() + prometheus(services_.counters);
    if (services_.options.more_metrics) out.body += services_.options.more_metrics();
    exchange_.answer(std::move(out));
  }

  void upgrade_required() {
    Response out = problem_response(426, "this address is a WebSocket");
    out.headers.emplace_back("Upgrade", "websocket");
    exchange_.answer(std::move(out));
  }

  void page(const Target& target) {
    if (target.path == "/")
      for (const auto& [name, value] : target.query)
        if (name == "token") return token_login(value);
    const PageFile* file = find_file(services_.options.page, target.path);
    if (!file) return exchange_.answer(problem_response(404, "there is nothing at this address"));
    exchange_.answer(page_answer(*file));
  }

  Response page_answer(const PageFile& file) const {
    Response out;
    out.headers.emplace_back("ETag", file.etag);
    out.headers.emplace_back("Cache-Control", file.cache);
    out.policy = file.policy;
    if (!file.gzip.empty()) out.headers.emplace_back("Vary", "Accept-Encoding");
    if (head().if_none_match == "*" || head().if_none_match.find(file.etag) != std::string::npos) {
      out.status = 304;
      return out;
    }
    out.type = file.type;
    const bool packed =
        !file.gzip.empty() && head().accept_encoding.find("gzip") != std::string::npos;
    if (packed) out.headers.emplace_back("Content-Encoding", "gzip");
    out.body = packed ? file.gzip : file.bytes;
    return out;
  }

  Services& services_;
  Exchange& exchange_;
  Gate gate_;
  boost::asio::steady_timer delay_;
  std::unique_ptr<Responder> inner_;
  Guard guard_;
};

}  // namespace

ResponderFactory make_front(Services& services) {
  return [&services](Exchange& exchange) { return std::make_unique<Front>(services, exchange); };
}

}  // namespace brood
