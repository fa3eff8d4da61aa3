// One call of the Api for one request.
#include <strings.h>

#include "daemon/guard.h"
#include "http/messages.h"
#include "http/responders.h"
#include "http/responses.h"
#include "http/url.h"

namespace brood {
namespace {

using nlohmann::json;

bool is_json(const std::string& type) {
  constexpr std::string_view kWanted = "application/json";
  return strncasecmp(type.c_str(), kWanted.data(), kWanted.size()) == 0 &&
         (type.size() == kWanted.size() || type[kWanted.size()] == ';' ||
          type[kWanted.size()] == ' ');
}

Response created(const json& session) {
  Response out = json_response(201, session);
  const auto id = session.find("id");
  if (id != session.end() && id->is_string())
    out.headers.emplace_back("Location",
                             "/v1/sessions/" + percent_encode(id->get_ref<const std::string&>()));
  return out;
}

Response shaped(Shape shape, const json& head) {
  if (shape == Shape::kNothing) return empty_response();
  if (shape == Shape::kWhole) return json_response(200, head);
  const auto found = head.find("session");
  if (found == head.end() || !found->is_object())
    return problem_response(500, "the session has no description");
  if (shape == Shape::kSession) return json_response(200, *found);
  json session = *found;
  if (const auto us = head.find("us"); us != head.end()) session["us"] = *us;
  return created(session);
}

class Call final : public Responder {
 public:
  Call(Services& services, Exchange& exchange, Caller caller, Route route)
      : services_(services),
        exchange_(exchange),
        caller_(std::move(caller)),
        route_(std::move(route)) {}

  void start() override {
    const std::string& verb = exchange_.head().verb;
    if (verb != "POST" && verb != "PATCH") return call(json::object());
    read_json(exchange_, services_, guard_.wrap([this](json body) { call(std::move(body)); }));
  }

 private:
  void call(json body) {
    Request request;
    request.method = route_.method;
    if (route_.with_data) {
      Result<std::string> data = take_body(body);
      if (!data) return exchange_.answer(problem_response(400, data.error().message));
      request.body = std::move(*data);
    }
    request.head = std::move(body);
    request.head.update(route_.head);
    services_.api.call(caller_, std::move(request), guard_.wrap([this](auto result) {
      if (const Problem* problem = std::get_if<Problem>(&result))
        return exchange_.answer(problem_response(*problem));
      exchange_.answer(shaped(route_.shape, std::get<Answer>(result).head));
    }));
  }

  Services& services_;
  Exchange& exchange_;
  const Caller caller_;
  const Route route_;
  Guard guard_;
};

}  // namespace

void read_json(Exchange& exchange, const Services& services, WithBody done) {
  const RequestHead& head = exchange.head();
  if (!head.has_body) return done(json::object());
  if (!is_json(head.content_type))
    return exchange.answer(problem_response(415, "expected Content-Type: application/json"));
  const size_t limit = services.options.max_body;
  const std::string too_long = "the body is longer than " + std::to_string(limit) + " bytes";
  if (head.content_length && *head.content_length > limit)
    return exchange.answer(problem_response(413, too_long));
  exchange.read_body(limit + 1, [&exchange, limit, too_long, done = std::move(done)](
                                    const std::string& bytes, bool last) {
    if (!last || bytes.size() > limit) return exchange.answer(problem_response(413, too_long));
    if (bytes.empty()) return done(json::object());
    Result<json> body = parse_object(bytes);
    if (!body) return exchange.answer(problem_response(400, body.error().message));
    done(std::move(*body));
  });
}

std::unique_ptr<Responder> make_call(Services& services, Exchange& exchange, Caller caller,
                                     Route route) {
  return std::make_unique<Call>(services, exchange, std::move(caller), std::move(route));
}

}  // namespace brood
