#include "client/implementation.h"

#include <algorithm>
#include <cstdlib>

#include "scram/scram.h"
#include "wire/message.h"

namespace brood {
namespace {

using nlohmann::json;

[[noreturn]] void throw_connection(const Error& error) {
  throw ClientError("connection", error.message);
}

// Throws what an answer's `error` says. The one in the result of `run` is the cell's exception, or
// null: that has no code.
void throw_problem(const json& head) {
  const auto error = head.find("error");
  if (error == head.end()) return;
  const std::string code = text_member(*error, "code");
  if (!code.empty()) throw ClientError(code, text_member(*error, "text"));
}

ClientLink open_link(const ClientOptions& options) {
  const std::string text = options.address.empty() ? default_server_address() : options.address;
  Result<ServerAddress> address = parse_server_address(text);
  if (!address) throw ClientError("bad_request", address.error().message);
  Result<ClientLink> link = ClientLink::open(*address, options.timeout_ms);
  if (link) return std::move(*link);
  const int code = link.error().code;
  const bool nobody = code == ENOENT || code == ECONNREFUSED;
  throw_connection(Error{nobody ? "no server listens on " + text + "; start one with `brood serve`"
                                : link.error().message});
}

const json* find_member(const json& head, std::string_view name) {
  if (!head.is_object()) return nullptr;
  const auto found = head.find(std::string(name));
  return found == head.end() ? nullptr : &*found;
}

// What was typed in another encoding is not guessed at.
std::string text_of(const json& head) {
  try {
    return head.dump();
  } catch (const json::type_error& error) {
    throw ClientError("bad_request", std::string("a text is not UTF-8: ") + error.what());
  }
}

}  // namespace

std::string text_member(const json& head, std::string_view name) {
  const json* member = find_member(head, name);
  return member && member->is_string() ? member->get<std::string>() : "";
}

double number_member(const json& head, std::string_view name) {
  const json* member = find_member(head, name);
  return member && member->is_number() ? member->get<double>() : 0;
}

uint64_t count_member(const json& head, std::string_view name) {
  const json* member = find_member(head, name);
  return member && member->is_number_unsigned() ? member->get<uint64_t>() : 0;
}

bool flag_member(const json& head, std::string_view name) {
  const json* member = find_member(head, name);
  return member && member->is_boolean() && member->get<bool>();
}

Client::Implementation::Implementation(const ClientOptions& options) : link_(open_link(options)) {
  log_in(options);
  link_.set_patience(0);
}

void Client::Implementation::send(FrameType type, const json& head, std::string_view body) {
  const std::string text = text_of(head);
  constexpr size_t kLengthField = 4;
  if (text.size() > kMaxMessageHead || kLengthField + text.size() + body.size() > kMaxFramePayload)
    throw ClientError("limit", "a request of " + std::to_string(text.size() + body.size()) +
                                   " bytes is longer than a frame, which has at most 8 MiB");
  Result<void> sent = link_.send(encode_message_frame(type, text, body.size()), body);
  if (!sent) throw_connection(sent.error());
}

std::optional<Client::Implementation::Message> Client::Implementation::receive(int timeout_ms) {
  Result<std::optional<FrameView>> frame = link_.receive(timeout_ms);
  if (!frame) throw_connection(frame.error());
  if (!*frame) return std::nullopt;
  Result<MessageView> message = decode_message((*frame)->payload);
  if (!message) throw_connection(message.error());
  json head = json::parse(message->head, nullptr, false);
  if (!head.is_object()) throw_connection({"the server sent a message that is no JSON object"});
  Message out{(*frame)->header.type, {std::move(head), std::string(message->body), ""}};
  if (out.type == FrameType::kEvent) out.content.text = message->head;
  if (out.type == FrameType::kAnswer && count_member(out.content.head, "request") == 0)
    throw_problem(out.content.head);
  return out;
}

Client::Implementation::Message Client::Implementation::expect(FrameType type, int timeout_ms) {
  std::optional<Message> got = receive(timeout_ms);
  if (!got) throw_connection({"the server does not answer"});
  if (got->type != type) throw_connection({"the server does not speak brood's protocol"});
  return std::move(*got);
}

void Client::Implementation::log_in(const ClientOptions& options) {
  send(FrameType::kHello, {{"versions", {kProtocolVersion}}, {"client", options.name}});
  const json hello = expect(FrameType::kHello, options.timeout_ms).content.head;
  user_ = text_member(hello, "user");
  role_ = text_member(hello, "role");
  const Credentials& given = options.credentials;
  if (!given.token.empty()) return authenticate("token", given.token, options.timeout_ms);
  if (!given.user.empty()) return authenticate(given.user, given.password, options.timeout_ms);
  if (!user_.empty()) return;
  const char* token = getenv("BROOD_TOKEN");
  if (!token || !*token)
    throw ClientError("unauthorized",
                      "the server wants to know who you are: give a token (or set BROOD_TOKEN), or "
                      "a user and a password");
  authenticate("token", token, options.timeout_ms);
}

void Client::Implementation::authenticate(const std::string& user, const std::string& password,
                                          int timeout_ms) {
  Result<ScramClient> scram = ScramClient::make(user, password);
  if (!scram) throw ClientError("unauthorized", scram.error().message);
  send(FrameType::kAuth, {{"mechanism", kScramMechanism}, {"data", scram->first_message()}});
  const json first = expect(FrameType::kAuth, timeout_ms).content.head;
  Result<std::string> proof = scram->final_message(text_member(first, "data"));
  if (!proof) throw ClientError("unauthorized", proof.error().message);
  send(FrameType::kAuth, {{"data", *proof}});
  const json last = expect(FrameType::kAuth, timeout_ms).content.head;
  if (Result<void> known = scram->verify(text_member(last, "data")); !known)
    throw ClientError("unauthorized", known.error().message);
  user_ = text_member(last, "user");
  role_ = text_member(last, "role");
}

Client::Implementation::Answered Client::Implementation::call(const std::string& method, json head,
                                                              std::string_view body) {
  const uint64_t number = ++last_request_;
  head["request"] = number;
  head["method"] = method;
  send(FrameType::kRequest, head, body);
  for (;;) {
    std::optional<Message> got = receive(-1);
    if (!got) continue;
    if (got->type == FrameType::kEvent) keep_event(std::move(got->content));
    if (got->type != FrameType::kAnswer || count_member(got->content.head, "request") != number)
      continue;
    throw_problem(got->content.head);
    got->content.head.erase("request");
    return std::move(got->content);
  }
}

void Client::Implementation::keep_event(Answered content) {
  SessionEvent event;
  event.session = text_member(content.head, "session");
  event.type = text_member(content.head, "type");
  event.seq = count_member(content.head, "seq");
  event.cell = count_member(content.head, "cell");
  event.body = std::move(content.body);
  event.json = std::move(content.text);
  events_.push_back(std::move(event));
}

std::optional<SessionEvent> Client::Implementation::next_event(const std::string& session,
                                                               int timeout_ms) {
  for (;;) {
    const auto found = std::find_if(events_.begin(), events_.end(), [&](const SessionEvent& one) {
      return session.empty() || one.session == session;
    });
    if (found != events_.end()) {
      SessionEvent event = std::move(*found);
      events_.erase(found);
      return event;
    }
    std::optional<Message> got = receive(timeout_ms);
    if (!got) return std::nullopt;
    if (got->type == FrameType::kEvent) keep_event(std::move(got->content));
  }
}

void Client::Implementation::forget_events(const std::string& session) {
  std::erase_if(events_, [&](const SessionEvent& one) { return one.session == session; });
}

}  // namespace brood
