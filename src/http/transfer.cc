// Files, in pieces: PUT and GET.
#include <algorithm>

#include "daemon/guard.h"
#include "http/messages.h"
#include "http/responders.h"
#include "http/responses.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr size_t kPiece = 1u << 20;  // bytes; the protocol's limit for `get`

class Transfer : public Responder {
 protected:
  Transfer(Services& services, Exchange& exchange, Caller caller, Route route)
      : services_(services),
        exchange_(exchange),
        caller_(std::move(caller)),
        route_(std::move(route)) {}

  // `done` gets what the Api says to the method for this file.
  void call(const char* method, const json& more, std::string body, Reply done) {
    Request request{method, route_.head, std::move(body)};
    request.head.update(more);
    services_.api.call(caller_, std::move(request), guard_.wrap(std::move(done)));
  }

  Services& services_;
  Exchange& exchange_;
  const Caller caller_;
  const Route route_;
  Guard guard_;
};

class Upload final : public Transfer {
 public:
  Upload(Services& services, Exchange& exchange, Caller caller, Route route)
      : Transfer(services, exchange, std::move(caller), std::move(route)) {}

  void start() override {
    if (exchange_.head().content_length.value_or(0) > services_.options.max_file) return too_long();
    // Whether it is a new one is known only before it is written.
    call("get", {{"length", 1}}, "", [this](auto result) {
      const Problem* problem = std::get_if<Problem>(&result);
      is_new_ = problem != nullptr && problem->code == ProblemCode::kNotFound;
      if (!exchange_.head().has_body) return put("", true);
      read();
    });
  }

 private:
  void read() {
    exchange_.read_body(kPiece, guard_.wrap([this](std::string bytes, bool last) {
      if (offset_ + bytes.size() > services_.options.max_file) return too_long();
      put(std::move(bytes), last);
    }));
  }

  void put(std::string bytes, bool last) {
    const uint64_t offset = offset_;
    offset_ += bytes.size();
    if (bytes.empty() && offset > 0) return done();
    call("put", {{"offset", offset}}, std::move(bytes), [this, last](auto result) {
      if (const Problem* problem = std::get_if<Problem>(&result))
        return exchange_.answer(problem_response(*problem));
      if (last) return done();
      read();
    });
  }

  void done() {
    Response out = empty_response();
    out.status = is_new_ ? 201 : 204;
    exchange_.answer(std::move(out));
  }

  void too_long() {
    exchange_.answer(problem_response(
        413, "the file is longer than " + std::to_string(services_.options.max_file) + " bytes"));
  }

  uint64_t offset_ = 0;  // of the next piece
  bool is_new_ = false;
};

class Download final : public Transfer {
 public:
  Download(Services& services, Exchange& exchange, Caller caller, Route route)
      : Transfer(services, exchange, std::move(caller), std::move(route)) {}

  void start() override {
    const bool bytes_wanted = exchange_.head().verb == "GET";
    call("get", {{"offset", 0}, {"length", bytes_wanted ? kPiece : 1}}, "", [this](auto result) {
      if (const Problem* problem = std::get_if<Problem>(&result))
        return exchange_.answer(problem_response(*problem));
      Answer& answer = std::get<Answer>(result);
      const std::optional<uint64_t> size = count_member(answer.head, "size");
      if (!size) return exchange_.answer(problem_response(500, "the file has no size"));
      begin(*size);
      write(std::move(answer.body));
    });
  }

 private:
  void begin(uint64_t size) {
    left_ = size;
    Response out;
    out.type = "application/octet-stream";
    out.headers.emplace_back("Content-Disposition", "attachment");
    exchange_.begin(std::move(out), size);
  }

  // A file that grows meanwhile is sent as long as it was.
  void write(std::string bytes) {
    bytes.resize(std::min<uint64_t>(bytes.size(), left_));
    if (bytes.empty() && left_ > 0 && exchange_.head().verb == "GET") return exchange_.abort();
    left_ -= bytes.size();
    offset_ += bytes.size();
    exchange_.write(std::move(bytes), guard_.wrap([this] {
      if (left_ == 0 || exchange_.head().verb == "HEAD") return exchange_.finish();
      next();
    }));
  }

  void next() {
    call("get", {{"offset", offset_}, {"length", std::min<uint64_t>(left_, kPiece)}}, "",
         [this](auto result) {
           if (std::holds_alternative<Problem>(result)) return exchange_.abort();
           write(std::move(std::get<Answer>(result).body));
         });
  }

  uint64_t offset_ = 0, left_ = 0;
};

}  // namespace

std::unique_ptr<Responder> make_upload(Services& services, Exchange& exchange, Caller caller,
                                       Route route) {
  return std::make_unique<Upload>(services, exchange, std::move(caller), std::move(route));
}

std::unique_ptr<Responder> make_download(Services& services, Exchange& exchange, Caller caller,
                                         Route route) {
  return std::make_unique<Download>(services, exchange, std::move(caller), std::move(route));
}

}  // namespace brood
