// Frames: how every native connection of brood is cut into messages. Pure.
//
//   frame := length:u32 type:u16 version:u16 payload[length]      little-endian
//
// docs/protocol.md is normative; tests/vectors holds golden frames.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace brood {

inline constexpr uint16_t kProtocolVersion = 1;
inline constexpr size_t kFrameHeader = 8;  // bytes
// A request carries argv and the environment block; Linux allows a quarter of an 8 MiB stack for
// both (2 MiB), and raises it with the stack limit up to 6 MiB. Larger requests take the cold way.
inline constexpr uint32_t kMaxFramePayload = 8u << 20;

enum class FrameType : uint16_t {
  // client <-> worker, on an environment's socket
  kRun = 1,       // client: RunRequest, with descriptors
  kAccepted = 2,  // worker: Accepted; user code runs only after this
  kRefused = 3,   // worker: Refused; nothing ran
  kExited = 4,    // worker or zygote: Exited
  kStopped = 5,   // zygote: Stopped (job control)
  // client or tool <-> daemon, on the daemon's socket
  kWarm = 16,      // Launch: prepare this environment; no answer
  kWarmWait = 17,  // the same; answered by kWarmed when it is ready or has failed
  kWarmed = 18,    // Warmed
  kCommand = 19,   // a MessagePack map {"command": ...}
  kReply = 20,     // a MessagePack map
  // daemon <-> zygote, on the zygote's control socket
  kPrepare = 32,        // daemon: ZygoteSpec
  kReady = 33,          // zygote: ZygoteReady
  kFailed = 34,         // zygote: ZygoteFailed
  kStale = 35,          // zygote: ZygoteStale; it accepts nobody any more
  kWorkerStarted = 36,  // zygote: WorkerEvent
  kWorkerEnded = 37,    // zygote: WorkerEvent
  kRetire = 38,         // daemon: finish the running programs, accept nobody, leave
  kJudge = 39,          // daemon: is what is loaded what is on disk? kFresh or kStale
  kFresh = 40,          // zygote: it is
  // server <-> a session's worker and its frozen copies; messages (wire/message.h)
  kSetup = 48,
  kCell = 49,
  kAsk = 50,
  kMessage = 51,  // both ways
  kBranch = 52,
  kFreeze = 53,
  kInterrupt = 54,  // before a SIGINT: which cell it is for
  kStdin = 55,      // after a cell whose standard input was ended: a new one
  kSessionReady = 56,
  kCheckpoint = 57,
  kWorkerEvent = 58,
  kDone = 59,
  kAnswerAsk = 60,
  kResume = 61,
  kFrozen = 62,
  // client <-> server of sessions, on a connection of its own; payloads are messages
  kHello = 64,    // both, first: versions, what is offered
  kAuth = 65,     // both, in turn: SCRAM messages
  kRequest = 66,  // client: a method and its members
  kAnswer = 67,   // server: once for each request; request 0: the connection ends
  kEvent = 68,    // server: what happened in a joined session
  // contexts of gateways, on a link; payloads begin with a head (gateway/message.h)
  kGreet = 80,
  kExec = 81,
  kCall = 82,
  kItem = 83,
  kPart = 84,
  kReturn = 85,
  kClose = 86,
  kEnd = 87,
  kCredit = 88,
  kModule = 89,
  kLog = 90,
  kStatus = 91,
  kStart = 92,
  kOpen = 93,
  kRoute = 94,
  kGone = 95,
  kShutdown = 96,
  kBye = 97,
  kPing = 98,
};

struct FrameHeader {
  uint32_t length = 0;
  FrameType type = FrameType::kRun;
  uint16_t version = kProtocolVersion;
};

std::string encode_frame(FrameType type, std::string_view payload);

// `bytes` holds at least kFrameHeader. Fails on a length over kMaxFramePayload and on another
// version.
Result<FrameHeader> decode_header(std::string_view bytes);

struct FrameView {
  FrameHeader header;
  std::string_view payload;
};

// Takes frames off the front of a stream: append what arrives to buffer(), then call next() until
// it is kPartial.
class FrameParser {
 public:
  enum class Step { kFrame, kPartial, kMalformed };
  std::string& buffer() { return buffer_; }
  // The view stays valid until the next call.
  Step next(FrameView& frame);
  const std::string& error() const { return error_; }

 private:
  Step partial();
  std::string buffer_;
  size_t consumed_ = 0;
  std::string error_;
};

}  // namespace brood
