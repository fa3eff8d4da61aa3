#include "launch/hand_over.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "base/socket.h"
#include "launch/process_state.h"
#include "launch/shadow.h"
#include "launch/trace.h"
#include "wire/frame.h"

namespace brood {
namespace {

// A spare answers in well under a millisecond, a busy zygote in a few. One that is stopped or
// swapped out must not hold a program up for long.
constexpr int kAnswerTimeoutMs = 500;

// What travels with the request: the working directory, the worker's end of the connection, then
// every open descriptor.
constexpr size_t kMostOpen = kMaxDescriptors - 2;
struct Luggage {
  Fd cwd;
  Fd theirs;
  Fd ours;  // stays: the client's end
  std::vector<int> descriptors;
};

// Out of the way of descriptors that the caller closed: what is written to "stderr" must not end in
// a socket.
Fd above_standard(Fd fd) {
  return fd.get() <= STDERR_FILENO ? duplicate_above(fd.get(), STDERR_FILENO + 1) : std::move(fd);
}

Result<Luggage> pack_descriptors(RunRequest& request) {
  Result<std::vector<uint32_t>> numbers = open_descriptors();
  if (!numbers) return numbers.error();
  if (numbers->size() > kMostOpen)
    return Error{std::to_string(numbers->size()) + " descriptors are open; a message carries " +
                 std::to_string(kMostOpen)};
  Luggage luggage;
  luggage.cwd = above_standard(Fd(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)));
  if (!luggage.cwd) return sys_error("open the working directory");
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return sys_error("make a socket pair");
  luggage.theirs = Fd(pair[0]);
  luggage.ours = above_standard(Fd(pair[1]));
  if (!luggage.ours) return sys_error("move a descriptor");
  luggage.descriptors = {luggage.cwd.get(), luggage.theirs.get()};
  for (uint32_t number : *numbers)
    luggage.descriptors.push_back(static_cast<int>(number));
  request.descriptor_numbers = std::move(*numbers);
  return luggage;
}

bool wait_readable(int socket, int milliseconds) {
  pollfd item{socket, POLLIN, 0};
  int rc;
  do {
    rc = poll(&item, 1, milliseconds);
  } while (rc < 0 && errno == EINTR);
  return rc > 0;
}

// The process that called listen() on the other end of the socket. 0: not known.
pid_t listener_of(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return 0;
  return credentials.pid;
}

// Reads until the first answer is whole. An acknowledgement that loses the race with the time-out
// cannot happen: after shutdown() the worker's send fails, and what was sent before it is still
// read here. A zygote that somebody stopped is continued: it would hold the descriptors that were
// sent to it, and so whoever waits for the end of this program's output.
FrameParser::Step first_answer(int connection, pid_t zygote, FrameParser& parser, FrameView& frame,
                               bool& gave_up) {
  gave_up = false;
  std::vector<Fd> none;
  for (;;) {
    const FrameParser::Step step = parser.next(frame);
    if (step != FrameParser::Step::kPartial) return step;
    if (!gave_up && !wait_readable(connection, kAnswerTimeoutMs)) {
      shutdown(connection, SHUT_RD);
      gave_up = true;
      if (zygote > 1) kill(zygote, SIGCONT);
    }
    Result<size_t> got = receive_some(connection, 4096, parser.buffer(), none);
    if (!got || *got == 0) return FrameParser::Step::kPartial;
  }
}

class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

NotRun hand_over(const Plan& plan, const std::string& socket_path) {
  RunRequest request = plan.request;
  Result<Luggage> luggage = pack_descriptors(request);
  if (!luggage) return {luggage.error().message};
  const std::string payload = encode(request);
  if (payload.size() > kMaxFramePayload) return {"the arguments and variables are too long"};
  Result<Fd> socket = connect_unix(socket_path, kAnswerTimeoutMs);
  if (!socket) {
    const int why = socket.error().code;
    const bool none = why == ENOENT || why == ECONNREFUSED;
    return {none ? "no zygote has this environment yet" : socket.error().message, true};
  }
  *socket = above_standard(std::move(*socket));
  if (!*socket) return {sys_error("move a descriptor").message};
  const pid_t zygote = listener_of(socket->get());
  BlockedSignals blocked;
  const Result<void> sent =
      send_all(socket->get(), encode_frame(FrameType::kRun, payload), luggage->descriptors);
  if (!sent) return {sent.error().message, true};
  // The socket stays open: to close one while another travels wakes the kernel's garbage collector
  // (net/unix/garbage.c), which takes the processor from the program.
  luggage->theirs.reset();
  FrameParser parser;
  FrameView frame;
  bool gave_up;
  if (first_answer(luggage->ours.get(), zygote, parser, frame, gave_up) !=
      FrameParser::Step::kFrame)
    return {gave_up ? "no spare answered within " + std::to_string(kAnswerTimeoutMs) + " ms"
                    : "the spare left before it answered",
            true};
  if (frame.header.type == FrameType::kRefused) {
    Result<Refused> refused = decode_refused(frame.payload);
    return {refused ? refused->reason : refused.error().message};
  }
  if (frame.header.type != FrameType::kAccepted) return {"the spare died before it began", true};
  Result<Accepted> accepted = decode_accepted(frame.payload);
  if (!accepted) return {accepted.error().message};
  trace("warm: worker " + std::to_string(accepted->pid));
  luggage->cwd.reset();
  shadow(std::move(luggage->ours), zygote, static_cast<pid_t>(accepted->pid), std::move(parser));
}

}  // namespace brood
