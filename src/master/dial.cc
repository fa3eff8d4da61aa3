#include "master/dial.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/socket.h"
#include "base/sys.h"
#include "base/tcp.h"
#include "scram/scram.h"
#include "wire/frame.h"
#include "wire/message.h"

namespace brood::master {
namespace {

using nlohmann::json;

constexpr size_t kMaxFrame = 8 << 10;  // bytes

int left_ms(int64_t deadline) {
  constexpr int64_t kMillisecond = 1'000'000, kLongest = 3'600'000;
  return static_cast<int>(
      std::clamp<int64_t>((deadline - monotonic_ns()) / kMillisecond, 1, kLongest));
}

Result<Fd> connect_one(const addrinfo& address, int64_t deadline) {
  Fd fd(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return sys_error("create a socket");
  set_timeout(fd.get(), SO_SNDTIMEO, left_ms(deadline));  // bounds connect(), too
  if (connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0)
    return sys_error("connect", errno == EINPROGRESS ? ETIMEDOUT : errno);
  tune_tcp(fd.get());
  return fd;
}

Result<Fd> connect_tcp(const HostAndPort& address, int64_t deadline) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int status = getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
  if (status != 0) return Error{gai_strerror(status)};
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  Error last{"it has no address"};
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    Result<Fd> fd = connect_one(*one, deadline);
    if (fd) return fd;
    last = fd.error();
  }
  return last;
}

// Frames whose payload is a JSON head.
class Conversation {
 public:
  Conversation(int socket, int64_t deadline) : socket_(socket), deadline_(deadline) {}

  Result<void> send(FrameType type, const json& head) {
    set_timeout(socket_, SO_SNDTIMEO, left_ms(deadline_));
    return send_all(socket_, encode_message_frame(type, head.dump(), 0));
  }

  // The head of the next frame, which is of that type; or the error that came instead.
  Result<json> receive(FrameType type) {
    const Error other{"what answers there is no server of brood's gateways"};
    Result<std::string> front = read(kFrameHeader);
    if (!front) return front.error();
    Result<FrameHeader> header = decode_header(*front);
    if (!header || header->length > kMaxFrame) return other;
    Result<std::string> payload = read(header->length);
    if (!payload) return payload.error();
    Result<MessageView> message = decode_message(*payload);
    json head = message ? json::parse(message->head, nullptr, false) : json();
    if (!head.is_object()) return other;
    if (header->type == FrameType::kAnswer && head["error"].is_object())
      return Error{"the server refused: " + text(head["error"], "text")};
    if (header->type != type) return Error{"the server does not answer as expected"};
    return head;
  }

  static std::string text(const json& head, const char* name) {
    const auto found = head.find(name);
    return found != head.end() && found->is_string() ? found->get<std::string>() : "";
  }

 private:
  // And not a byte more: what follows belongs to the interpreter.
  Result<std::string> read(size_t size) {
    std::string bytes;
    while (bytes.size() < size) {
      pollfd polled{socket_, POLLIN, 0};
      if (monotonic_ns() >= deadline_ || poll(&polled, 1, left_ms(deadline_)) == 0)
        return Error{"the server does not answer"};
      std::vector<Fd> none;
      Result<size_t> got = receive_some(socket_, size - bytes.size(), bytes, none);
      if (!got) return got.error();
      if (*got == 0) return Error{"the server has closed the connection"};
    }
    return bytes;
  }

  const int socket_;
  const int64_t deadline_;
};

Result<void> authenticate(Conversation& talk, const std::string& token) {
  Result<ScramClient> scram = ScramClient::make("token", token);
  if (!scram) return scram.error();
  const json first{{"mechanism", kScramMechanism}, {"data", scram->first_message()}};
  if (Result<void> sent = talk.send(FrameType::kAuth, first); !sent) return sent;
  Result<json> challenge = talk.receive(FrameType::kAuth);
  if (!challenge) return challenge.error();
  Result<std::string> proof = scram->final_message(Conversation::text(*challenge, "data"));
  if (!proof) return proof.error();
  if (Result<void> sent = talk.send(FrameType::kAuth, {{"data", *proof}}); !sent) return sent;
  Result<json> verdict = talk.receive(FrameType::kAuth);
  if (!verdict) return verdict.error();
  return scram->verify(Conversation::text(*verdict, "data"));
}

// The server's HELLO.
Result<json> log_in(Conversation& talk, const std::string& token) {
  const json hello{{"versions", {1}}, {"client", "brood gateways"}};
  if (Result<void> sent = talk.send(FrameType::kHello, hello); !sent) return sent.error();
  Result<json> answer = talk.receive(FrameType::kHello);
  if (!answer || !Conversation::text(*answer, "user").empty()) return answer;
  const json& offered = (*answer)["auth"];
  if (std::find(offered.begin(), offered.end(), json(kScramMechanism)) == offered.end())
    return Error{"the server offers no authentication that is known here"};
  if (token.empty()) return Error{"the server asks for a token: add token_file=PATH to the spec"};
  if (Result<void> proved = authenticate(talk, token); !proved) return proved.error();
  return answer;
}

// Has a fork of a warm environment become a context.
Result<void> wish(Conversation& talk, const Spec& spec) {
  json request{{"request", 1}, {"method", "gateway"}};
  if (!spec.environment.empty()) request["env"] = spec.environment;
  if (Result<void> sent = talk.send(FrameType::kRequest, request); !sent) return sent;
  Result<json> answer = talk.receive(FrameType::kAnswer);
  return answer ? Result<void>() : Result<void>(answer.error());
}

Result<void> send_source(int socket, const std::string& source) {
  const auto size = static_cast<uint32_t>(source.size());
  std::string message(sizeof size, '\0');
  std::memcpy(message.data(), &size, sizeof size);
  return send_all(socket, message + source);
}

// The first line of the file; `~/` is the user's home.
Result<std::string> read_token(const std::string& path) {
  const char* home = getenv("HOME");
  constexpr size_t kMost = 64 << 10;  // bytes
  Result<std::string> text =
      read_file(path.starts_with("~/") && home != nullptr ? home + path.substr(1) : path, kMost);
  if (!text) return text;
  std::string line = text->substr(0, text->find('\n'));
  line.erase(line.find_last_not_of(" \t\r") + 1);
  line.erase(0, line.find_first_not_of(" \t"));
  return line;
}

}  // namespace

Result<Dialled> dial(const Spec& spec, const std::string& source, int64_t deadline) {
  Result<std::string> token = spec.token_file.empty() ? std::string() : read_token(spec.token_file);
  if (!token) return token.error();
  Result<HostAndPort> address = split_address(spec.target);
  if (!address) return address.error();
  Result<Fd> socket = connect_tcp(*address, deadline);
  if (!socket) return socket.error();
  Conversation talk(socket->get(), deadline);
  Result<json> hello = log_in(talk, *token);
  if (!hello) return hello.error();
  const bool has_warm = Conversation::text(*hello, "gateway") == "warm";
  if (spec.warm && !has_warm)
    return Error{
        "what answers there has no warm environments, as brood serve --listen gateway:HOST:PORT "
        "has"};
  Result<void> told = has_warm ? wish(talk, spec) : send_source(socket->get(), source);
  if (!told) return told.error();
  set_timeout(socket->get(), SO_SNDTIMEO, 0);
  return Dialled{std::move(*socket), has_warm};
}

}  // namespace brood::master
