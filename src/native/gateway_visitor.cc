#include "native/gateway_visitor.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/socket.h"
#include "native/head.h"
#include "wire/message.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr uint32_t kMaxVisitFrame = 8u << 10;  // bytes of a frame's payload
// Bytes of a text, the last ones: so is a traceback's point. Six of JSON for each fit into a frame.
constexpr size_t kMaxRefusal = 1200;
constexpr int64_t kMillisecond = 1'000'000;

// Empty if there is none. Nothing: it is something else.
std::optional<std::string> optional_text(const json& head, const char* name) {
  const auto found = head.find(name);
  if (found == head.end() || found->is_null()) return "";
  if (!found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

}  // namespace

std::string refusal(uint64_t request, ProblemCode code, const std::string& text) {
  const bool long_one = text.size() > kMaxRefusal;
  const std::string said = long_one ? "..." + text.substr(text.size() - kMaxRefusal) : text;
  const json head = problem_head(request, {code, said});
  return encode_frame(FrameType::kAnswer, encode_message(print_head(head)));
}

GatewayVisitor::GatewayVisitor(boost::asio::io_context& io, Fd socket, Admission admission,
                               Authenticator& authenticator, std::function<void(End)> done)
    : admission_(std::move(admission)),
      authenticator_(authenticator),
      done_(std::move(done)),
      socket_(io, socket.release()),
      deadline_(io) {
  socket_.non_blocking(true);
  expire_after(admission_.patience_ms, [this] {
    refuse(ProblemCode::kTimeout, "nothing that could be served came within " +
                                      std::to_string(admission_.patience_ms / 1000) + " seconds");
  });
  wait_readable();
}

// --- frames --------------------------------------------------------------------------------------

void GatewayVisitor::wait_readable() {
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                     guard_.wrap([this](auto error) {
                       if (!error && state_ != State::kEnded) read_some();
                     }));
}

void GatewayVisitor::read_some() {
  while (state_ != State::kEnded && read_piece())
    if (bytes_.size() == wanted_) take_piece();
}

// False: nothing more now, or ever.
bool GatewayVisitor::read_piece() {
  const size_t before = bytes_.size();
  bytes_.resize(wanted_);
  const ssize_t got = recv(socket_.native_handle(), &bytes_[before], wanted_ - before, 0);
  bytes_.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (got > 0 || (got < 0 && errno == EINTR)) return true;
  if (got < 0 && errno == EAGAIN)
    wait_readable();
  else
    end(std::nullopt, "");
  return false;
}

void GatewayVisitor::take_piece() {
  Result<FrameHeader> header = decode_header(bytes_);
  if (!header) return refuse(ProblemCode::kBadRequest, header.error().message);
  if (header->length > kMaxVisitFrame)
    return refuse(ProblemCode::kBadRequest,
                  "a frame of " + std::to_string(header->length) + " bytes, at most " +
                      std::to_string(kMaxVisitFrame) + " are accepted here");
  wanted_ = kFrameHeader + header->length;
  if (bytes_.size() < wanted_) return;
  Result<MessageView> message = decode_message(std::string_view(bytes_).substr(kFrameHeader));
  Result<json> head = message ? parse_head(message->head) : Result<json>(message.error());
  bytes_.clear();
  wanted_ = kFrameHeader;
  if (!head) return refuse(ProblemCode::kBadRequest, head.error().message);
  if (header->type == FrameType::kHello && state_ == State::kHello) return on_hello(*head);
  if (header->type == FrameType::kAuth && state_ == State::kAuth) return on_auth(*head);
  if (header->type == FrameType::kRequest && state_ == State::kRequest) return on_request(*head);
  refuse(state_ == State::kAuth ? ProblemCode::kUnauthorized : ProblemCode::kBadRequest,
         "a frame of type " + std::to_string(static_cast<int>(header->type)) +
             " where another one is due: HELLO, AUTH if it is asked for, REQUEST");
}

// What is said here fits into the buffer of a connection that is so young, unless its peer means
// harm.
void GatewayVisitor::say(FrameType type, const json& head) {
  const std::string frame = encode_frame(type, encode_message(print_head(head)));
  const ssize_t sent = send_some(socket_.native_handle(), frame);
  if (sent != static_cast<ssize_t>(frame.size())) end(std::nullopt, "");
}

// --- what the client says ------------------------------------------------------------------------

