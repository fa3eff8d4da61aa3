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
    FrameView frame;
    if (Result<void> got = next(frame); !got) return got.error();
    Result<MessageView> message = decode_message(frame.payload);
    json head = message ? json::parse(message->head, nullptr, false) : json();
    if (!head.is_object()) return Error{"what answers there is no socketserver of brood's"};
    if (frame.header.type == FrameType::kAnswer && head["error"].is_object())
      return Error{"the server refused: " + text(head["error"], "text")};
    if (frame.header.type != type) return Error{"the server does not answer as expected"};
    return head;
  }

  static std::string text(const json& head, const char* name) {
    const auto found = head.find(name);
    return found != head.end() && found->is_string() ? found->get<std::string>() : "";
  }

 private:
  Result<void> next(FrameView& frame) {
    FrameParser::Step step;
    while ((step = parser_.next(frame)) == FrameParser::Step::kPartial) {
      if (parser_.buffer().size() > kMaxFrame) return Error{"the server sent too long a frame"};
      pollfd polled{socket_, POLLIN, 0};
      if (monotonic_ns() >= deadline_ || poll(&polled, 1, left_ms(deadline_)) == 0)
        return Error{"the server does not answer"};
      std::vector<Fd> none;
      Result<size_t> got = receive_some(socket_, kMaxFrame, parser_.buffer(), none);
      if (!got) return got.error();
      if (*got == 0) return Error{"the server has closed the connection"};
    }
    if (step == FrameParser::Step::kMalformed)
      return Error{"what answers there is no socketserver of brood's"};
    return {};
  }

  const int socket_;
  const int64_t deadline_;
  FrameParser parser_;
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

Result<void> log_in(Conversation& talk, const std::string& token) {
  const json hello{{"versions", {1}}, {"client", "brood gateways"}};
  if (Result<void> sent = talk.send(FrameType::kHello, hello); !sent) return sent;
  Result<json> answer = talk.receive(FrameType::kHello);
  if (!answer) return answer.error();
  if (!Conversation::text(*answer, "user").empty()) return {};
  const json& offered = (*answer)["auth"];
  if (std::find(offered.begin(), offered.end(), json(kScramMechanism)) == offered.end())
    return Error{"the server offers no authentication that is known here"};
  if (token.empty()) return Error{"the server asks for a token: add token_file=PATH to the spec"};
  return authenticate(talk, token);
}

}  // namespace

Result<Fd> dial(const HostAndPort& address, const std::string& token, const std::string& source,
                int64_t deadline) {
  Result<Fd> socket = connect_tcp(address, deadline);
  if (!socket) return socket;
  Conversation talk(socket->get(), deadline);
  if (Result<void> done = log_in(talk, token); !done) return done.error();
  const auto size = static_cast<uint32_t>(source.size());
  std::string message(sizeof size, '\0');
  std::memcpy(message.data(), &size, sizeof size);
  if (Result<void> sent = send_all(socket->get(), message + source); !sent) return sent.error();
  set_timeout(socket->get(), SO_SNDTIMEO, 0);
  return socket;
}

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

}  // namespace brood::master
