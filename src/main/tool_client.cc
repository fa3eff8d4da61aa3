#include "main/tool_client.h"

#include <cerrno>
#include <cstdio>
#include <vector>

#include "base/socket.h"
#include "daemon/status_view.h"
#include "launch/daemon_client.h"
#include "wire/frame.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr int kAnswerMs = 10'000;

Result<json> read_reply(int socket) {
  FrameParser parser;
  FrameView frame;
  std::vector<Fd> none;
  for (;;) {
    const FrameParser::Step step = parser.next(frame);
    if (step == FrameParser::Step::kMalformed) return Error{parser.error()};
    if (step == FrameParser::Step::kFrame) break;
    Result<size_t> got = receive_some(socket, 65536, parser.buffer(), none);
    if (!got) return got.error();
    if (*got == 0) return Error{"the daemon closed the connection"};
  }
  json reply = json::from_msgpack(frame.payload, true, false);
  if (frame.header.type != FrameType::kReply || !reply.is_object())
    return Error{
        "the daemon gave an unexpected answer; is it of another version? Try `brood stop`"};
  if (const std::string error = text_at(reply, "error"); !error.empty()) return Error{error};
  return reply;
}

}  // namespace

int fail(const std::string& message, int status) {
  std::fprintf(stderr, "brood: %s\n", message.c_str());
  return status;
}

Result<std::optional<DaemonClient>> DaemonClient::connect(const RuntimeDir& dir) {
  if (Result<void> good = check(dir); !good) {
    if (good.error().code == ENOENT) return std::optional<DaemonClient>();
    return good.error();
  }
  Result<Fd> socket = connect_unix(dir.daemon_socket());
  if (!socket) {
    if (socket.error().code == ENOENT || socket.error().code == ECONNREFUSED)
      return std::optional<DaemonClient>();
    return socket.error();
  }
  set_timeout(socket->get(), SO_RCVTIMEO, kAnswerMs);
  set_timeout(socket->get(), SO_SNDTIMEO, kAnswerMs);
  return std::optional<DaemonClient>(DaemonClient(std::move(*socket)));
}

Result<json> DaemonClient::ask(const json& command) {
  std::string bytes;
  json::to_msgpack(command, bytes);
  if (Result<void> sent = send_all(socket_.get(), encode_frame(FrameType::kCommand, bytes)); !sent)
    return sent.error();
  return read_reply(socket_.get());
}

Result<json> ask_daemon(const json& command, const json& otherwise) {
  for (bool again = false;; again = true) {
    Result<std::optional<DaemonClient>> client = DaemonClient::connect(runtime_dir());
    if (!client) return client.error();
    if (!*client) return otherwise;
    Result<json> reply = (*client)->ask(command);
    if (reply || again || !daemon_was_leaving(reply.error())) return reply;
  }
}

}  // namespace brood