void GatewayVisitor::on_hello(const json& head) {
  if (!offers_our_version(head))
    return refuse(ProblemCode::kBadRequest,
                  "this server speaks version " + std::to_string(kProtocolVersion) +
                      " of the protocol, which `versions` of HELLO does not offer");
  json answer = {{"version", kProtocolVersion},
                 {"server", "brood " BROOD_VERSION},
                 {"auth", json::array({kMechanism})},
                 {"gateway", "warm"},
                 {"limits", {{"frame", kMaxVisitFrame}}}};
  state_ = State::kAuth;
  if (admission_.identity) {
    answer["user"] = admission_.identity->user;
    answer["role"] = admission_.identity->admin ? "admin" : "user";
    state_ = State::kRequest;
  }
  say(FrameType::kHello, answer);
}

void GatewayVisitor::on_auth(const json& head) {
  const std::optional<std::string> data = optional_text(head, "data");
  if (!data) return refuse(ProblemCode::kBadRequest, "AUTH needs `data`, a text");
  if (authenticator_.before_attempt(admission_.address).refused)
    return refuse(ProblemCode::kUnauthorized,
                  "too many failed attempts from this address; try again later");
  if (!exchange_) {
    if (optional_text(head, "mechanism") != kMechanism)
      return refuse(ProblemCode::kBadRequest, std::string("the one mechanism is ") + kMechanism);
    exchange_ = authenticator_.scram();
  }
  Result<ScramExchange::Step> step = exchange_->step(*data);
  if (!step) return on_auth_failed();
  json answer = {{"data", step->data}};
  if (step->identity) {
    authenticator_.succeeded(admission_.address);
    answer["user"] = step->identity->user;
    answer["role"] = step->identity->admin ? "admin" : "user";
    state_ = State::kRequest;
  }
  say(FrameType::kAuth, answer);
}

// Answered late, so that guessing takes time. What comes meanwhile is not read.
void GatewayVisitor::on_auth_failed() {
  const int64_t delay_ns = authenticator_.failed(admission_.address).delay_ns;
  state_ = State::kEnded;
  expire_after(delay_ns / kMillisecond,
               [this] { refuse(ProblemCode::kUnauthorized, "authentication failed"); });
}

void GatewayVisitor::on_request(const json& head) {
  const auto number = head.find("request");
  if (number == head.end() || !number->is_number_unsigned() || *number == 0)
    return refuse(ProblemCode::kBadRequest, "REQUEST needs `request`, a number over 0");
  const auto request = number->get<uint64_t>();
  const std::optional<std::string> environment = optional_text(head, "env");
  const std::optional<std::string> engine = optional_text(head, "engine");
  if (optional_text(head, "method") != "gateway")
    return end(std::nullopt, refusal(request, ProblemCode::kBadRequest,
                                     "the one method at this address is gateway"));
  if (!environment || !engine || !(engine->empty() || *engine == "native" || *engine == "python"))
    return end(std::nullopt,
               refusal(request, ProblemCode::kBadRequest,
                       "`env` is the name of an environment, `engine` native or python"));
  end(GatewayWish{request, *environment, *engine}, "");
}

// --- the end -------------------------------------------------------------------------------------

void GatewayVisitor::expire_after(int64_t milliseconds, std::function<void()> then) {
  deadline_.expires_after(std::chrono::milliseconds(milliseconds));
  deadline_.async_wait(guard_.wrap([then = std::move(then)](auto error) {
    if (!error) then();
  }));
}

void GatewayVisitor::refuse(ProblemCode code, const std::string& text) {
  end(std::nullopt, refusal(0, code, text));
}

void GatewayVisitor::end(std::optional<GatewayWish> wish, std::string last_words) {
  state_ = State::kEnded;
  if (!done_) return;
  deadline_.cancel();
  auto ending = std::make_shared<End>();
  ending->socket.reset(socket_.release());
  const int flags = fcntl(ending->socket.get(), F_GETFL);
  fcntl(ending->socket.get(), F_SETFL, flags & ~O_NONBLOCK);
  ending->wish = std::move(wish);
  ending->last_words = std::move(last_words);
  boost::asio::post(socket_.get_executor(), guard_.wrap([done = std::exchange(done_, nullptr),
                                                         ending] { done(std::move(*ending)); }));
}

}  // namespace brood
